"""What an administrator relies on: a stop that loses nothing, one daemon a queue, refusal of an open relay, answers of the
tool with the daemon up and down, and its exit codes (sysexits)."""
import getpass
import json
import re
import signal
import subprocess
import threading

import harness
import smtp

CONTENT = b"Subject: to be kept\r\nMessage-ID: <kept@client.test.example>\r\n\r\ntext\r\n"


class Operation(harness.TestCase):
    def to_sink(self, address, port):
        return f'[[route]]\nmatch = "*"\nnext_hop = "smtp:[{address}]:{port}"\n'

    def local_domain(self):
        return ('[[domain]]\nname = "local.test.example"\n'
                f'deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"\n')

    def test_probe_and_watch(self):
        """What hosts would say is asked without mail; what is said is seen as it is said, but no secret."""
        sink = smtp.Sink(harness.free_port(), "127.0.0.51", keep=True)
        relay = self.waypost(queue='retry = ["1s"]', extra=self.to_sink("127.0.0.51", sink.port)).start()
        probed = relay.tool("probe", "away.example", "--dialogue").stdout
        self.assertIn(f"[127.0.0.51]:{sink.port}", probed)
        self.assertIn("ready for mail", probed)
        self.assertRegex(probed, r"> EHLO ")
        self.assertRegex(probed, r"> QUIT")
        self.assertEqual(sink.messages, [])
        nobody = harness.free_port()
        refused = relay.tool("probe", "away.example", "--to", f"smtp:[127.0.0.51]:{nobody}", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("refused", refused.stdout)
        explained = relay.tool("explain", "r@away.example", "--probe").stdout
        self.assertIn("ready for mail", explained)

        watch = subprocess.Popen([harness.WAYPOST, "--config", str(relay.config), "watch", "--for", "20s"],
                                 stdout=subprocess.PIPE, text=True)
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(iter(watch.stdout.readline, "")), daemon=True)
        reader.start()

        def talked():
            with smtp.Client(relay.mx, timeout=20) as client:
                client.command("AUTH PLAIN c2VjcmV0LW9mLW1pbmU=")
                client.command("c2VjcmV0LW9mLW1pbmU=")
                client.send("s@client.test.example", ["r@away.example"], CONTENT)
            return any("in " in line and "< MAIL FROM:<s@client.test.example>" in line for line in seen)

        harness.wait_for("what clients say", talked, 15, every=0.3)
        harness.wait_for("what we say", lambda: any(" out " in line and "> RCPT TO:<r@away.example>" in line
                                                    for line in seen), 15)
        watch.terminate()
        watch.wait(10)
        reader.join(10)
        watch.stdout.close()
        everything = "".join(seen)
        self.assertIn("AUTH PLAIN (not shown)", everything)
        self.assertIn(f"(body, {len(CONTENT)} octets)", everything)
        self.assertNotIn("c2VjcmV0", everything)
        self.assertNotIn("to be kept", everything)

    def test_stop_under_load_loses_nothing(self):
        """F61: SIGTERM again and again under load; whatever got 250 arrives, no session is cut off after its dot."""
        arrived, lock = set(), threading.Lock()

        def taken(message):
            with lock:
                arrived.update(message.recipients)

        sink = smtp.Sink(harness.free_port(), "127.0.0.51", None, taken, keep=False)
        relay = self.waypost(queue='retry = ["1s"]', extra=self.to_sink("127.0.0.51", sink.port)).start()
        accepted, cut, ending = set(), [], threading.Event()

        def load(name):
            number = 0
            while not ending.is_set():
                try:
                    with smtp.Client(relay.mx, timeout=20) as client:
                        for _ in range(20):
                            number += 1
                            recipient = f"{name}-{number}@away.example"
                            client.expect(250, "MAIL FROM:<s@client.test.example>")
                            client.expect(250, f"RCPT TO:<{recipient}>")
                            client.expect(354, "DATA")
                            client.socket.sendall(smtp.stuff(CONTENT * 20))
                            try:
                                code, _ = client.reply()
                            except (OSError, ConnectionError):
                                cut.append(recipient)
                                raise
                            if code == 250:
                                accepted.add(recipient)
                except (OSError, ConnectionError):
                    ending.wait(0.01)
                except AssertionError as error:
                    if "(421" not in str(error):
                        raise

        clients = [threading.Thread(target=load, args=(f"c{n}",), daemon=True) for n in range(4)]
        for client in clients:
            client.start()
        for round_ in range(5):
            before = len(accepted)
            harness.wait_for("load", lambda: len(accepted) > before + 100, 30)
            self.assertEqual(relay.stop(40), 0)
            relay.start()
        ending.set()
        for client in clients:
            client.join(30)
        harness.wait_for("all that was accepted", lambda: accepted <= arrived, 60)
        relay.wait_empty(30)
        self.assertEqual(cut, [], "sessions cut off after the final dot")
        print(f"{len(accepted)} accepted over 5 stops, all arrived", end=" ")

    def test_tool_up_and_down(self):
        """The same questions with the daemon up, and with it down (read-only from the database)."""
        port = harness.free_port()  # nobody listens: mail stays
        relay = self.waypost(extra=self.to_sink("127.0.0.52", port)).start()
        with smtp.Client(relay.mx) as client:
            for n in range(3):
                self.assertEqual(client.send("s@client.test.example", f"r{n}@away{n}.example", CONTENT)[0], 250)
        harness.wait_for("an attempt of each", lambda: all(
            json.loads(line).get("tries", 1) for line in relay.tool("queue", "list", "--json").stdout.splitlines()), 20)

        def ask():
            self.assertEqual(relay.queued(), 3)
            lines = [json.loads(line) for line in relay.tool("queue", "list", "--json").stdout.splitlines()]
            self.assertEqual(len(lines), 3)
            self.assertIn("r1@away1.example", relay.tool("queue", "list").stdout)
            id_ = lines[0]["id"]
            self.assertIn("away0.example", relay.tool("queue", "show", id_).stdout)
            return id_

        id_ = ask()
        self.assertIn("away0.example", relay.tool("trace", id_).stdout)
        relay.tool("status")
        self.assertEqual(relay.stop(), 0)
        self.assertEqual(ask(), id_)
        self.assertEqual(relay.tool("queue", "delete", id_, "--yes", check=False).returncode, 69, "a change needs the daemon")
        self.assertEqual(relay.tool("reload", check=False).returncode, 69)

        relay.start()
        self.assertEqual(ask(), id_)
        self.assertEqual(relay.tool("queue", "hold", id_).returncode, 0)
        self.assertEqual(json.loads(relay.tool("queue", "count", "state:held", "--json").stdout)["messages"], 1)
        self.assertEqual(relay.tool("queue", "release", id_).returncode, 0)
        deleted = relay.tool("queue", "delete", id_, "--yes").stdout
        self.assertEqual(relay.queued(), 2)
        change = re.search(r"waypost undo (\d+)", deleted).group(1)
        self.assertIn("undone for 1 message", relay.tool("undo", change).stdout)
        self.assertEqual(relay.queued(), 3)
        self.assertEqual(ask(), id_)
        audit = [json.loads(line) for line in relay.tool("audit", "--json").stdout.splitlines()]
        self.assertEqual([each["what"] for each in audit], ["undo", "delete", "release", "hold"])
        self.assertEqual(audit[1]["undone_by"], audit[0]["change"])
        self.assertEqual(audit[1]["who"], getpass.getuser())
        self.assertEqual(relay.tool("queue", "delete", id_, "--for-good").returncode, 0)
        self.assertEqual(relay.queued(), 2)
        self.assertEqual(relay.tool("queue", "delete", "to:*@nobody.example", "--yes", check=False).returncode, 1)
        self.assertEqual(relay.tool("queue", "nonsense", check=False).returncode, 64)

        # The exchanger comes up: a retry brings the rest there at once.
        sink = smtp.Sink(port, "127.0.0.52")
        relay.tool("queue", "retry", "--all", "--yes")
        harness.wait_for("the other two", lambda: len(sink.messages) == 2, 30)
        relay.wait_empty(30)
        self.assertIn("2.0.0 Ok: taken", relay.tool("trace", "--to", "r1@away1.example").stdout)

    def test_export_and_import(self):
        """What was exported and deleted comes back octet for octet, and is delivered once; a message that went round too
        often does not. Figures of the files, and free pages given back, with the daemon up and down."""
        port = harness.free_port()  # nobody listens: mail stays
        relay = self.waypost(extra=self.to_sink("127.0.0.53", port)).start()
        sizes = (10, 100_000, 3_000_000)
        with smtp.Client(relay.mx) as client:
            for n, size in enumerate(sizes):
                content = (f"Subject: {n}\r\nMessage-ID: <{n}@client.example>\r\n\r\n.dot\r\n" + "x" * 70 + "\r\n").encode()
                content += (b"y" * 70 + b"\r\n") * (size // 72)
                self.assertEqual(client.send("s@client.test.example", f"r{n}@away{n}.example", content)[0], 250)
        stats = json.loads(relay.tool("store", "stats", "--json").stdout)
        self.assertEqual((stats["messages"], stats["deferred"], stats["spool_files"]), (3, 3, 2))
        folder = self.folder / "export"
        relay.tool("queue", "export", "--all", "--to", str(folder))
        exported = {path.stem: path.read_bytes() for path in folder.glob("*.eml")}
        # One that has gone round, as its Received fields say.
        looped = sorted(exported)[0]
        (folder / f"{looped}.eml").write_bytes(b"Received: from a by b; Sun, 22 Nov 2026 07:00:00 +0000\r\n" * 120 + exported[looped])
        relay.tool("queue", "delete", "--all", "--yes", "--for-good")
        harness.wait_for("an empty queue", lambda: relay.queued() == 0, 10)
        self.assertIn("would import 3 messages", relay.tool("queue", "import", "--from", str(folder), "--dry-run").stdout)
        done = relay.tool("queue", "import", "--from", str(folder), check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("imported 2 messages", done.stdout)
        self.assertRegex(done.stderr, rf"{looped}: refused: .*(loop|hops)")
        self.assertEqual(relay.queued(), 2)
        again = relay.tool("queue", "import", "--from", str(folder), check=False)
        self.assertEqual(again.returncode, 2)
        self.assertEqual(relay.queued(), 2)
        self.assertTrue((folder / f"{looped}.json").exists())

        second = self.folder / "second"
        relay.tool("queue", "export", "--all", "--to", str(second))
        for path in second.glob("*.eml"):
            before = exported[min(exported, key=lambda id_: abs(len(exported[id_]) - path.stat().st_size))]
            octets = path.read_bytes().split(b"Received: ", 2)[2]
            self.assertEqual(b"Received: " + octets, before, "the content under the new Received field")

        gave = json.loads(relay.tool("store", "vacuum", "--json").stdout)
        self.assertEqual(json.loads(relay.tool("store", "stats", "--json").stdout)["free_pages"], 0, gave)
        self.assertEqual(relay.stop(), 0)
        down = json.loads(relay.tool("store", "stats", "--json").stdout)
        self.assertEqual((down["messages"], down["deferred"], down["free_pages"]), (2, 2, 0))
        relay.tool("store", "vacuum")
        self.assertIn("nothing to do", relay.tool("store", "migrate", "--no-backup").stdout)
        self.assertEqual(relay.tool("queue", "import", "--from", str(folder), check=False).returncode, 69)
        sink = smtp.Sink(port, "127.0.0.53")
        relay.start()
        relay.tool("queue", "retry", "--all", "--yes")
        relay.wait_empty(30)
        self.assertEqual(len(sink.messages), 2)
        self.assertTrue(json.loads(relay.tool("store", "check", "--json").stdout)["clean"])

    def test_bounce_reroute_redirect(self):
        """Mail that waits for a host that is down goes back, elsewhere, and to somebody else."""
        port = harness.free_port()  # nobody listens
        relay = self.waypost(extra=self.to_sink("127.0.0.53", port) + self.local_domain()).start()
        with smtp.Client(relay.mx) as client:
            for name in ("back", "away", "moved", "stays"):
                self.assertEqual(client.send("s@local.test.example", f"{name}@away.example", CONTENT)[0], 250)
        harness.wait_for("a failure", lambda: "refused" in relay.tool("queue", "list").stdout, 20)
        self.assertEqual(relay.tool("queue", "count", "mx:127.0.0.53*", "--json").returncode, 0)
        self.assertIn("back@away", relay.tool("queue", "list", 'error~refused$|in doubt', "to:back@*").stdout)

        self.assertEqual(relay.tool("queue", "bounce", "to:back@*", check=False).returncode, 64)
        bounced = relay.tool("queue", "bounce", "to:back@*", "--reason", "no such customer", "--yes").stdout
        self.assertEqual(bounced, "bounced 1 message, 1 recipient\n")
        harness.wait_for("the report", lambda: relay.delivered("local.test.example", "s"), 20)
        report = relay.delivered("local.test.example", "s")[0]
        self.assertIn(b"an administrator of this relay returned it: no such customer", report)
        self.assertIn(b"Status: 5.0.0", report)

        other = smtp.Sink(harness.free_port(), "127.0.0.54")
        relay.tool("queue", "reroute", "to:away@*", "--to", f"smtp:[127.0.0.54]:{other.port}", "--yes")
        harness.wait_for("what was rerouted", lambda: len(other.messages) == 1, 20)
        self.assertEqual(other.messages[0].recipients, ["away@away.example"])
        relay.tool("queue", "redirect", "to:moved@*", "--to", "new@local.test.example", "--yes")
        harness.wait_for("what was redirected", lambda: relay.delivered("local.test.example", "new"), 20)
        self.assertEqual(relay.queued(), 1)
        audit = [json.loads(line) for line in relay.tool("audit", "--json").stdout.splitlines()]
        self.assertEqual([(each["what"], each["messages"]) for each in audit],
                         [("redirect", 1), ("reroute", 1), ("bounce", 1)])

    def test_second_daemon_is_refused(self):
        """F19: exit code 73, and the first goes on."""
        relay = self.waypost().start()
        other = self.folder / "second.toml"
        text = relay.config.read_text()
        for old in (relay.mx, relay.submission):
            text = text.replace(f":{old}\"", f":{harness.free_port()}\"")
        other.write_text(text.replace("control.sock", "second.sock"))
        done = subprocess.run([harness.WAYPOSTD, "--config", other], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 73, done.stderr)
        self.assertIn(f"in use by pid {relay.program.pid}", done.stderr)
        with smtp.Client(relay.mx) as client:
            self.assertEqual(client.send("s@client.test.example", "r@nowhere.invalid", CONTENT)[0], 250)

    def test_damaged_history(self):
        """A history that cannot be read is put aside: mail goes on without it."""
        relay = self.waypost(extra=self.to_sink("127.0.0.53", harness.free_port())).start()
        with smtp.Client(relay.mx) as client:
            self.assertEqual(client.send("s@client.test.example", "r@away.example", CONTENT)[0], 250)
        self.assertEqual(relay.stop(), 0)
        damaged = bytes(range(256)) * 100
        (relay.data / "history.db").write_bytes(damaged)
        relay.start()
        self.assertEqual(relay.queued(), 1)
        self.assertEqual((relay.data / "history.db.damaged").read_bytes(), damaged)
        with smtp.Client(relay.mx) as client:
            id_ = client.send("s@client.test.example", "r@away.example", CONTENT)[1].split()[-1]
        harness.wait_for("the new history", lambda: "away.example" in relay.tool("trace", id_, check=False).stdout, 10)

    def test_bad_configuration(self):
        """F54: every mistake with its line; exit code 78; nothing starts."""
        relay = self.waypost()
        text = relay.config.read_text()
        bad = text + '[queue]\nretyr = ["1s"]\nexpire = 5\n[limits]\nrecipients = "many"\n'
        line = bad.splitlines().index('retyr = ["1s"]') + 1
        relay.config.write_text(bad)
        checked = relay.tool("config", "check", check=False)
        self.assertEqual(checked.returncode, 78)
        said = checked.stdout + checked.stderr
        for want in (f"waypost.toml:{line}:", "retyr", "retry", f"waypost.toml:{line + 1}:", f"waypost.toml:{line + 3}:"):
            self.assertIn(want, said)
        done = subprocess.run([harness.WAYPOSTD, "--config", relay.config], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 78, done.stderr)

        relay.config.write_text(text.replace('networks = ["127.0.0.0/8", "::1/128"]', 'networks = ["0.0.0.0/0"]'))
        checked = relay.tool("config", "check", check=False)
        self.assertEqual(checked.returncode, 78, "an open relay")
        self.assertIn("open", (checked.stdout + checked.stderr))

        relay.config.write_text(text)
        self.assertEqual(relay.tool("config", "check").returncode, 0)
        missing = subprocess.run([harness.WAYPOST, "--config", self.folder / "none.toml", "config", "check"],
                                 capture_output=True, text=True, timeout=30)
        self.assertIn(missing.returncode, (66, 78))

    def test_relaying_is_refused_to_strangers(self):
        relay = self.waypost(
            relay='networks = ["192.0.2.0/24"]\ndomains = ["backup.test.example"]',
            extra=f"""
                [[domain]]
                name = "local.test.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
            """).start()
        refused = ["r@away.example", "r%away.example@local.test.example", "away.example!r@local.test.example",
                   '"r@away.example"@other.example', "@local.test.example:r@away.example", "r@[192.0.2.1]",
                   "r@local.test.example.away.example", "r%away.example@backup.test.example"]
        taken = ["r@local.test.example", "R@BACKUP.test.example", "postmaster"]
        with smtp.Client(relay.mx) as client:
            client.expect(250, "MAIL FROM:<s@client.test.example>")
            for address in taken:
                client.expect(250, f"RCPT TO:<{address}>")
            for address in refused:
                code, text = client.command(f"RCPT TO:<{address}>")
                if address.endswith("@local.test.example"):
                    # No special meaning: a local part like any other, or a refusal.
                    self.assertIn(code, (250, 550, 554), address)
                else:
                    self.assertIn(code, (550, 554), address)
            code, text = client.command("RCPT TO:<r@away.example>")
            self.assertEqual((code, text[:5]), (554, "5.7.1"))
        with smtp.Client(relay.submission) as client:
            code, text = client.command("MAIL FROM:<s@client.test.example>")
            if code == 250:
                code, text = client.command("RCPT TO:<r@away.example>")
            self.assertEqual((code, text[:5]), (530, "5.7.0"))

    def test_reload(self):
        """A good file is taken, a bad one is not, and sessions go on."""
        relay = self.waypost(extra=self.local_domain()).start()
        client = smtp.Client(relay.mx)
        text = relay.config.read_text()
        relay.config.write_text(text + "[nonsense]\n")
        self.assertNotEqual(relay.tool("reload", check=False).returncode, 0)
        rules = relay.folder / "rules.toml"
        rules.write_text('[[rule]]\nnam = "mine"\n')
        relay.config.write_text(f'{text}[delivery]\nreply_rules = ["{rules}", "shipped"]\n')
        refused = relay.tool("reload", check=False)
        self.assertEqual(refused.returncode, 78)
        self.assertIn(f'{rules}:2:1: rule[1].nam: unknown key (did you mean "name"?)', refused.stdout + refused.stderr)
        self.assertEqual(client.command("NOOP")[0], 250)
        relay.config.write_text(text + "[limits]\nmessage_size = \"1MiB\"\n")
        self.assertEqual(relay.tool("reload").returncode, 0)

        def smaller():
            with smtp.Client(relay.mx) as other:
                return "SIZE 1048576" in other.ehlo[1]

        harness.wait_for("the new limit", smaller, 10)
        relay.config.write_text(text)
        relay.program.signal(signal.SIGHUP)
        harness.wait_for("the old limit again", lambda: not smaller(), 10)
        self.assertEqual(relay.tool("config", "diff", "1", "2", check=False).stdout,
                         '- limits.message_size = "50MiB"\n+ limits.message_size = "1MiB"\n')
        self.assertEqual(len(relay.tool("config", "epochs", "--json").stdout.splitlines()), 3)
        self.assertEqual(client.send("s@client.test.example", "r@local.test.example", CONTENT)[0], 250)
        harness.wait_for("its epoch", lambda: "configuration 3" in relay.tool(
            "trace", "--to", "r@local.test.example", check=False).stdout, 10)  # history is written a moment later
        self.assertEqual(client.command("NOOP")[0], 250)
        client.quit()


if __name__ == "__main__":
    harness.main()
