"""TLS with real peers: openssl, swaks, curl and Python by STARTTLS and from the first octet; names, old protocols, what
an attacker puts behind STARTTLS, silence, and certificates that change while mail comes in (RELIABILITY F41-F43, F49).
"""
import concurrent.futures
import contextlib
import os
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import threading
import time
import unittest

import harness

MESSAGE = "From: s@a.example\r\nSubject: hello\r\n\r\ntext\r\n"


def make_pair(path, *names, days=90, key=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """A file with a key and a certificate for these names, signed by itself; replaced in one step. `key`: as openssl's
    -newkey has it."""
    fresh = pathlib.Path(f"{path}.new")
    secret, certificate = pathlib.Path(f"{path}.key"), pathlib.Path(f"{path}.crt")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", str(days), "-subj", f"/CN={names[0]}", "-addext",
         "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
         "-keyout", str(secret), "-out", str(certificate)], check=True, capture_output=True)
    fresh.write_text(secret.read_text() + certificate.read_text())
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    secret.unlink()
    certificate.unlink()
    os.replace(fresh, path)
    return der


def any_certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served(port, name=None):
    """The certificate that a new session by STARTTLS is shown."""
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.ehlo()
        client.docmd("STARTTLS")
        with any_certificate().wrap_socket(client.sock, server_hostname=name) as secured:
            client.sock = None
            secured.sendall(b"QUIT\r\n")
            secured.recv(1000)
            return secured.getpeercert(binary_form=True)


class WithTls(harness.TestCase):
    """A relay with a certificate, and a third listener with implicit TLS."""

    def relay(self, limits="", **sections):
        self.pem = self.folder / "relay.pem"
        self.der = make_pair(self.pem, "relay.test.example", "localhost")
        self.smtps = harness.free_port()
        maildir = self.folder / "waypost" / "mail"
        relay = self.waypost(tls=f'certificate = "{self.pem}"\nkey = "{self.pem}"', limits=limits, extra=f"""
            [[listener]]
            address = "127.0.0.1:{self.smtps}"
            role = "submission"
            tls = "implicit"
            [[domain]]
            name = "b.example"
            deliver = "maildir:{maildir}/{{domain}}/{{local}}"
            {sections.pop("extra", "")}""", **sections)
        return relay.start()


class Tls(WithTls):
    def run_peer(self, *args, stdin="", code=0):
        done = subprocess.run([str(arg) for arg in args], input=stdin, capture_output=True, text=True, timeout=30)
        if code is not None:
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def openssl(self, port, *options, stdin="QUIT\r\n", code=0):
        return self.run_peer("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *options,
                             stdin=stdin, code=code)

    def test_peers(self):
        """Every client delivers, by STARTTLS and by implicit TLS; Received and the log name version and cipher."""
        relay = self.relay()
        verify = ["-CAfile", self.pem, "-verify_return_error", "-verify_hostname", "relay.test.example"]
        self.assertIn("250 2.0.0", self.openssl(relay.mx, "-starttls", "smtp", *verify, stdin="NOOP\r\nQUIT\r\n"))
        self.assertIn("220 relay.test.example ESMTP", self.openssl(self.smtps, *verify))
        self.openssl(relay.mx, "-starttls", "smtp", "-tls1_2", *verify)

        swaks = ["swaks", "--server", "127.0.0.1", "--from", "s@a.example", "--to", "r@b.example"]
        self.run_peer(*swaks, "--port", relay.mx, "--tls")
        self.run_peer(*swaks, "--port", self.smtps, "--tlsc")
        text = self.folder / "message"
        text.write_text(MESSAGE)
        curl = ["curl", "--silent", "--show-error", "--cacert", self.pem, "--mail-from", "s@a.example", "--mail-rcpt",
                "r@b.example", "--upload-file", text]
        self.run_peer(*curl, "--ssl-reqd", f"smtp://localhost:{relay.mx}")
        self.run_peer(*curl, f"smtps://localhost:{self.smtps}")
        trusting = ssl.create_default_context(cafile=str(self.pem))
        with smtplib.SMTP("localhost", relay.mx, timeout=10) as client:
            client.starttls(context=trusting)
            client.ehlo()
            self.assertTrue(client.has_extn("requiretls"))
            self.assertFalse(client.has_extn("starttls"))
            client.sendmail("s@a.example", ["r@b.example"], MESSAGE)
        with smtplib.SMTP_SSL("localhost", self.smtps, context=trusting, timeout=10) as client:
            client.sendmail("s@a.example", ["r@b.example"], MESSAGE)

        harness.wait_for("six messages", lambda: len(relay.delivered("b.example", "r")) == 6, 20)
        for message in relay.delivered("b.example", "r"):
            self.assertRegex(message.decode(), r"\(using TLSv1\.3 with cipher TLS_AES_\w+ \(256/256 bits\)\)\r?\n"
                                               r"\tby relay\.test\.example \(Waypost\) with ESMTPS id ")
        relay.logged(r"smtpd\[\d+\]: Anonymous TLS connection established from unknown\[127\.0\.0\.1\]: TLSv1\.2 with cipher "
                     r"ECDHE-ECDSA-\S+ \(256/256 bits\)")

    def test_names(self):
        """Two names at one address; a client that names neither gets the first."""
        other = self.folder / "other.pem"
        der = make_pair(other, "mail.other.example")
        relay = self.relay(extra=f'[[tls.certificates]]\ncertificate = "{other}"\nkey = "{other}"\n')
        for name, want in [("relay.test.example", self.der), ("mail.other.example", der), ("x.example", self.der),
                           (None, self.der)]:
            self.assertEqual(served(relay.mx, name), want, name)

    def test_refused(self):
        """Old protocols and ciphers, what came behind STARTTLS in clear, clear text to implicit TLS: none gets in."""
        relay = self.relay()
        for option in ("-tls1", "-tls1_1"):
            self.openssl(relay.mx, "-starttls", "smtp", option, "-cipher", "DEFAULT@SECLEVEL=0", code=1)
        self.openssl(relay.mx, "-starttls", "smtp", "-tls1_2", "-cipher", "AES128-SHA", code=1)
        log = relay.logged(r"no shared cipher")
        self.assertRegex(log, r"SSL_accept error from unknown\[127\.0\.0\.1\]: "
                              r".*unsupported protocol \(the client offers TLSv1;")
        self.assertRegex(log, r"no shared cipher \(the client offers TLSv1\.2; AES128-SHA")
        self.openssl(relay.mx, "-starttls", "smtp")

        with socket.create_connection(("127.0.0.1", relay.mx), timeout=10) as peer:
            heard = peer.makefile("rb")
            self.assertTrue(heard.readline().startswith(b"220 "))
            peer.sendall(b"STARTTLS\r\nMAIL FROM:<evil@a.example>\r\n")
            self.assertTrue(heard.readline().startswith(b"421 4.7.0 "))
            self.assertEqual(heard.read(), b"")
        with socket.create_connection(("127.0.0.1", relay.mx), timeout=10) as peer:
            heard = peer.makefile("rb")
            heard.readline()
            peer.sendall(b"STARTTLS\r\n")
            self.assertTrue(heard.readline().startswith(b"220 "))
            peer.sendall(b"EHLO c.example\r\nMAIL FROM:<evil@a.example>\r\n")
            self.assertNotIn(b"250", heard.read())
        with socket.create_connection(("127.0.0.1", self.smtps), timeout=10) as peer:
            peer.sendall(b"EHLO c.example\r\n")
            self.assertNotIn(b"220", peer.makefile("rb").read())
        relay.logged("sent commands in clear behind STARTTLS")

    def test_silence(self):
        """Who says nothing where a handshake is due is cut off; others are served meanwhile."""
        relay = self.relay(limits='handshake_timeout = "2s"')
        with contextlib.ExitStack() as stack:
            peers = []
            for port in [self.smtps] * 20 + [relay.mx] * 20:
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                if port == relay.mx:
                    peer.recv(1000)
                    peer.sendall(b"STARTTLS\r\n")
                    peer.recv(1000)
                peers.append(peer)
            self.assertEqual(served(relay.mx), self.der)
            began = time.monotonic()
            for peer in peers:
                self.assertEqual(peer.recv(1000), b"")
            self.assertLess(time.monotonic() - began, 10)

    def test_bad_certificates(self):
        """At a reload the old pair stays, and sessions go on; at a start the daemon says why it does not (F42)."""
        relay = self.relay()
        stranger = self.folder / "stranger.pem"
        make_pair(stranger, "relay.test.example")
        good = self.pem.read_text()
        key = good[:good.index("-----BEGIN CERTIFICATE")]
        with smtplib.SMTP("127.0.0.1", relay.mx, timeout=10) as client:
            client.starttls(context=any_certificate())
            for bad, why in [(key + stranger.read_text()[len(key):], "is not that of the first certificate"),
                             ("", "holds no certificate"), (None, "No such file")]:
                if bad is None:
                    self.pem.unlink()
                else:
                    self.pem.write_text(bad)
                checked = relay.tool("config", "check", check=False)
                self.assertEqual(checked.returncode, 78)
                self.assertIn(why, checked.stdout)
                reloaded = relay.tool("reload", check=False)
                self.assertNotEqual(reloaded.returncode, 0)
                self.assertIn(why, reloaded.stdout + reloaded.stderr)
                self.assertEqual(served(relay.mx), self.der)
                self.assertEqual(client.noop()[0], 250)
        relay.stop()
        relay.launch()
        self.assertEqual(relay.program.wait(20), 78)
        der = make_pair(self.pem, "relay.test.example", days=3)
        checked = relay.tool("config", "check")
        self.assertRegex(checked.stdout, r"warning: .*relay\.pem.* expires on \d{4}-\d\d-\d\d")
        relay.start()
        self.assertEqual(served(relay.mx), der)
        relay.logged(" expires on ")

    @unittest.skipUnless(os.getuid() == 0, "only root can give its rights up")
    def test_privileges(self):
        """A key for root alone is read before the rights are given up; a reload then says what to do, and TLS stays."""
        relay = self.relay()
        relay.stop()
        self.pem.chmod(0o600)
        relay.config.write_text(relay.config.read_text().replace('user = ""', 'user = "nobody"'))
        subprocess.run(["chown", "-R", "nobody", str(relay.folder)], check=True)
        relay.start()
        self.assertEqual(served(relay.mx), self.der)
        reloaded = relay.tool("reload", check=False)
        self.assertNotEqual(reloaded.returncode, 0)
        self.assertIn("readable for nobody", reloaded.stdout + reloaded.stderr)
        self.assertEqual(served(relay.mx), self.der)

    def test_rotation(self):
        """50 clients at a time while the certificate is replaced 20 times: no session fails; each new pair is served at
        once (F43)."""
        relay = self.relay()
        stop = threading.Event()

        def sessions():
            count = 0
            while not stop.is_set():
                with smtplib.SMTP("127.0.0.1", relay.mx, timeout=20) as client:
                    client.starttls(context=any_certificate())
                    client.sendmail("s@a.example", ["r@b.example"], MESSAGE)
                count += 1
            return count

        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            running = [pool.submit(sessions) for _ in range(50)]
            try:
                for _ in range(20):
                    der = make_pair(self.pem, "relay.test.example")
                    relay.tool("reload")
                    began = time.monotonic()
                    self.assertEqual(served(relay.mx), der)
                    self.assertLess(time.monotonic() - began, 10)
            finally:
                stop.set()
            done = sum(each.result(60) for each in running)
        self.assertGreater(done, 50)
        trouble = re.search("^.*(SSL_accept error|lost connection|timeout after).*$", relay.log_text(), re.M)
        self.assertIsNone(trouble)
        self.assertEqual(relay.logged("reload -- ", 20).count("reload -- "), 20)


if __name__ == "__main__":
    harness.main()
