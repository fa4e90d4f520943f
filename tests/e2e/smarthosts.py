"""Mail that leaves through smarthosts which want a login: Postfix with Dovecot behind its AUTH, over TLS with a certificate
that is verified; scripted hosts that break the exchange in each way we could think of; routes by sender and by login.

WAYPOST_SMARTHOSTS=2000 messages instead of 200; then the minute for which a host is avoided is waited for, too."""
import base64
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import unittest

import dovecot_auth
import harness
import postfix
import smtp
import tls
import tls_sink

USUAL = 200
MESSAGES = int(os.environ.get("WAYPOST_SMARTHOSTS", USUAL))
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
USERS = ("relay-office", "relay-bulk", "relay-ann", "relay-shop", "relay-farm")
AVOIDED = 60  # seconds, a host that failed


def password_of(user):
    return f"pass phrase, für {user}"


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


class Smarthost:
    """Postfix, which relays for whoever has logged in: under TLS on `port` and `implicit`, in clear on `bare`. It hands on to
    `sink`, and says in Received who brought the message."""

    def __init__(self, folder, name, authority, dovecot):
        self.name, self.host = name, f"{name}.example"
        self.sink = smtp.Sink(harness.free_port())
        self.folder = folder / name
        self.postfix = postfix.Postfix(self.folder, "127.0.0.1", self.sink.port, hold=False, extra=f"""
mynetworks =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = {authority.certificate(self.host)}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{dovecot.port}
smtpd_sasl_authenticated_header = yes
""")
        self.port, self.implicit, self.bare = self.postfix.port, harness.free_port(), harness.free_port()
        with open(self.folder / "conf/master.cf", "a") as services:
            services.write(f"127.0.0.1:{self.implicit} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n"
                           f"127.0.0.1:{self.bare} inet n - n - - smtpd -o smtpd_tls_security_level=none "
                           "-o smtpd_tls_auth_only=no\n")
        self.postfix.start()

    def hop(self):
        return f"smtp:[{self.host}]:{self.port}"

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def logins(self):
        """(mechanism, user) of each message that it took."""
        return re.findall(r": client=\S+, sasl_method=(\S+), sasl_username=(\S+)$", self.log(), re.M)

    def refusals(self):
        return len(re.findall(r"SASL \S+ authentication failed", self.log()))

    def connections(self):
        return len(re.findall(r"/smtpd\[\d+\]: connect from ", self.log()))


class OneEach(smtp.Sink):
    """Takes a message and then hangs up at the next one, so that each comes over a connection of its own. Notes from where
    each recipient was asked for, and by which name. `puts_off`: every recipient the first time."""

    def __init__(self, port, puts_off=False, **options):
        self.puts_off, self.local = puts_off, threading.local()
        self.sources, self.names = collections.defaultdict(list), set()
        super().__init__(port, script=self.say, **options)

    def session(self, connection, lines):
        self.local.source = connection.getpeername()[0]
        super().session(connection, lines)

    def say(self, verb, argument, state):
        if verb == "EHLO":
            self.names.add(argument.decode())
        if verb == "MAIL":
            state["mails"] = state.get("mails", 0) + 1
            return b"" if state["mails"] > 1 else None
        if verb == "RCPT":
            with self.lock:
                sources = self.sources[smtp.path(argument)]
                sources.append(self.local.source)
                return b"451 4.3.0 once more\r\n" if self.puts_off and len(sources) == 1 else None
        return None


class AuthHost(tls_sink.TlsSink):
    """Offers AUTH with `mechanisms` (`bare`: also in clear). What comes after AUTH is answered by what `says` yields, a
    generator, given the arguments of AUTH; b"" closes. `verbs`: all that was said to it."""

    def __init__(self, context, mechanisms=b"PLAIN", says=(), bare=False, script=None, how="good"):
        self.mechanisms, self.says, self.bare, self.verbs = mechanisms, says, bare, []
        super().__init__(harness.free_port(), context, how, script=script)

    def answer(self, connection, verb, argument, state, usual):
        if verb not in ("CONNECT", "DOT"):
            self.verbs.append(verb)
        if verb == "EHLO" and self.mechanisms and (self.secured.now or self.bare):
            usual = usual.replace(b"250-PIPELINING\r\n", b"250-PIPELINING\r\n250-AUTH " + self.mechanisms + b"\r\n")
        if verb == "AUTH":
            state["dialog"] = self.says(argument) if callable(self.says) else iter(self.says)
        said = next(state["dialog"], None) if "dialog" in state else None
        if said is None:
            state.pop("dialog", None)
            return super().answer(connection, verb, argument, state, usual)
        connection.sendall(said)
        return None if not said or said.startswith(b"421") else said[:1]


WELCOME = b"235 2.7.0 welcome\r\n"


def challenge(text):
    return b"334 " + base64.b64encode(text.encode()) + b"\r\n"


def forever(said):
    def says(_argument):
        while True:
            yield said
    return says


def scram(*after, nonce="{}host", iterations=4096):
    """The host's first message is as it should be, but for what is given; `after` is said after it."""
    def says(argument):
        first = base64.b64decode(argument.split()[1]).decode()
        yield challenge(f"r={nonce.format(first.split(',r=')[1])},s={base64_of('salt')},i={iterations}")
        yield from after
    return says


@unittest.skipUnless(os.getuid() == 0, "the other servers start as root")
class Smarthosts(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.authority = tls_sink.Authority(self.folder)
        self.dns = harness.NameServer(self.folder / "dns", [f"{name} A 127.0.0.1" for name in ("smart1", "smart2", "host")])
        self.dovecot = None

    def smarthost(self, name):
        if not self.dovecot:
            self.dovecot = dovecot_auth.Dovecot(self.folder / "dovecot", {user: password_of(user) for user in USERS},
                                                mechanisms="plain login scram-sha-1 scram-sha-256")
        host = Smarthost(self.folder, name, self.authority, self.dovecot)
        self.addCleanup(host.sink.stop)
        return host

    def sink(self, kind=smtp.Sink, **options):
        sink = kind(harness.free_port(), **options)
        self.addCleanup(sink.stop)
        return sink

    def password_file(self, user, password):
        path = self.folder / f"{user}.password"
        path.touch(mode=0o600)
        path.write_text(password + "\n")
        return path

    def route(self, *hops, match="*", user="", password=None, more="", **keys):
        """Text of a [[route]]. `keys` as JSON has them; `hops`: text, smarthosts or sinks."""
        texts = [hop if isinstance(hop, str) else hop.hop() if isinstance(hop, Smarthost) else f"smtp:[127.0.0.1]:{hop.port}"
                 for hop in hops]
        keys |= {"match": match, "next_hop": texts}
        if user:
            keys |= {"user": user, "password_file": str(self.password_file(user, password or password_of(user)))}
        return "\n".join(["[[route]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items()), more]) + "\n"

    def sections(self, *routes, **sections):
        sections.setdefault("queue", 'retry = ["1s"]')
        return sections | {"tls": f'ca = "{self.authority.pem}"', "resolver": f'servers = ["127.0.0.1:{self.dns.port}"]',
                           "extra": "".join(routes)}

    def relay(self, *routes, name="waypost", **sections):
        return self.waypost(name, **self.sections(*routes, **sections)).start()

    def reload(self, relay, *routes, **sections):
        relay.write_config(**self.sections(*routes, **sections))
        relay.tool("reload")

    def send(self, client, sender, recipients, who="", number=0):
        """The queue id."""
        head = f"Subject: hello\r\nX-Who: {who}\r\nX-Number: {number}\r\n"
        code, text = client.send(sender, recipients, head.encode() + b"\r\ntext\r\n")
        self.assertEqual(code, 250, text)
        return re.search(r"queued as (\w+)", text)[1]

    def send_one(self, relay, sender, recipients, number=0):
        with smtp.Client(relay.mx) as client:
            return self.send(client, sender, recipients, number=number)

    def logged_in(self, relay, login):
        """A session of a user of ours; "": of a neighbour who needs no login."""
        client = smtp.Client(relay.submission)
        self.addCleanup(client.close)
        if login:
            client.expect(235, "AUTH PLAIN " + base64_of(f"\0{login}\0secret"))
        return client

    def add_users(self, relay, *logins):
        for login in logins:
            subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", login], input=b"secret\n", check=True,
                           capture_output=True)

    def line(self, relay, recipient, status):
        """The last line of an attempt, once there is one with that status."""
        pattern = rf"^.* to=<{re.escape(recipient)}>, .* status={status} .*$"
        return harness.wait_for(f"{status} of {recipient}", lambda: re.findall(pattern, relay.log_text(), re.M), 30)[-1]

    def wait_for_messages(self, sinks, count, timeout=60):
        """Once there are so many different ones: {number: how often}."""
        def numbers():
            found = collections.Counter(int(header(one, "X-Number")) for sink in sinks for one in list(sink.messages))
            return found if len(found) >= count else None
        return harness.wait_for(f"{count} messages", numbers, timeout)

    def assert_nothing_ended_badly(self, relay):
        self.assertNotRegex(relay.log_text(), r"status=(bounced|expired)|Assertion")

    def test_one_of_two_is_stopped(self):
        """Mail moves over to the other, and back after a restart (or, with more messages, a minute); what the one had taken it
        delivers when it is back."""
        first, second = self.smarthost("smart1"), self.smarthost("smart2")
        relay = self.relay(self.route(first, second, name="office", user="relay-office"), delivery="concurrency = 4")
        stopped, ids = threading.Event(), []

        def give():
            with smtp.Client(relay.mx) as client:
                for number in range(MESSAGES):
                    if number == MESSAGES * 2 // 3:
                        stopped.wait(60)
                    ids.append(self.send(client, "s@office.example", f"r@d{number % 10}.example", number=number))

        with concurrent.futures.ThreadPoolExecutor() as pool:
            giving = pool.submit(give)
            harness.wait_for("the first to be at it", lambda: len(first.sink.messages) > MESSAGES // 4)
            self.assertEqual(second.sink.messages, [], "the second is there in case of need")
            first.postfix.stop()
            failed = time.monotonic()
            stopped.set()
            giving.result(120)
        relay.wait_empty(60)
        first.postfix.start()
        count = self.wait_for_messages([first.sink, second.sink], MESSAGES)
        twice = [number for number, times in count.items() if times > 1]
        for number in twice:
            # Or by the first alone, which was stopped within its own delivery and made that again.
            trace = relay.tool("trace", ids[number]).stdout
            once = "smart1.example" in trace and len(re.findall(r"relayed +r@", trace)) == 1
            self.assertTrue("in doubt" in trace or once, f"{number} came {count[number]} times: {trace}")
        shares = [len({header(one, "X-Number") for one in host.sink.messages}) for host in (first, second)]
        print(f"{MESSAGES} messages: {shares[0]} by the first, {shares[1]} by the second, {len(twice)} by both as in doubt; "
              f"{first.connections()} and {second.connections()} connections")
        self.assertGreaterEqual(shares[1], MESSAGES // 3)
        self.assertEqual(set(first.logins()) | set(second.logins()), {("SCRAM-SHA-256", "relay-office")})
        self.assert_nothing_ended_badly(relay)

        number = iter(range(MESSAGES, 2 * MESSAGES))

        def next_one():
            """By whom it came."""
            at = next(number)
            self.send_one(relay, "s@office.example", "r@d0.example", at)
            return harness.wait_for("one more", lambda: next(
                (host.name for host in (first, second) for one in list(host.sink.messages)
                 if header(one, "X-Number") == str(at)), None))

        self.assertEqual(next_one(), "smart2", "it is avoided, though it is back")
        if MESSAGES > USUAL:
            # A connection to the second is kept for 5 seconds.
            harness.wait_for("the first to be asked again", lambda: next_one() == "smart1", AVOIDED + 15, every=6)
            print(f"the first is asked again {time.monotonic() - failed:.0f} s after it failed")
        self.assertEqual(relay.stop(), 0)
        relay.start()
        self.assertEqual(next_one(), "smart1")

    def test_weights(self):
        sinks = [self.sink(OneEach) for _ in range(3)]
        relay = self.relay(self.route(*sinks, name="bulk", weights=[3, 1, 0]))
        # Each share is 5 standard deviations wide.
        count = max(300, MESSAGES)
        with smtp.Client(relay.mx) as client:
            for number in range(count):
                self.send(client, "s@bulk.example", f"r{number}@d{number % 10}.example", number=number)
        self.assertEqual(set(self.wait_for_messages(sinks, count).values()), {1})
        shares = [len(sink.messages) / count for sink in sinks]
        print(f"weights 3, 1, 0: shares {', '.join(f'{share:.3f}' for share in shares)} of {count} connections")
        self.assertAlmostEqual(shares[0], 0.75, delta=5 * (0.75 * 0.25 / count) ** 0.5)
        self.assertEqual(shares[2], 0)
        sinks[0].stop()
        with smtp.Client(relay.mx) as client:
            for number in range(count, count + 20):
                self.send(client, "s@bulk.example", f"r{number}@d0.example", number=number)
        self.wait_for_messages(sinks, count + 20)
        self.assertEqual(len(sinks[2].messages), 0, "another answers")
        sinks[1].stop()
        with smtp.Client(relay.mx) as client:
            for number in range(count + 20, count + 40):
                self.send(client, "s@bulk.example", f"r{number}@d0.example", number=number)
        self.wait_for_messages(sinks, count + 40)
        self.assertEqual(len(sinks[2].messages), 20)
        self.assert_nothing_ended_badly(relay)

    def test_logins_are_never_mixed(self):
        """Routes by sender, by login and by domain to the same port of the same host, each as somebody else, over few
        connections; and one to a host that wants none."""
        host, other = self.smarthost("smart1"), self.sink()
        relay = self.waypost(**self.sections(
            self.route(host, name="ann", logins=["ann"], user="relay-ann"),
            self.route(host, name="office", senders=["@office.example"], user="relay-office"),
            self.route(host, name="bulk", senders=["news@bulk.example", "<>"], user="relay-bulk"),
            # Without names: what tells them apart is whom they log in as.
            self.route(host, match="shop.example", user="relay-shop"),
            self.route(host, match="farm.example", user="relay-farm"),
            self.route(other),
            auth=f'users = "{self.folder}/users"\nrequire_tls = false', delivery="concurrency = 2\nconnections = 4"))
        self.add_users(relay, "ann")
        relay.start()
        # Login, reverse-path, recipient's domain, whom it is brought as.
        kinds = [("ann", "x@office.example", "far.example", "relay-ann"),
                 ("", "x@office.example", "far.example", "relay-office"),
                 ("", "x@office.example", "farm.example", "relay-office"),
                 ("", "news@bulk.example", "far.example", "relay-bulk"),
                 ("", "", "shop.example", "relay-bulk"),
                 ("", "x@else.example", "shop.example", "relay-shop"),
                 ("", "x@else.example", "farm.example", "relay-farm"),
                 ("", "x@else.example", "far.example", "")]
        count = 2 * MESSAGES
        clients = {login: self.logged_in(relay, login) for login in ("ann", "")}
        for number in range(count):
            login, sender, domain, who = kinds[number % len(kinds)]
            self.send(clients[login], sender, f"r{number}@{domain}", who, number)
        self.assertEqual(set(self.wait_for_messages([host.sink, other], count).values()), {1})
        brought = collections.Counter()
        for sink in (host.sink, other):
            for one in sink.messages:
                name = re.search(rb"\(Authenticated sender: ([^)]*)\)", one.content)
                self.assertEqual(name is None, sink is other)
                brought[header(one, "X-Who"), name[1].decode() if name else ""] += 1
        self.assertEqual({who for who, _ in brought}, {kind[3] for kind in kinds})
        self.assertEqual([pair for pair in brought if pair[0] != pair[1]], [])
        logins = collections.Counter(user for _, user in host.logins())
        self.assertEqual(logins, {who: times for (who, _), times in brought.items() if who})
        print(f"{count} messages as {len(logins)} users and none: {host.connections()} connections to the one host, "
              f"{other.connections} to the other")
        self.assertLess(host.connections(), count // 2, "few connections: each brought several")
        self.assert_nothing_ended_badly(relay)

    def test_wrong_password(self):
        """All waits and nothing comes back; others' mail goes through the same host; the mended file lets all go at once."""
        host = self.smarthost("smart1")
        wrong = "Tr0ub4dor&3, wrong"
        routes = (self.route(host, name="office", senders=["@office.example"], user="relay-office", password=wrong),
                  self.route(host, name="bulk", senders=["@bulk.example"], user="relay-bulk"))
        options = {"queue": 'retry = ["2s", "2s", "2s", "1h"]', "log": 'level = "debug"'}
        relay = self.relay(*routes, **options)
        backlog, others = 50, 20
        with smtp.Client(relay.mx) as client:
            for number in range(backlog):
                self.send(client, "s@office.example", f"r@d{number % 5}.example", number=number)
        harness.wait_for("a refusal", lambda: host.refusals(), 30)
        with smtp.Client(relay.mx) as client:
            for number in range(backlog, backlog + others):
                self.send(client, "s@bulk.example", f"r@d{number % 5}.example", number=number)
        count = self.wait_for_messages([host.sink], others)
        self.assertEqual(sorted(count), list(range(backlog, backlog + others)))

        def retries():
            return max(map(int, re.findall(r"failures=(\d+)", relay.log_text())), default=0)

        # The first time some were on the way at once.
        harness.wait_for("the last retry before the long wait", lambda: retries() == 4, 30)
        refusals = host.refusals()
        print(f"wrong password: {backlog} messages, 4 attempts, {refusals} logins refused")
        self.assertLessEqual(refusals, 5 + 3)
        self.assertGreaterEqual(refusals, 4)
        self.assertEqual(relay.queued(), backlog)
        self.assert_nothing_ended_badly(relay)
        rows = [json.loads(row) for row in relay.tool("queue", "list", "--json").stdout.splitlines()]
        reason = "login as relay-office was refused: 535 5.7.8"
        texts = {"list": relay.tool("queue", "list").stdout, "show": relay.tool("queue", "show", rows[0]["id"]).stdout,
                 "trace": relay.tool("trace", rows[0]["id"]).stdout, "dest": relay.tool("dest", "list").stdout,
                 "one": relay.tool("dest", "show", "d0.example/office").stdout, "status": relay.tool("status").stdout,
                 "check": str(relay.tool("config", "check")), "log": relay.log_text()}
        for name in ("list", "show", "trace", "log"):
            with self.subTest(name):
                self.assertIn("4.7.8", texts[name])
                self.assertIn(reason, texts[name])
        self.assertRegex(texts["log"], rf"error: \S*smart1\.example\S*: {reason}")
        command = pathlib.Path(f"/proc/{relay.program.pid}")
        secrets = [secret.encode() for password, user in ((wrong, "relay-office"), (password_of("relay-bulk"), "relay-bulk"))
                   for secret in (password, base64_of(password), base64_of(f"\0{user}\0{password}"))]
        places = {name: text.encode() for name, text in texts.items()}
        places |= {name: (command / name).read_bytes() for name in ("cmdline", "environ")}
        places |= {path: path.read_bytes() for path in relay.data.rglob("*") if path.is_file()}
        for name, octets in places.items():
            self.assertEqual([secret for secret in secrets if secret in octets], [], f"in {name}")

        self.password_file("relay-office", password_of("relay-office"))
        began = time.monotonic()
        relay.tool("reload")
        self.wait_for_messages([host.sink], backlog + others, 20)
        print(f"mended: {backlog} messages were there {time.monotonic() - began:.2f} s after the reload")
        relay.wait_empty(10)
        logins = collections.Counter(user for _, user in host.logins())
        self.assertEqual(logins, {"relay-bulk": others, "relay-office": backlog})

        # Another file spoilt and mended, with a signal. One that is gone is no configuration: what was read stays.
        options["queue"] = 'retry = ["1h"]'
        path = self.password_file("relay-bulk", wrong)
        self.reload(relay, *routes, **options)
        count = backlog + others
        self.send_one(relay, "s@bulk.example", "r@d9.example", count)
        self.line(relay, "r@d9.example", "deferred")
        self.password_file("relay-bulk", password_of("relay-bulk"))
        relay.program.signal(signal.SIGHUP)
        self.wait_for_messages([host.sink], count + 1, 10)
        path.unlink()
        done = relay.tool("reload", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("relay-bulk.password", done.stdout + done.stderr)
        self.send_one(relay, "s@bulk.example", "r@d9.example", count + 1)
        self.wait_for_messages([host.sink], count + 2, 10)
        self.assert_nothing_ended_badly(relay)

    def test_mechanisms(self):
        """Each by itself; the strongest where nothing is said; over TLS from the first octet; in clear by SCRAM alone."""
        host = self.smarthost("smart1")
        bare = f"smtp:[{host.host}]:{host.bare}"
        ways = {mechanism.lower(): (host.hop(), mechanism, {"mechanisms": [mechanism]}) for mechanism in MECHANISMS}
        ways |= {"any": (host.hop(), "SCRAM-SHA-256", {}),
                 "two": (host.hop(), "SCRAM-SHA-1", {"mechanisms": ["login", "Scram-Sha-1"]}),
                 "implicit": (f"smtps:[{host.host}]:{host.implicit}", "PLAIN", {"mechanisms": ["PLAIN"]}),
                 "bare": (bare, "SCRAM-SHA-256", {"tls": "none"}),
                 "bare1": (bare, "SCRAM-SHA-1", {"tls": "opportunistic", "mechanisms": ["SCRAM-SHA-1", "PLAIN"]}),
                 "clear": (bare, None, {"tls": "none", "mechanisms": ["PLAIN", "LOGIN"]}),
                 "policy": (bare, None, {})}
        relay = self.relay(*(self.route(hop, name=name, match=f"{name}.example", user="relay-office", **keys)
                             for name, (hop, _, keys) in ways.items()), queue='retry = ["1h"]')
        wanted = collections.Counter()
        for name, (_, mechanism, _) in ways.items():
            with self.subTest(name):
                # One by one, so that the host's log tells whose it is.
                self.send_one(relay, "s@a.example", f"r@{name}.example")
                if mechanism is None:
                    line = self.line(relay, f"r@{name}.example", "deferred")
                    self.assertIn("dsn=4.7.8, status=deferred (cannot log in as relay-office: the host offers AUTH PLAIN LOGIN "
                                  "SCRAM-SHA-1 SCRAM-SHA-256, which needs TLS)" if name == "clear" else "dsn=4.7.4, ", line)
                    continue
                line = self.line(relay, f"r@{name}.example", "sent")
                self.assertIn(f" verified; verify by route {name}; for {host.host}" if "bare" not in name else "tls=none", line)
                wanted[mechanism, "relay-office"] += 1
                self.assertEqual(collections.Counter(host.logins()), wanted)
        self.assertEqual(host.refusals(), 0)

    def test_hosts_that_break_the_exchange(self):
        """Nothing is sent to them, nothing comes back, and others are served meanwhile. Where TLS is not as it has to be no
        AUTH is said at all."""
        right, own = self.authority.certificate("host.example"), self.folder / "self.pem"
        tls.make_pair(own, "host.example")
        no = "cannot log in as relay-office: "
        offers = no + "the host offers AUTH"
        unverified, in_clear = {"pem": own}, {"how": "none", "bare": True}
        long = b"334 " + b"QUFB" * 5000 + b"\r\n"
        wrong_signature = challenge("v=" + base64_of("wrong"))
        wants = {"MAIL": b"530 5.7.0 Authentication required\r\n"}
        cases = {
            # name: what is offered, what is said, status and reason, more
            "refused": (b"PLAIN", [b"535 5.7.8 no\r\n"], "4.7.8", "login as relay-office was refused: 535 5.7.8 no"),
            "disabled": (b"PLAIN", [b"534 5.7.9 too weak\r\n"], "4.7.9", "was refused: 534 5.7.9 too weak"),
            "unknown": (b"PLAIN", [b"504 5.5.4 what\r\n"], "4.5.4", "was refused: 504 5.5.4 what"),
            "bad": (b"LOGIN", [b"500 syntax\r\n"], "4.7.8", "was refused: 500 syntax"),
            "later": (b"PLAIN", [b"454 4.7.0 not now\r\n"], "4.7.0", "454 4.7.0 not now"),
            "closed": (b"LOGIN", [challenge("Username:"), b"421 4.3.2 closed\r\n"], "4.3.2", "421 4.3.2 closed"),
            "none": (b"", [], "4.7.8", no + "the host offers no AUTH"),
            "cram": (b"CRAM-MD5 DIGEST-MD5", [], "4.7.8", offers + " CRAM-MD5 DIGEST-MD5, of which none is known here"),
            "goeson": (b"PLAIN", forever(b"334 \r\n"), "4.7.8", no + "PLAIN: the host goes on asking when all was said"),
            "goesonlogin": (b"LOGIN", forever(challenge("again")), "4.7.8", "LOGIN: the host goes on asking"),
            "goesonscram": (b"SCRAM-SHA-1", scram(*[wrong_signature] * 100), "4.7.8", "signature is wrong"),
            "rubbish": (b"SCRAM-SHA-256", [b"334 ?! no base64\r\n"], "4.7.8", "challenge is not base64"),
            "rubbishplain": (b"PLAIN", [b"334 ?! no base64\r\n"], "4.7.8", "challenge is not base64"),
            "early": (b"SCRAM-SHA-256", [WELCOME], "4.7.8", "SCRAM-SHA-256: the host takes the login before it is done"),
            "half": (b"SCRAM-SHA-256", scram(WELCOME), "4.7.8", "SCRAM-SHA-256: the host takes the login before it is done"),
            "half1": (b"SCRAM-SHA-1", scram(WELCOME), "4.7.8", "SCRAM-SHA-1: the host takes the login before it is done"),
            "earlylogin": (b"LOGIN", [challenge("Username:"), WELCOME], "4.7.8", "takes the login before it is done"),
            "liar": (b"SCRAM-SHA-256", scram(wrong_signature, WELCOME), "4.7.8", "the host's signature is wrong"),
            "nonce": (b"SCRAM-SHA-256", scram(nonce="another{}"), "4.7.8", "nonce is not ours"),
            "costly": (b"SCRAM-SHA-256", scram(iterations=4_000_000_000), "4.7.8", "4000000000 iterations"),
            "cheap": (b"SCRAM-SHA-256", scram(iterations=1), "4.7.8", "asks for 1 iterations"),
            "long": (b"SCRAM-SHA-256", [long], "4.7.8", no + "SCRAM-SHA-256: the host's challenge "),
            "rude": (b"PLAIN", [b"what?\r\n"], "4.", "awaiting the reply to AUTH"),
            "gone": (b"LOGIN", [challenge("Username:"), b""], "4.4.2", "while awaiting the reply to AUTH"),
            "silent": (b"PLAIN", self.silence, "4.4.2", "awaiting the reply to AUTH"),
            "wanted": (b"PLAIN", [WELCOME], "4.7.0", "the host wants a login: 530 5.7.0",
                       {"script": lambda verb, *_: wants.get(verb)}),
            # No password in clear, or to who knows whom.
            "self": (b"PLAIN", [WELCOME], "4.7.5", "self-signed certificate", unverified),
            "untrusted": (b"PLAIN LOGIN", [WELCOME], "4.7.8", offers + " PLAIN LOGIN, which needs TLS",
                          unverified | {"tls": "opportunistic"}),
            "clear": (b"PLAIN", [WELCOME], "4.7.8", offers + " PLAIN, which needs TLS", in_clear | {"tls": "opportunistic"}),
            "notls": (b"PLAIN", [WELCOME], "4.7.4", "", in_clear),
            "encrypt": (b"PLAIN", [WELCOME], "4.7.4", "", in_clear | {"tls": "encrypt"}),
        }
        unasked = {"none", "cram", "self", "untrusted", "clear", "notls", "encrypt"}
        hosts, routes = {}, []

        def add(name, offered, says, pem=right, how="good", bare=False, script=None, tls="verify"):
            hosts[name] = AuthHost(tls_sink.server(pem), offered, says, bare, script, how)
            self.addCleanup(hosts[name].stop)
            routes.append(self.route(f"smtp:[host.example]:{hosts[name].port}", name=name, match=f"{name}.example",
                                     user="relay-office", tls=tls))

        for name, (offered, says, _, _, *options) in cases.items():
            add(name, offered, says, **options[0] if options else {})
        # What may be: the words of a challenge to PLAIN, more than a space in one of LOGIN, and no certificate of ours.
        add("good", b"PLAIN", [WELCOME])
        add("asks", b"LOGIN", [b"334 \r\n", b"334 \r\n", WELCOME])
        add("content", b"PLAIN", [WELCOME], pem=own, tls="encrypt")
        spare = AuthHost(tls_sink.server(right), b"PLAIN", [WELCOME])
        self.addCleanup(spare.stop)
        for name in cases:
            routes.append(self.route(f"smtp:[host.example]:{hosts[name].port}", f"smtp:[host.example]:{spare.port}",
                                     name=f"{name}-or", match=f"{name}-or.example", user="relay-office"))
        relay = self.relay(*routes, delivery='command_timeout = "2s"', queue='retry = ["1h"]')
        began = time.monotonic()
        self.send_one(relay, "s@a.example", [f"r@{name}.example" for name in cases])
        for name in ("good", "asks", "content"):
            self.send_one(relay, "s@a.example", f"r@{name}.example")
            self.line(relay, f"r@{name}.example", "sent")
        print(f"mail for good hosts is there {time.monotonic() - began:.2f} s after that for {len(cases)} bad ones")
        for name, (_, _, status, reason, *_) in cases.items():
            with self.subTest(name):
                line = self.line(relay, f"r@{name}.example", "deferred")
                self.assertIn(f"dsn={status}", line)
                self.assertIn(reason, line)
                self.assertEqual(hosts[name].messages, [])
                self.assertEqual("MAIL" in hosts[name].verbs, name == "wanted", hosts[name].verbs)
                self.assertEqual("AUTH" in hosts[name].verbs, name not in unasked, hosts[name].verbs)
                self.assertLess(len(hosts[name].verbs), 20)
        for name in ("good", "asks", "content"):
            self.assertEqual([one.recipients for one in hosts[name].messages], [[f"r@{name}.example"]])
        self.assertEqual(relay.queued(), 1)
        self.send_one(relay, "s@a.example", [f"r@{name}-or.example" for name in cases])
        for name in cases:
            with self.subTest(f"{name}, and a spare one"):
                self.assertIn(f":{spare.port}, ", self.line(relay, f"r@{name}-or.example", "sent"))
                self.assertEqual(hosts[name].messages, [])
        self.assertEqual(sorted(recipient for one in spare.messages for recipient in one.recipients),
                         sorted(f"r@{name}-or.example" for name in cases))
        self.assert_nothing_ended_badly(relay)
        errors = {name for name in hosts if re.search(rf"error: host\.example\S*:{hosts[name].port}: ", relay.log_text())}
        # An administrator has to look at those where the login itself is what does not come about.
        self.assertEqual(errors, {name for name, (_, _, status, reason, *_) in cases.items()
                                  if status == "4.7.8" or name in ("disabled", "unknown", "wanted")})
        self.assertEqual(relay.stop(), 0)

    def test_hosts_that_repeat_the_password(self):
        """As some do with what they take for a command. Neither log nor queue nor history tell it."""
        user, right = "relay-office", self.authority.certificate("host.example")
        password = password_of(user)
        whole = base64_of(f"\0{user}\0{password}")
        says = {"plain": (b"PLAIN", [f"535 5.7.8 not so: AUTH PLAIN {whole}\r\n".encode()]),
                "login": (b"LOGIN", [challenge("Username:"), challenge("Password:"),
                                     f"500-5.5.2 unknown command:\r\n500 5.5.2 {base64_of(password)}\r\n".encode()]),
                "decoded": (b"PLAIN", [f"454 4.7.0 {user} with {password}? later\r\n".encode()]),
                "ended": (b"PLAIN", [f"421 4.7.0 {whole}\r\n".encode()]),
                "error": (b"SCRAM-SHA-256", scram(challenge(f"e={password}")))}
        routes = []
        for name, (mechanism, lines) in says.items():
            host = AuthHost(tls_sink.server(right), mechanism, lines)
            self.addCleanup(host.stop)
            routes.append(self.route(f"smtp:[host.example]:{host.port}", name=name, match=f"{name}.example", user=user))
        relay = self.relay(*routes, queue='retry = ["1h"]', log='level = "debug"')
        queue_id = self.send_one(relay, "s@a.example", [f"r@{name}.example" for name in says])
        for name in says:
            self.line(relay, f"r@{name}.example", "deferred")
        self.assertEqual(relay.stop(), 0)
        places = {"log": relay.log_text().encode(), "trace": relay.tool("trace", queue_id).stdout.encode(),
                  **{path.name: path.read_bytes() for path in relay.data.rglob("*") if path.is_file()}}
        for name, octets in places.items():
            told = [secret for secret in (password, base64_of(password), whole) if secret.encode() in octets]
            self.assertEqual(told, [], f"in {name}")

    def silence(self, _argument):
        self.over = getattr(self, "over", None) or threading.Event()
        self.addCleanup(self.over.set)
        self.over.wait(60)
        yield b""

    def test_which_route(self):
        conditions = {"boss": {"senders": ["boss@b.example"]},
                      "office": {"senders": ["@office.example", "<>"], "match": "*.far.example"},
                      "null": {"senders": ["<>"]},
                      "ann": {"logins": ["ann"]},
                      "branch": {"logins": ["*@b.example"]},
                      "both": {"senders": ["@c.example"], "logins": ["*"]},
                      "elsewhere": {"match": "d.example"},
                      "rest": {}}
        names = tuple(conditions)
        sinks = {name: self.sink() for name in names}
        relay = self.waypost(**self.sections(*(self.route(sinks[name], name=name, **conditions[name]) for name in names),
                                             auth=f'users = "{self.folder}/users"\nrequire_tls = false'))
        logins = ("ann", "bob", "bob@b.example")
        self.add_users(relay, *logins)
        relay.start()
        clients = {login: self.logged_in(relay, login) for login in ("", *logins)}
        cases = [  # login, reverse-path, {recipient's domain: route}
            ("", "boss@b.example", {"x.far.example": "boss", "d.example": "boss"}),
            ("ann", "BOSS@B.Example", {"x.far.example": "boss"}),
            ("", "clerk@b.example", {"x.far.example": "rest", "d.example": "elsewhere"}),
            ("", "x@office.example", {"x.far.example": "office", "far.example": "rest", "d.example": "elsewhere"}),
            ("", "x@sub.office.example", {"x.far.example": "rest"}),
            ("", "", {"x.far.example": "office", "far.example": "null"}),
            ("ann", "", {"x.far.example": "office", "far.example": "null"}),
            ("ann", "x@e.example", {"far.example": "ann"}),
            ("ann", "x@office.example", {"x.far.example": "office", "far.example": "ann"}),
            ("bob@b.example", "x@e.example", {"far.example": "branch"}),
            ("bob@b.example", "x@c.example", {"far.example": "branch"}),
            ("bob", "x@c.example", {"far.example": "both", "d.example": "both"}),
            ("", "x@c.example", {"far.example": "rest"}),
            ("bob", "x@e.example", {"far.example": "rest", "d.example": "elsewhere"}),
        ]
        want = []
        for number, (login, sender, ways) in enumerate(cases):
            self.send(clients[login], sender, [f"r{number}@{domain}" for domain in ways], number=number)
            want += [(f"r{number}@{domain}", name) for domain, name in ways.items()]
        relay.wait_empty(30)
        came = [(recipient, name) for name in names for one in sinks[name].messages for recipient in one.recipients]
        self.assertEqual(sorted(came), sorted(want))

    def test_routes_change_while_mail_waits(self):
        """What waits because its host is down goes the new way, at once, over a reload and over a restart; also what comes to
        wait apart, and comes back. A hold is for one of the two alone."""
        old, new, usual = harness.free_port(), self.sink(), self.sink()
        down = f"smtp:[127.0.0.1]:{old}"
        office = {"name": "office", "senders": ["@office.example"]}
        options = {"queue": 'retry = ["1h"]'}
        relay = self.relay(self.route(down, **office), self.route(usual), **options)

        def give(first, count=5):
            with smtp.Client(relay.mx) as client:
                for number in range(first, first + count):
                    self.send(client, "s@office.example", f"r{number}@b.example", number=number)
            harness.wait_for("a failure", lambda: "4.4.1" in relay.tool("dest", "list").stdout, 10)

        def listed():
            return [json.loads(row) for row in relay.tool("queue", "list", "--json").stdout.splitlines()]

        def came(sink, number):
            return [one for one in list(sink.messages) if header(one, "X-Number") == str(number)]

        give(0)
        self.send_one(relay, "s@else.example", "r100@b.example", 100)
        harness.wait_for("the other mail of the domain", lambda: came(usual, 100), 10)
        self.assertEqual([row["recipients"][0]["destination"] for row in listed()], ["b.example/office"] * 5)

        # Without the route.
        began = time.monotonic()
        self.reload(relay, self.route(usual), **options)
        self.wait_for_messages([usual], 6, 10)
        print(f"without its route: there {time.monotonic() - began:.2f} s after the reload")
        relay.wait_empty(10)

        # By another host; then back to one that is down, and away from it over a restart.
        self.reload(relay, self.route(down, **office), self.route(usual), **options)
        give(10)
        self.reload(relay, self.route(new, **office), self.route(usual), **options)
        self.wait_for_messages([new], 5, 10)
        relay.wait_empty(10)
        self.reload(relay, self.route(down, **office), self.route(usual), **options)
        give(20)
        self.assertEqual(relay.stop(), 0)
        relay.write_config(**self.sections(self.route(usual), **options))
        relay.start()
        self.wait_for_messages([usual], 11, 10)
        relay.wait_empty(10)

        # A route that comes where mail waits already takes it, and no other.
        self.reload(relay, self.route(down), **options)
        give(30)
        self.send_one(relay, "s@else.example", "r110@b.example", 110)
        self.reload(relay, self.route(down, **office), self.route(down), **options)
        want = {"s@office.example": "b.example/office", "s@else.example": "b.example"}
        harness.wait_for("mail to wait apart", lambda: all(row["recipients"][0]["destination"] == want[row["from"]]
                                                           for row in listed()), 10)
        self.assertIn("clean", relay.tool("store", "check").stdout)
        self.reload(relay, self.route(new, **office), self.route(down), **options)
        self.wait_for_messages([new], 10, 10)
        harness.wait_for("the other to stay", lambda: relay.queued() == 1, 10)
        self.reload(relay, self.route(new, **office), self.route(usual), **options)
        harness.wait_for("the other", lambda: came(usual, 110), 10)
        relay.wait_empty(10)

        relay.tool("dest", "hold", "b.example/office", "--for", "1h", "--reason", "for a test")
        self.send_one(relay, "s@office.example", "r200@b.example", 200)
        self.send_one(relay, "s@else.example", "r201@b.example", 201)
        harness.wait_for("what is not held", lambda: came(usual, 201), 10)
        self.assertEqual(came(new, 200), [])
        self.assertIn("for a test", relay.tool("dest", "show", "b.example/office").stdout)
        relay.tool("dest", "resume", "b.example/office")
        harness.wait_for("what was held", lambda: came(new, 200), 10)
        relay.wait_empty(10)
        for sink in (new, usual):
            self.assertEqual(set(collections.Counter(header(one, "X-Number") for one in sink.messages).values()), {1})
        self.assert_nothing_ended_badly(relay)

    def test_a_new_route_takes_a_whole_backlog(self):
        """More than memory holds of a destination, among it mail that the route does not take, whose host is still down."""
        down, new, usual = f"smtp:[127.0.0.1]:{harness.free_port()}", self.sink(), self.sink()
        options = {"queue": 'retry = ["1h"]'}
        relay = self.relay(self.route(down), **options)
        count = max(1500, MESSAGES)
        for sender, some in (("s@else.example", 25), ("s@office.example", count), ("s@else.example", 25)):
            harness.smtp_source(relay.mx, "-m", some, "-s", 10, "-l", 300, "-f", sender, "-t", "r@b.example")
        office = self.route(new, name="office", senders=["@office.example"])
        began = time.monotonic()
        self.reload(relay, office, self.route(down), **options)
        harness.wait_for("all that is for the new route", lambda: len(new.messages) >= count or None, 20)
        print(f"a new route: {count} messages were there {time.monotonic() - began:.2f} s after the reload")
        harness.wait_for("the other 50 alone to wait", lambda: relay.queued() == 50, 10)
        self.assertEqual({one.sender for one in new.messages}, {"s@office.example"})

        # And back: all of it waits at one destination, and then goes.
        self.reload(relay, self.route(down, name="office", senders=["@office.example"]), self.route(down), **options)
        harness.smtp_source(relay.mx, "-m", count, "-s", 10, "-l", 300, "-f", "s@office.example", "-t", "r@b.example")
        self.reload(relay, self.route(usual), **options)
        relay.wait_empty(20)
        self.assertEqual((len(new.messages), len(usual.messages)), (count, count + 50))
        self.assert_nothing_ended_badly(relay)

    def test_routes_change_under_load(self):
        """Back and forth while mail comes and goes: each message arrives, once, by one way or the other."""
        one, other = self.sink(), self.sink()
        apart = self.route(one, name="office", senders=["@office.example"])
        ways = [(apart, self.route(other)), (self.route(other),)]
        relay = self.relay(*ways[0], delivery="concurrency = 4")
        done = threading.Event()

        def change():
            turns = 0
            while not done.is_set() or turns % 2:
                turns += 1
                self.reload(relay, *ways[turns % 2], delivery="concurrency = 4")
            return turns

        count = 2 * MESSAGES
        with concurrent.futures.ThreadPoolExecutor() as pool:
            changing = pool.submit(change)
            try:
                with smtp.Client(relay.mx) as client:
                    for number in range(count):
                        self.send(client, "s@office.example" if number % 4 else "s@else.example",
                                  [f"r{number}@d{number % 5}.example", f"q{number}@d{number % 3}.example"], number=number)
            finally:
                done.set()
            turns = changing.result(60)
        relay.wait_empty(60)
        arrived = collections.Counter(recipient for sink in (one, other) for message in sink.messages
                                      for recipient in message.recipients)
        want = {f"{who}{number}@d{number % of}.example" for number in range(count) for who, of in (("r", 5), ("q", 3))}
        self.assertEqual(set(arrived), want)
        self.assertEqual(set(arrived.values()), {1})
        self.assertNotIn("s@else.example", {message.sender for message in one.messages})
        print(f"{turns} changes of routes under {count} messages: {len(one.messages)} transactions by the one way, "
              f"{len(other.messages)} by the other")
        self.assertGreater(min(len(one.messages), len(other.messages)), 0)
        self.assert_nothing_ended_badly(relay)

    def test_source_and_ehlo(self):
        """Both addresses are used, each message has the same again, and other routes have neither."""
        host, other = self.sink(OneEach, puts_off=True), self.sink(OneEach)
        relay = self.relay(self.route(host, name="bulk", senders=["@bulk.example"], source=["127.0.0.5", "127.0.0.6"],
                                      ehlo="bulk.example.net"), self.route(other))
        with smtp.Client(relay.mx) as client:
            for number in range(50):
                self.send(client, "s@bulk.example", f"r{number}@b.example", number=number)
            self.send(client, "s@else.example", "other@b.example", number=50)
        self.wait_for_messages([host, other], 51)
        relay.wait_empty(20)
        used = collections.Counter(sources[0] for sources in host.sources.values())
        print(f"source addresses of 50 messages: {dict(used)}")
        self.assertEqual(set(used), {"127.0.0.5", "127.0.0.6"})
        self.assertEqual({len(sources) for sources in host.sources.values()}, {2})
        self.assertEqual([sources for sources in host.sources.values() if len(set(sources)) > 1], [])
        self.assertEqual(host.names, {"bulk.example.net"})
        self.assertEqual((set(map(tuple, other.sources.values())), other.names), ({("127.0.0.1",)}, {"relay.test.example"}))


def header(message, name):
    return re.search(rf"^{name}: ?(.*?)\r?$".encode(), message.content, re.M)[1].decode()


if __name__ == "__main__":
    harness.main()
