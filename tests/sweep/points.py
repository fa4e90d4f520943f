"""The sweeps: for each system call of a scenario, the daemon is killed there or the call fails; then it is started again if
it ended, the queue drains, and the ledger is held against the promises."""
import time

import harness
import ledger
import strace
from scene import MAILDIR_DOMAIN, SMALL, SPOOLED, Scene

KILL, EIO, ENOSPC = "signal=SIGKILL", "error=EIO", "error=ENOSPC"
# A sync that fails leaves what it was for in doubt, whatever the reason; and SQLite tells none for ftruncate.
MAY_END_WHEN_FULL = (*strace.SYNC_CALLS, "ftruncate")
# Runs without a fault, and most runs for one point: what is in one commit differs, and so does the number of calls.
RECORDS, TRIES = 3, 3
SETTLE = 0.4  # seconds after a scenario's end: the checkpoint of an idle store comes after 0.1


class Point:
    """One fault at one call and what came of it."""

    def __init__(self, sweep, fault, call):
        self.sweep, self.fault, self.call = sweep, fault, call
        self.reached, self.ended, self.replies, self.again, self.broken = False, None, [], 0, []
        self.seen = call.number  # how often the thread made the call, where that is counted
        self.struck = []  # what strace says of the fault, a line each

    def outcome(self):
        how = "not reached" if not self.reached else f"ended with {self.ended}" if self.ended is not None else "went on"
        text = how + (f"; replies {self.replies}" if self.replies else "") + (f"; {self.again} again" if self.again else "")
        return text + "".join(f"; BROKEN {what}" for what in self.broken)

    def json(self):
        return {"sweep": self.sweep, "fault": self.fault, "thread": self.call.thread, "call": self.call.name,
                "number": self.call.number, "reached": self.reached, "exit": self.ended, "replies": self.replies,
                "again": self.again, "broken": self.broken}


def accept(scene):
    return scene.send((SMALL, ""), (SPOOLED, ""))


def nothing(scene):
    del scene


def open_gate(scene):
    scene.gate.set()


def queue_two(scene):
    scene.gate.clear()
    scene.send((SMALL, ""), (SPOOLED, ""))


def queue_bad(scene):
    scene.gate.clear()
    scene.send((SMALL, ledger.BAD), (SPOOLED, ledger.BAD))


def to_maildir(scene):
    return scene.send((SMALL, ""), (SPOOLED, ""), domain=MAILDIR_DOMAIN)


def shut_gate(scene):
    scene.gate.clear()


# Name: what is done before the calls count, what is done while they do, how many messages leave the queue by that, and
# how many may arrive again where the daemon is killed (DESIGN section 1, promise 3: an outcome that was not committed).
SCENARIOS = {
    "accept": (shut_gate, accept, 0, 0),
    "deliver": (queue_two, open_gate, 2, 2),
    "maildir": (nothing, to_maildir, 2, 2),
    "bounce": (queue_bad, open_gate, 4, 2),
}


def guarded(sweep, fault, call):
    """A point, or one before it where no fault struck; one that does not come to its end is a finding; the next go on."""
    try:
        for _ in range(TRIES):
            point = sweep.point(fault, call)
            if point.reached or point.broken or call.number == 1:
                break
            call = earlier(call, point.seen)
        return point
    except (OSError, AssertionError) as error:
        point = Point(sweep.name, fault, call)
        point.broken.append(f"{type(error).__name__}: {error}")
        sweep.recover()
        return point


def earlier(call, seen):
    """A thread that is traced alone waits less often for others than where all are, and wakes them less often."""
    return strace.Call(call.thread, call.name, max(1, min(call.number - 1, seen)), call.text)


def removed(relay, since):
    return relay.log_text(since).count(": removed")


class Sweep:
    """Points of one scenario. The daemon that was started after one point serves for the next."""

    def __init__(self, name, folder):
        self.name = name
        self.before, self.act, self.leave, self.allowed = SCENARIOS[name]
        self.scene = Scene(folder)

    def run(self, faults, choose, report):
        """`choose(fault, calls)`: those of the calls to take. `report(point)`: told of each."""
        self.scene.start()
        self.scene.drain()
        try:
            calls = self.count()
            for fault in faults:
                for call in choose(fault, calls if fault == KILL else disk_calls(calls, self.scene)):
                    report(guarded(self, fault, call))
        finally:
            self.scene.end()

    def recover(self):
        self.scene.end_daemon()
        self.scene.start()
        self.scene.drain()

    def count(self):
        """The calls that each of some runs without a fault has."""
        calls = self.record()
        for _ in range(RECORDS - 1):
            more = {str(call) for call in self.record()}
            calls = [call for call in calls if str(call) in more]
        return calls

    def record(self):
        relay = self.scene.relay
        self.before(self.scene)
        self.scene.quiet()
        tracer = strace.record(relay, self.scene.folder)
        order = strace.threads(relay.program.pid)
        since = len(relay.log_text())
        self.act(self.scene)
        harness.wait_for("the scenario", lambda: removed(relay, since) >= self.leave, 10, every=0.01)
        time.sleep(SETTLE)  # what an idle store does counts, too
        tracer.detach()
        self.scene.drain()
        return strace.calls_of(tracer.log, order)

    def point(self, fault, call):
        scene, relay, point = self.scene, self.scene.relay, Point(self.name, fault, call)
        scene.ledger = ledger.Ledger()
        self.before(scene)
        scene.quiet()
        since = len(relay.log_text())
        tracer = strace.inject(relay, scene.folder, call, fault)
        point.replies = self.act(scene) or []
        point.ended = self.wait_for_end(since, tracer)
        tracer.detach()
        point.seen, point.struck = tracer.seen(call.name), tracer.struck()
        point.reached = hit(fault, point.struck, scene)
        settle(point, scene, scene.start)
        judge_fault(point, scene)
        judge_ledger(point, scene, self.allowed)
        return point

    def wait_for_end(self, since, tracer):
        """The daemon's exit code, or None if it still runs when all is done."""
        relay, done_at = self.scene.relay, None
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if not relay.program.running():
                return relay.program.process.returncode
            if done_at is None and removed(relay, since) >= self.leave:
                done_at = time.monotonic()
            if done_at is not None and (time.monotonic() > done_at + SETTLE or tracer.struck()):
                return relay.program.process.poll()
            time.sleep(0.003)
        return None


def settle(point, scene, start):
    """Starts the daemon again if it ended, by `start()`, and drains the queue. It may be about to end: what follows from a
    fault takes its time."""
    relay = scene.relay
    if point.reached and point.fault == KILL and point.ended is None:
        relay.program.wait(10)
    for last in (False, True):
        if not relay.program.running():
            point.ended = relay.program.process.returncode
            start()
        try:
            scene.drain()
            return
        except (OSError, AssertionError):
            if last or relay.program.process.poll() is None and not ends_soon(relay):
                raise


def ends_soon(relay):
    deadline = time.monotonic() + 2
    while relay.program.running() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not relay.program.running()


def disk_calls(calls, scene):
    return [call for call in calls if call.name in strace.DISK_CALLS and on_disk(call.text, scene)]


def on_disk(text, scene):
    """Whether a call touches the data folder or a Maildir: what else is written is no disk's to fail. Names relative to the
    data folder stand behind its descriptor."""
    return any(str(path) in text for path in (scene.relay.data, scene.box))


def hit(fault, lines, scene):
    """Whether the fault that strace tells of in `lines` is the one that was meant. The count of write() may be out by
    one, or another thread may come to it, too, and then it is a thread's wake-up that failed, which no disk can do."""
    return bool(lines) and (fault == KILL or all(on_disk(line, scene) for line in lines))


def judge_fault(point, scene):
    """What must follow from the fault itself (RELIABILITY F9, F12)."""
    if not point.reached:
        return
    queue_file = any("queue.db" in line or f"{scene.relay.data}/body" in line for line in point.struck)
    if point.fault == KILL:
        if point.ended != -9:
            point.broken.append("it was not killed")
    elif point.ended not in (None, 74):
        point.broken.append(f"ended with {point.ended}")
    elif point.fault == EIO and point.call.name in strace.SYNC_CALLS and queue_file and point.ended != 74:
        point.broken.append("a sync failed and it did not end with 74")
    elif point.fault == ENOSPC and point.ended is not None and point.call.name not in MAY_END_WHEN_FULL:
        point.broken.append("ended because the disk is full")


def judge_ledger(point, scene, allowed):
    """`allowed`: how many may have come again after a kill. One that ends by itself may do so while the queue drains, each
    message being under way then; one that goes on has committed all outcomes."""
    if point.fault != KILL:
        allowed = 0 if point.ended is None else len(scene.ledger.tried)
    point.again = sum(scene.ledger.again())
    point.broken += scene.ledger.broken()
    if point.again > allowed:
        point.broken.append(f"{point.again} arrived again")
