"""The sweeps of start-up: with a queue that holds mail, a WAL that was not moved and orphans in body/; from nothing,
which makes the databases; and from a queue of the oldest version with mail in it, which is brought up to date. strace
counts from the first call of the program on. Nearly all points are of the first thread, which is traced alone then; the
others cannot be told apart here, and such a point is whatever thread comes to the number first."""
import contextlib
import re
import shutil
import sqlite3
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

    def fill(self):
        scene = self.scene
        scene.gate.clear()
        scene.relay.start()
        scene.ledger = self.promised
        scene.send(*[(SMALL, "")] * 3, (SPOOLED, ""), (SPOOLED, ""), (SMALL, ledger.BAD))
        assert len(self.promised.accepted) == 6

    def prepare(self):
        self.fill()
        # Killed at once: an idle daemon would move the WAL into the database.
        self.scene.relay.kill()
        data = self.scene.relay.data
        assert (data / "queue.db-wal").stat().st_size > 0
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

    def launch(self, options=(), follow=True):
        """Until the daemon is ready or has ended."""
        scene, relay = self.scene, self.scene.relay
        (scene.folder / "strace.log").unlink(missing_ok=True)
        scene.gate.clear()
        since = relay.launch(*strace.from_the_start(scene.folder, options, follow))
        harness.wait_for("ready, or the end", lambda: not relay.program.running() or
                         re.search(r"\bready\b", relay.log_text(since)), 20, every=0.005)

    def point(self, fault, call):
        scene, relay, point = self.scene, self.scene.relay, points.Point(self.name, fault, call)
        self.restore()
        self.launch(strace.injection(call, fault), follow=call.thread != 0)
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
    """From version 0, no database, to the newest, of queue.db and history.db."""

    name = "migration"

    def prepare(self):
        self.keep(self.scene.relay.data)

    def use(self):
        self.scene.send((SMALL, ""), (SPOOLED, ""))
        return True


# What takes a database back to the version of the number, from the next one: queue/schema.cpp the other way round.
BACK = {
    "queue.db": {
        6: """
            DROP INDEX recipient_due;
            ALTER TABLE recipient DROP COLUMN in_due;
            ALTER TABLE recipient DROP COLUMN size;
            CREATE INDEX recipient_due ON recipient(destination, flow, next_attempt) WHERE state = 0;""",
        5: """
            DROP INDEX recipient_held;
            DROP INDEX recipient_kept;
            CREATE INDEX recipient_held ON recipient(destination) WHERE state = 1;
            CREATE INDEX recipient_kept ON recipient(destination) WHERE state = 6 AND change > 0;
            ALTER TABLE destination DROP COLUMN aside_from;
            ALTER TABLE destination DROP COLUMN aside_to;""",
        4: """
            DROP INDEX recipient_kept;
            ALTER TABLE recipient DROP COLUMN change;
            ALTER TABLE recipient DROP COLUMN was;
            DROP TABLE change;""",
        3: """
            ALTER TABLE recipient DROP COLUMN delay_told;
            ALTER TABLE recipient DROP COLUMN asked;
            ALTER TABLE destination DROP COLUMN asked;
            DROP TABLE undelivered;""",
        2: """
            DROP INDEX recipient_due;
            ALTER TABLE recipient DROP COLUMN flow;
            CREATE INDEX recipient_due ON recipient(destination, next_attempt) WHERE state = 0;""",
        1: """
            DELETE FROM destination WHERE kind = 1;
            DELETE FROM meta WHERE key = 'routes';
            ALTER TABLE destination DROP COLUMN kind;
            ALTER TABLE destination DROP COLUMN site;
            ALTER TABLE destination DROP COLUMN site_until;
            ALTER TABLE destination DROP COLUMN held_until;
            ALTER TABLE destination DROP COLUMN held_reason;
            ALTER TABLE destination DROP COLUMN spacing;
            ALTER TABLE destination DROP COLUMN slow_until;
            ALTER TABLE destination DROP COLUMN slow_reason;""",
    },
    "history.db": {1: "ALTER TABLE event DROP COLUMN tls;"},
}


def database(path):
    return contextlib.closing(sqlite3.connect(path))


def shape(path):
    """Its version, columns and indexes, and whether it is whole."""
    with database(path) as db:
        (version,), (whole,) = *db.execute("PRAGMA user_version"), *db.execute("PRAGMA integrity_check(1)")
        columns = db.execute("SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c "
                             "WHERE t.type = 'table'")
        indexes = db.execute("SELECT name, sql, '' FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        return version, whole, {*columns, *indexes}


class Upgrade(StartUp):
    """With mail that a daemon left when it was stopped, in databases of version 1: they are as new ones are at last."""

    name = "upgrade"

    def prepare(self):
        self.fill()
        # Stopped: where a killed one left a WAL, none but a daemon may open the queue.
        assert self.scene.relay.stop() == 0
        self.keep(self.scene.relay.data)
        self.newest = {}
        for name, steps in BACK.items():
            path = self.template / name
            self.newest[name] = shape(path)
            version = self.newest[name][0]
            assert version == max(steps) + 1, f"{name} is of version {version}: BACK has no way back to {version - 1}"
            with database(path) as db:
                for to, sql in steps.items():
                    db.executescript(f"BEGIN; {sql} PRAGMA user_version = {to}; COMMIT;")

    def point(self, fault, call):
        point = super().point(fault, call)
        relay = self.scene.relay
        relay.start()  # history.db is done without where it fails, until the next start
        if (code := relay.stop()) != 0:
            point.broken.append(f"the next one ended with {code}")
        for name, newest in self.newest.items():
            if (now := shape(relay.data / name)) != newest:
                point.broken.append(f"{name} is of version {now[0]}, {now[1]}, and differs in {now[2] ^ newest[2]}")
        return point
