"""What the tool prints, word for word: each verb and form of it, asked of a relay with a few messages and a clock that stands
still, against golden/tool, a file for each verb. `--update` writes these files anew; read what changed before you commit it.

A line of CASES or of its neighbours is a case: what follows `waypost`, as a shell reads it. {1} is the id of the first message,
and so on; {change} the last one that can be undone, {dead} the next hop where nobody
listens, {folder} where all of it lies; what follows <<< is standard input. The --help of every verb comes by
itself, and a verb without a case fails the test.
"""
import base64
import difflib
import getpass
import pathlib
import re
import shlex
import subprocess
import sys
import time

import harness
import smtp

GOLDEN = pathlib.Path(__file__).parent / "golden/tool"
UPDATE = "--update" in sys.argv
FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
SINK, DEAD = "127.0.0.64", "127.0.0.65"
# Verbs that need none: what they print is not for people.
WITHOUT_CASE = {"completion"}

# The relay runs, and nothing is changed.
CASES = """
--version
status
status --json
health
health --json
top
top --interval 1
nonsense
queue list
queue list state:deferred to:@one.dead.example
queue list --limit 2
queue list --limit 2 --after {2}
queue list --sort size --limit 2
queue list --sort tries --after {2}
--bytes queue count
--verbose why {1}
-q queue list --limit 1
queue list --json
queue list from:nobody@x.example
queue list sise:>5MB
queue list state:lost
queue count
queue count --json
queue count 'error:"refused"'
queue count from:nobody@x.example
queue count --by domain
queue count --by sender
queue count --by error
queue count --by mx
queue count --by state
queue count --by user
queue count --by source
queue count --by domain --limit 2
queue count --by domain --json
queue count --by weather
queue shape
queue shape --by sender --limit 2
queue shape --json
queue show {1}
queue show {2}
queue show {2} --envelope
queue show {2} --headers
queue show {2} --body
queue show {2} --raw
queue show {2} --json
queue show {4}
queue show 01JD8Q2M3XK7
queue show nonsense
why {1}
why {2}
why {3}
why {7}
why {8}
why {4}
why {1} --json
trace {1}
trace {2}
trace {3}
trace {4}
trace {5}
trace {6}
trace {7}
trace --to ok@picky.example
trace --from 'billing@*' --limit 2
trace --since 1h
trace --message-id '<3@client.test.example>'
trace {5} --json
trace 01JD8Q2M3XK7
trace
explain x@one.dead.example
explain x@one.dead.example --from ann@office.example --login ann
explain x@one.dead.example --client 192.0.2.9
explain bob@office.example --client 192.0.2.9
explain sales@office.example
explain x@one.dead.example --client 127.0.0.40 --json
explain nonsense
explain x@one.dead.example --probe
probe one.dead.example
probe one.dead.example --json
probe office.example
probe nobody.example
probe x.example --to nonsense
watch --for nonsense
watch --peer nonsense
dest list
dest list --json
dest show one.dead.example
dest show one.dead.example --json
dest show picky.example
dest show nowhere.example
rates
rates --json
audit
undo 1
classify '452 4.2.2 mailbox full'
classify '450 4.2.0 greylisted, come again in 300 seconds' --stage rcpt
classify '421 4.7.0 [TSS04] temporarily deferred' --host mta5.am0.yahoodns.net
classify '421 4.7.0 [TSS04] temporarily deferred' --host mta5.am0.yahoodns.net --json
classify '554 5.6.0 words that no rule knows'
classify 'no code'
config check
config check {folder}/bad.toml
config check {folder}/bad.toml --json
config check {folder}/none.toml
config show
config show queue
config show queue --origin
config show queue.retry --json
config show nonsense
config get hostname
config get listener.role
config get listener.role --json
config get nonsense
config explain queue.expire
config explain queue.retry
config explain queue.retry --json
config explain nonsense
config diff
config diff {folder}/other.toml
config diff {folder}/other.toml --json
config diff 1 2
config epochs
config epochs --json
cert list
cert check
--config {folder}/certified.toml cert list
--config {folder}/certified.toml cert list --json
--config {folder}/certified.toml cert check
--config {folder}/certified.toml cert check --json
--config {folder}/other-name.toml cert check
--config {folder}/bad.toml cert list
user list
user list --json
user check ann <<< secret
user check ann <<< wrong
user check eve <<< secret
user add ann <<< secret
store check
store check --json
store stats
store stats --json
store migrate --dry-run
bench --time 1
completion tcsh
log level
log level --json
log level loud
log tail -n 3 --id {2}
log tail -n 2 --level warning
log tail -n 1 --id {2} --json
log reopen
queue hold to:@one.dead.example
queue hold to:@one.dead.example --dry-run
queue delete --all --dry-run
queue bounce 'from:*@x.example' --yes
queue hold
queue hold {1} to:@one.dead.example
queue reroute {1} --to nonsense
queue redirect {1} --to nonsense
dest hold one.dead.example
dest limit one.dead.example --rate nonsense --for 1h
dest hold one.dead.example --until yesterday
dest hold one.dead.example --until 13:00 --for 1h
attempt settle {1} --delivered
attempt settle {1}
"""

# What each does is there for those behind it.
CHANGES = """
queue hold {1} --reason "looks odd"
queue hold {1}
queue show {1} --envelope
why {1}
queue hold 'to:*@one.dead.example' --yes
queue list state:held
audit
undo {change}
undo {change}
queue hold 'to:*@one.dead.example' --yes
queue release {1}
queue release state:held --yes
queue retry to:full@picky.example --yes
queue retry 01JD8Q2M3XK7
queue retry {3} 01JD8Q2M3XK7
queue delete {8}
queue delete 'to:a@one.dead.example' --reason "a list gone wild" --yes
trace {8}
undo {change}
queue delete {8} --for-good
queue export --all --to {folder}/copies
queue export {1} {2} --to {folder}/copies.mbox
queue export from:nobody@x.example --to {folder}/copies
queue import --from {folder}/copies --dry-run
queue import --from {folder}/none
queue reroute {3} --to {dead}
queue list destination:picky.example/*
queue reroute 'destination:picky.example/*' --to usual --yes
queue redirect to:full@picky.example --to bob@office.example --yes
trace {2}
queue bounce {6} --reason "no such customer"
trace {6}
attempt settle {7} --delivered --reason "in their log"
attempt settle {7} --delivered
trace {7}
dest hold one.dead.example --for 2h --reason "they move"
status
dest limit two.dead.example --site --rate 20/1m --for 90m
dest list
dest show one.dead.example
dest show two.dead.example --json
why {1}
explain x@one.dead.example
dest resume one.dead.example
dest resume one.dead.example
dest hold one.dead.example --until "2026-11-22 08:00"
dest resume one.dead.example
dest resume two.dead.example --site
dest retry one.dead.example
dest resume nowhere.example
audit
audit --limit 2
audit --json
user add eve <<< sesame
user add eve <<< sesame
user password eve <<< sesam
user lock eve
user list
user unlock eve
user senders eve eve@office.example @sales.example
user senders eve
user list
user delete eve
user delete eve
store backup {folder}/copy
store backup {folder}/copy
store backup {folder}/copy2 --json
store check {folder}/copy
store check {folder}/none
store restore {folder}/copy
store salvage {folder}/salvaged
queue import --from {folder}/copies --release
queue import --from {folder}/copies
store vacuum
store vacuum --json
reload
cert reload
cert reload --json
log level debug --for 10m
log level
log level error
reload
log level
"""

# After the file got a mistake, and when it is another good one.
RELOAD_BAD = """
reload
status
health
"""
RELOAD_OTHER = """
config diff
reload
config diff 1
config epochs
trace {1} --json
"""

# No daemon runs.
DOWN = """
status
health
queue list
--quiet queue list
queue count
queue count --by domain
queue shape
queue show {1} --envelope
queue export {1} --to {folder}/down
queue hold {1}
why {1}
trace {1}
audit
undo 1
dest list
dest hold one.dead.example --for 2h
explain x@one.dead.example
rates
reload
--config {folder}/certified.toml cert list
cert reload
log reopen
log level
log tail
config diff
store check
queue import --from {folder}/copies
store stats
store vacuum
store migrate --dry-run
store migrate {folder}/copy4 --json
store backup {folder}/copy3
store salvage {folder}/salvaged
store salvage {folder}/salvaged2 --json
store restore {folder}/none
store restore {folder}/copy
store restore {folder}/copy --force
store restore {folder}/copy2 --force --json
store salvage --in-place
--config {folder}/none.toml queue list
--config {folder}/bad.toml config show queue
"""


def verbs(text):
    """Those below, as a --help has them."""
    below = re.search(r"^Subcommands:\n((?:  .*\n)*)", text, re.M)
    return [line.split()[0] for line in below[1].splitlines() if line[2] != " "] if below else []


class ToolOutput(harness.TestCase):
    def setUp(self):
        super().setUp()
        if FAKETIME is None:
            self.skipTest("needs libfaketime (Debian: faketime)")
        self.clock = self.folder / "relay/faketime"
        self.change = 0
        self.ids, self.found, self.wanted, self.printed = [], {}, {}, set()

    def at(self, time_):
        """It is so late, and stays so."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"2026-11-20 {time_}:00\n")
        new.rename(self.clock)

    def replies(self, verb, argument, state):
        """The sink's, by the recipient's local part."""
        if verb == "RCPT":
            state["local"] = smtp.path(argument).partition("@")[0]
            return {"full": b"452 4.2.2 mailbox full\r\n", "grey": b"450 4.2.0 greylisted, come again\r\n",
                    "nobody": b"550 5.1.1 no such user here\r\n"}.get(state["local"])
        return b"" if verb == "DOT" and state.get("local") == "doubt" else None

    def make_relay(self):
        self.sink = smtp.Sink(harness.free_port(), SINK, self.replies)
        self.addCleanup(self.sink.stop)
        self.dead = harness.free_port()
        folder = self.folder / "relay"
        folder.mkdir()
        self.users = folder / "users"
        relay = self.waypost(
            "relay", queue='retry = ["8h"]', auth=f'users = "{self.users}"\nrequire_tls = false',
            delivery='tls = "none"', extra=f"""
                [[route]]
                match = "*.dead.example"
                next_hop = "smtp:[{DEAD}]:{self.dead}"
                [[route]]
                match = "picky.example"
                next_hop = "smtp:[{SINK}]:{self.sink.port}"
                [[domain]]
                name = "office.example"
                deliver = "maildir:{folder}/mail/{{domain}}/{{local}}"
                recipients = ["ann", "billing", "bob", "news", "shop"]
                aliases = "{folder}/aliases"
                [[client]]
                name = "printers"
                networks = ["127.0.0.40/32"]
                relay = true
                message_rate = "500/1d"
            """)
        (folder / "aliases").write_text("sales: bob, x@one.dead.example\n")
        relay.environment.update(TZ="UTC", LANG="C.UTF-8", NO_COLOR="1", LD_PRELOAD=str(FAKETIME), FAKETIME_DONT_FAKE_MONOTONIC="1",
                                 FAKETIME_TIMESTAMP_FILE=str(self.clock), FAKETIME_NO_CACHE="1")
        good = relay.config.read_text()
        (folder / "bad.toml").write_text(good.replace('retry = ["8h"]', 'retyr = ["8h"]\nexpire = 5'))
        (folder / "other.toml").write_text(good.replace('retry = ["8h"]', 'retry = ["8h"]\nexpire = "6d"'))
        self.at("09:00")
        self.certify(relay, good)
        self.run_tool(relay, ["user", "add", "ann"], "secret")
        return relay

    def certify(self, relay, good):
        """Configurations with a certificate, which the relay does not run with."""
        pem, key = relay.folder / "fullchain.pem", relay.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
                        "-subj", "/CN=relay.test.example", "-addext", "subjectAltName=DNS:relay.test.example,DNS:*.test.example",
                        "-keyout", key, "-out", pem], check=True, capture_output=True, env=relay.environment)
        certified = f'{good}\n[tls]\ncertificate = "{pem}"\nkey = "{key}"\n'
        (relay.folder / "certified.toml").write_text(certified)
        (relay.folder / "other-name.toml").write_text(certified.replace('hostname = "relay.test.example"', 'hostname = "mx.other.example"'))

    def run_tool(self, relay, words, typed=""):
        config = [] if "--config" in words else ["--config", str(relay.config)]
        return subprocess.run([harness.WAYPOST, *config, *words], capture_output=True, text=True, input=typed, timeout=60,
                              env=relay.environment)

    def fill(self, relay):
        """Each message a minute after the one before, and tried before the next."""
        def send(sender, to, subject, login="", port=relay.mx, body=b"Some text.\r\n", source=None):
            number = len(self.ids) + 1
            self.at(f"09:{13 + number}")
            content = (f"From: <{sender}>\r\nSubject: {subject}\r\nMessage-ID: <{number}@client.test.example>\r\n"
                       "Date: Fri, 20 Nov 2026 09:00:00 +0000\r\n\r\n").encode() + body
            with smtp.Client(port, source=source) as client:
                if login:
                    client.expect(235, "AUTH PLAIN " + base64.b64encode(f"\0{login}\0secret".encode()).decode())
                code, text = client.send(sender, to, content)
                self.assertEqual(code, 250, text)
            self.ids.append(text.split()[-1])
            self.settle(relay)

        send("billing@office.example", "ann@one.dead.example", "Invoice 4711")
        send("news@office.example", ["a@one.dead.example", "b@two.dead.example", "full@picky.example"], "News \x1b[31mof the week")
        send("ann@office.example", "grey@picky.example", "Minutes", login="ann", port=relay.submission)
        send("shop@office.example", "nobody@picky.example", "Your order")
        send("billing@office.example", ["bob@office.example", "ok@picky.example"], "Reminder")
        send("billing@office.example", "ann@one.dead.example", "Plans", body=b"A line of text that fills the file.\r\n" * 6000,
             source="127.0.0.40")
        send("shop@office.example", "doubt@picky.example", "Your bill")
        send("", "x@one.dead.example", "Returned")

    def settle(self, relay):
        """Until nothing is under way, and a moment for what is told afterwards."""
        harness.wait_for("the attempts", lambda: relay.ask("/v1/queue/count")["active"] == 0, 20, every=0.02)

    def steady(self, text):
        """Without what differs from run to run, and as wide as it was where it stands in a column."""
        for port, name in self.ports.items():
            text = re.sub(rf"\b{port}\b", name, text)
        text = text.replace(str(self.folder / "relay"), "/srv/relay").replace(self.version, "VERSION")
        text = re.sub(r'(SHA256:|sha256":")[0-9a-f]{64}', r"\1...", text)
        # Times to come have chance in them.
        text = re.sub(r"2026-11-(20[ T](?:1[3-9]|2\d)|21[ T](?!09:21:00)\d\d):\d\d:\d\d(\.\d+)?", "2026-11-2D hh:mm:ss", text)
        text = re.sub(r"hh:mm:ss \(in [^)]*\)", "hh:mm:ss (in a while)", text)
        text = re.sub(r"(commits|batch|WAL|disk free|reserve) [\d.,]+( ?[KMGT]i?B| pages?)?", r"\1 N", text)
        text = re.sub(r"(?<=\bdelay=)[\d.]+", "N", text)
        text = re.sub(r"(p50|p99) (-|under [\d.]+ m?s)", r"\1 N", text)
        text = re.sub(r'[\d.]+(?= (msg|rcpt)/s)|(?<="rate":)[\d.e-]+', "N", text)
        # An idle connection is closed at some time, and its site goes; one retry may be in the midst of another.
        text = re.sub(r"^(out +N rcpt/s +)\d+ connections? +\d+ sites?(.*deferred )\d+", r"\1N connections   N sites\2N", text,
                      flags=re.M)
        text = re.sub(r'"sites":\d+', '"sites":N', text)
        text = re.sub(r"^confined: .*", "confined: ...", text, flags=re.M)
        text = re.sub(r'"(confined|store|disk)":\{[^{}]*\}', r'"\1":{...}', text)
        text = re.sub(r"^(history.db +)\d.*", r"\1N", text, flags=re.M)
        text = re.sub(r"(\bpid |waypost/\w+\[)\d+", r"\1N", text)
        text = re.sub(r'"(longest_slice_us|pages|slices|octets_on_disk|wal_octets|history_octets)":\d+', r'"\1":N', text)
        text = re.sub(r'(\bafter |\bin |"milliseconds":)\d+(?= ms\b|,)', r"\1N", text)
        text = re.sub(r", [\d.]+ K?B, \d+ ms$", ", N B, N ms", text, flags=re.M)
        # What `config check` says of this machine.
        text = re.sub(r"^.*\bclock\b.*\n", "", text, flags=re.M)
        text = re.sub(r"no errors, \d+ warnings?", "no errors, N warnings", text)
        text = re.sub("WHO +", "WHO   ", text)
        return re.sub(rf"\b{re.escape(getpass.getuser())}\b", "root", text)

    def shown(self, line, done):
        text = f"$ waypost {line}\n" + self.steady(done.stdout) + ("" if done.stdout.endswith("\n") or not done.stdout else "(no end of line)\n")
        text += "".join(f"stderr: {each}\n" for each in self.steady(done.stderr).splitlines())
        return text + (f"exit {done.returncode}\n" if done.returncode else "") + "\n"

    def file_of(self, words):
        """That of the verb, or of the tool itself."""
        at = []
        for word in words[2:] if words[0] == "--config" else words:
            if " ".join([*at, word]) not in self.all:
                break
            at.append(word)
        self.printed.add(" ".join(at))
        return "-".join(at) or "waypost"

    def run_cases(self, relay, text, changes=False):
        for line in filter(None, text.splitlines()):
            command, _, typed = line.partition(" <<< ")
            known = dict(change=self.change, folder=self.folder / "relay", dead=f"smtp:[{DEAD}]:{self.dead}")
            words = shlex.split(command.format(None, *self.ids, **known))
            name, named = self.file_of(words), self.steady(line.format(None, *self.ids, **known))
            wanted = self.next_wanted(name, named)
            found = self.shown(named, self.run_tool(relay, words, typed))
            # What is told of mail comes a moment after it.
            deadline = time.monotonic() + (1 if UPDATE else 5)
            while not changes and found != wanted and time.monotonic() < deadline:
                time.sleep(0.1)
                found = self.shown(named, self.run_tool(relay, words, typed))
            self.found[name] = self.found.get(name, "") + found
            if said := re.search(r"waypost undo (\d+)", found):
                self.change = said[1]
            if changes and relay.program.running():
                self.settle(relay)

    def next_wanted(self, name, line):
        """The next block of the file, if it is of this case."""
        if name not in self.wanted:
            path = GOLDEN / f"{name}.txt"
            self.wanted[name] = re.split(r"(?<=\n\n)(?=\$ waypost )", path.read_text()) if path.exists() else []
        at = next((n for n, block in enumerate(self.wanted[name]) if block.startswith(f"$ waypost {line}\n")), None)
        return self.wanted[name].pop(at) if at is not None else None

    def all_verbs(self, relay, words=()):
        """Each verb and its --help; "" is the tool itself."""
        text = self.run_tool(relay, [*words, "--help"]).stdout
        found = {" ".join(words): text}
        for verb in verbs(text):
            found |= self.all_verbs(relay, (*words, verb))
        return found

    def test_every_verb(self):
        relay = self.make_relay()
        self.ports = {relay.mx: "25000", relay.submission: "25001", self.sink.port: "25002", self.dead: "25003"}
        self.version = self.run_tool(relay, ["--version"]).stdout.split()[-1]
        self.all = self.all_verbs(relay)
        for verb, text in self.all.items():
            command = " ".join(["waypost", *verb.split(), "--help"])
            self.found[verb.replace(" ", "-") or "waypost"] = f"$ {command}\n{self.steady(text)}\n"
        relay.start()
        self.fill(relay)
        self.at("12:30")
        self.run_cases(relay, CASES)
        self.run_cases(relay, CHANGES, changes=True)
        good = relay.config.read_text()
        relay.config.write_text((relay.folder / "bad.toml").read_text())
        self.run_cases(relay, RELOAD_BAD, changes=True)
        relay.config.write_text((relay.folder / "other.toml").read_text())
        self.run_cases(relay, RELOAD_OTHER, changes=True)
        relay.config.write_text(good)
        self.assertEqual(relay.stop(), 0)
        self.run_cases(relay, DOWN, changes=True)
        self.compare()

    def compare(self):
        leaves = {verb for verb in self.all if verb and not any(other.startswith(verb + " ") for other in self.all)}
        wrong = [f"no case of `waypost {verb}`" for verb in sorted(leaves - self.printed - WITHOUT_CASE)]
        if UPDATE:
            for path in GOLDEN.glob("*.txt"):
                path.unlink()
            for name, text in self.found.items():
                (GOLDEN / f"{name}.txt").write_text(text)
        for name in sorted(self.found.keys() | {path.stem for path in GOLDEN.glob("*.txt")}):
            path = GOLDEN / f"{name}.txt"
            before = path.read_text().splitlines() if path.exists() else []
            wrong += difflib.unified_diff(before, self.found.get(name, "").splitlines(), f"golden/tool/{path.name}", "printed", lineterm="")
        if wrong:
            self.fail("\n".join(["`tests/e2e/tool_output.py --update` writes what is printed now:", *wrong]))


if __name__ == "__main__":
    sys.argv = [word for word in sys.argv if word != "--update"]
    harness.main()
