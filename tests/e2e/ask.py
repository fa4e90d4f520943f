"""Recipients that the next hop is asked for: Dovecot by LMTP over both kinds of socket, and Postfix by SMTP. Known and
unknown ones, a next hop that is stopped and comes back, or is silent, and what reaches a mailbox in the end."""
import os
import threading
import time
import unittest

import harness
import lmtp
import postfix
import smtp

USERS = ["alice@b.example", "carol.x@b.example"]


class Ask(harness.TestCase):
    def relay(self, name, hop, more=""):
        return self.waypost(name, queue='retry = ["1s"]', extra=f"""
            [[domain]]
            name = "b.example"
            deliver = "{hop}"
            recipients = "ask"
            {more}
        """).start()

    def rcpt(self, relay, *addresses):
        """The replies to RCPT of one transaction."""
        with smtp.Client(relay.mx) as client:
            client.expect(250, "MAIL FROM:<s@a.example>")
            return [client.command(f"RCPT TO:<{address}>") for address in addresses]

    def codes(self, relay, *addresses):
        return [(code, text.split()[0]) for code, text in self.rcpt(relay, *addresses)]

    def kill(self, dovecot):
        """All its parts: they live in a namespace of processes, which ends with the first one."""
        dovecot.program.kill()
        harness.wait_for("Dovecot to be gone", lambda: not harness.listening("127.0.0.1", dovecot.port), 20)

    def asked_again(self, relay, address, want):
        """After the pause that follows a failure, which each thread keeps for itself."""
        harness.wait_for(f"{want} for {address}", lambda: self.codes(relay, address) == [want], 30, every=0.5)

    def test_dovecot(self):
        dovecot = lmtp.Dovecot(self.folder / "dovecot", {address: "" for address in USERS})
        aliases = self.folder / "aliases"
        aliases.write_text("info: alice\n")
        relays = {name: self.relay(name, hop, f'aliases = "{aliases}"')
                  for name, hop in (("socket", f"lmtp:{dovecot.socket}"), ("tcp", f"lmtp:127.0.0.1:{dovecot.port}"))}
        for name, relay in relays.items():
            with self.subTest(hop=name):
                self.assertEqual(self.codes(relay, "alice@b.example", "nobody@B.example", "info@b.example",
                                            "postmaster@b.example", "Carol.X@b.example", "alice@B.EXAMPLE"),
                                 [(250, "2.1.5"), (550, "5.1.1"), (250, "2.1.5"), (250, "2.1.5"), (250, "2.1.5"),
                                  (250, "2.1.5")])
                with smtp.Client(relay.mx) as client:
                    client.send("s@a.example", ["alice@b.example", "info@b.example"],
                                f"Subject: by {name}\r\n\r\ntext\r\n".encode())
                relay.wait_empty(30)
                self.assertIn(f"by {name}", dovecot.subjects("alice@b.example"))
                self.assertNotIn("status=bounced", relay.log_text())
        self.kill(dovecot)
        for name, relay in relays.items():
            with self.subTest(stopped=name):
                seen = relay.log.stat().st_size
                # What was said holds for a while; nobody is told that there is no such recipient who was not asked for.
                self.assertEqual(self.codes(relay, "alice@b.example", "nobody@b.example", "new@b.example",
                                            "info@b.example", "postmaster@b.example", "dave@b.example"),
                                 [(250, "2.1.5"), (550, "5.1.1"), (451, "4.3.0"), (250, "2.1.5"), (250, "2.1.5"),
                                  (451, "4.3.0")])
                trouble = "recipients cannot be asked for: "
                self.assertEqual(relay.logged(trouble, start=seen).count(trouble), 1)
        dovecot = lmtp.Dovecot(self.folder / "again", {address: "" for address in [*USERS, "new@b.example"]})
        for name, hop in (("socket", f"lmtp:{dovecot.socket}"), ("tcp", f"lmtp:127.0.0.1:{dovecot.port}")):
            with self.subTest(back=name):
                relay = relays[name]
                text = relay.config.read_text()
                old = text[text.index("lmtp:"):].split('"')[0]
                relay.config.write_text(text.replace(old, hop))
                relay.tool("reload")
                # Another next hop: what the one before said of its users is not its word.
                self.assertEqual(self.codes(relay, "new@b.example", "dave@b.example"), [(250, "2.1.5"), (550, "5.1.1")])

    @unittest.skipUnless(os.getuid() == 0, "Postfix needs root")
    def test_postfix(self):
        folder = self.folder / "postfix"
        server = postfix.Postfix(folder, "127.0.0.1", harness.free_port(), hold=True, extra=f"""
relay_domains = b.example
relay_recipient_maps = inline:{{ {" ".join(f"{{{address} = ok}}" for address in USERS)} }}
""")
        server.start()
        relay = self.relay("relay", f"smtp:[127.0.0.1]:{server.port}")
        self.assertEqual(self.codes(relay, "alice@b.example", "nobody@b.example", "postmaster@b.example"),
                         [(250, "2.1.5"), (550, "5.1.1"), (250, "2.1.5")])
        server.stop()
        harness.wait_for("it to be gone", lambda: not harness.listening("127.0.0.1", server.port), 20)
        self.assertEqual(self.codes(relay, "alice@b.example", "nobody@b.example", "carol.x@b.example"),
                         [(250, "2.1.5"), (550, "5.1.1"), (451, "4.3.0")])
        relay.logged(rf"recipients cannot be asked for: 127\.0\.0\.1\[127\.0\.0\.1\]:{server.port}: connection refused")
        server.start()
        self.asked_again(relay, "carol.x@b.example", (250, "2.1.5"))
        self.asked_again(relay, "other@b.example", (550, "5.1.1"))

    def test_a_session_of_many(self):
        """80 recipients in a group, of whom every second one exists: each is told apart, and nobody is asked for twice."""
        known = {f"u{i}@b.example" for i in range(0, 160, 2)}
        asked = []

        def script(verb, argument, _):
            if verb == "RCPT":
                asked.append(smtp.path(argument))
                return None if asked[-1] in known else b"550 5.1.1 no such user\r\n"
            return None

        sink = smtp.Sink(harness.free_port(), script=script)
        relay = self.relay("relay", f"smtp:[127.0.0.1]:{sink.port}")
        # Each client is sent away at its fiftieth unknown recipient.
        for first in (0, 80):
            with smtp.Client(relay.mx) as client:
                client.expect(250, "MAIL FROM:<s@a.example>")
                group = [f"u{i}@b.example" for i in range(first, first + 80)]
                client.socket.sendall("".join(f"RCPT TO:<{address}>\r\n" for address in group).encode())
                self.assertEqual([client.reply()[0] for _ in group], [250 if one in known else 550 for one in group])
        self.assertEqual(sorted(asked), sorted(f"u{i}@b.example" for i in range(160)))
        sink.stop()

    def test_a_stop_does_not_wait_for_a_silent_next_hop(self):
        asked, over = threading.Event(), threading.Event()
        self.addCleanup(over.set)

        def script(verb, _argument, _state):
            if verb == "RCPT":
                asked.set()
                over.wait(60)

        sink = smtp.Sink(harness.free_port(), script=script)
        relay = self.relay("relay", f"smtp:[127.0.0.1]:{sink.port}")
        client = smtp.Client(relay.mx)
        self.addCleanup(client.close)
        client.expect(250, "MAIL FROM:<s@a.example>")
        client.socket.sendall(b"RCPT TO:<alice@b.example>\r\n")
        self.assertTrue(asked.wait(20))
        began = time.monotonic()
        self.assertEqual(relay.stop(), 0)
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual([client.reply()[0] for _ in range(2)], [451, 421])
        sink.stop()


if __name__ == "__main__":
    harness.main()
