"""Clients that hold connections and say nothing, or an octet a second, delay nobody's mail: 2,200 of them, from 25
addresses with as many each as limits.connections_per_client lets in, beside a submission that takes under a second.
"""
import contextlib
import os
import resource
import socket
import statistics
import threading
import time
import unittest

import harness
import smtp

SILENT, SLOW, ADDRESSES, TRIES = 2000, 200, 25, 20
PER_ADDRESS = (SILENT + SLOW) // ADDRESSES
BODY = ("EHLO slow.example", "MAIL FROM:<s@slow.example>", "RCPT TO:<box@own.example>", "DATA")
# What a connection has said before it falls silent, or slow; each silent one is the next of these.
BEFORE = [(), ("EHLO slow.example",), ("EHLO slow.example", "MAIL FROM:<s@slow.example>", "RCPT TO:<box@own.example>"), BODY]


def raise_limit(wanted):
    """Descriptors for this process and those that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        if os.getuid() != 0:
            raise unittest.SkipTest(f"{hard} descriptors are too few, and only root can have more")
        hard = wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class SlowClients(harness.TestCase):
    def submissions(self, relay, before=lambda n: None):
        """Seconds from the connection to the reply to QUIT, for each of some messages of a trusted client."""
        out = []
        for n in range(TRIES):
            before(n)
            began = time.monotonic()
            with smtp.Client(relay.submission, timeout=30) as client:
                self.assertEqual(client.send("ann@own.example", "box@own.example", b"Subject: small\r\n\r\ntext\r\n")[0], 250)
                self.assertEqual(client.command("QUIT")[0], 221)
                out.append(time.monotonic() - began)
        return out

    def test_slow_clients(self):
        raise_limit(12_000)  # the daemon takes a quarter of its descriptors for connections that come in
        relay = self.waypost(
            relay='networks = ["127.0.0.1/32"]', limits=f"connections_per_client = {PER_ADDRESS}",
            extra=f'[[domain]]\nname = "own.example"\ndeliver = "maildir:{self.folder}/waypost/mail"\n').start()
        calm = self.submissions(relay)

        stop, slow, dripped, wrong = threading.Event(), [], [0], []

        def drip():
            """An octet to each slow one in turn, so that each gets one every second."""
            due = time.monotonic()
            while not stop.is_set():
                try:
                    slow[dripped[0] % SLOW].send(b"x")
                except OSError as error:
                    wrong.append(error)
                    return
                dripped[0] += 1
                due += 1 / SLOW
                stop.wait(max(0, due - time.monotonic()))

        with contextlib.ExitStack() as stack:
            for n in range(SILENT + SLOW):
                one = socket.create_connection(("127.0.0.1", relay.mx), 30, source_address=(f"127.0.1.{n % ADDRESSES + 1}", 0))
                stack.callback(one.close)
                self.assertTrue(one.recv(1000).startswith(b"220 "), n)
                # The slow ones are within a command that does not end, or within a message.
                for line in BODY if n < SLOW and n % 2 else () if n < SLOW else BEFORE[n % len(BEFORE)]:
                    one.sendall(line.encode() + b"\r\n")
                    self.assertIn(one.recv(1000)[:3], (b"250", b"354"))
                if n < SLOW:
                    slow.append(one)
            with socket.create_connection(("127.0.0.1", relay.mx), 30, source_address=("127.0.1.1", 0)) as more:
                self.assertTrue(more.recv(1000).startswith(b"421 4.7.0 "), "one more than an address may have")
            dripping = threading.Thread(target=drip)
            dripping.start()
            try:
                # Ten tries a second, while octets come all the time.
                held = self.submissions(relay, lambda n: harness.wait_for(
                    "octets", lambda: wrong or dripped[0] >= n * SLOW / 10, 60, every=0.002))
                harness.wait_for("all that are held", lambda: relay.ask("/v1/status")["in"]["connections"] == SILENT + SLOW, 10)
                memory = relay.memory()
            finally:
                stop.set()
                dripping.join()
        self.assertEqual(wrong, [])
        print(f"a submission: {statistics.median(calm) * 1000:.1f} ms, at most {max(calm) * 1000:.1f} ms; beside {SILENT} silent and "
              f"{SLOW} slow clients {statistics.median(held) * 1000:.1f} ms, at most {max(held) * 1000:.1f} ms; "
              f"RSS {memory >> 20} MiB")
        # What a busy machine adds, it adds in calm as well.
        self.assertLess(max(held), 1 + max(calm))
        harness.wait_for("the messages", lambda: len(list((relay.maildir / "new").iterdir())) == 2 * TRIES, 20)
        harness.wait_for("the end of all", lambda: relay.ask("/v1/status")["in"]["connections"] == 0, 20)
        self.assertEqual(relay.stop(), 0)


if __name__ == "__main__":
    harness.main()
