"""Hosts that misbehave, each in one way of the fault catalogue (RELIABILITY F30 to F39), and what becomes of mail for them:
which host is next, whether it waits or comes back, what log and trace say; and mail for a host that behaves leaves at once
beside all of them. TLS that fails, and octets in clear around STARTTLS (F40, F41), are in tls_out.py.

WAYPOST_TARPITS=2000 such hosts at once; by itself it is 200."""
import collections
import contextlib
import dataclasses
import datetime
import json
import os
import re
import resource
import socket
import struct
import threading
import time
import types

import harness
import smtp

TARPITS = int(os.environ.get("WAYPOST_TARPITS", "200"))
TIMEOUT = 2  # each of the relay's, in seconds
SOON = 1.5  # for mail to a good host, while others hang
GOOD = "127.0.0.90"


class Rude(smtp.Sink):
    """Says what `instead` has for a verb: octets, or what a function of (self, connection) returns; None is the usual reply,
    b"" closes. `trickle`: all of it an octet at a time."""

    def __init__(self, port, address, instead, extensions=(), trickle=False):
        self.instead, self.trickle, self.over = instead, trickle, threading.Event()
        self.heard, self.local = collections.Counter(), threading.local()
        self.together = self.most = 0  # sessions at a time: now, and at most
        self.beyond = 0  # by how many sessions it was more, at most, than one and one for each message that was taken
        self.extensions = [*smtp.Sink.extensions, *extensions]
        super().__init__(port, address, self.say)

    def stop(self):
        self.over.set()
        super().stop()

    def say(self, verb, argument, state):
        self.heard[verb] += 1
        self.local.message = state.get("message")
        what = self.instead.get(verb)
        return what(self, self.local.connection) if callable(what) else what

    def session(self, connection, lines):
        self.local.connection = connection
        with self.lock:
            self.together += 1
            self.most = max(self.most, self.together)
            self.beyond = max(self.beyond, self.together - 1 - len(self.messages))
        try:
            super().session(Trickling(connection) if self.trickle else connection, lines)
        finally:
            with self.lock:
                self.together -= 1

    def silence(self, connection):
        """Not a word, until the test is over."""
        self.over.wait(60)
        return b""

    def deaf(self, connection):
        """Not a word, and nothing is read either: what is sent fills the buffers."""
        connection.sendall(b"354 go on\r\n")
        return self.silence(connection)

    def reset(self, connection, said=b""):
        """Says it and resets the connection: no FIN."""
        connection.sendall(said)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return b""

    def takes_and_resets(self, connection):
        self.messages.append(self.local.message)
        return self.reset(connection, b"250 2.0.0 taken\r\n")


class Trickling:
    def __init__(self, connection):
        self.connection = connection

    def sendall(self, octets):
        for at in range(len(octets)):
            self.connection.sendall(octets[at:at + 1])


class Plain:
    """Offers what it has not built: it answers the first line of a segment alone, or, to BDAT, takes the message for commands."""

    def __init__(self, port, address, offers):
        self.offers, self.messages, self.open = offers, [], set()
        self.listener = socket.create_server((address, port), backlog=20)
        threading.Thread(target=self.accept, daemon=True).start()

    @classmethod
    def offering(cls, extension):
        return lambda port, address: cls(port, address, extension)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.open.add(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"220 plain.test.example ESMTP\r\n")
            recipients, in_data = [], False
            while segment := connection.recv(65536):
                lines = segment.splitlines()
                for line in lines[:1] if self.offers == b"PIPELINING" and not in_data else lines:
                    if in_data and line != b".":
                        continue
                    if in_data:
                        self.messages.append(types.SimpleNamespace(recipients=recipients))
                    if line.startswith(b"RCPT"):
                        recipients.append(re.search(rb"<([^>]*)>", line)[1].decode())
                    in_data = line == b"DATA"
                    connection.sendall(self.answer(line))

    def answer(self, line):
        if line.startswith(b"EHLO"):
            return b"250-plain.test.example\r\n250 " + self.offers + b"\r\n"
        if line == b"DATA":
            return b"354 go\r\n"
        known = line[:4] in (b"MAIL", b"RCPT", b"RSET", b"QUIT") or line == b"."
        return b"250 2.0.0 ok\r\n" if known else b"502 5.5.1 not implemented\r\n"

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class BlackHole:
    """An address that answers no SYN: its queue of connections is full, and nobody takes any."""

    def __init__(self, port, address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(0)
        self.held = []
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            client = socket.socket(family)
            client.settimeout(0.3)
            try:
                client.connect((address, port))
            except TimeoutError:
                client.close()
                return
            self.held.append(client)
        raise AssertionError("this kernel answers every SYN")

    def stop(self):
        for client in [*self.held, self.listener]:
            client.close()


class Tarpit:
    """On all of 127/8 that nobody else listens on: an octet of a greeting each half second."""

    def __init__(self, port):
        self.port, self.open, self.stopping = port, set(), threading.Event()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.listener = socket.create_server(("0.0.0.0", port), backlog=4096)
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self.accept, self.drip)]
        for each in self.threads:
            each.start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.setblocking(False)
                self.open.add(connection)

    def drip(self):
        while not self.stopping.wait(0.5):
            for connection in list(self.open):
                try:
                    connection.send(b"2")
                    if connection.recv(1000) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    pass
                except OSError:
                    self.open.discard(connection)
                    connection.close()

    def stop(self):
        self.stopping.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.threads:
            each.join()
        for connection in self.open:
            connection.close()


def moment(text):
    return datetime.datetime.fromisoformat(text).timestamp()


@dataclasses.dataclass
class Row:
    """A host. `other`: what becomes of mail where a good one is next to it; `alone`: where it is the only one. "sent" is by
    itself, "other" by the good one. `dsn` and `why` are those of mail that waits or comes back."""

    fault: str
    name: str
    host: object = None  # what Rude says instead; or a function of (port, address); None: nobody listens
    other: str = "other"
    alone: str = "deferred"
    dsn: str = ""
    why: str = ""
    extensions: tuple = ()  # that it offers, beside those of every Sink
    trickle: bool = False
    octets: int = 0  # of body


LATER = "450 4.2.1 come back"
LONG = b"x" * 1_000_000

ROWS = [
    Row("F30", "refuses", dsn="4.4.1", why="connection refused"),
    Row("F31", "black-hole", BlackHole, dsn="4.4.1", why="timed out while connecting"),
    Row("F33", "silent", {"CONNECT": Rude.silence}, dsn="4.4.2", why="timed out while awaiting the greeting"),
    Row("F33", "silent-ehlo", {"EHLO": Rude.silence}, dsn="4.4.2", why="timed out while awaiting the reply to EHLO"),
    Row("F33", "silent-mail", {"MAIL": Rude.silence}, dsn="4.4.2", why="timed out while awaiting the reply to MAIL"),
    Row("F33", "silent-rcpt", {"RCPT": Rude.silence}, dsn="4.4.2", why="timed out while awaiting the reply to RCPT"),
    Row("F33", "silent-data", {"DATA": Rude.silence}, dsn="4.4.2", why="timed out while awaiting the reply to DATA"),
    Row("F33", "deaf", {"DATA": Rude.deaf}, dsn="4.4.2", why="timed out while sending the message", octets=20_000_000),
    Row("F33", "gone-banner", {"CONNECT": b""}, dsn="4.4.2", why="lost connection while awaiting the greeting"),
    Row("F33", "gone-rcpt", {"RCPT": b""}, dsn="4.4.2", why="lost connection while awaiting the reply to RCPT"),
    Row("F33", "resets", {"MAIL": Rude.reset}, dsn="4.4.2",
        why="lost connection while awaiting the reply to MAIL"),
    Row("F34", "closes-after-dot", {"DOT": b""}, "deferred", dsn="4.4.2",
        why="in doubt: lost connection while awaiting the reply to the final dot"),
    Row("F34", "silent-after-dot", {"DOT": Rude.silence}, "deferred", dsn="4.4.2",
        why="in doubt: timed out while awaiting the reply to the final dot"),
    Row("F34", "resets-after-dot", {"DOT": Rude.reset}, "deferred", dsn="4.4.2",
        why="in doubt: lost connection while awaiting the reply to the final dot"),
    Row("F35", "250-then-reset", {"DOT": Rude.takes_and_resets}, "sent", "sent"),
    Row("F35", "octet-by-octet", {}, "sent", "sent", trickle=True),
    Row("F35", "megabyte-250", {"RCPT": b"250 2.1.5 " + LONG + b"\r\n"}, "sent", "sent"),
    Row("F35", "megabyte-550", {"RCPT": b"550 5.1.1 " + LONG + b"\r\n"}, "bounced", "bounced", "5.1.1", "550 5.1.1 x{400,510}"),
    Row("F35", "endless-line", {"RCPT": b"250 2.1.5 " + LONG * 5}, dsn="4.5.0", why="protocol error .*RCPT"),
    Row("F35", "1000-lines", {"MAIL": b"250-2.1.0 more\r\n" * 999 + b"250 2.1.0 ok\r\n"}, "sent", "sent"),
    Row("F35", "1000-lines-550", {"RCPT": b"550-5.1.1 more\r\n" * 999 + b"550 5.1.1 no\r\n"}, "bounced", "bounced", "5.1.1",
        r"550 5\.1\.1 more( / more){50,100}.{0,5}"),
    Row("F35", "endless-lines", {"MAIL": b"250-2.1.0 more\r\n" * 11_000}, dsn="4.5.0", why="protocol error .*MAIL.*without an end"),
    Row("F35", "bare-lf", {"CONNECT": b"220 bare ESMTP\n", "MAIL": b"250 2.1.0 ok\n", "RCPT": b"250 2.1.5 ok\n"}, "sent", "sent"),
    Row("F35", "bare-cr", {"MAIL": b"250 2.1.0 ok\r"}, dsn="4.5.0", why="unexpected reply .*RCPT: 354"),
    Row("F35", "no-code", {"CONNECT": b"welcome\r\n"}, dsn="4.5.0", why="protocol error .*greeting: reply without a reply code"),
    Row("F35", "no-code-rcpt", {"RCPT": b"fine\r\n"}, dsn="4.5.0", why="protocol error .*RCPT: reply without a reply code"),
    Row("F35", "1xx", {"MAIL": b"150 wait\r\n"}, dsn="4.5.0", why="protocol error .*MAIL: reply without a reply code"),
    Row("F35", "two-codes", {"MAIL": b"250-2.1.0 ok\r\n450 4.2.1 no\r\n"}, dsn="4.5.0", why="protocol error .*MAIL: .*two"),
    Row("F35", "250-to-data", {"DATA": b"250 2.0.0 ok\r\n"}, dsn="4.5.0", why="unexpected reply .*DATA: 250"),
    Row("F35", "354-to-mail", {"MAIL": b"354 go\r\n"}, dsn="4.5.0", why="unexpected reply .*MAIL: 354"),
    Row("F35", "354-to-rcpt", {"RCPT": b"354 go\r\n"}, dsn="4.5.0", why="unexpected reply .*RCPT: 354"),
    Row("F35", "354-to-dot", {"DOT": b"354 go\r\n"}, dsn="4.5.0", why="unexpected reply .*final dot: 354"),
    Row("F35", "speaks-unasked", {"MAIL": b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"}, dsn="4.5.0",
        why="a reply before the message"),
    Row("F37", "421-banner", {"CONNECT": b"421 4.3.2 busy\r\n"}, dsn="4.3.2", why="421 4.3.2 busy"),
    Row("F37", "421-mail", {"MAIL": b"421 4.7.0 slowly\r\n"}, dsn="4.7.0", why="421 4.7.0 slowly"),
    Row("F37", "421-rcpt", {"RCPT": b"421 4.7.0 slowly\r\n"}, dsn="4.7.0", why="421 4.7.0 slowly"),
    Row("F37", "421-dot", {"DOT": b"421 4.7.0 slowly\r\n"}, dsn="4.7.0", why="421 4.7.0 slowly"),
    Row("F37", "450-banner", {"CONNECT": b"450 4.3.2 no\r\n"}, dsn="4.3.2", why="450 4.3.2 no"),
    Row("F37", "450-mail", {"MAIL": LATER.encode() + b"\r\n"}, dsn="4.2.1", why=LATER),
    Row("F37", "450-rcpt", {"RCPT": LATER.encode() + b"\r\n"}, dsn="4.2.1", why=LATER),
    Row("F37", "450-data", {"DATA": LATER.encode() + b"\r\n"}, dsn="4.2.1", why=LATER),
    Row("F37", "450-dot", {"DOT": LATER.encode() + b"\r\n"}, dsn="4.2.1", why=LATER),
    Row("F38", "554-banner", {"CONNECT": b"554 5.7.1 go away\r\n"}, dsn="4.3.2", why="554 5.7.1 go away"),
    Row("F38", "5xx-ehlo", {"EHLO": b"500 5.5.2 what\r\n"}, "sent", "sent"),
    Row("F38", "5xx-helo", {"EHLO": b"550 5.7.1 no\r\n", "HELO": b"550 5.7.1 no\r\n"}, dsn="4.3.2", why="550 5.7.1 no"),
    Row("F39", "no-pipelining", Plain.offering(b"PIPELINING"), "other", "sent"),
    Row("F39", "no-bdat", Plain.offering(b"CHUNKING"), "other", "sent"),
    # Without CHUNKING it says so of the message.
    Row("F39", "bdat-500", {"DOT": b"500 5.5.2 what\r\n"}, "other", "bounced", "5.5.2", "500 5.5.2 what", [b"CHUNKING"]),
    Row("F39", "bdat-554", {"DOT": b"554 5.6.0 spam\r\n"}, "bounced", "bounced", "5.6.0", "554 5.6.0 spam", [b"CHUNKING"]),
]


class Misbehaviour(harness.TestCase):
    def host(self, address, row):
        if row.host is None:
            return None
        if callable(row.host):
            host = row.host(self.port, address)
        else:
            host = Rude(self.port, address, row.host, row.extensions, row.trickle)
        self.addCleanup(host.stop)
        return host

    def start(self, records, queue='retry = ["1h"]', extra="", **delivery):
        self.port = harness.free_port()
        self.good = smtp.Sink(self.port, GOOD)
        self.addCleanup(self.good.stop)
        dns = harness.NameServer(self.folder / "dns", [f"good A {GOOD}", *records])
        timeouts = {"connect_timeout": f'"{TIMEOUT}s"', "command_timeout": f'"{TIMEOUT}s"', "data_timeout": f'"{TIMEOUT}s"'}
        lines = "\n".join(f"{key} = {value}" for key, value in (timeouts | delivery).items())
        return self.waypost(queue=queue, resolver=f'servers = ["127.0.0.1:{dns.port}"]\ntimeout = "2s"\ntries = 2',
                            delivery=f"port = {self.port}\n{lines}", top="threads = 2", extra=extra).start()

    def send(self, client, recipient, octets=0):
        """The queue id."""
        content = b"Subject: x\r\n\r\n" + (b"y" * 78 + b"\r\n") * (octets // 80)
        code, text = client.send("s@a.example", recipient, content)
        self.assertEqual(code, 250, text)
        return re.search(r"queued as (\w+)", text)[1]

    def to_good(self, relay, who):
        """How long mail for the good host takes."""
        began = time.monotonic()
        with smtp.Client(relay.mx) as client:
            self.send(client, f"{who}@good.example")
        harness.wait_for("mail for a good host", lambda: self.came_to(self.good, f"{who}@good.example"), SOON, every=0.01)
        return time.monotonic() - began

    def came_to(self, host, recipient):
        return sum(recipient in message.recipients for message in list(host.messages))

    def last_lines(self, relay):
        """{recipient: [(status, dsn, line)]} of attempts."""
        found = collections.defaultdict(list)
        for line in relay.log_text().splitlines():
            match = re.search(r": to=<([^>]*)>, .*dsn=([\d.]+), status=(\w+) ", line)
            if match:
                found[match[1]].append((match[3], match[2], line))
        return found

    def check(self, relay, row, host, recipient, outcome, queue_id, lines):
        status, dsn, line = lines[recipient][-1]
        wanted = {"sent": "sent", "other": "sent"}.get(outcome, outcome)
        self.assertEqual(status, wanted, line)
        self.assertEqual(self.came_to(self.good, recipient), 1 if outcome == "other" else 0, "by the good host")
        if outcome == "sent":
            self.assertEqual(self.came_to(host, recipient), 1, "by the host itself")
        told = "relayed" if wanted == "sent" else row.why
        # History is written behind the queue.
        harness.wait_for(f"the trace of {row.name}", lambda: re.search(told, relay.tool("trace", queue_id).stdout), 10)
        if wanted == "sent":
            self.assertIn(f"relay={'good' if outcome == 'other' else 'mx'}", line)
            return
        self.assertEqual(dsn, row.dsn, line)
        self.assertRegex(line, row.why)
        self.assertLess(len(line), 1200, "a reply is cut")
        if wanted == "deferred":
            # In doubt it waits twice its step of queue.retry, an hour; both have jitter.
            (waiting,) = json.loads(relay.tool("queue", "show", "--json", queue_id).stdout)["recipients"]
            hours = (moment(waiting["next_attempt"]) - time.time()) / 3600
            self.assertEqual(hours > 1.5, "in doubt" in row.why, hours)

    def test_each_fault(self):
        # Each domain has a host of its own: what mail for one of them learns of a host would change the other's.
        places, records = {}, []
        for number, row in enumerate(ROWS):
            places[f"d{number}"] = f"127.0.1.{number + 1}", row
            places[f"alone{number}"] = f"127.0.2.{number + 1}", row
            records.append(f"d{number} MX 20 good")
        for domain, (address, _) in places.items():
            records += [f"mx-{domain} A {address}", f"{domain} MX 10 mx-{domain}"]
        relay = self.start(records)
        hosts = {domain: self.host(address, row) for domain, (address, row) in places.items()}
        ids = {}
        with smtp.Client(relay.mx) as client:
            for number, row in enumerate(ROWS):
                for domain in (f"d{number}", f"alone{number}"):
                    recipient = f"r@{domain}.example"
                    ids[recipient] = self.send(client, recipient, row.octets)
        beside = self.to_good(relay, "beside")
        harness.wait_for("an outcome of each", lambda: set(self.last_lines(relay)) >= set(ids), 4 * TIMEOUT + 20)
        after = self.to_good(relay, "after")
        lines = self.last_lines(relay)
        for number, row in enumerate(ROWS):
            for domain, outcome in ((f"d{number}", row.other), (f"alone{number}", row.alone)):
                with self.subTest(fault=row.fault, name=row.name, domain=domain):
                    recipient = f"r@{domain}.example"
                    self.check(relay, row, hosts[domain], recipient, outcome, ids[recipient], lines)
        print(f"{len(hosts)} hosts; mail for a good one took {beside:.3f} s beside them, {after:.3f} s after them")

    def test_in_doubt_the_same_host_is_asked_again(self):
        """F34: it may know the message; so it comes before a host that has not failed."""
        relay = self.start(["doubt MX 10 mx", "doubt MX 20 good", "mx A 127.0.1.203"])
        host = Rude(self.port, "127.0.1.203", {"DOT": lambda host, connection: b"" if host.heard["DOT"] == 1 else None})
        self.addCleanup(host.stop)
        with smtp.Client(relay.mx) as client:
            self.send(client, "r@doubt.example")
        harness.wait_for("doubt", lambda: "in doubt: lost connection" in relay.log_text(), 10)
        relay.tool("queue", "retry", "--all", "--yes")
        harness.wait_for("the message", lambda: self.came_to(host, "r@doubt.example"), 10)
        relay.wait_empty(10)
        self.assertEqual(self.came_to(self.good, "r@doubt.example"), 0)

    def test_good_ipv4_behind_an_ipv6_black_hole(self):
        """F32. IPv6 has a head start of 0.3 s; the second message does not try the black hole again."""
        relay = self.start(["six MX 10 both", "both AAAA ::1", "both A 127.0.1.200"])
        hole, four = BlackHole(self.port, "::1"), smtp.Sink(self.port, "127.0.1.200")
        self.addCleanup(hole.stop)
        self.addCleanup(four.stop)
        took = []
        for number in range(3):
            began = time.monotonic()
            with smtp.Client(relay.mx) as client:
                self.send(client, f"r{number}@six.example")
            harness.wait_for("mail by IPv4", lambda: self.came_to(four, f"r{number}@six.example"), TIMEOUT + SOON, every=0.01)
            took.append(time.monotonic() - began)
        self.assertGreater(took[0], 0.29)
        self.assertLess(max(took), SOON)
        self.assertLess(took[1], took[0])
        harness.wait_for("the log to tell", lambda: relay.log_text().count("status=") == 3, SOON)
        log = relay.log_text()
        self.assertEqual(log.count(f"relay=both.example[127.0.1.200]:{self.port}"), 3, log)
        self.assertEqual(log.count("status=sent"), 3, log)
        print("an IPv6 black hole: mail by IPv4 after " + ", ".join(f"{each:.2f}" for each in took) + " s")

    def test_storm_of_421(self):
        """F37: a site that says 421 to all is asked once a retry, by one connection, for its whole backlog; when it is back it
        is not overrun."""
        relay = self.start(["storm MX 10 mx", "mx A 127.0.1.201"], queue='retry = ["1s"]', concurrency=20)
        busy = threading.Event()
        busy.set()

        def banner(host, connection):
            return b"421 4.3.2 busy\r\n" if busy.is_set() else None

        host = Rude(self.port, "127.0.1.201", {"CONNECT": banner})
        self.addCleanup(host.stop)
        with smtp.Client(relay.mx) as client:
            for number in range(100):
                self.send(client, f"r{number}@storm.example")
        harness.wait_for("the first attempts", lambda: host.heard["CONNECT"], 10)
        began, beside = time.monotonic(), self.to_good(relay, "beside")
        harness.wait_for("retries", lambda: time.monotonic() > began + 5 and host.heard["CONNECT"] > 3, 30)
        asked, took = host.heard["CONNECT"], time.monotonic() - began
        self.assertLessEqual(host.most, 5, "connections at a time")
        self.assertLessEqual(asked, 5 + took / 0.75, "five at first, then one a second, more or less")
        harness.wait_for("those that were refused to be gone", lambda: host.together == 0, 5, every=0.005)
        host.most = host.beyond = 0
        busy.clear()
        harness.wait_for("the backlog", lambda: len(host.messages) == 100, 30)
        self.assertLessEqual(host.beyond, 0, "sessions grow with what is taken")
        self.assertEqual(sorted(r for m in host.messages for r in m.recipients), sorted(f"r{n}@storm.example" for n in range(100)))
        relay.wait_empty(10)
        print(f"421 to 100 messages: {asked} connections in {took:.1f} s, a retry each second; then up to {host.most} at a time; "
              f"a good host got its mail in {beside:.3f} s")

    def test_greylisting(self):
        """F37: put off once, and taken by the same host at the next attempt."""
        relay = self.start(["grey MX 10 mx", "mx A 127.0.1.202"], queue='retry = ["1s"]')
        seen = []

        def rcpt(host, connection):
            seen.append(time.monotonic())
            return b"451 4.7.1 greylisted, try again later\r\n" if len(seen) == 1 else None

        host = Rude(self.port, "127.0.1.202", {"RCPT": rcpt})
        self.addCleanup(host.stop)
        with smtp.Client(relay.mx) as client:
            queue_id = self.send(client, "r@grey.example")
        harness.wait_for("the second attempt", lambda: self.came_to(host, "r@grey.example"), 20)
        harness.wait_for("the log", lambda: len(self.last_lines(relay)["r@grey.example"]) == 2, 10)
        self.assertEqual([(status, dsn) for status, dsn, _ in self.last_lines(relay)["r@grey.example"]],
                         [("deferred", "4.7.1"), ("sent", "2.0.0")])
        story = r"deferred .*451 4\.7\.1 greylisted[^\n]*\n[^\n]*relayed"
        harness.wait_for("the trace", lambda: re.search(story, relay.tool("trace", queue_id).stdout), 10)

    def tarpits(self, connections):
        """A relay with mail on its way to as many hosts that say an octet each half second, and the hosts."""
        pit = Tarpit(harness.free_port())
        self.addCleanup(pit.stop)
        hops = "".join(f'[[route]]\nmatch = "t{n}.example"\nnext_hop = "smtp:[127.2.{n // 250}.{n % 250 + 1}]:{pit.port}"\n'
                       for n in range(TARPITS))
        relay = self.start([], extra=hops, connections=connections, command_timeout='"10s"')
        with smtp.Client(relay.mx) as client:
            for number in range(TARPITS):
                self.send(client, f"r@t{number}.example")
        harness.wait_for("connections", lambda: len(pit.open) >= min(TARPITS, connections), 30)
        return relay, pit

    def test_tarpits(self):
        """F36: so many of them at once do not stop mail for a good host."""
        relay, pit = self.tarpits(TARPITS + 100)
        took = [self.to_good(relay, f"r{number}") for number in range(5)]
        self.assertEqual(len(pit.open), TARPITS)
        harness.wait_for("all to be given up", lambda:
                         relay.log_text().count("status=deferred (timed out while awaiting the greeting)") == TARPITS, 30)
        print(f"{TARPITS} tarpits at once: mail for a good host took {min(took):.3f} to {max(took):.3f} s")

if __name__ == "__main__":
    harness.main()
