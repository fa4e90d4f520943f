"""Bad input in both roles, meant for a build with address and undefined-behaviour sanitizers (ctest label e2e-asan):
10,000 random and mutated command streams, 10,000 mutated replies from hostile exchangers, and the codes that known
mistakes get. No crash, no sanitizer report, no leak at exit, every reply well formed.

Environment: E2E_SEED; E2E_STREAMS, the number of each."""
import concurrent.futures
import os
import random
import re
import select
import signal
import socket
import threading

import harness
import smtp

STREAMS = int(os.environ.get("E2E_STREAMS", 10_000))
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
}

GOOD = [
    b"EHLO client.test.example\r\n", b"HELO client.test.example\r\n", b"MAIL FROM:<s@client.test.example>\r\n",
    b"MAIL FROM:<> SIZE=1000 BODY=8BITMIME\r\n", b"RCPT TO:<r@d1.example>\r\n", b"RCPT TO:<Postmaster>\r\n",
    b'RCPT TO:<"quoted \\" local"@d2.example>\r\n', b"RCPT TO:<@one.example,@two.example:r@d3.example>\r\n",
    b"RCPT TO:<r@[127.0.0.1]>\r\n", b"RCPT TO:<r@[IPv6:2001:db8::1]>\r\n", b"DATA\r\n", b"Subject: x\r\n\r\n..text\r\n.\r\n",
    b"RSET\r\n", b"NOOP anything\r\n", b"VRFY someone\r\n", b"HELP\r\n", b"QUIT\r\n", b"EXPN list\r\n", b"STARTTLS\r\n",
    b"AUTH PLAIN AGEAYg==\r\n", b"BDAT 5 LAST\r\nabcde", b"ETRN d1.example\r\n", b"XCLIENT ADDR=1.2.3.4\r\n",
    b"EHLO client.test.example\r\nMAIL FROM:<s@client.test.example>\r\nRCPT TO:<r@d4.example>\r\nDATA\r\n",
]
SPLINTERS = [b"\0", b"\r", b"\n", b"\r\n", b"\r\n.\r\n", b"<", b">", b"@", b":", b",", b'"', b"\\", b"[", b"]", b"=", b" ", b"\t",
             b"%s%n", b"\xff\xfe", b"\xc3\xa9", b"A" * 600, b"A" * 5000, b"(" * 200, b"<" * 300, b"+00", b"-1",
             b"99999999999999999999", b"IPv6:", b";", b"|", b"$(x)", b"'", b"\x7f", b"\x1b[2J"]


def mutate(rng, octets, times):
    data = bytearray(octets)
    for _ in range(times):
        kind, at = rng.randrange(6), rng.randrange(len(data) + 1)
        if kind == 0:
            data[at:at] = rng.choice(SPLINTERS)
        elif kind == 1:
            del data[at : at + rng.randrange(1, 20)]
        elif kind == 2 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at:at] = data[rng.randrange(len(data) + 1) :][:50]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.randrange(1, 40))
        else:
            data = data[:at]
    return bytes(data)


def stream(rng):
    """A session as a list of pieces, some of them damaged."""
    if rng.random() < 0.05:
        return [rng.randbytes(rng.randrange(3000))]
    parts = [GOOD[0]] if rng.random() < 0.7 else []
    parts += [rng.choice(GOOD) for _ in range(rng.randrange(1, 12))]
    for _ in range(rng.randrange(4)):
        n = rng.randrange(len(parts))
        parts[n] = mutate(rng, parts[n], rng.randrange(1, 5))
    return parts


def badly_formed(replies):
    """What is wrong with the octets a server said, or None (RFC 5321 4.2, 4.5.3.1.5)."""
    lines = replies.split(b"\r\n")
    if lines.pop() != b"":
        return f"ends without CRLF: {replies[-80:]!r}"
    within = None
    for line in lines:
        match = re.fullmatch(rb"([2-5][0-5][0-9])([ -])([\t\x20-\x7e\x80-\xff]*)", line)
        if not match or len(line) > 510:
            return f"reply line {line[:600]!r}"
        if within not in (None, match[1]):
            return f"two codes in a reply: {line!r} after {within!r}"
        within = match[1] if match[2] == b"-" else None
    return None if within is None else "the last reply has no last line"


class BadInput(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("E2E_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"seed {self.seed}", end=" ", flush=True)

    def start(self, **sections):
        relay = self.waypost(**sections)
        relay.environment.update(SANITIZERS)
        return relay.start(60)

    def finish(self, relay):
        """It still serves, ends with 0 when told to, and no sanitizer said anything."""
        with smtp.Client(relay.mx) as client:
            self.assertEqual(client.command("NOOP")[0], 250)
        self.assertEqual(relay.stop(60), 0, "exit code; 99 is a sanitizer's")
        self.assertNotRegex(relay.log_text(), r"ERROR: \w*Sanitizer|runtime error:|terminate called")

    def test_command_streams(self):
        relay = self.start(
            limits='errors = 10\nconnections_per_client = 1000\ncommand_timeout = "20s"\ndata_timeout = "20s"',
            extra='[[route]]\nmatch = "*"\nnext_hop = "discard:"')

        def one(n):
            rng = random.Random(f"{self.seed}/{n}")
            pieces, said = stream(rng), b""
            # Mostly a command at a time, as the state behind EHLO is reached only by those who wait for its reply.
            patient = rng.random() < 0.7
            if not patient:
                pieces = [b"".join(pieces)]
            connection = socket.create_connection(("127.0.0.1", relay.mx if n % 2 else relay.submission), timeout=60)
            try:
                with connection:
                    said += connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        if patient and select.select([connection], [], [], 0.02)[0]:
                            said += connection.recv(65536)
                    connection.shutdown(socket.SHUT_WR)
                    while more := connection.recv(65536):
                        said += more
            except TimeoutError:
                return f"stream {n}: no end after {said[-200:]!r}"
            except OSError:
                said = said[: said.rfind(b"\r\n") + 2]  # the daemon closed on us; what it said may be cut
            octets = b"".join(pieces)
            if not said.startswith(b"220") and said:
                return f"stream {n}: greeting {said[:100]!r}"
            wrong = badly_formed(said)
            return wrong and f"stream {n} {octets[:300]!r}: {wrong}"

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            wrong = [found for found in pool.map(one, range(STREAMS)) if found]
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of {STREAMS}")
        self.finish(relay)

    def test_replies(self):
        """Hostile exchangers, many sites so that the back-off of one does not end the test."""
        sites = 400
        port = harness.free_port()
        lines = []
        for n in range(sites):
            lines += [f"d{n} MX 10 mx{n}", f"mx{n} A 127.1.{n // 200}.{n % 200 + 1}"]
        dns = harness.NameServer(self.folder / "dns", lines)
        lock, mutated = threading.Lock(), [0]

        def script(verb, argument, state):
            with lock:
                rng = state.setdefault("rng", random.Random(f"{self.seed}/{mutated[0]}"))
                if rng.random() > 0.3:
                    return None
                mutated[0] += 1
            good = rng.choice([
                b"250 2.0.0 Ok\r\n", b"250-a.example\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250 8BITMIME\r\n",
                b"354 go on\r\n", b"220 mx ESMTP\r\n", b"450 4.2.1 later\r\n", b"550 5.1.1 no\r\n", b"421 4.3.2 bye\r\n",
                b"250-one\r\n" * 150 + b"250 end\r\n", b"250 " + b"x" * 20_000 + b"\r\n", b"250-one\r\n550 two\r\n", b"250\r\n",
                b"25\r\n", b"999 what\r\n", b"", b"\r\n", b"250 ok\n", b"-250 ok\r\n", rng.randbytes(200), b"552 5.2.2 full\r\n",
            ])
            return mutate(rng, good, rng.randrange(4))

        sink = smtp.Sink(port, "0.0.0.0", script, keep=False)
        relay = self.start(
            resolver=f'servers = ["127.0.0.1:{dns.port}"]',
            delivery=f'port = {port}\nconnect_timeout = "5s"\ncommand_timeout = "2s"\ndata_timeout = "2s"',
            queue='retry = ["1s"]\nexpire = "1h"\ndelay_warning = "0s"',
            extra=f"""
                [[domain]]
                name = "office.test.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
            """)
        stopped = threading.Event()

        def feed():
            rng = random.Random(self.seed)
            with smtp.Client(relay.mx) as client:
                while not stopped.is_set():
                    if relay_backlog() > 3 * sites:
                        stopped.wait(0.2)
                        continue
                    for n in range(sites):
                        recipients = [f"r{k}@d{n}.example" for k in range(rng.randrange(1, 5))]
                        reply = client.send("sender@office.test.example", recipients, b"Subject: x\r\n\r\n.dot\r\n" * rng.randrange(1, 500))
                        if reply[0] != 250:
                            raise AssertionError(reply)

        def relay_backlog():
            return relay.queued()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        harness.wait_for(f"{STREAMS} mutated replies", lambda: mutated[0] >= STREAMS or not relay.program.running(), 400, every=0.5)
        self.assertTrue(relay.program.running())
        self.assertTrue(feeder.is_alive())
        stopped.set()
        feeder.join(30)
        print(f"{mutated[0]} mutated replies on {sink.connections} connections", end=" ")
        sink.stop()
        self.finish(relay)

    def test_codes(self):
        relay = self.start(
            limits='errors = 20\nrecipients = 100\nhops = 100\nmessage_size = "1MiB"',
            extra=f"""
                [[domain]]
                name = "local.test.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
                recipients = ["known", "postmaster"]
                [[route]]
                match = "*"
                next_hop = "discard:"
            """)
        ehlo, mail, rcpt = "EHLO client.test.example", "MAIL FROM:<s@client.test.example>", "RCPT TO:<r@away.example>"
        # Commands that must be taken; then one, and the start of its reply.
        table = [
            ([], mail, "503 5.5.1"),
            ([], rcpt, "503 5.5.1"),
            ([], "EHLO", "501 5.5."),
            ([ehlo], "NONSENSE", "500 5.5.2"),
            ([ehlo], "", "500 5.5.2"),
            ([ehlo], rcpt, "503 5.5.1"),
            ([ehlo], "DATA", "503 5.5.1"),
            ([ehlo, mail], "DATA", "503 5.5.1"),
            ([ehlo, mail], mail, "503 5.5.1"),
            ([ehlo], "MAIL FROM:s@client.test.example", "501 5.5.4"),
            ([ehlo], "MAIL FROM: <s@client.test.example>", "250"),
            ([ehlo], "MAIL FROM:<s@client.test.example> NOSUCH=1", "555 5.5.4"),
            ([ehlo], "MAIL FROM:<s@client.test.example> SIZE=many", "501 5.5.4"),
            ([ehlo], "MAIL FROM:<s@client.test.example> SIZE=2000000", "552 5.3.4"),
            ([ehlo], "MAIL FROM:<s@client.test.example> BODY=9BIT", "501 5.5.4"),
            ([ehlo], "MAIL FROM:<s@@client.test.example>", "501 5.1.7"),
            ([ehlo], "MAIL FROM:<>", "250"),
            ([ehlo], "MAIL FROM:<ü@client.test.example>", "553 5.6.7"),
            ([ehlo, mail], "RCPT TO:<r@>", "501 5.1.3"),
            ([ehlo, mail], "RCPT TO:<Postmaster>", "250"),
            ([ehlo, mail], "RCPT TO:<@one.example:r@away.example>", "250"),
            ([ehlo, mail], 'RCPT TO:<"a b"@away.example>', "250"),
            ([ehlo, mail], "RCPT TO:<nobody@local.test.example>", "550 5.1.1"),
            ([ehlo, mail], "RCPT TO:<KNOWN@Local.Test.Example>", "250"),
            ([ehlo], "STARTTLS", "502 5.5.1"),
            ([ehlo], "AUTH PLAIN AGEAYg==", "502 5.5.1"),
            ([ehlo], "VRFY known", "252 2.0.0"),
            ([ehlo], "NOOP at all", "250"),
            ([ehlo], "RSET", "250"),
            ([ehlo], "HELP", "214"),
            ([ehlo], "EXPN list", "502 5.5.1"),
            ([ehlo], "QUIT", "221 2.0.0"),
            ([ehlo], "NOOP " + "x" * 20_000, "500 5.5.2"),
            ([ehlo], "NO\0OP", "501 5.5.2"),
            ([], "GET / HTTP/1.1", "554 5.5.0"),
            ([], "\x16\x03\x01\x02", "554 5.5.0"),
        ]
        wrong = []

        def check(what, want, got):
            said = f"{got[0]} {got[1]}"
            if not said.startswith(want):
                wrong.append(f"{what!r:.100}: want {want}, got {said}")

        for before, command, want in table:
            client = smtp.Client(relay.mx, greet=False)
            client.reply()
            for line in before:
                client.expect(250, line)
            check(command, want, client.command(command))
            client.close()

        def content(octets, want):
            with smtp.Client(relay.mx) as client:
                check(octets, want, client.send("s@client.test.example", "r@away.example", octets))

        content(b"Subject: NUL\r\n\r\n\0\r\n", "554 5.6.0")
        content(b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 101 + b"\r\n", "554 5.4.6")
        content(b"x" * 2_000_000, "552 5.3.4")

        with smtp.Client(relay.mx) as client:
            client.expect(250, mail)
            for n in range(100):
                client.expect(250, f"RCPT TO:<r{n}@away.example>")
            check("the 101st recipient", "452 4.5.3", client.command("RCPT TO:<r100@away.example>"))
        with smtp.Client(relay.mx) as client:
            replies = []
            try:
                while len(replies) < 25:
                    replies.append(client.command("NONSENSE")[0])
            except (ConnectionError, OSError):
                pass
            check("20 errors", "421", (replies[-1], ""))
            if not 18 <= len(replies) <= 22:
                wrong.append(f"421 came after {len(replies)} errors")
        self.assertEqual(wrong, [])
        self.finish(relay)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    harness.main()
