"""Faults that are one scenario each, with the ledger: a full disk, none left of something else, a slow one, clocks that jump,
signals under load. Each function is a row of RELIABILITY: it returns what it saw, and raises AssertionError or Skip."""
import contextlib
import ctypes
import datetime
import fcntl
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import harness
import smtp
import strace
from kill9 import Load
from scene import SMALL, SPOOLED, Scene

FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


class Skip(Exception):
    """It cannot be done on this machine; the text says why."""


def private_mounts():
    """What is mounted from here on is seen by this process and its children alone, and gone with them. Root only."""
    if os.getuid() == 0 and ctypes.CDLL(None, use_errno=True).unshare(0x00020000) == 0:  # CLONE_NEWNS
        subprocess.run(["mount", "--make-rprivate", "/"], check=False)


def mount(folder, options):
    if os.getuid() != 0:
        raise Skip("needs root, to mount a tmpfs")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skip(f"no tmpfs may be mounted here: {done.stderr.strip()}")


def unmount(folder):
    """Whatever mount() put into it: then it can be removed."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", line.split()[1]], check=False)


def kept(scene):
    """Everything has arrived that was promised, once."""
    broken = scene.ledger.broken()
    assert not broken, broken
    again = sum(scene.ledger.again())
    return f"{len(scene.ledger.accepted)} accepted, 0 lost, {again} again"


def until_refused(scene, octets, most):
    """Accepts until the relay has no more room; returns the code that said so."""
    for _ in range(most):
        reply = scene.send((octets, ""))[-1]
        if reply != 250:
            return reply
    raise AssertionError(f"{most} messages of {octets} octets were taken, and none was refused")


def fill(path):
    """Until the file system has not an octet left."""
    with open(path, "ab", buffering=0) as file:
        for piece in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(b"f" * piece):
                    pass


def disk_full(scene):
    """F9: new mail is put off before the disk is full; then others fill it, and the queue drains all the same."""
    mount(scene.relay.data, "size=64m")
    scene.relay.start()
    scene.gate.clear()
    codes = [until_refused(scene, octets, 5000) for octets in (100_000, SPOOLED, SMALL)]
    assert all("452" in str(code) for code in codes), codes
    taken = len(scene.ledger.accepted)
    filler = scene.relay.data / "filler"
    fill(filler)
    scene.relay.kill()  # and a kill on top of it (F65)
    scene.relay.start()
    scene.drain(60)
    fill(filler)  # what the mail left behind, too
    reply = scene.send((SMALL, ""))[-1]
    assert "452" in str(reply), reply
    filler.unlink()
    assert scene.send((SMALL, ""), (SPOOLED, "")) == [250, 250]
    scene.drain()
    return f"452 after {taken} messages; drained on a disk without an octet free; {kept(scene)}"


def inodes(scene):
    """F10: no inode left for a spool file is 452 for that message; small ones go on."""
    mount(scene.relay.data, "size=64m,nr_inodes=40")
    scene.relay.start()
    scene.gate.clear()
    code = until_refused(scene, SPOOLED, 60)
    assert "452" in str(code), code
    assert scene.send((SMALL, "")) == [250]
    scene.drain()
    assert scene.send((SPOOLED, "")) == [250]
    scene.drain()
    return f"452 without inodes, small mail was taken; {kept(scene)}"


def read_only(scene):
    """F13: the kernel makes the disk read-only: it ends with 74, a start on it fails and says why, and all is there when it
    can be written again. (A mount with open files cannot be made read-only by hand: strace says EROFS in its place.)"""
    mount(scene.relay.data, "size=64m")
    scene.relay.start()
    scene.gate.clear()
    assert scene.send((SMALL, ""), (SPOOLED, "")) == [250, 250]
    calls = "pwrite64,fdatasync,fsync,ftruncate,mkdirat,renameat"
    tracer = strace.Tracer(scene.relay, scene.folder, ["-e", f"trace={calls}", "-e", f"inject={calls}:error=EROFS"],
                          [scene.relay.program.pid], follow=True)
    reply = scene.send((SMALL, ""))[-1]
    code = scene.relay.program.wait(10)
    tracer.detach()
    assert reply != 250 and code == 74, (reply, code)
    subprocess.run(["mount", "-o", "remount,ro", str(scene.relay.data)], check=True)
    since = scene.relay.launch()
    again = scene.relay.program.wait(20)
    said = scene.relay.log_text(since)
    subprocess.run(["mount", "-o", "remount,rw", str(scene.relay.data)], check=True)
    assert again in (73, 74, 77) and "ead-only" in said, (again, said)
    scene.relay.start()
    scene.drain()
    return f"ended with 74, a start with {again}; {kept(scene)}"


def descriptors(scene):
    """F44: clients take all that they can get; sessions and deliveries go on, and later clients too."""
    scene.relay.launch("prlimit", "--nofile=256:256")
    harness.wait_for("the port", lambda: harness.listening("127.0.0.1", scene.relay.mx), 20)
    with smtp.Client(scene.relay.mx) as client:
        crowd = []
        for _ in range(300):
            one = socket.socket()
            one.settimeout(5)
            if one.connect_ex(("127.0.0.1", scene.relay.mx)) == 0:
                crowd.append(one)
        refused = 0
        for one in crowd:
            one.settimeout(0.2)
            try:
                refused += one.recv(3) in (b"421", b"")
            except OSError:
                refused += 1
        for octets in (SMALL, SPOOLED):
            assert scene.ledger.send(client, scene.new_id(), octets, scene.rng)[0] == 250
        harness.wait_for("both to arrive", lambda: len(scene.ledger.arrived) == 2, 20)
        open_now = len(os.listdir(f"/proc/{scene.relay.program.pid}/fd"))
        for one in crowd:
            one.close()
    assert refused > 0 and open_now < 256, (refused, open_now)
    harness.wait_for("a new session", lambda: scene.send((SMALL, ""))[-1] == 250, 20, every=0.2)
    scene.drain()
    return f"{len(crowd)} clients, {refused} of them put off, {open_now} descriptors of 256; {kept(scene)}"


def memory(scene):
    """F45: the address space ends little above what it was when idle; whatever comes of that, a 250 holds."""
    scene.relay.start()
    idle = scene.relay.memory("VmPeak")
    assert scene.relay.stop() == 0
    outcomes = []
    for room in (8, 24, 64):
        scene.relay.launch("prlimit", f"--as={idle + (room << 20)}")
        harness.wait_for("the port", lambda: harness.listening("127.0.0.1", scene.relay.mx), 20)
        taken = big_messages(scene, f"big{room}", 40, 3)
        how = "went on" if scene.relay.program.running() else f"ended with {scene.relay.program.process.returncode}"
        outcomes.append(f"{room} MiB: {taken} taken, it {how}")
        scene.relay.kill()
        scene.relay.start()
        scene.drain(60)
        assert scene.relay.stop() == 0
    return f"40 connections with 4 MB messages, room of {', of '.join(outcomes)}; {kept(scene)}"


def big_messages(scene, name, connections, each):
    """How many of them got 250."""
    replies = []

    def client(number):
        rng = random.Random(number)
        for n in range(each):
            try:
                with smtp.Client(scene.relay.mx, timeout=30) as one:
                    replies.append(scene.ledger.send(one, f"{name}-{number}-{n}", 4_000_000, rng)[0])
            except (OSError, AssertionError):
                pass

    clients = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return replies.count(250)


def slow_disk(scene):
    """F16: 2 s for each fdatasync: nobody is cut off, batches grow, nothing is lost."""
    scene.relay.start()
    before = scene.relay.ask("/v1/status")["store"]["commits"]
    tracer = strace.Tracer(scene.relay, scene.folder, ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=2s"],
                          [scene.relay.program.pid], follow=True)
    replies, began = [], time.monotonic()

    def client(number):
        with smtp.Client(scene.relay.mx, timeout=120) as one:
            for n in range(2):
                replies.append(scene.ledger.send(one, f"slow{number}-{n}", SMALL, random.Random(number))[0])

    clients = [threading.Thread(target=client, args=(n,)) for n in range(40)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(120)
    spent = time.monotonic() - began
    harness.wait_for("all to arrive", lambda: len(scene.ledger.arrived) == 80, 120)
    tracer.detach()
    scene.drain(60)
    commits = scene.relay.ask("/v1/status")["store"]["commits"] - before
    assert replies == [250] * 80 and commits < 80, (replies, commits)
    return f"80 messages in {spent:.0f} s, accepted and delivered in {commits} commits; {kept(scene)}"


class Clock:
    """A wall clock to be set, by libfaketime; monotonic time goes on as it is."""

    def __init__(self, scene):
        if FAKETIME is None:
            raise Skip("needs libfaketime (Debian: faketime)")
        self.file = scene.relay.folder / "faketime"  # where a confined daemon reads
        self.set("+0")
        scene.relay.environment.update(LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(self.file),
                                       FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1")

    def set(self, offset):
        replacement = self.file.with_suffix(".new")
        replacement.write_text(offset + "\n")
        replacement.rename(self.file)


def note_time(scene, when):
    """As a daemon that has run for a while would have."""
    with sqlite3.connect(scene.relay.data / "queue.db") as db:
        db.execute("INSERT OR REPLACE INTO meta(key, value) VALUES ('time_noted', ?)", (int(when.timestamp() * 1000),))
    db.close()


def clock_scene(scene):
    """A deferred message, and a sink that would take it now. The next attempt is an hour away."""
    clock = Clock(scene)
    scene.relay.write_config(queue='retry = ["1h"]\nexpire = "5d"', top="threads = 1", extra=f"""
        [[route]]
        match = "*"
        next_hop = "smtp:[127.0.0.71]:{scene.sink.port}"
    """)
    usual = scene.sink.script
    scene.sink.script = lambda verb, argument, state: b"450 4.2.1 come again\r\n" if verb == "RCPT" else None
    scene.relay.start()
    assert scene.send((SMALL, "")) == [250]
    harness.wait_for("the first attempt", lambda: "status=deferred" in scene.relay.log_text(), 20)
    scene.sink.script = usual
    return clock


def stays(scene, seconds):
    """Nothing is sent back meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not scene.ledger.bounced, "it was sent back"
        time.sleep(0.1)


def said(scene, words):
    """The clock is looked at once a minute."""
    harness.wait_for(repr(words), lambda: words in scene.relay.log_text(), 90)


def arrives(scene):
    """By itself, without being asked."""
    harness.wait_for("it to arrive", lambda: scene.ledger.arrived, 70)
    scene.drain()


def clock_ahead_running(scene):
    """F22: ten years ahead while it runs."""
    clock = clock_scene(scene)
    clock.set("+3650d")
    said(scene, "the clock is ahead")
    arrives(scene)
    stays(scene, 2)
    return f"nothing expired, tried at once; {kept(scene)}"


def clock_ahead_down(scene):
    """F22: ten years ahead while it is down."""
    clock = clock_scene(scene)
    assert scene.relay.stop() == 0
    note_time(scene, datetime.datetime.now())
    clock.set("+3650d")
    scene.relay.start()
    said(scene, "the clock is ahead")
    arrives(scene)
    stays(scene, 2)
    return f"nothing expired, tried at once; {kept(scene)}"


def clock_back_running(scene):
    """F23: a day back while it runs."""
    clock = clock_scene(scene)
    clock.set("-1d")
    said(scene, "the clock went back")
    arrives(scene)
    return f"tried at once; {kept(scene)}"


def clock_back_down(scene):
    """F23: a day back while it is down."""
    clock = clock_scene(scene)
    assert scene.relay.stop() == 0
    note_time(scene, datetime.datetime.now())
    clock.set("-1d")
    scene.relay.start()
    said(scene, "the clock went back")
    arrives(scene)
    return f"tried at once; {kept(scene)}"


def second_daemon(scene):
    """F19: 73, and the first one goes on."""
    scene.relay.start()
    first = scene.relay.program
    since = scene.relay.launch()
    code = scene.relay.program.wait(20)
    text = scene.relay.log_text(since)
    scene.relay.program = first
    assert code in (69, 73), (code, text)
    other = scene.folder / "second.toml"
    other.write_text(scene.relay.config.read_text().replace(f":{scene.relay.mx}\"", f":{harness.free_port()}\"").replace(
        f":{scene.relay.submission}\"", f":{harness.free_port()}\"").replace("control.sock", "second.sock"))
    done = subprocess.run([harness.WAYPOSTD, "--config", other], capture_output=True, text=True, timeout=30)
    assert done.returncode == 73 and f"in use by pid {first.pid}" in done.stderr, done
    assert scene.send((SMALL, ""), (SPOOLED, "")) == [250, 250]
    scene.drain()
    return f"the second ended with 73; {kept(scene)}"


def log_full(scene):
    """F57: no room for the log."""
    folder = scene.folder / "log"
    mount(folder, "size=64k")
    (folder / "filler").write_bytes(b"f" * 60_000)
    log = scene.relay.log  # where the harness looks for "ready"
    scene.relay.log = folder / "waypostd.log"
    scene.relay.config.write_text(scene.relay.config.read_text() + f'[log]\ntarget = "{folder}/waypostd.log"\n')
    scene.relay.start()
    for _ in range(20):
        assert scene.send(*[(SMALL, "")] * 10) == [250] * 10
    scene.drain()
    size = scene.relay.log.stat().st_size
    (folder / "filler").unlink()
    assert scene.send((SMALL, "")) == [250]
    harness.wait_for("the log to go on", lambda: scene.relay.log.stat().st_size > size, 10)
    scene.drain()
    scene.relay.log = log
    return f"the log ended at {size} octets and went on later; {kept(scene)}"


def log_blocked(scene):
    """F57: who should read the log does not."""
    pipe = scene.folder / "log.pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, 1031, 4096)  # F_SETPIPE_SZ
    scene.relay.launch("sh", "-c", 'exec "$@" 2>"$0"', pipe)
    harness.wait_for("the port", lambda: harness.listening("127.0.0.1", scene.relay.mx), 20)
    for _ in range(50):  # more lines than the log's queue has room for
        assert scene.send(*[(SMALL, "")] * 50) == [250] * 50
    scene.drain(60)
    text = b""

    def told():
        nonlocal text
        try:
            while piece := os.read(reader, 1 << 20):
                text += piece
        except BlockingIOError:
            pass
        return b"dropped" in text

    # Once somebody reads again it is told with the next line.
    harness.wait_for("the log to go on", lambda: told() or scene.send((SMALL, "")) and told(), 30, every=0.001)
    scene.drain()
    os.close(reader)
    return f"mail went on, lines left out were counted; {kept(scene)}"


def under_load(scene, clients=4):
    load = [Load(f"c{n}", scene.relay.mx, scene.ledger, n) for n in range(clients)]
    for one in load:
        one.start()
    return load


def end_load(load):
    for one in load:
        one.ending = True
    for one in load:
        one.join(60)
        assert one.failure is None, one.failure


def more(scene, count):
    before = len(scene.ledger.accepted)
    harness.wait_for("load", lambda: len(scene.ledger.accepted) >= before + count, 60)


def stop_twice(scene):
    """F61: SIGTERM under load, and a second one: at once, and nothing lost."""
    scene.relay.start()
    load, slowest = under_load(scene), 0
    for _ in range(5):
        more(scene, 100)
        scene.relay.program.signal(signal.SIGTERM)
        again = time.monotonic()
        scene.relay.program.signal(signal.SIGTERM)
        code = scene.relay.program.wait(10)
        slowest = max(slowest, time.monotonic() - again)
        assert code == 0, code
        scene.relay.start()
    end_load(load)
    scene.drain(60)
    return f"5 times, {slowest:.2f} s at most; {kept(scene)}"


def reloads(scene):
    """F53, F61: 200 reloads under load, by SIGHUP and by the tool: no session ends, memory stays."""
    scene.relay.start()
    load = under_load(scene)
    more(scene, 1000)
    with smtp.Client(scene.relay.mx) as client:
        before = scene.relay.memory("VmRSS")
        for n in range(200):
            if n % 20 == 0:
                scene.relay.tool("reload", check=False)
            scene.relay.program.signal(signal.SIGHUP)
            time.sleep(0.01)  # the storm's own pace
        assert client.command("NOOP")[0] == 250
        end_load(load)
        after = scene.relay.memory("VmRSS")
    done = scene.relay.log_text().count("reload -- ")
    scene.drain(60)
    assert done > 0 and after < before + (16 << 20), (done, before, after)
    return f"{done} reloads took effect, RSS {before >> 20} to {after >> 20} MiB; {kept(scene)}"


def kills_at_start(scene):
    """F7: killed again and again before it was ready, each time a little later."""
    scene.relay.start()
    scene.gate.clear()
    assert scene.send((SMALL, ""), (SPOOLED, ""), (SMALL, "-bad")) == [250] * 3
    scene.relay.kill()
    for n in range(30):
        scene.relay.launch()
        time.sleep(n * 0.003)  # the moment of the kill
        scene.relay.kill()
    scene.relay.start()
    scene.drain()
    return f"30 kills; {kept(scene)}"


SINGLES = [disk_full, inodes, read_only, descriptors, memory, slow_disk, clock_ahead_running, clock_ahead_down,
           clock_back_running, clock_back_down, second_daemon, log_full, log_blocked, stop_twice, reloads, kills_at_start]
# Those that ctest runs: quick, and of no other test.
QUICK = (disk_full, inodes, read_only, clock_ahead_down, kills_at_start)


class Outcome:
    def __init__(self, name, text, broken=(), skipped=False, again=0):
        self.sweep, self.text, self.broken, self.skipped, self.again = name, text, list(broken), skipped, again

    def json(self):
        return {"sweep": self.sweep, "outcome": self.text, "broken": self.broken, "skipped": self.skipped}


def run(single, folder):
    scene = Scene(folder)
    try:
        return Outcome(single.__name__, single(scene), again=sum(scene.ledger.again()))
    except Skip as why:
        return Outcome(single.__name__, f"skipped: {why}", skipped=True)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        tail = "\n".join(scene.relay.log_text().splitlines()[-8:]) if scene.relay.log.exists() else ""
        return Outcome(single.__name__, f"{type(error).__name__}: {error}\n{tail}", [str(error)])
    finally:
        scene.end()
