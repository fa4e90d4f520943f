"""TLS on the way out: what a host offers, shows and breaks against what policy wants. Servers that keep every octet they
were told in clear, and Postfix and Exim with certificates (RELIABILITY F41)."""
import json
import os
import re
import unittest

import harness
import peers
import smtp
import tls
import tls_sink
from tls_sink import TlsSink

STRICT = ("encrypt", "verify", "fingerprint")
BROKEN = ("454", "close", "rubbish", "old")


class TlsOut(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.authority = tls_sink.Authority(self.folder)
        self.right = self.authority.certificate("mx.b.example")

    def sink(self, how="good", pem=None, **options):
        """A server; "old" speaks TLS 1.0 alone."""
        context = tls_sink.server(pem or self.right, old=how == "old")
        sink = TlsSink(harness.free_port(), context, "good" if how == "old" else how, **options)
        self.addCleanup(sink.stop)
        return sink

    def relay(self, routes, delivery="", name="waypost", **sections):
        """`routes`: of lines of a [[route]] each."""
        sections.setdefault("queue", 'retry = ["1s"]')
        extra = "\n".join(f"[[route]]\n{route}" for route in routes)
        return self.waypost(name, tls=f'ca = "{self.authority.pem}"', delivery=delivery, extra=extra, **sections).start()

    def send(self, relay, *recipients):
        """The queue id."""
        with smtp.Client(relay.mx) as client:
            code, text = client.send("s@a.example", recipients, b"Subject: secret\r\n\r\ntext\r\n")
            self.assertEqual(code, 250, text)
            return re.search(r"queued as (\w+)", text)[1]

    def line(self, relay, recipient, status):
        """The last line of an attempt, once there is one with that status."""
        pattern = rf"^.* to=<{re.escape(recipient)}>, .* status={status} .*$"
        return harness.wait_for(f"{status} of {recipient}", lambda: re.findall(pattern, relay.log_text(), re.M), 30)[-1]

    def route(self, sink, match, tls, more=""):
        return f'match = "{match}"\nnext_hop = "smtp:[127.0.0.1]:{sink.port}"\ntls = "{tls}"\n{more}'

    def assert_no_mail_in_clear(self, sink):
        """EHLO, STARTTLS and QUIT are all that was ever said."""
        said = bytes(sink.clear).decode("latin-1").split("\r\n")
        self.assertLessEqual(set(said), {"EHLO relay.test.example", "STARTTLS", "QUIT", ""}, said)
        self.assertEqual(sink.messages, [])

    def test_opportunistic_takes_any_certificate(self):
        pem = self.folder / "self.pem"
        tls.make_pair(pem, "other.example")
        sink = self.sink(pem=pem)
        relay = self.relay([f'match = "*"\nnext_hop = "smtp:[127.0.0.1]:{sink.port}"'])
        queue_id = self.send(relay, "r@b.example")
        evidence = ("TLSv1.3/TLS_AES_256_GCM_SHA384/256 untrusted: self-signed certificate; opportunistic by delivery.tls; "
                    "for other.example")
        line = self.line(relay, "r@b.example", "sent")
        self.assertRegex(line, r" to=<r@b\.example>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, delay=[\d.]+, dsn=2\.0\.0, "
                               r"status=sent \(250 2\.0\.0 Ok: taken\), tls=" + re.escape(evidence) + "$")
        self.assertNotIn(b"MAIL", sink.clear)
        self.assertEqual(len(sink.messages), 1)
        self.assertEqual(sink.names, [None])  # no name in SNI where the host is an address
        relay.wait_empty(10)
        self.assertIn("tls " + evidence, relay.tool("trace", queue_id).stdout)
        events = [json.loads(row) for row in relay.tool("trace", queue_id, "--json").stdout.splitlines()]
        self.assertEqual([event["tls"] for event in events if event["event"] == "relayed"], [evidence])

        host = json.loads(relay.tool("probe", "b.example", "--json").stdout)["hosts"][0]
        self.assertEqual(host["tls"], evidence)
        self.assertEqual(host["certificate"]["names"], ["other.example"])
        self.assertEqual(host["certificate"]["issuer"], "CN=other.example")
        self.assertLess(host["certificate"]["not_before"], host["certificate"]["not_after"])
        self.assertEqual(len(sink.messages), 1)

    def test_opportunistic_falls_back_and_remembers(self):
        sinks = {how: self.sink(how) for how in (*BROKEN, "stall")}
        relay = self.relay([f'match = "{how}.example"\nnext_hop = "smtp:[127.0.0.1]:{sink.port}"'
                            for how, sink in sinks.items()], delivery='command_timeout = "2s"')
        for how, sink in sinks.items():
            with self.subTest(how=how):
                self.send(relay, f"r@{how}.example")
                self.assertRegex(self.line(relay, f"r@{how}.example", "sent"),
                                 "tls=none: handshakes have failed before; opportunistic by delivery.tls$")
                self.assertEqual(sink.connections, 2)
                self.assertEqual(bytes(sink.clear).count(b"STARTTLS"), 1)
                host = json.loads(relay.tool("probe", f"{how}.example", "--json").stdout)["hosts"][0]
                self.assertTrue(host["ready"])
                self.assertEqual(host["tls"], "none: handshakes have failed before; opportunistic by delivery.tls")
                self.assertEqual([line["text"] for line in host["dialogue"] if line["voice"] == ">"][-1], "QUIT")
                sink.clear.clear()
                self.send(relay, f"again@{how}.example")
                self.line(relay, f"again@{how}.example", "sent")
                self.assertEqual(bytes(sink.clear).count(b"STARTTLS"), 0)
                relay.logged(rf"TLS failed, mail goes there in clear: relay=\S+:{sink.port}, seconds=259200 \(")
        self.assertNotIn("status=deferred", relay.log_text())

    def test_the_second_failure_falls_back_where_tls_retry_says_so(self):
        sink = self.sink("close")
        relay = self.relay([f'match = "*"\nnext_hop = "smtp:[127.0.0.1]:{sink.port}"'], delivery="tls_retry = 2")
        self.send(relay, "r@b.example")
        self.assertIn("dsn=4.7.5, status=deferred (lost connection while shaking hands for TLS), tls=none: handshake "
                      "failed; opportunistic by delivery.tls", self.line(relay, "r@b.example", "deferred"))
        self.line(relay, "r@b.example", "sent")
        self.assertEqual(sink.connections, 3)

    def test_what_policy_forbids_never_goes_in_clear(self):
        """Each way of having no TLS, or too little of it, under each policy that wants it."""
        own = self.folder / "self.pem"
        tls.make_pair(own, "mx.b.example")
        wrong = self.authority.certificate("mx.evil.example")
        print_of = tls_sink.fingerprint(self.right)
        more = {"encrypt": "", "verify": 'tls_names = ["*.b.example"]',
                "fingerprint": f'tls_fingerprints = ["sha256:{print_of}"]'}
        cases = [(level, how, None, status) for level in STRICT
                 for how, status in [("none", "4.7.4"), ("inject", "4.7.0"), ("454", "4.7.0"), ("close", "4.7.5"),
                                     ("rubbish", "4.7.5"), ("old", "4.7.5"), ("stall", "4.7.5")]]
        cases += [("verify", "good", own, "4.7.5"), ("verify", "good", wrong, "4.7.5"), ("fingerprint", "good", own, "4.7.5"),
                  ("fingerprint", "good", wrong, "4.7.5")]
        sinks = [self.sink(how, pem) for _, how, pem, _ in cases]
        relay = self.relay([self.route(sink, f"d{i}.example", level, more[level])
                            for i, (sink, (level, *_)) in enumerate(zip(sinks, cases))], delivery='command_timeout = "2s"')
        self.send(relay, *(f"r@d{i}.example" for i in range(len(cases))))
        for i, (level, how, pem, status) in enumerate(cases):
            with self.subTest(level=level, how=how, pem=pem and pem.name):
                line = self.line(relay, f"r@d{i}.example", "deferred")
                self.assertIn(f"dsn={status}, ", line)
                self.assertIn(f"; {level} by route {i + 1}", line)
        # Twice and more each: no later attempt lowers what is wanted.
        for i, sink in enumerate(sinks):
            harness.wait_for(f"another try at {cases[i]}", lambda: sink.connections >= 3, 60)
            with self.subTest(case=cases[i]):
                self.assert_no_mail_in_clear(sink)
        self.assertEqual(relay.queued(), 1)
        self.assertNotRegex(relay.log_text(), "status=(sent|bounced)")

    def test_what_policy_wants(self):
        """Verified by a name that is given, by the host in brackets and by the domain of MX; by a fingerprint; encrypted."""
        own = self.folder / "self.pem"
        tls.make_pair(own, "nobody.example")
        port = harness.free_port()
        dns = harness.NameServer(self.folder / "dns", ["b MX 10 mx.b", "mx.b A 127.0.0.2", "shared MX 10 mx.b"])
        by_mx = TlsSink(port, tls_sink.server(self.right), address="127.0.0.2")
        self.addCleanup(by_mx.stop)
        pinned, encrypted = self.sink(pem=own), self.sink(pem=own)
        implicit = self.sink(implicit=True)
        relay = self.relay([
            'match = "b.example"\ntls = "verify"',
            'match = "shared.example"\ntls = "verify"',
            f'match = "host.example"\nnext_hop = "smtp:[mx.b.example]:{port}"\ntls = "verify"',
            self.route(pinned, "pinned.example", "fingerprint",
                       f'tls_fingerprints = ["sha256:{"0" * 64}", "sha256:{tls_sink.fingerprint(own)}"]'),
            self.route(encrypted, "encrypted.example", "encrypt"),
            f'match = "implicit.example"\nnext_hop = "smtps:[127.0.0.1]:{implicit.port}"\ntls = "verify"\n'
            'tls_names = ["mx.b.example"]',
        ], delivery=f"port = {port}", resolver=f'servers = ["127.0.0.1:{dns.port}"]')
        wants = {"b": "verified; verify by route 1; for mx.b.example",
                 "host": "verified; verify by route 3; for mx.b.example",
                 "pinned": "fingerprint matched; fingerprint by route 4; for nobody.example",
                 "encrypted": "untrusted: self-signed certificate; encrypt by route 5; for nobody.example",
                 "implicit": "verified; verify by route 6; for mx.b.example"}
        self.send(relay, "r@shared.example", *(f"r@{name}.example" for name in wants))
        for name, want in wants.items():
            with self.subTest(name):
                self.assertTrue(self.line(relay, f"r@{name}.example", "sent").endswith(want))
        # Its exchanger is verified for b.example, over a session of its own: the DNS alone says that it is shared's.
        line = self.line(relay, "r@shared.example", "deferred")
        self.assertIn("dsn=4.7.5, ", line)
        self.assertIn("it is for mx.b.example", line)
        for sink in (by_mx, pinned, encrypted, implicit):
            self.assertNotIn(b"MAIL", sink.clear)
        self.assertEqual(sorted(one.recipients for one in by_mx.messages), [["r@b.example"], ["r@host.example"]])
        self.assertEqual(set(by_mx.names), {"mx.b.example"})
        self.assertEqual(bytes(implicit.clear), b"")

    def test_recipients_are_asked_for_by_the_same_policy(self):
        sinks = {"good": self.sink(), "none": self.sink("none"), "inject": self.sink("inject")}
        blocks = "".join(f"""
            [[domain]]
            name = "{how}.example"
            deliver = "smtp:[127.0.0.1]:{sink.port}"
            recipients = "ask"
            tls = "encrypt"
        """ for how, sink in sinks.items())
        relay = self.waypost(extra=blocks).start()
        with smtp.Client(relay.mx) as client:
            client.expect(250, "MAIL FROM:<s@a.example>")
            client.expect(250, "RCPT TO:<r@good.example>")
            client.expect(451, "RCPT TO:<r@none.example>")
            client.expect(451, "RCPT TO:<r@inject.example>")
        # Opportunistic, as it is without a word: who stalls in the handshake is asked in clear, and within the time for it.
        stalling = self.sink("stall")
        other = self.waypost("other", extra=f"""
            [[domain]]
            name = "stall.example"
            deliver = "smtp:[127.0.0.1]:{stalling.port}"
            recipients = "ask"
        """).start()
        with smtp.Client(other.mx) as client:
            client.expect(250, "MAIL FROM:<s@a.example>")
            client.expect(250, "RCPT TO:<r@stall.example>")
        self.assertIn(b"RCPT TO:<r@stall.example>", stalling.clear)
        relay.logged(r"TLS policy wants TLS, encrypt by domain none\.example: not offered")
        for sink in sinks.values():
            self.assert_no_mail_in_clear(sink)

    @unittest.skipUnless(os.getuid() == 0, "the other servers start as root")
    def test_real_servers(self):
        """Not OpenSMTPD: Debian's, with OpenSSL 3, fails in the handshake with whoever comes (alert 80)."""
        pem = self.authority.certificate("mail.peer.example")
        pem.chmod(0o644)  # of Exim's user too
        for kind in (peers.Postfix, peers.Exim):
            with self.subTest(kind.__name__):
                sink = smtp.Sink(harness.free_port())
                self.addCleanup(sink.stop)
                peer = kind(self.folder / kind.__name__, sink.port, pem=pem).start()
                relay = self.relay([self.route(peer, "good.example", "verify", 'tls_names = ["mail.peer.example"]'),
                                    self.route(peer, "bad.example", "verify", 'tls_names = ["mail.other.example"]')],
                                   name=f"to-{kind.__name__}")
                self.send(relay, "r@good.example", "r@bad.example")
                self.assertRegex(self.line(relay, "r@good.example", "sent"),
                                 r"tls=TLSv1\.3/\S+ verified; verify by route 1; for mail\.peer\.example$")
                self.assertIn("hostname mismatch; it is for mail.peer.example",
                              self.line(relay, "r@bad.example", "deferred"))
                harness.wait_for("what it relays", lambda: sink.messages, 30)
                self.assertEqual([one.recipients for one in sink.messages], [["r@good.example"]])


if __name__ == "__main__":
    harness.main()
