"""What the end-to-end tests stand on: a scratch folder, ports, programs that end with the test, a relay, a name server,
sinks. Every wait has a deadline and polls a condition.

Environment (CMake sets it): WAYPOST_BUILD, the folder with waypostd and waypost; WAYPOST_PEERS, where packaging/peers
unpacked other servers. E2E_KEEP=1 keeps the scratch folder, which a failing test keeps anyway.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WAYPOST_BUILD", ROOT / "build/release"))
PEERS = pathlib.Path(os.environ.get("WAYPOST_PEERS", ROOT / "build/peers"))
WAYPOSTD = os.environ.get("WAYPOSTD", str(BUILD / "waypostd"))
WAYPOST = os.environ.get("WAYPOST", str(BUILD / "waypost"))


def wait_for(what, condition, timeout=30.0, every=0.05):
    """Polls `condition` until it is true and returns its value; AssertionError naming `what` at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(every)


_given_ports = set()


def free_port():
    """A TCP and UDP port that nobody listens on, on any loopback address; below the ephemeral range, never twice."""
    low = 10000 + os.getpid() % 20000
    for port in [*range(low, 32000), *range(10000, low)]:
        if port in _given_ports:
            continue
        _given_ports.add(port)
        with contextlib.ExitStack() as stack:
            try:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    probe = stack.enter_context(socket.socket(socket.AF_INET, kind))
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


def listening(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a test that is killed leaves no program behind


class Program:
    """A program in the background, its output in a log file."""

    def __init__(self, args, log, **options):
        self.args, self.log = [str(arg) for arg in args], pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            preexec_fn=_die_with_parent, **options)
        self.pid = self.process.pid

    def running(self):
        return self.process.poll() is None

    def text(self):
        return self.log.read_text(errors="replace")

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def wait(self, timeout):
        """Its exit code; AssertionError if it still runs at the deadline."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.args[0]} still runs after {timeout:g} s") from None

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


class Waypost:
    """A relay: its configuration, its data, the daemon (again and again, if need be) and the tool."""

    def __init__(self, folder, **sections):
        """`sections`: text of waypost.toml sections ("queue", "delivery", ...) without the heading, `top`, keys before them,
        `extra`, any text after them, and `user`, whom the daemon becomes."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mx, self.submission = free_port(), free_port()
        self.config = self.folder / "waypost.toml"
        self.log = self.folder / "waypostd.log"
        self.maildir = self.folder / "mail"
        self.data = self.folder / "spool"
        self.program = None
        self.environment = dict(os.environ)
        self.write_config(**sections)

    def write_config(self, extra="", **sections):
        top, user = sections.pop("top", ""), sections.pop("user", "")
        # Nobody answers there: no test asks a name server outside this machine.
        sections.setdefault("resolver", 'servers = ["127.0.0.1:9"]\ntimeout = "1s"\ntries = 1')
        sections.setdefault("relay", 'networks = ["127.0.0.0/8", "::1/128"]')
        text = f"""
            hostname = "relay.test.example"
            data_dir = "{self.data}"
            control_socket = "{self.folder}/control.sock"
            user = "{user}"
            {top}
            [[listener]]
            address = "127.0.0.1:{self.mx}"
            role = "mx"
            [[listener]]
            address = "127.0.0.1:{self.submission}"
            role = "submission"
        """
        for name, body in sections.items():
            text += f"[{name}]\n{body}\n"
        text += extra
        self.config.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        self.data.mkdir(exist_ok=True)

    def launch(self, *wrapper, **options):
        """Starts the daemon, by `wrapper` if given, and does not wait for it. Returns where its log begins. `options`: of
        Popen."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        self.program = Program([*wrapper, WAYPOSTD, "--config", self.config], self.log, env=self.environment,
                               **options)
        return seen

    def start(self, timeout=30, wrapper=()):
        seen = self.launch(*wrapper)

        def ready():
            if not self.program.running():
                raise AssertionError(f"waypostd ended with {self.program.process.returncode}:\n{self.log_text(seen)}")
            return re.search(r"\bready\b", self.log_text(seen))

        wait_for("waypostd to be ready", ready, timeout, every=0.01)
        return self

    def log_text(self, start=0):
        with open(self.log, "rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")

    def logged(self, pattern, count=1, start=0):
        """The log from `start` on, once the pattern is so often in it: lines are written a moment later."""
        wait_for(f"{pattern!r} in the log", lambda: len(re.findall(pattern, self.log_text(start), re.M)) >= count, 10, every=0.01)
        return self.log_text(start)

    def stop(self, timeout=40):
        """SIGTERM; returns the exit code."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait(timeout)

    def kill(self):
        self.program.kill()

    def tool(self, *args, check=True, timeout=60):
        """Runs `waypost --config FILE args...`; a CompletedProcess with text. `check`: the exit code must be 0."""
        done = subprocess.run([WAYPOST, "--config", str(self.config), *args], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout, env=self.environment)
        if check and done.returncode != 0:
            raise AssertionError(f"waypost {' '.join(args)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def ask(self, path):
        """GET of the control socket, without the tool: quick enough to poll."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.folder / "control.sock"))
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise AssertionError(f"GET {path}: {answer!r}")
        return json.loads(body)

    def queued(self):
        return json.loads(self.tool("queue", "count", "--json").stdout)["messages"]

    def wait_empty(self, timeout):
        wait_for("the queue to be empty", lambda: self.queued() == 0, timeout, every=0.25)

    def memory(self, key="VmRSS"):
        """A size in octets from /proc/PID/status."""
        status = pathlib.Path(f"/proc/{self.program.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M)[1]) * 1024

    def delivered(self, domain, local):
        """The files of a Maildir below `maildir`, oldest first."""
        found = sorted((self.maildir / domain / local / "new").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes() for path in found]


class NameServer:
    """Knot on a loopback port, with the zone `example.` of the given records, one a line, names relative to it."""

    def __init__(self, folder, records, address="127.0.0.1", port=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.address, self.port = address, port or free_port()
        zone = self.folder / "example.zone"
        zone.write_text("$ORIGIN example.\n$TTL 60\n@ SOA ns root 1 3600 900 86400 60\n@ NS ns\nns A 127.0.0.1\n"
                        + "\n".join(records) + "\n")
        (self.folder / "knot.conf").write_text(f"""
server:
  rundir: {self.folder}
  listen: {address}@{self.port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: {self.folder}
log:
  - target: stderr
    any: info
zone:
  - domain: example
    file: {zone}
    zonefile-sync: -1
    journal-content: none
""")
        self.program = Program([PEERS / "bin/knotd", "-c", self.folder / "knot.conf"], self.folder / "knotd.log")
        wait_for("knotd to load its zone", lambda: "zone loaded" in self.program.text() or "loaded, serial" in
                 self.program.text() and listening(address, self.port), 20)


class SmtpSink:
    """Postfix's smtp-sink. With `dump`, each message becomes a file there."""

    def __init__(self, folder, address, port, dump=None, options=()):
        self.address, self.port, self.dump = address, port, dump and pathlib.Path(dump)
        args = [PEERS / "bin/smtp-sink", *options]
        if os.getuid() == 0:
            args += ["-u", "nobody"]
        if dump:
            self.dump.mkdir(parents=True, exist_ok=True)
            self.dump.chmod(0o777)
            args += ["-d", f"{self.dump}/%M."]
        args += [f"{address}:{port}", "500"]
        self.program = Program(args, pathlib.Path(folder) / f"smtp-sink-{address}.log", cwd=self.dump)
        wait_for(f"smtp-sink on {address}:{port}", lambda: listening(address, port), 10)

    def recipients(self):
        """The recipients of each message that came: a list of lists."""
        found = []
        for path in self.dump.iterdir():
            with open(path, "rb") as file:
                head = file.read(2000).decode(errors="replace").split("\n\n")[0]
            found.append(re.findall(r"^X-Rcpt-Args: <([^>]*)>", head, re.M))
        return found

    def count(self):
        return sum(1 for _ in self.dump.iterdir())


def smtp_source(port, *options, host="127.0.0.1", timeout=600):
    """Runs Postfix's smtp-source against host:port to its end."""
    done = subprocess.run([str(PEERS / "bin/smtp-source"), *map(str, options), f"{host}:{port}"],
                          capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0 or "fatal" in done.stderr:
        raise AssertionError(f"smtp-source {options}: exit {done.returncode}: {done.stderr[-2000:]}")


class TestCase(unittest.TestCase):
    """A scratch folder and programs that end with the test; on failure the folder stays and the daemon's last lines show."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"waypost-{self._testMethodName}-"))
        self.folder.chmod(0o755)  # smtp-sink runs as nobody when we are root
        self.relays = []
        self._programs = []
        original = Program.__init__
        programs = self._programs

        def remember(program, *args, **options):
            original(program, *args, **options)
            programs.append(program)

        Program.__init__ = remember
        self.addCleanup(self._finish, original)

    def waypost(self, name="waypost", **sections):
        relay = Waypost(self.folder / name, **sections)
        self.relays.append(relay)
        return relay

    def _finish(self, original):
        Program.__init__ = original
        for program in reversed(self._programs):
            if program.running():
                program.kill()
        outcome = self._outcome.result
        # What fails within a subTest is one of its own.
        failed = any(getattr(test, "test_case", test) is self for test, _ in outcome.failures + outcome.errors)
        for relay in self.relays:
            text = relay.log_text() if relay.log.exists() else ""
            for line in text.splitlines():
                if re.search(r"AddressSanitizer|LeakSanitizer|runtime error:", line):
                    failed = True
                    print(f"{relay.log}: {line}", file=sys.stderr)
            if failed:
                print(f"--- last lines of {relay.log}\n" + "\n".join(text.splitlines()[-30:]), file=sys.stderr)
        if failed:
            self.print_logs_of_peers()
        if failed or os.environ.get("E2E_KEEP"):
            print(f"--- left for a look: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def print_logs_of_peers(self):
        own = {relay.log for relay in self.relays}
        for log in sorted({*self.folder.rglob("log"), *self.folder.rglob("*.log")} - own):
            if log.is_file() and (lines := log.read_text(errors="replace").splitlines()[-30:]):
                print(f"--- last lines of {log}\n" + "\n".join(lines), file=sys.stderr)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.stdout.reconfigure(line_buffering=True)
    unittest.main(verbosity=2)
