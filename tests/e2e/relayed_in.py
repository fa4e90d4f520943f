"""What other mail servers relay to us: Postfix, Exim, OpenSMTPD and sendmail send 1,000 messages each, over TLS, Exim by BDAT.
All of them are in the Maildir once, with the body that was given to the server."""
import collections
import concurrent.futures
import os
import random
import re
import time
import unittest

import harness
import peers
import samples
import smtp
import tls

MESSAGES, SESSIONS = 1000, 4


def line(kind, rng):
    """A line of a body, in one of several ways awkward."""
    if kind == "8-bit":
        return bytes(rng.randrange(128, 256) for _ in range(rng.randrange(1, 80)))
    if kind == "dots":
        return b"." * rng.randrange(1, 5) + rng.choice([b"", b" ", b"text"])
    if kind == "long":
        return bytes(rng.choice(b"abc. ") for _ in range(rng.choice([997, 998, 999, 1000, 2047, 2048, 2049, 12_000])))
    return rng.choice([b"", b" ", b"\t", b"From here", b">From there", b"QUIT", b"text ", b"=20=", "Grüße".encode(), b"x" * 76])


def bodies():
    """{number: body}, as it is given to a server: a few octets to 200 KB; a fifth of them lack the last CRLF."""
    rng = random.Random(17)
    found = {}
    for number in range(MESSAGES):
        kinds = ["8-bit", "dots", "plain", "plain"] + ["long"] * (number % 4 == 0)
        lines = [line(rng.choice(kinds), rng) for _ in range(rng.choice([0, 1, 2, 5, 20, 60]))]
        if number % 100 == 0:
            lines += [rng.randbytes(38).hex().encode()] * 2500
        found[number] = b"\r\n".join(lines) + (b"\r\n" if lines and number % 5 else b"")
    return found


@unittest.skipUnless(os.getuid() == 0, "the other servers start as root")
class RelayedIn(harness.TestCase):
    def through(self, kind):
        """The peer, when all that it was given has come and was compared."""
        pem = self.folder / "relay.pem"
        tls.make_pair(pem, "relay.test.example")
        relay = self.waypost(tls=f'certificate = "{pem}"\nkey = "{pem}"', relay="", extra=f"""
            [[domain]]
            name = "b.example"
            deliver = "maildir:{self.folder}/waypost/mail/{{domain}}"
        """).start()
        peer = kind(self.folder / kind.__name__, relay.mx, tls=True).start()
        sent = bodies()

        def session(first):
            with smtp.Client(peer.port) as client:
                for number in range(first, MESSAGES, SESSIONS):
                    head = f"From: <s@a.example>\r\nSubject: to be relayed\r\nX-Number: {number}\r\n\r\n".encode()
                    reply = client.send("s@a.example", f"r{number}@b.example", head + sent[number])
                    self.assertEqual(reply[0], 250, f"{peer.name}: message {number}: {reply}")

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(SESSIONS) as pool:
            list(pool.map(session, range(SESSIONS)))
        given = time.monotonic()
        new = self.folder / "waypost/mail/b.example/new"
        harness.wait_for("all messages", lambda: new.exists() and len(os.listdir(new)) >= MESSAGES, 120, every=0.2)
        relay.wait_empty(10)
        took = f"{given - began:.1f} s to give, {time.monotonic() - given:.1f} s more to come"

        count, wrong = collections.Counter(), []
        for message in relay.delivered("b.example", ""):
            head, _, body = message.partition(b"\n\n")
            number = int(re.search(rb"^X-Number: (\d+)$", head, re.M)[1])
            count[number] += 1
            if body != samples.as_kept(sent[number]).replace(b"\r\n", b"\n"):
                wrong.append(f"message {number}: {body[:300]!r} for {sent[number][:300]!r}")
            if not re.match(rb"(?:[^\n]+\n){2}Received: from \S+ \(unknown \[127\.0\.0\.1\]\)\n\t\(using TLSv1\.3 [^\n]+\)\n"
                            rb"\tby relay\.test\.example \(Waypost\) with ESMTPS id", head):
                wrong.append(f"message {number}: not by TLS: {head[:300]!r}")
        octets = sum(map(len, sent.values()))
        print(f"{peer.name}: {len(count)} messages in {octets} octets of bodies, {count.total() - len(count)} twice; "
              f"{len(wrong)} differ; {took}")
        self.assertEqual(wrong[:5], [])
        self.assertEqual(sorted(count.elements()), list(range(MESSAGES)))
        self.assertNotRegex(relay.log_text(), r"lost connection|timeout after|status=(bounced|deferred)")
        return peer

    def test_postfix(self):
        self.through(peers.Postfix)

    def test_exim(self):
        """Exim's log says K where it sent by BDAT."""
        peer = self.through(peers.Exim)
        sent = [entry for entry in peer.log.read_text().splitlines() if " => r" in entry]
        self.assertEqual(len(sent), MESSAGES)
        self.assertEqual([entry for entry in sent if not re.search(r" X=TLS1\.3:\S+ .*\bK C=", entry)], [])

    def test_opensmtpd(self):
        self.through(peers.OpenSmtpd)

    def test_sendmail(self):
        self.through(peers.Sendmail)


if __name__ == "__main__":
    harness.main()
