"""An SMTP client and an SMTP sink on bare sockets, which keep octets as they are and a ledger of what was promised."""
import contextlib
import re
import socket
import threading
import time


def stuff(content):
    """Content as it goes on the wire after DATA: dots doubled at line starts, CRLF.CRLF at the end."""
    if content.startswith(b"."):
        content = b"." + content
    content = content.replace(b"\r\n.", b"\r\n..")
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return content + b".\r\n"


def unstuff(content):
    if content.startswith(b"."):
        content = content[1:]
    return content.replace(b"\r\n.", b"\r\n")


class Client:
    """One SMTP session. A reply is (code, text); the text has all lines, without codes, parted by \\n."""

    def __init__(self, port, host="127.0.0.1", timeout=60, greet=True, source=None):
        self.socket = socket.create_connection((host, port), timeout=timeout, source_address=source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb")
        try:
            if greet:
                self.greeting = self.reply()
                self.ehlo = self.command("EHLO client.test.example")
        except BaseException:
            self.close()
            raise

    def reply(self):
        lines = []
        while True:
            line = self.input.readline(65536)
            if not line.endswith(b"\r\n"):
                raise ConnectionError(f"connection closed: {line!r}")
            if not re.match(rb"[2-5][0-9][0-9][ -]", line):
                raise AssertionError(f"not a reply line: {line!r}")
            lines.append(line[4:-2].decode("utf-8", "replace"))
            if line[3:4] == b" ":
                return int(line[:3]), "\n".join(lines)

    def command(self, line):
        self.socket.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self.reply()

    def expect(self, code, line):
        got = self.command(line)
        if got[0] != code:
            raise AssertionError(f"{line}: want {code}, got {got}")
        return got

    def send(self, sender, recipients, content, parameters=""):
        """A whole transaction; every step must be accepted. Returns the reply to the final dot."""
        self.expect(250, f"MAIL FROM:<{sender}>{parameters}")
        for recipient in [recipients] if isinstance(recipients, str) else recipients:
            self.expect(250, f"RCPT TO:<{recipient}>")
        self.expect(354, "DATA")
        self.socket.sendall(stuff(content))
        return self.reply()

    def quit(self):
        with contextlib.suppress(OSError, ConnectionError):
            self.command("QUIT")
        self.close()

    def close(self):
        self.input.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.quit()


class Received:
    """A message that a sink took."""

    def __init__(self, sender, recipients, content, address):
        self.sender, self.recipients, self.content = sender, recipients, content
        self.address = address  # of the sink
        self.time = time.monotonic()


class Sink:
    """A server that takes mail, one thread a connection. `script(verb, argument, state)` may return a reply in bytes to
    say in place of the usual one (b"" closes without a word); verbs are CONNECT, EHLO, MAIL, RCPT, DATA, BDAT, DOT, ...;
    state is a dict of the connection. `taken(message)` is called BEFORE the final 250 goes out: the ledger's side."""

    extensions = [b"PIPELINING", b"8BITMIME", b"SIZE 0", b"ENHANCEDSTATUSCODES"]

    def __init__(self, port, address="127.0.0.1", script=None, taken=None, keep=True):
        self.address, self.port, self.script, self.taken = address, port, script, taken
        self.keep, self.messages, self.connections = keep, [], 0
        self.lock = threading.Lock()
        self.stopping = False
        self.open = set()
        self.listener = socket.create_server((address, port), backlog=200)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.stopping = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while not self.stopping:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        self.open.add(connection)
        try:
            with connection, connection.makefile("rb") as lines:
                self.session(connection, lines)
        except OSError:
            pass  # the relay was killed or gave up
        finally:
            self.open.discard(connection)

    def answer(self, connection, verb, argument, state, usual):
        """Says the reply; returns its first digit, or None if the connection is to be closed."""
        said = self.script(verb, argument, state) if self.script else None
        said = usual if said is None else said
        if not said:
            return None
        connection.sendall(said)
        return None if said.startswith(b"421") else said[:1]

    def session(self, connection, lines):
        state, sender, recipients = {"address": self.address}, None, []
        if not self.answer(connection, "CONNECT", b"", state, b"220 sink.test.example ESMTP\r\n"):
            return
        while line := lines.readline(100000):
            verb, _, argument = line.rstrip(b"\r\n").partition(b" ")
            verb = verb.decode("ascii", "replace").upper()
            usual = b"250 2.0.0 Ok\r\n"
            if verb == "EHLO":
                texts = [b"sink.test.example", *self.extensions]
                usual = b"".join(b"250" + (b" " if i == len(texts) - 1 else b"-") + text + b"\r\n"
                                 for i, text in enumerate(texts))
            elif verb == "DATA":
                usual = b"354 go on\r\n" if recipients else b"503 5.5.1 no recipients\r\n"
            elif verb == "BDAT":
                octets = lines.read(int(argument.split()[0]))
                if len(octets) < int(argument.split()[0]):
                    return
                state["chunks"] = state.get("chunks", b"") + octets
                if not recipients:
                    usual = b"503 5.5.1 no recipients\r\n"
            elif verb == "QUIT":
                connection.sendall(b"221 2.0.0 Bye\r\n")
                return
            elif verb not in ("HELO", "MAIL", "RCPT", "RSET", "NOOP"):
                usual = b"500 5.5.2 unknown\r\n"
            # The reply to the last chunk is the one to the message.
            last = verb == "BDAT" and argument.upper().endswith(b" LAST") and bool(recipients)
            first = b"3" if last else self.answer(connection, verb, argument, state, usual)
            if first is None:
                return
            if verb == "MAIL" and first == b"2":
                sender, recipients = path(argument), []
            elif verb == "RCPT" and first == b"2":
                recipients.append(path(argument))
            elif verb in ("RSET", "EHLO", "HELO"):
                sender, recipients = None, []
            elif (verb == "DATA" and first == b"3") or last:
                content = state.pop("chunks") if last else self.read_content(lines)
                if content is None:
                    return
                message = Received(sender, recipients, content, self.address)
                state["message"] = message
                usual = b"250 2.0.0 Ok: taken\r\n"
                said = self.script("DOT", b"", state) if self.script else None
                said = usual if said is None else said
                if said[:1] == b"2":
                    with self.lock:
                        if self.keep:
                            self.messages.append(message)
                        if self.taken:
                            self.taken(message)
                sender, recipients = None, []
                if not said:
                    return
                connection.sendall(said)
                if said.startswith(b"421"):
                    return

    def read_content(self, lines):
        """Octets up to CRLF.CRLF, dots removed as RFC 5321 4.5.2 says; None if the connection ended before."""
        parts, at_line_start = [], True
        while line := lines.readline(1 << 20):
            if at_line_start:
                if line == b".\r\n":
                    return b"".join(parts)
                if line.startswith(b"."):
                    line = line[1:]
            # readline() splits at LF; only CRLF begins a line of the protocol.
            at_line_start = line.endswith(b"\r\n") or (line == b"\n" and bool(parts) and parts[-1].endswith(b"\r"))
            parts.append(line)
        return None


def path(argument):
    """The path of MAIL or RCPT's argument, without its brackets and parameters."""
    match = re.match(rb"[^<]*<([^>]*)>", argument)
    return match[1].decode("utf-8", "replace") if match else argument.decode("utf-8", "replace")
