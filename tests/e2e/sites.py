"""Sites beside real traffic: what a dead one costs and how it wakes, how soon one message leaves behind a backlog, and
what limits let through. Figures are printed; E2E_BULK says how large the backlogs are (a release: 100000)."""
import collections
import json
import os
import pathlib
import socket
import struct
import threading
import time

import harness
import smtp

BULK = int(os.environ.get("E2E_BULK", "5000"))
DOMAINS = 30


class Watched(smtp.Sink):
    """Notes when each message came, and how many connections were open then. `delay`: seconds that each one takes."""

    def __init__(self, port, address, delay=0.0):
        self.times, self.opened, self.closed_for_today, self.delay = [], [], False, delay
        super().__init__(port, address, script=self._script, taken=self._taken)

    def _script(self, verb, _argument, _state):
        if verb == "CONNECT" and self.closed_for_today:
            return b"421 4.3.2 closed for today\r\n"
        if verb == "DOT" and self.delay:
            time.sleep(self.delay)
        return None

    def _taken(self, _message):
        self.times.append(time.monotonic())  # the sink holds its lock
        self.opened.append(len(self.open))


def connected_from(ports):
    """The local addresses of established connections to these ports."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == "01" and int(remote.split(":")[1], 16) in ports:
            yield socket.inet_ntoa(struct.pack("<I", int(local.split(":")[0], 16)))


def route(match, sink):
    return f'[[route]]\nmatch = "{match}"\nnext_hop = "smtp:[{sink.address}]:{sink.port}"\n'


def submit(relay, sender, recipient, count):
    harness.smtp_source(relay.mx, "-m", count, "-s", min(20, count), "-l", 500, "-f", sender, "-t", recipient)


class Sites(harness.TestCase):
    def test_dead_site_and_its_wake(self):
        sink = Watched(harness.free_port(), "127.0.0.60")
        self.addCleanup(sink.stop)
        sink.closed_for_today = True
        relay = self.waypost(queue='retry = ["1h"]', extra=route("*", sink)).start()
        each = max(BULK // DOMAINS, 1)
        for number in range(DOMAINS):
            submit(relay, "s@office.example", f"r@d{number}.example", each)
        rows = [json.loads(line) for line in relay.tool("dest", "list", "--json").stdout.splitlines()]
        self.assertEqual([(row["kind"], row["state"], row["recipients"]) for row in rows],
                         [("site", "failing", DOMAINS * each)])
        failures = relay.log_text().count("failures=")
        print(f"dead: {DOMAINS * each} messages for {DOMAINS} domains cost {sink.connections} connections, {failures} line(s)")
        self.assertLessEqual(sink.connections, 5)
        self.assertEqual(failures, 1)

        sink.closed_for_today = False
        before = time.monotonic()
        relay.tool("dest", "retry", "d7.example")
        relay.wait_empty(300)
        print(f"awake: the first message after {sink.times[0] - before:.2f} s, all after {sink.times[-1] - before:.2f} s; "
              f"connections open at the 1st, 2nd, 5th, 10th, 20th, 100th: "
              f"{[sink.opened[at] for at in (0, 1, 4, 9, 19, 99)]}")
        self.assertEqual(len(sink.times), DOMAINS * each)
        self.assertEqual(sink.opened[0], 1)
        for at in range(1, 20):
            self.assertLessEqual(sink.opened[at], at + 2)
        self.assertLessEqual(max(sink.opened), 20)

    def test_one_message_behind_a_backlog(self):
        big = Watched(harness.free_port(), "127.0.0.61", delay=0.02)
        other = Watched(harness.free_port(), "127.0.0.62")
        for sink in (big, other):
            self.addCleanup(sink.stop)
        relay = self.waypost(delivery="concurrency = 4",
                             extra=route("big.example", big) + route("*", other)).start()
        relay.tool("dest", "hold", "big.example", "--for", "1h", "--reason", "until all of it is there")
        submit(relay, "list@bulk.example", "r@big.example", BULK)
        self.assertEqual(big.times, [])
        relay.tool("dest", "resume", "big.example")
        harness.wait_for("the backlog to move", lambda: len(big.times) > 50)
        sent = time.monotonic()
        submit(relay, "ann@office.example", "ann@big.example", 1)
        submit(relay, "ann@office.example", "ann@other.example", 1)

        def from_ann(sink):
            with sink.lock:
                return [at for at, one in enumerate(sink.messages) if "ann@office" in one.sender]

        harness.wait_for("both messages", lambda: from_ann(big) and from_ann(other), 60)
        print(f"behind {BULK - len(big.times)} of {BULK}: to the same domain {big.times[from_ann(big)[0]] - sent:.2f} s, to "
              f"another {other.times[0] - sent:.2f} s")
        self.assertLess(len(big.times), BULK, "the backlog is still there")
        self.assertLess(big.times[from_ann(big)[0]] - sent, 10)

    def test_limits(self):
        limits = {"127.0.0.63": 50.0, "127.0.0.64": 10.0}
        sinks = {address: Watched(harness.free_port(), address) for address in limits}
        for sink in sinks.values():
            self.addCleanup(sink.stop)
        by_site, by_domain = sinks.values()
        relay = self.waypost(extra=f"""
            [[delivery.limits]]
            sites = ["{by_site.address}"]
            rate = "50/1s"
            [[delivery.limits]]
            domains = ["slow.example"]
            rate = "10/1s"
            """ + route("slow.example", by_domain) + route("*", by_site)).start()
        threads = [threading.Thread(target=submit, args=(relay, "s@office.example", to, 700))
                   for to in ("r@a.example", "r@b.example", "r@slow.example")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(1)
        begin, time_of_it = time.monotonic(), 8.0
        time.sleep(time_of_it)
        for address, sink in sinks.items():
            with sink.lock:
                rate = sum(begin <= at < begin + time_of_it for at in sink.times) / time_of_it
            print(f"limit {limits[address]:.0f}/s: {rate:.2f}/s")
            # A machine that is busy with something else may be behind; it must never be ahead.
            self.assertLessEqual(rate, limits[address] * 1.05)
            self.assertGreater(rate, 0)

    def test_limits_of_source_addresses(self):
        """Two addresses, each with a rate for itself, and two connections of it to two sites together."""
        sinks = [Watched(harness.free_port(), address) for address in ("127.0.0.65", "127.0.0.66")]
        for sink in sinks:
            self.addCleanup(sink.stop)
        sources = ["127.0.0.71", "127.0.0.72"]
        relay = self.waypost(delivery=f"source = {json.dumps(sources)}", extra=f"""
            [[delivery.limits]]
            sources = {json.dumps(sources)}
            rate = "20/1s"
            connections = 2
            """ + route("a.example", sinks[0]) + route("*", sinks[1])).start()
        for to in ("r@a.example", "r@b.example"):
            submit(relay, "s@office.example", to, 400)
        time.sleep(1)
        begin, time_of_it = time.monotonic(), 8.0
        most = collections.Counter()
        while time.monotonic() < begin + time_of_it:
            now = collections.Counter(connected_from([sink.port for sink in sinks]))
            for source in sources:
                most[source] = max(most[source], now[source])
            time.sleep(0.02)
        taken = 0
        for sink in sinks:
            with sink.lock:
                taken += sum(begin <= at < begin + time_of_it for at in sink.times)
        print(f"limit 2 x 20/s: {taken / time_of_it:.2f}/s; connections of each at most {dict(most)}")
        self.assertLessEqual(taken / time_of_it, 40 * 1.05)
        self.assertGreater(taken, 0)
        self.assertEqual(set(most), set(sources))
        self.assertLessEqual(max(most.values()), 2)


if __name__ == "__main__":
    harness.main()
