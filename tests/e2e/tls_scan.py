"""What a scanner finds at the listeners with TLS: sslscan by STARTTLS and from the first octet, for both kinds of key; and
what this sslscan cannot ask for: compression, and to begin anew within a session.
"""
import os
import socket
import ssl
import struct
import subprocess
import xml.etree.ElementTree

import harness
import tls

HOST = "relay.test.example"
CIPHERS = {
    "TLSv1.3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"},
    "TLSv1.2": {f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA")
                for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")},
}


def client_hello(compressions):
    """A ClientHello of TLS 1.2 (RFC 5246 7.4.1.2) with these methods of compression."""
    def counted(form, octets):
        return struct.pack(form, len(octets)) + octets

    suites = bytes.fromhex("c02bc02fc02cc030")
    extensions = b"".join(kind + counted(">H", value) for kind, value in [
        (b"\0\x0a", bytes.fromhex("0004001d0017")),          # x25519, P-256
        (b"\0\x0b", bytes.fromhex("0100")),                  # points are not compressed
        (b"\0\x0d", bytes.fromhex("0006040304010804")),      # ECDSA, RSA and RSA-PSS with SHA-256
        (b"\xff\x01", b"\0"),                                # RFC 5746
    ])
    body = (b"\x03\x03" + os.urandom(32) + b"\0" + counted(">H", suites) + counted(">B", compressions)
            + counted(">H", extensions))
    return b"\x16\x03\x01" + counted(">H", b"\x01\0" + counted(">H", body))


def server_hello(stream):
    """(method of compression, extensions) of the ServerHello that comes, or the description of the alert in its place."""
    kind, _, length = struct.unpack(">BHH", stream.read(5))
    record = stream.read(length)
    if kind == 21:
        return record[1]
    assert kind == 22 and record[0] == 2, record
    at = 4 + 2 + 32
    at += 1 + record[at] + 2
    compression, end, found = record[at], at + 3 + struct.unpack_from(">H", record, at + 1)[0], set()
    at += 3
    while at < end:
        name, size = struct.unpack_from(">HH", record, at)
        found.add(name)
        at += 4 + size
    return compression, found


class TlsScan(harness.TestCase):
    def relay(self, limits=""):
        self.ec, self.rsa = self.folder / "ec.pem", self.folder / "rsa.pem"
        self.der = {"ECDSA": tls.make_pair(self.ec, HOST, "localhost"),
                    "RSA": tls.make_pair(self.rsa, HOST, "localhost", key=("rsa:2048",))}
        self.smtps = harness.free_port()
        return self.waypost(tls=f'certificate = "{self.ec}"\nkey = "{self.ec}"',
                            limits=f"connections_per_client = 1000\n{limits}", extra=f"""
            [[listener]]
            address = "127.0.0.1:{self.smtps}"
            role = "submission"
            tls = "implicit"
            [[tls.certificates]]
            certificate = "{self.rsa}"
            key = "{self.rsa}"
        """).start()

    def scan(self, port, *options):
        file = self.folder / "scan.xml"
        subprocess.run(["sslscan", "--no-colour", "--show-certificate", f"--sni-name={HOST}", f"--xml={file}", *options,
                        f"127.0.0.1:{port}"], check=True, capture_output=True, timeout=60)
        return xml.etree.ElementTree.parse(file).getroot().find("ssltest")

    def test_scan(self):
        """TLS 1.2 and 1.3 with forward secrecy and authenticated encryption, nothing that is broken, the right certificates."""
        relay = self.relay()
        for port, options in ((self.smtps, []), (relay.mx, ["--starttls-smtp"])):
            found = self.scan(port, *options)
            self.assertEqual({f"{each.get('type')} {each.get('version')}" for each in found.iter("protocol") if each.get("enabled") == "1"},
                             {"tls 1.2", "tls 1.3"})
            self.assertEqual(len(list(found.iter("protocol"))), 6, "SSL 2 to TLS 1.3 were all asked for")
            ciphers = {version: {each.get("cipher") for each in found.iter("cipher") if each.get("sslversion") == version}
                       for version in CIPHERS}
            self.assertEqual(ciphers, CIPHERS)
            self.assertEqual({each.get("sslversion") for each in found.iter("cipher")}, set(CIPHERS))
            self.assertLessEqual({each.get("strength") for each in found.iter("cipher")}, {"strong", "acceptable"})
            self.assertGreaterEqual(min(int(each.get("bits")) for each in found.iter("group")), 112)
            self.assertEqual({(each.get("sslversion"), each.get("vulnerable")) for each in found.iter("heartbleed")},
                             {("TLSv1.2", "0"), ("TLSv1.3", "0")})
            self.assertEqual([each.get("supported") for each in found.iter("renegotiation")], ["0"])
            self.assertFalse(any(each.get("supported") == "1" for each in found.iter("compression")))
            blobs = [ssl.PEM_cert_to_DER_cert(each.text.strip()) for each in found.iter("certificate-blob")]
            self.assertEqual(blobs, [self.der["ECDSA"]])
        for key, der in self.der.items():
            only = tls.any_certificate()
            only.maximum_version = ssl.TLSVersion.TLSv1_2
            only.set_ciphers(f"ECDHE-{key}-AES128-GCM-SHA256")
            with socket.create_connection(("127.0.0.1", self.smtps), timeout=10) as peer:
                with only.wrap_socket(peer, server_hostname=HOST) as secured:
                    self.assertEqual(secured.getpeercert(binary_form=True), der, key)

    def test_compression(self):
        """Never chosen, though the client would like it best; without the null method no session (RFC 5246 7.4.1.2)."""
        self.relay()
        def ask(methods):
            with socket.create_connection(("127.0.0.1", self.smtps), timeout=10) as peer:
                peer.sendall(client_hello(methods))
                return server_hello(peer.makefile("rb"))

        compression, extensions = ask(b"\x01\x00")
        self.assertEqual(compression, 0)
        self.assertIn(0xFF01, extensions, "renegotiation would be that of RFC 5746")
        self.assertIn(ask(b"\x01"), (47, 50), "illegal_parameter or decode_error")

    def test_renegotiation(self):
        """A client that begins anew within a session of TLS 1.2 is refused (no_renegotiation), at the next reply at last."""
        relay = self.relay(limits='command_timeout = "1s"')
        with subprocess.Popen(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{relay.mx}", "-starttls", "smtp"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as peer:
            try:
                peer.stdin.write(b"R\n")
                peer.stdin.flush()
                heard = peer.communicate(timeout=20)[0].decode()
            finally:
                peer.kill()
        self.assertIn("Secure Renegotiation IS supported", heard)
        self.assertIn("RENEGOTIATING", heard)
        self.assertIn("no renegotiation", heard)


if __name__ == "__main__":
    harness.main()
