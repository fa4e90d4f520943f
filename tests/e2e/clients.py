"""Clients as the relay knows them: classes by network, certificate and login, each with what it may; who stands behind
HAProxy; and strangers whom a list in the DNS knows.
"""
import contextlib
import json
import smtplib
import ssl
import subprocess

import harness
from tls import any_certificate, make_pair

MESSAGE = "From: s@a.example\r\nSubject: hello\r\n\r\ntext\r\n"
PRINTER, STRANGER, SINK = "127.0.0.9", "127.0.0.11", "127.0.0.67"


def key_digest(pem):
    """The SHA-256 of the public key, as `openssl` makes it."""
    public = subprocess.run(["openssl", "x509", "-in", pem, "-pubkey", "-noout"], check=True, capture_output=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True, capture_output=True).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, check=True, capture_output=True).stdout
    return digest.decode().split()[0]


def send(client, sender, recipient="r@far.example"):
    """The first code that is none of success, or 250."""
    for code, _ in (client.mail(sender), client.rcpt(recipient)):
        if code != 250:
            client.rset()
            return code
    return client.data(MESSAGE)[0]


class Clients(harness.TestCase):
    def session(self, port, source="127.0.0.1", certificate=None):
        client = smtplib.SMTP("127.0.0.1", port, timeout=20, source_address=(source, 0))
        self.addCleanup(client.close)
        client.ehlo("client.test.example")
        if certificate is not None:
            context = any_certificate()
            if certificate:
                context.load_cert_chain(certificate)
            client.starttls(context=context)
            client.ehlo("client.test.example")
        return client

    def far(self):
        """Where the mail for far.example goes."""
        port = harness.free_port()
        self.sink = harness.SmtpSink(self.folder, SINK, port, self.folder / "sink")
        return f'[[route]]\nmatch = "far.example"\nnext_hop = "smtp:[{SINK}]:{port}"\n'

    def messages(self, count):
        """What the sink took, once it is so many and each is written to its end."""
        def texts():
            found = [path.read_text() for path in self.sink.dump.iterdir()]
            return found if len(found) == count and all("\ntext\n" in text for text in found) else None
        return harness.wait_for(f"{count} messages at the sink", texts, 30)

    def test_three_blocks(self):
        """Printers in a network with a daily limit, a branch office by certificate, staff by login."""
        pem, branch, other = (self.folder / f"{name}.pem" for name in ("relay", "branch", "other"))
        make_pair(pem, "relay.test.example")
        make_pair(branch, "branch.example")
        make_pair(other, "branch.example")
        users = self.folder / "users"
        relay = self.waypost(
            tls=f'certificate = "{pem}"\nkey = "{pem}"', auth=f'users = "{users}"', relay='networks = ["127.0.0.254/32"]',
            extra=self.far() + f"""
                [[client]]
                name = "printers"
                networks = ["{PRINTER}/32"]
                relay = true
                sender = "printers@local.example"
                message_rate = "2/1d"
                [[client]]
                name = "branch"
                certificates = ["sha256:{key_digest(branch)}"]
                login = "office"
                relay = true
                senders = ["@branch.example", "<>"]
                [[client]]
                name = "staff"
                logins = ["*"]
                require_tls = true
                hide_client = true
            """).start()
        subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", "ann"], input=b"secret\n", check=True, capture_output=True)

        printer = self.session(relay.mx, PRINTER)
        self.assertEqual([send(printer, "scan@device") for _ in range(3)], [250, 250, 450])
        self.assertIn("X-Mail-Args: <printers@local.example>", self.messages(2)[0])
        rate = json.loads(relay.tool("rates", "--json").stdout)["rates"]
        self.assertEqual(rate, [{"class": "printers", "client": PRINTER, "of": "messages", "used": 2, "most": 2, "period": 86400}])
        self.assertEqual(relay.stop(), 0)
        relay.start()
        self.assertEqual(send(self.session(relay.mx, PRINTER), "scan@device"), 450)
        self.assertRegex(relay.tool("rates").stdout, rf"printers +{PRINTER} +2 +2 messages +1d")

        self.assertEqual(send(self.session(relay.mx), "x@branch.example"), 554)
        self.assertEqual(send(self.session(relay.mx, certificate=other), "x@branch.example"), 554)
        office = self.session(relay.mx, certificate=branch)
        self.assertEqual(send(office, "x@branch.example"), 250)
        self.assertEqual(send(office, "x@local.example"), 553)
        office = self.session(relay.submission, certificate=branch)
        self.assertIn("EXTERNAL", office.esmtp_features["auth"])
        self.assertEqual(office.docmd("AUTH", "EXTERNAL =")[0], 235)
        self.assertEqual(send(office, "x@branch.example"), 250)

        staff = self.session(relay.submission, certificate="")
        staff.login("ann", "secret")
        self.assertEqual(send(staff, "ann@local.example"), 250)
        mail = next(text for text in self.messages(5) if "X-Mail-Args: <ann@local.example>" in text)
        received = mail[mail.index("Received: from relay.test.example\n"):]  # behind the sink's own
        self.assertNotIn("127.0.0.1", received)
        self.assertNotIn("client.test.example", received)

    def test_haproxy(self):
        """Clients behind HAProxy, with both versions of its header, in clear and with TLS passed through."""
        pem = self.folder / "relay.pem"
        make_pair(pem, "relay.test.example")
        ports = {name: harness.free_port() for name in ("one", "two", "secure", "behind", "smtps")}
        relay = self.waypost(
            tls=f'certificate = "{pem}"\nkey = "{pem}"', relay=f'networks = ["127.0.0.1/32", "{PRINTER}/32"]',
            extra=self.far() + f"""
                [[listener]]
                address = "127.0.0.1:{ports['behind']}"
                proxy = ["127.0.0.1/32"]
                [[listener]]
                address = "127.0.0.1:{ports['smtps']}"
                role = "submission"
                tls = "implicit"
                proxy = ["127.0.0.1/32"]
            """).start()
        config = self.folder / "haproxy.cfg"
        config.write_text("defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n" + "".join(
            f"listen {name}\n  bind 127.0.0.1:{ports[name]}\n  server relay 127.0.0.1:{ports[to]} {header} source 127.0.0.1\n"
            for name, to, header in (("one", "behind", "send-proxy"), ("two", "behind", "send-proxy-v2"),
                                     ("secure", "smtps", "send-proxy-v2"))))
        harness.Program([harness.PEERS / "bin/haproxy", "-db", "-f", config], self.folder / "haproxy.log")
        harness.wait_for("HAProxy to listen", lambda: harness.listening("127.0.0.1", ports["secure"]), 20)

        for name in ("one", "two"):
            self.assertEqual(send(self.session(ports[name], PRINTER), "s@a.example"), 250)
            self.assertEqual(send(self.session(ports[name], STRANGER), "s@a.example"), 554)
        secure = smtplib.SMTP_SSL("127.0.0.1", ports["secure"], timeout=20, source_address=(PRINTER, 0), context=any_certificate())
        self.addCleanup(secure.close)
        secure.ehlo("client.test.example")
        self.assertEqual(send(secure, "s@a.example"), 250)
        for text in self.messages(3):
            self.assertIn(f"[{PRINTER}]", text)
        # Whoever comes by itself, without a header, is told nothing.
        with contextlib.suppress(ConnectionError), smtplib.socket.create_connection(("127.0.0.1", ports["behind"]), timeout=20) as plain:
            plain.sendall(b"EHLO client.test.example\r\n")
            self.assertEqual(plain.recv(100), b"")
        self.assertEqual(relay.stop(), 0)

    def test_strangers(self):
        """A list in the DNS, a sender's domain that is not there; and on submission a recipient's."""
        names = harness.NameServer(self.folder / "names", ["11.0.0.127.list A 127.0.0.2", "good MX 10 mx.good", "null MX 0 ."])
        relay = self.waypost(
            resolver=f'servers = ["{names.address}:{names.port}"]\ntimeout = "2s"', relay=f'networks = ["{PRINTER}/32"]',
            checks="sender_domain = true", extra=f"""
                [[checks.lists]]
                zone = "list.example"
                [[domain]]
                name = "local.example"
                deliver = "maildir:{self.folder}/mail/{{domain}}/{{local}}"
            """).start()

        def rcpt(source, sender, recipient="box@local.example", port=relay.mx):
            client = self.session(port, source)
            client.mail(sender)
            code, text = client.rcpt(recipient)
            return f"{code} {text.decode().split()[0]}"

        self.assertEqual(rcpt(STRANGER, "s@good.example"), "554 5.7.1")
        self.assertEqual(rcpt(STRANGER, "s@good.example", "postmaster@local.example"), "250 2.1.5")
        self.assertEqual(rcpt("127.0.0.12", "s@good.example"), "250 2.1.5")
        self.assertEqual(rcpt("127.0.0.12", "s@none.example"), "550 5.1.8")
        self.assertEqual(rcpt("127.0.0.12", "s@null.example"), "550 5.7.27")
        self.assertEqual(rcpt("127.0.0.12", ""), "250 2.1.5")
        self.assertEqual(rcpt(PRINTER, "s@none.example", "r@none.example", relay.submission), "550 5.1.2")
        self.assertEqual(rcpt(PRINTER, "s@none.example", "r@null.example", relay.submission), "556 5.1.10")
        self.assertEqual(rcpt(PRINTER, "s@none.example", "r@good.example", relay.submission), "250 2.1.5")
        relay.logged(r"is listed by list\.example")


if __name__ == "__main__":
    harness.main()
