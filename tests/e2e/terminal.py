#!/usr/bin/env python3
"""The tool before a terminal, a pseudo one: `waypost top` shows a relay live and gives the terminal back at every end;
changes show how far they are, and Ctrl-C stops them; `waypost bench` beside a daemon leaves nothing behind.
"""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import harness
import smtp

DEAD = "127.0.0.65"
MESSAGES = 12000  # so many that a change of them takes a while
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@contextlib.contextmanager
def slowed(send, stands=0.03, runs=0.01):
    """A program, to which `send` sends a signal, that runs for a part of the time, so that what it does takes a while on the
    fastest machine too."""
    over = threading.Event()

    def slow():
        while not over.is_set():
            send(signal.SIGSTOP)
            over.wait(stands)
            send(signal.SIGCONT)
            over.wait(runs)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        send(signal.SIGCONT)


class Terminal:
    """A program on a terminal of its own. `streams`: which of its three are that; the others are pipes, or nothing."""

    def __init__(self, args, environment, streams=(0, 1, 2), rows=30, columns=120):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.slave, self.before, self.text = slave, termios.tcgetattr(slave), b""

        def stream(number):
            return slave if number in streams else subprocess.DEVNULL if number == 0 else subprocess.PIPE

        def own_terminal():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(args, stdin=stream(0), stdout=stream(1), stderr=stream(2), env=environment,
                                        preexec_fn=own_terminal)

    def read(self, seconds):
        """What comes until it is quiet for a moment, or so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and select.select([self.master], [], [], 0.05)[0]:
            self.text += os.read(self.master, 65536)

    def wait_for(self, pattern, timeout=15):
        """The first screen, or what follows it, that has the pattern; what came before it is forgotten."""
        def found():
            self.read(0.2)
            return re.search(pattern.encode(), self.text)
        try:
            harness.wait_for(f"{pattern!r} on the terminal", found, timeout, every=0.02)
        except AssertionError as vain:
            raise AssertionError(f"{vain}; there is {self.text[-3000:]!r}") from None
        match = re.search(pattern.encode(), self.text)
        self.text = self.text[match.end():]
        return match

    def type(self, keys):
        os.write(self.master, keys)

    def end(self, timeout=15):
        """Its exit code, once it has ended, and all that it wrote."""
        def over():
            self.read(0.2)
            return self.process.poll() is not None
        harness.wait_for("the end of the program", over, timeout, every=0.02)
        self.read(0.2)
        return self.process.returncode

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()
        os.close(self.master)
        os.close(self.slave)


class TerminalTest(harness.TestCase):
    def relay(self):
        relay = self.waypost(queue='retry = ["8h"]', delivery='tls = "none"', extra=f"""
            [[route]]
            match = "*.dead.example"
            next_hop = "smtp:[{DEAD}]:{harness.free_port()}"
        """).start()
        relay.environment.update(TERM="xterm")
        relay.environment.pop("NO_COLOR", None)
        return relay

    def on_terminal(self, relay, *words, **options):
        terminal = Terminal([harness.WAYPOST, "--config", str(relay.config), *words], relay.environment, **options)
        self.addCleanup(terminal.close)
        return terminal

    def send(self, relay, to, subject="Plans"):
        with smtp.Client(relay.mx) as client:
            code, text = client.send("s@a.example", to, f"Subject: {subject}\r\n\r\nText.\r\n".encode())
        self.assertEqual(code, 250, text)
        return text.split()[-1]

    def test_top(self):
        relay = self.relay()
        first = self.send(relay, "r@one.dead.example")
        for number in range(3):
            self.send(relay, f"r{number}@two.dead.example")
        harness.wait_for("the attempts", lambda: relay.ask("/v1/queue/count")["active"] == 0, 20)

        top = self.on_terminal(relay, "top", "--interval", "200ms")
        top.wait_for(r"relay\.test\.example   up ")
        top.wait_for(r"destinations, most waiting first")
        self.assertFalse(top.is_as_before())
        top.wait_for(r"\x1b\[7m4 [^\r]*site [^\r]*connection refused")  # marked
        top.type(b"\r")  # a site does not open
        top.wait_for(r"destinations, most waiting first")
        top.type(b"s")
        top.wait_for(r"oldest mail first")
        top.type(b"\x1b[H")
        top.wait_for(r"\x1b\[7m1 [^\r]*one\.dead\.example")
        top.type(b"?")
        top.wait_for("sort the destinations")
        top.type(b"x" + b"s" * 3 + b"g")
        top.wait_for(r"most waiting first[^\x07]*\x1b\[7m4 ")
        top.type(b"\x1b[Bj")
        top.wait_for(r"\x1b\[7m1 [^\r]*one\.dead\.example")
        top.type(b"\r")
        top.wait_for(r"one\.dead\.example \(failing until [^\r]*connection refused\), oldest messages first")
        top.wait_for(r"\x1b\[7m" + first)
        top.type(b"\r")
        top.wait_for(r"from +<s@a\.example>")
        top.wait_for(r"r@one\.dead\.example> deferred")
        top.wait_for("trace")
        top.wait_for("accepted")
        relay.tool("queue", "hold", first)
        top.wait_for(r"r@one\.dead\.example> held")  # by itself
        top.type(b"\x1b")
        top.wait_for(r"one\.dead\.example[^\r]*, oldest messages first")
        # A smaller window.
        fcntl.ioctl(top.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 40, 0, 0))
        top.process.send_signal(signal.SIGWINCH)
        top.text = b""
        top.wait_for(r"\x1b\[J")
        top.text = b""
        top.wait_for(r"\x1b\[H[^\x07]*?\x1b\[J")
        top.type(b"q")
        top.wait_for("destinations, most waiting first")
        top.type(b"q")
        self.assertEqual(top.end(), 0)
        self.assertIn(LEAVE, top.text)
        self.assertTrue(top.is_as_before())

        with self.subTest("the daemon goes and comes"):
            top = self.on_terminal(relay, "top", "--interval", "200ms")
            top.wait_for(r"\x1b\[7m3 ")
            self.assertEqual(relay.stop(), 0)
            top.wait_for(r"\x1b\[31m! waypost: no daemon answers")
            top.wait_for(r"\x1b\[7m3 ")
            relay.start()  # which it could not if the tool had the queue
            top.wait_for(r"\x1b\[7m3 ")
            top.type(b"\x03")
            self.assertEqual(top.end(), -signal.SIGINT)
            self.assertTrue(top.is_as_before())

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number.name):
                top = self.on_terminal(relay, "top")
                top.wait_for("destinations")
                top.process.send_signal(number)
                self.assertEqual(top.end(), -number)
                self.assertIn(LEAVE, top.text)
                self.assertTrue(top.is_as_before())

        with self.subTest("no colour"):
            relay.environment.update(NO_COLOR="1")
            top = self.on_terminal(relay, "top")
            self.assertEqual(relay.stop(), 0)
            top.wait_for(r"\x1b\[1m! ")
            top.type(b"q")
            self.assertEqual(top.end(), 0)

        for kind, streams in (("xterm", (0, 2)), ("xterm", (1, 2)), ("dumb", (0, 1, 2))):
            with self.subTest(kind=kind, streams=streams):
                relay.environment.update(TERM=kind)
                top = self.on_terminal(relay, "top", streams=streams)
                self.assertEqual(top.end(), 64)
                self.assertIn(b"waypost: top", top.text)
                self.assertNotIn(ENTER, top.text)

    def test_progress(self):
        relay = self.relay()
        harness.smtp_source(relay.mx, "-s", 20, "-m", MESSAGES, "-l", 200, "-f", "s@a.example", "-t", "r@one.dead.example", "-d")
        self.assertEqual(relay.queued(), MESSAGES)
        relay.tool("queue", "hold", "--all", "--yes")

        with self.subTest("a bounce shows how far it is"):
            bounce = self.on_terminal(relay, "queue", "bounce", "state:held", "--yes", streams=(2,))
            with slowed(relay.program.signal):
                seen = bounce.wait_for(r"\r\x1b\[K([\d ]+) of 12 000 messages, \d+ %, ([\d ]+)/s, \d+[sm] left", 60)
                self.assertLess(int(seen[1].replace(b" ", b"")), MESSAGES)
                bounce.type(b"\x03")
                self.assertEqual(bounce.end(60), 2)
            self.assertIn(b"\r\x1b[Kwaypost: stopped, before the end of the queue\r\n", bounce.text)
            done = int(re.match(rb"bounced ([\d ]+) messages", bounce.process.stdout.read())[1].replace(b" ", b""))
            held = relay.ask("/v1/queue/count?filter=state:held")["messages"]
            self.assertTrue(0 < done < MESSAGES)
            self.assertEqual(done + held, MESSAGES)
            audit = [json.loads(line) for line in relay.tool("audit", "--json").stdout.splitlines()]
            self.assertEqual((audit[0]["what"], audit[0]["messages"]), ("bounce", done))

        with self.subTest("Ctrl-C that no daemon hears ends the tool alone"):
            held = json.loads(relay.tool("queue", "list", "state:held", "--limit", "1", "--json").stdout)["id"]
            relay.program.signal(signal.SIGSTOP)
            release = self.on_terminal(relay, "queue", "release", held, streams=(2,))
            time.sleep(0.5)
            release.type(b"\x03")
            self.assertEqual(release.end(30), -signal.SIGINT)
            relay.program.signal(signal.SIGCONT)

        with self.subTest("what is quick, or not before a terminal, shows nothing"):
            hold = self.on_terminal(relay, "queue", "hold", "--all", "--dry-run", streams=(2,))
            hold.end(30)
            self.assertNotIn(b"\x1b", hold.text)
            check = relay.tool("store", "check")
            self.assertEqual(check.stderr, "")

    def test_progress_without_a_daemon(self):
        relay = self.relay()
        harness.smtp_source(relay.mx, "-s", 4, "-m", 24, "-l", 20_000_000, "-f", "s@a.example", "-t", "r@one.dead.example", "-d")
        self.assertEqual(relay.queued(), 24)
        self.assertEqual(relay.stop(), 0)
        check = self.on_terminal(relay, "store", "check", streams=(2,))
        with slowed(check.process.send_signal, 0.3, 0.001):
            check.wait_for(r"\r\x1b\[K[\d ]+ of 24 messages, \d+ %", 60)
            check.type(b"\x03")
            self.assertEqual(check.end(60), 75)
        self.assertIn(b"it was stopped: nothing is left of it", check.text)

    def test_bench(self):
        relay = self.relay()
        self.send(relay, "r@one.dead.example")
        report = json.loads(relay.tool("bench", "--time", "300ms", "--json").stdout)
        for part in ("disk", "accept", "pass"):
            self.assertGreater(report[part]["per_second"], 0, report)
        self.assertGreater(report["expected_per_second"], 0, report)
        self.assertEqual(relay.queued(), 1)
        scratch = relay.data / "bench"
        self.assertFalse(scratch.exists())
        for keys in (b"\x03", None):
            bench = self.on_terminal(relay, "bench", "--time", "30s")
            harness.wait_for("the bench to begin", scratch.exists, 10)
            if keys:
                bench.type(keys)
            else:
                bench.process.send_signal(signal.SIGTERM)
            self.assertEqual(bench.end(10), 75)
            self.assertIn(b"stopped; nothing is left of it", bench.text)
            self.assertFalse(scratch.exists())
        self.assertEqual(relay.stop(), 0)


if __name__ == "__main__":
    harness.main()
