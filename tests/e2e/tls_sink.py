"""An SMTP sink that speaks TLS, well or badly, and keeps every octet that was said to it in clear; certificates for it."""
import hashlib
import ssl
import subprocess
import threading
import warnings

import smtp


def openssl(*args, **options):
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, **options).stdout


class Authority:
    """A root, `pem`, and what it signs."""

    def __init__(self, folder):
        self.folder, self.pem, self.key = folder, folder / "root.pem", folder / "root.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj",
                "/CN=Test root", "-keyout", self.key, "-out", self.pem)

    def certificate(self, *names):
        """A file with a key and a certificate for these names."""
        stem = self.folder / names[0].replace("*", "any")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={names[0]}",
                "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
        (self.folder / "names").write_text("subjectAltName=" + ",".join(f"DNS:{name}" for name in names))
        openssl("x509", "-req", "-in", f"{stem}.csr", "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", 30,
                "-extfile", self.folder / "names", "-out", f"{stem}.crt")
        pem = self.folder / f"{stem.name}.pem"
        pem.write_text("".join((self.folder / f"{stem.name}.{end}").read_text() for end in ("key", "crt")))
        return pem


def fingerprint(pem):
    public = openssl("x509", "-in", pem, "-noout", "-pubkey")
    return hashlib.sha256(openssl("pkey", "-pubin", "-outform", "DER", input=public)).hexdigest()


def server(pem, old=False):
    """`old`: TLS 1.0 and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(pem)
    return context


class _Recorder:
    """Lines of a connection, which are kept."""

    def __init__(self, lines, into):
        self.lines, self.into = lines, into

    def readline(self, *args):
        line = self.lines.readline(*args)
        self.into.extend(line)
        return line


class _StartTls(Exception):
    pass


class TlsSink(smtp.Sink):
    """`how` STARTTLS is answered: "good"; "none": it is not offered; "454"; "close": 220, and the connection is closed at
    the first octets; "stall": nothing more is said; "rubbish": no TLS comes back; "inject": replies in clear stand behind
    the 220. `implicit`: TLS from the first octet. What was heard in clear is in `clear`."""

    def __init__(self, port, context=None, how="good", implicit=False, **options):
        self.context, self.how, self.implicit = context, how, implicit
        self.clear, self.names, self.secured = bytearray(), [], threading.local()
        self.over = threading.Event()
        if context:
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        super().__init__(port, **options)

    def stop(self):
        self.over.set()
        super().stop()

    def session(self, connection, lines):
        self.secured.now = False
        if self.implicit:
            self.secure(connection)
            return
        try:
            super().session(connection, _Recorder(lines, self.clear))
        except _StartTls:
            self.secure(connection)

    def secure(self, connection):
        if self.how == "inject":
            for octets in iter(lambda: connection.recv(1000), b""):
                self.clear.extend(octets)
            return
        if self.how in ("close", "stall", "rubbish"):
            first = connection.recv(5)
            if not first.startswith(b"\x16"):  # of a handshake
                self.clear.extend(first)
            if self.how == "stall":
                self.over.wait(60)
            if self.how == "rubbish":
                connection.sendall(b"500 5.5.2 what is this\r\n" * 20)
            return
        with self.context.wrap_socket(connection, server_side=True) as secured, secured.makefile("rb") as lines:
            self.secured.now = True
            super().session(secured, lines)

    def answer(self, connection, verb, argument, state, usual):
        if verb == "CONNECT" and self.secured.now and not self.implicit:
            return b"2"
        if verb == "EHLO" and not self.secured.now and self.how != "none":
            usual = usual.replace(b"250-PIPELINING\r\n", b"250-PIPELINING\r\n250-STARTTLS\r\n")
        if verb == "STARTTLS" and not self.secured.now and self.how != "none":
            if self.how == "454":
                connection.sendall(b"454 4.7.0 TLS not available\r\n")
                return b"4"
            behind = b"250-sink.test.example\r\n250 SIZE 0\r\n" if self.how == "inject" else b""
            connection.sendall(b"220 2.0.0 go\r\n" + behind)
            raise _StartTls
        return super().answer(connection, verb, argument, state, usual)
