"""STARTTLS with chosen segments: commands in clear where they do not belong, records cut at will, and what of a session
in clear is left under TLS (NO STARTTLS, USENIX Security 2021; CVE-2011-0411; RFC 3207 4.2, 6).
"""
import contextlib
import re
import socket
import ssl
import subprocess

import harness
import tls


class Wire:
    """A client that chooses what stands in each segment: in clear, TLS records, or both."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clear, self.incoming, self.outgoing = b"", ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls, self.secured = tls.any_certificate().wrap_bio(self.incoming, self.outgoing), False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def say(self, octets):
        """Under TLS, a record of its own; what is in clear before that."""
        if self.secured:
            self.tls.write(octets)
            octets = self.outgoing.read()
        self.send(octets)

    def hear(self, count=1):
        """The codes of so many replies, with their enhanced codes: "250 2.0.0"."""
        found = []
        while len(found) < count:
            while not re.search(rb"^\d{3}(?: .*)?\r\n", self.clear, re.M):
                octets = self.receive()
                if not octets:
                    return ", ".join([*found, "closed"])
                self.clear += octets
            end = re.search(rb"^\d{3}(?: .*)?\r\n", self.clear, re.M).end()
            self.reply, self.clear = self.clear[:end], self.clear[end:]
            found.append(re.search(rb"^(\d{3}(?: \d\.\d+\.\d+)?)", self.reply.splitlines()[-1])[1].decode())
        return ", ".join(found)

    def receive(self):
        while True:
            if self.secured:
                try:
                    return self.tls.read(65536)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    return b""
            try:
                octets = self.socket.recv(65536)
            except ConnectionResetError:
                octets = b""
            if not self.secured or not octets:
                return octets
            self.incoming.write(octets)

    def ask(self, line):
        self.say(line.encode() + b"\r\n")
        return self.hear()

    def rest(self):
        """All that still comes, as it is on the wire."""
        heard = self.clear
        with contextlib.suppress(ConnectionResetError):
            while octets := self.socket.recv(65536):
                heard += octets
        return heard

    def client_hello(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def secure(self, behind=b""):
        """The handshake; `behind` goes out under TLS in the segment with its last octets."""
        self.send(self.client_hello())
        while not self.secured:
            octets, self.clear = self.clear or self.socket.recv(65536), b""
            self.incoming.write(octets)
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                self.secured = True
            if self.secured and behind:
                self.tls.write(behind)
            self.send(self.outgoing.read())
        return self


class Starttls(tls.WithTls):
    def test_injected(self):
        """Commands in clear around STARTTLS, in one segment and in several, before and within the handshake: none is
        answered, none is taken for the client's own (CVE-2011-0411, RFC 3207 6)."""
        relay = self.relay(limits='handshake_timeout = "5s"')
        evil = b"MAIL FROM:<evil@a.example>\r\n"
        for greeted in (False, True):
            for behind in (evil, b"EHLO evil.example\r\n", b"QUIT\r\n", b"\r\n", b"\n", b"x", b"\0", None):
                with Wire(relay.mx) as peer:
                    self.assertEqual(peer.hear(), "220")
                    if greeted:
                        self.assertEqual(peer.ask("EHLO c.example"), "250")
                    peer.send(b"STARTTLS\r\n" + (peer.client_hello() if behind is None else behind))
                    self.assertEqual(peer.hear(2), "421 4.7.0, closed", behind)
        with Wire(relay.mx) as peer:
            peer.hear()
            peer.send(b"EHLO c.example\r\nSTARTTLS\r\n" + evil)
            self.assertEqual(peer.hear(2), "554 5.5.0, closed")
        with Wire(relay.mx) as peer:
            peer.hear()
            peer.ask("EHLO c.example")
            peer.send(b"STARTTLS now\r\n" + evil + b"RSET\r\n")
            self.assertEqual(peer.hear(3), "501 5.5.4, 250 2.1.0, 250 2.0.0", "no STARTTLS: what follows is said in clear")

        # After the 220: before, within and behind the ClientHello, together and apart.
        places = {"before": lambda hello: [evil, hello], "within": lambda hello: [hello[:100], evil, hello[100:]],
                  "behind": lambda hello: [hello, evil], "between octets": lambda hello: [hello[:1], evil, hello[1:]]}
        for place, pieces in places.items():
            for together in (True, False):
                with Wire(relay.mx) as peer:
                    peer.hear()
                    peer.ask("EHLO c.example")
                    self.assertEqual(peer.ask("STARTTLS"), "220 2.0.0")
                    parts = pieces(peer.client_hello())
                    with contextlib.suppress(OSError):  # it may have hung up already
                        for part in [b"".join(parts)] if together else parts:
                            peer.send(part)
                    heard = peer.rest()
                    self.assertNotRegex(heard, rb"[2-5]\d\d [2-5]\.", place)
                    self.assertIn(heard[:1], (b"", b"\x15", b"\x16"), "an alert or a ServerHello")
        self.assertEqual(relay.log_text().count("from=<evil@a.example>"), 0)
        self.assertEqual(relay.queued(), 0)

    def test_records(self):
        """What is said under TLS is heard however it is cut: in the last segment of the handshake, several commands in a
        record, a command in several. And nothing is said that was not asked for."""
        relay = self.relay()
        with Wire(relay.mx) as peer:
            peer.hear()
            peer.ask("EHLO c.example")
            peer.send(b"NOOP\r\nRSET\r\nSTARTTLS\r\n")
            self.assertEqual(peer.hear(3), "250 2.0.0, 250 2.0.0, 220 2.0.0")
            self.assertEqual(peer.clear, b"")
            peer.secure(behind=b"NOOP\r\nHELP\r\nEHLO c.example\r\n")
            self.assertEqual(peer.hear(3), "250 2.0.0, 214 2.0.0, 250")
            self.assertEqual(peer.clear, b"", "no second greeting")
            peer.say(b"MAIL FROM:<s@a.example>\r\nRCPT TO:<r@b.example>\r\nDATA\r\n")
            self.assertEqual(peer.hear(3), "250 2.1.0, 250 2.1.5, 354")
            message = b"Subject: pieces\r\n\r\nSTARTTLS\r\n.\r\n"
            for at in range(len(message)):
                peer.say(message[at:at + 1])
            self.assertEqual(peer.hear(), "250 2.0.0")
            for part in (b"QU", b"IT\r", b"\n"):
                peer.say(part)
            self.assertEqual(peer.hear(2), "221 2.0.0, closed")

    def test_starttls_state(self):
        """STARTTLS twice, under implicit TLS, within a transaction, after a login: nothing said in clear is known after it
        (RFC 3207 4.2), and what is open under TLS stays open."""
        users = self.folder / "users"
        relay = self.relay(auth=f'users = "{users}"\nrequire_tls = false', relay='networks = []')
        subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", "ann"], input="secret\n", text=True,
                       check=True, capture_output=True)
        login = "AUTH PLAIN AGFubgBzZWNyZXQ="  # ann, secret
        mail, rcpt = "MAIL FROM:<s@a.example>", "RCPT TO:<r@b.example>"
        for opened in ([], [mail], [mail, rcpt], [mail, rcpt, "BDAT 2\r\n"]):  # whose two octets are the end of the line
            with Wire(relay.submission) as peer:
                self.assertEqual(peer.hear(), "220")
                self.assertEqual(peer.ask("EHLO clear.example"), "250")
                self.assertEqual(peer.ask(login), "235 2.7.0")
                for line in opened:
                    self.assertRegex(peer.ask(line), "^250")
                self.assertEqual(peer.ask("STARTTLS"), "220 2.0.0")
                peer.secure()
                for line in ("DATA", "BDAT 0 LAST", rcpt, mail, login):
                    self.assertEqual(peer.ask(line), "503 5.5.1", line)
                self.assertEqual(peer.ask("STARTTLS"), "503 5.5.1")
                self.assertEqual(peer.ask("EHLO tls.example"), "250")
                self.assertNotIn(b"STARTTLS", peer.reply)
                self.assertEqual(peer.ask(mail), "530 5.7.0", "nobody has logged in")
                self.assertEqual(peer.ask(login), "235 2.7.0")
                for line in (mail, rcpt):
                    self.assertRegex(peer.ask(line), "^250")
                self.assertEqual(peer.ask("STARTTLS"), "503 5.5.1")
                self.assertEqual(peer.ask("DATA"), "354")
                self.assertEqual(peer.ask("Subject: hello\r\n\r\ntext\r\n."), "250 2.0.0")
        with Wire(self.smtps) as peer:
            peer.secure()
            self.assertEqual(peer.hear(), "220")
            self.assertEqual(peer.ask("EHLO tls.example"), "250")
            self.assertNotIn(b"STARTTLS", peer.reply)
            self.assertEqual(peer.ask("STARTTLS"), "503 5.5.1")
            self.assertEqual(peer.ask("NOOP"), "250 2.0.0")
        harness.wait_for("four messages", lambda: len(relay.delivered("b.example", "r")) == 4, 20)
        for message in relay.delivered("b.example", "r"):
            self.assertRegex(message, rb"Received: from tls\.example [^;]*\swith ESMTPSA id ")
            self.assertNotIn(b"clear.example", message)


if __name__ == "__main__":
    harness.main()
