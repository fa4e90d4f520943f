#!/usr/bin/env python3
"""`waypost store`: backups while mail comes and goes, each of which is clean, opens and delivers what was accepted; a
damaged one is refused with advice, salvaged, and delivers.

Load: two smtp-source (one to a destination that takes its mail, one to one that is down) and a client that knows its
bodies, some of them in spool files, and measures how long the reply to the final dot takes.
"""
import json
import random
import re
import shutil
import subprocess
import threading
import time

import harness
import smtp

BACKUPS = 3
MESSAGES = 1200  # of each smtp-source
PAGE = 4096


class Known(threading.Thread):
    """Messages with a body of their own, one after the other, to the destination that is down."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ending, self.failure = port, False, None
        self.accepted, self.tried, self.replies = {}, {}, []  # id -> content; (when, seconds)
        self.rng = random.Random(1)

    def run(self):
        try:
            with smtp.Client(self.port) as client:
                number = 0
                while not self.ending:
                    id_ = f"k{number}"
                    number += 1
                    size = 150_000 if number % 5 == 0 else self.rng.randrange(100, 20_000)
                    filler = bytes(self.rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=70)) + b"\r\n"
                    content = f"Subject: {id_}\r\n\r\n".encode() + filler * (size // 72 + 1)
                    self.tried[id_] = content
                    began = time.monotonic()
                    code, text = client.send("s@known.example", f"{id_}@stay.example", content)
                    self.replies.append((began, time.monotonic() - began))
                    if code != 250:
                        raise AssertionError(f"got {code} {text}")
                    self.accepted[id_] = content
                    time.sleep(0.002)
        except Exception as failure:  # told by the test
            self.failure = failure


class Store(harness.TestCase):
    def relay_on(self, name, data, port):
        relay = self.waypost(name)
        relay.data = data
        relay.write_config(extra=f"""
            [[route]]
            match = "*"
            next_hop = "smtp:[127.0.0.44]:{port}"
        """)
        return relay

    def deliver(self, relay, sink, want):
        """Runs a relay until its queue is empty; returns what the sink took."""
        before = len(sink.messages)
        relay.start()
        relay.tool("queue", "release", "--all", "--yes", check=False)
        relay.tool("queue", "retry", "--all", "--yes", check=False)
        harness.wait_for("the copy's mail to be delivered", lambda: len(sink.messages) - before >= want, 40)
        relay.wait_empty(20)
        self.assertEqual(relay.stop(), 0)
        return sink.messages[before:]

    def look(self, taken, known):
        """Every message is one that was sent, its content that which was sent; returns the known ids."""
        ids = []
        for message in taken:
            recipient = message.recipients[0]
            if recipient.startswith("bulk@"):
                continue
            id_ = recipient.split("@")[0]
            self.assertIn(id_, known.tried)
            trace, _, content = message.content.partition(b"Subject: ")
            self.assertTrue(trace.startswith(b"Received: "))
            self.assertEqual(b"Subject: " + content, known.tried[id_], id_)
            ids.append(id_)
        self.assertEqual(len(ids), len(set(ids)), "twice")
        return set(ids)

    def test_backups_and_salvage(self):
        away = smtp.Sink(harness.free_port(), "127.0.0.43", keep=False)
        relay = self.waypost(top=f'writable = ["{self.folder}"]', extra=f"""
            [[route]]
            match = "away.example"
            next_hop = "smtp:[127.0.0.43]:{away.port}"
            [[route]]
            match = "*"
            next_hop = "smtp:[127.0.0.43]:{harness.free_port()}"
        """).start()
        known = Known(relay.mx)
        known.start()
        source = [str(harness.PEERS / "bin/smtp-source"), "-s", "5", "-l", "4000", "-f", "bulk@known.example"]
        load = [harness.Program([*source, "-m", MESSAGES, "-d", "-t", f"bulk@{domain}", f"127.0.0.1:{relay.mx}"],
                                self.folder / f"{domain}.log") for domain in ("away.example", "stay.example")]
        harness.wait_for("some mail", lambda: len(known.accepted) > 30, 20)

        copies, spans = [], []
        for number in range(BACKUPS):
            before = set(known.accepted)
            began = time.monotonic()
            copy = self.folder / f"copy{number}"
            report = json.loads(relay.tool("store", "backup", str(copy), "--json").stdout)
            spans.append((began, time.monotonic()))
            self.assertEqual(report["missing"], 0)
            copies.append((copy, report, before, set(known.tried)))
            time.sleep(0.3)
        again = relay.tool("store", "backup", str(copies[0][0]), check=False)
        self.assertEqual(again.returncode, 73, again.stderr)
        checked = relay.tool("store", "check", "--json")
        self.assertTrue(json.loads(checked.stdout)["clean"])
        known.ending = True
        known.join(30)
        self.assertIsNone(known.failure)
        for program in load:
            self.assertEqual(program.wait(60), 0, program.text()[-500:])
        refused = relay.tool("store", "restore", str(copies[0][0]), check=False)
        self.assertEqual(refused.returncode, 73)
        self.assertRegex(refused.stderr, rf"in use by pid {relay.program.pid}")

        inside = [took for at, took in known.replies if any(a <= at <= b for a, b in spans)]
        outside = [took for at, took in known.replies if not any(a - took <= at <= b for a, b in spans)]
        slices = max(report["longest_slice_us"] for _, report, _, _ in copies) / 1000
        print(f"{len(known.accepted)} known messages, {BACKUPS} backups of up to {copies[-1][1]['messages']} messages in "
              f"{copies[-1][1]['slices']} slices, {max(b - a for a, b in spans):.2f} s; longest slice {slices:.1f} ms; "
              f"longest reply to a final dot {1000 * max(inside, default=0):.0f} ms during them ({len(inside)} replies), "
              f"{1000 * max(outside):.0f} ms besides")
        self.assertGreater(len(inside), 3, "there was mail during the backups")
        self.assertEqual(relay.stop(), 0)

        sink = smtp.Sink(harness.free_port(), "127.0.0.44")
        patient = self.folder / "patient"
        shutil.copytree(copies[-1][0], patient)
        for number, (copy, report, before, tried) in enumerate(copies):
            checked = relay.tool("store", "check", str(copy), "--json")
            self.assertTrue(json.loads(checked.stdout)["clean"], checked.stdout)
            self.assertEqual(json.loads(checked.stdout)["messages"], report["messages"])
            taken = self.deliver(self.relay_on(f"second{number}", copy, sink.port), sink, report["messages"])
            self.assertEqual(len(taken), report["messages"])
            ids = self.look(taken, known)
            self.assertEqual(before - ids, set(), "accepted before the backup began, and not in it")
            self.assertEqual(ids - tried, set(), "unknown")
        self.salvage(patient, copies[-1][1], sink, known)

    def salvage(self, patient, report, sink, known):
        """The head of the file, and some pages in its middle, are lost."""
        size = (patient / "queue.db").stat().st_size
        with open(patient / "queue.db", "r+b") as file:
            for page in [0, *range(size // PAGE // 2, size // PAGE // 2 + 20)]:
                file.seek(page * PAGE)
                file.write(bytes(PAGE))
        relay = self.relay_on("salvaged", patient, sink.port)
        done = subprocess.run([harness.WAYPOSTD, "--config", str(relay.config)], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 74)
        advice = re.findall(r"`(waypost [^`]*)`", done.stderr + done.stdout)
        self.assertEqual(advice, [f"waypost --config {relay.config} store check",
                                  f"waypost --config {relay.config} store salvage --in-place"])
        self.assertEqual(relay.tool("store", "check", check=False).returncode, 1)
        salvaged = relay.tool("store", "salvage", "--in-place", "--json", check=False)
        self.assertIn(salvaged.returncode, (0, 2), salvaged.stderr)
        found = json.loads(salvaged.stdout)
        lost = report["messages"] - found["messages"]
        print(f"21 of {size // PAGE} pages zeroed: {found['messages']} of {report['messages']} messages salvaged, "
              f"{len(found['lost'])} told as lost")
        self.assertGreater(found["messages"], report["messages"] // 2)
        self.assertLessEqual(lost, len(found["lost"]), "each that is lost is told")
        self.assertTrue((patient / "queue.db.damaged").exists())
        self.assertEqual(relay.tool("store", "check", check=False).returncode, 0)
        taken = self.deliver(relay, sink, found["messages"])
        self.assertEqual(len(taken), found["messages"])
        self.look(taken, known)


if __name__ == "__main__":
    harness.main()
