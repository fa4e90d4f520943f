"""The sweeps of start-up: with a queue that holds mail, a WAL that was not moved and orphans in body/; and from nothing, which
is the one migration there is. strace counts from the first call of the program on; calls of a name by different threads
cannot be told apart here, so a point is whatever thread comes to the number first."""
import re
import shutil
import time

import harness
import ledger
import points
import strace
from scene import SMALL, SPOOLED, Scene

# A name that is an id and one that is not: both are swept.
ORPHANS = ("body/Q8/D2035EKYP0Q8", "body/Q8/D2035EKYP1Q8.tmp")


class StartUp:
    """Each point begins with a copy of the same folder."""

    name = "start-up"

    def __init__(self, folder):
        self.scene = Scene(folder)
        self.template = folder / "template"
        self.promised = ledger.Ledger()

    def prepare(self):
        scene = self.scene
        scene.gate.clear()
        scene.relay.start()
        # Killed at once: an idle daemon would move the WAL into the database.
        scene.ledger = self.promised
        scene.send(*[(SMALL, "")] * 3, (SPOOLED, ""), (SPOOLED, ""), (SMALL, ledger.BAD))
        scene.relay.kill()
        data = scene.relay.data
        assert len(self.promised.accepted) == 6 and (data / "queue.db-wal").stat().st_size > 0
        for orphan in ORPHANS:
            (data / orphan).parent.mkdir(exist_ok=True)
            (data / orphan).write_bytes(b"of no message")
        self.keep(data)

    def keep(self, data):
        # Not the ballast: it is large, and made again.
        shutil.copytree(data, self.template, ignore=shutil.ignore_patterns("ballast"))

    def restore(self):
        data = self.scene.relay.data
        shutil.rmtree(data)
        shutil.copytree(self.template, data)
        self.scene.ledger = ledger.Ledger()
        self.scene.ledger.tried = set(self.promised.tried)
        self.scene.ledger.accepted = set(self.promised.accepted)

    def after(self, point):
        """What else must hold when the queue has drained. An orphan that could not be removed is the next start's."""
        deadline = time.monotonic() + 2  # files go after the commit that made them superfluous
        while True:
            left = [str(path) for path in (self.scene.relay.data / "body").rglob("*") if path.is_file()]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        if left and (point.fault == points.KILL or point.call.name not in ("unlinkat", "openat2", "openat", "getdents64")):
            point.broken.append(f"left in body/: {left}")

    def run(self, faults, choose, report):
        self.prepare()
        try:
            calls = self.count()
            for fault in faults:
                for call in choose(fault, calls if fault == points.KILL else points.disk_calls(calls, self.scene)):
                    report(points.guarded(self, fault, call))
        finally:
            self.scene.end()

    def recover(self):
        self.scene.end_daemon()

    def count(self):
        """The calls from the first one that touches the data folder until the daemon is ready and idle. Those before it, of
        the loader and the configuration, change nothing that a next start could meet."""
        scene, relay = self.scene, self.scene.relay
        self.restore()
        self.launch()
        time.sleep(points.SETTLE)
        relay.kill()
        calls, points_of = strace.calls_of(scene.folder / "strace.log"), {}
        first = next(i for i, call in enumerate(calls) if str(relay.data) in call.text)
        # The log of strace is in the order of time: the thread that comes to a number first stands first.
        for i, call in enumerate(calls):
            points_of.setdefault((call.name, call.number), (i, call))
        return [call for i, call in points_of.values() if i >= first]

    def launch(self, options=()):
        """Until the daemon is ready or has ended."""
        scene, relay = self.scene, self.scene.relay
        (scene.folder / "strace.log").unlink(missing_ok=True)
        scene.gate.clear()
        since = relay.launch(*strace.from_the_start(scene.folder, options))
        harness.wait_for("ready, or the end", lambda: not relay.program.running() or
                         re.search(r"\bready\b", relay.log_text(since)), 20, every=0.005)

    def point(self, fault, call):
        scene, relay, point = self.scene, self.scene.relay, points.Point(self.name, fault, call)
        self.restore()
        self.launch(strace.injection(call, fault))
        log = scene.folder / "strace.log"
        deadline = time.monotonic() + points.SETTLE
        while relay.program.running() and time.monotonic() < deadline and not strace.struck(log):
            time.sleep(0.003)
        point.reached = points.hit(fault, strace.struck(log), scene)
        point.ended = relay.program.process.poll()
        if not point.reached and point.ended is None:
            relay.kill()  # no tracer at the next start
        points.settle(point, scene, relay.start)
        if self.use():
            points.settle(point, scene, relay.start)  # the fault may have been one of this
        self.judge(point)
        points.judge_ledger(point, scene, 0)
        self.after(point)
        relay.kill()
        return point

    def use(self):
        """Whether there is more to come to an end than what was queued."""
        return False

    def judge(self, point):
        """A start may fail with a fault of its disk, and says so."""
        if not point.reached:
            return
        if point.fault == points.KILL and point.ended != -9:
            point.broken.append("it was not killed")
        elif point.fault != points.KILL and point.ended not in (None, 73, 74, 75):
            point.broken.append(f"ended with {point.ended}")


class Migration(StartUp):
    """From version 0, no database, to the newest, of queue.db and history.db. When there is a second version: keep the files
    that a daemon of version 1 left, with mail, as a template beside this one (a StartUp whose prepare() unpacks them), and
    let after() check that what version 2 adds is there."""

    name = "migration"

    def prepare(self):
        self.keep(self.scene.relay.data)

    def use(self):
        self.scene.send((SMALL, ""), (SPOOLED, ""))
        return True
