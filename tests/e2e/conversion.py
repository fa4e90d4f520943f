"""8-bit and binary content on its way to hosts with and without 8BITMIME, BINARYMIME and CHUNKING, and to a Maildir: what
a mail reader decodes is what was sent.
"""
import email
import email.policy
import os
import random
import smtplib

import harness
import smtp

PLAIN, FULL = "127.0.0.71", "127.0.0.72"
RNG = random.Random(int(os.environ.get("E2E_SEED", 4)))


def text_part(encoding="8bit"):
    lines = "".join(RNG.choice(["grüße\r\n", ".dot\r\n", "From x\r\n", "trailing \r\n", "=3D = sign\r\n", "-- \r\n", "\r\n"])
                    for _ in range(40))
    return (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" +
            lines.encode() + "ü\r\n".encode())


def data_part(encoding="binary", size=3000):
    return (b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: " + encoding.encode() + b"\r\n\r\n" +
            RNG.randbytes(size) + b"\r\n")


def message(parts, subject):
    head = b"From: s@client.test.example\r\nSubject: " + subject.encode() + b"\r\nMIME-Version: 1.0\r\n"
    if len(parts) == 1:
        return head + parts[0]
    return (head + b"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n" +
            b"".join(b"--=_b\r\n" + part + b"\r\n" for part in parts) + b"--=_b--\r\n")


def leaves(octets):
    """What a reader gets of each part. Line ends of text are the machine's."""
    found = []
    for part in email.message_from_bytes(octets, policy=email.policy.default).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            if part.get_content_maintype() == "text":
                payload = payload.replace(b"\r\n", b"\n").rstrip(b"\n")
            found.append((part.get_content_type(), payload))
    return found


class Conversion(harness.TestCase):
    def start(self, *extensions):
        port = harness.free_port()
        self.plain = smtp.Sink(port, PLAIN)
        self.plain.extensions = [b"SIZE 0", b"PIPELINING"]
        self.full = smtp.Sink(port, FULL)
        self.full.extensions = [*smtp.Sink.extensions, *extensions]
        self.addCleanup(self.plain.stop)
        self.addCleanup(self.full.stop)
        self.relay = self.waypost(extra=f"""
            [[route]]
            match = "plain.example"
            next_hop = "smtp:[{PLAIN}]:{port}"
            [[route]]
            match = "full.example"
            next_hop = "smtp:[{FULL}]:{port}"
            [[domain]]
            name = "here.example"
            deliver = "maildir:{self.folder}/mail/{{local}}"
        """).start()

    def submit(self, octets, *recipients, body="8BITMIME"):
        with smtplib.SMTP("127.0.0.1", self.relay.mx, local_hostname="client.test.example") as client:
            client.ehlo()
            for feature in ("chunking", "binarymime", "8bitmime"):
                self.assertTrue(client.has_extn(feature))
            self.assertEqual(client.mail("s@client.test.example", ["BODY=" + body])[0], 250)
            for recipient in recipients:
                self.assertEqual(client.rcpt(recipient)[0], 250)
            half = len(octets) // 2
            for command, chunk in ((f"BDAT {half}", octets[:half]), (f"BDAT {len(octets) - half} LAST", octets[half:])):
                client.sock.sendall(command.encode() + b"\r\n" + chunk)
                self.assertEqual(client.getreply()[0], 250)

    def took(self, sink):
        return harness.wait_for("a message", lambda: sink.messages and sink.messages.pop(), 20).content

    def test_eight_bit(self):
        self.start(b"CHUNKING")
        for number in range(30):
            original = message([text_part(RNG.choice(["8bit", "binary"])) for _ in range(RNG.choice([1, 2, 4]))], f"n {number}")
            if number % 10 == 0:
                original += b"x" * 70 + b"\r\n" + (b"more than is kept in the row\r\n" * 4000)
            self.submit(original, "r@plain.example", "r@full.example")
            plain = self.took(self.plain)
            self.assertTrue(plain.isascii())
            self.assertTrue(all(len(line) <= 998 for line in plain.split(b"\r\n")))
            self.assertEqual(leaves(plain), leaves(original))
            full = self.took(self.full)
            self.assertTrue(full.endswith(original), "sent as it came")

    def test_binary(self):
        """By BDAT with BINARYMIME octet for octet; to the others, and to a Maildir, converted."""
        self.start(b"CHUNKING", b"BINARYMIME")
        for number in range(20):
            size = RNG.choice([57, 3000, 200_000])
            original = message([text_part(), data_part(size=size)][:RNG.choice([1, 2])] + [data_part()], f"n {number}")
            self.submit(original, "r@plain.example", "r@full.example", f"r{number}@here.example", body="BINARYMIME")
            self.assertTrue(self.took(self.full).endswith(original), "sent as it came")
            plain = self.took(self.plain)
            self.assertTrue(plain.isascii())
            self.assertEqual(leaves(plain), leaves(original))
            local = harness.wait_for("the Maildir", lambda: list((self.folder / "mail" / f"r{number}" / "new").glob("*")), 20)
            self.assertEqual(leaves(local[0].read_bytes()), leaves(original))

    def test_signed(self):
        """What a signature covers is not touched: it comes back, unless the host takes it."""
        self.start()
        signed = message([text_part()], "signed").replace(
            b"Content-Type: text/plain", b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\nContent-Type: text/plain", 1)
        signed += b"--s\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n"
        with smtplib.SMTP("127.0.0.1", self.relay.mx) as client:
            client.sendmail("back@here.example", ["r@plain.example", "r@full.example"], signed, ["BODY=8BITMIME"])
        self.assertTrue(self.took(self.full).endswith(signed))
        report = harness.wait_for("the report", lambda: list((self.folder / "mail/back/new").glob("*")), 20)
        self.assertIn(b"Status: 5.6.3", report[0].read_bytes())
        self.assertEqual(self.plain.messages, [])


if __name__ == "__main__":
    harness.main()
