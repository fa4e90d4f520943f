"""Faults at one system call of the daemon. strace counts the calls of each name and of each thread apart, so a point
is a thread, a name and a number: a first run under record() tells how many there are. A thread is known by its place
among the daemon's threads, which are made in the same order at each start; libuv's pool is kept to one thread."""
import collections
import os
import pathlib
import re
import shutil
import subprocess

import harness

STRACE = shutil.which("strace")

# A call that does not return, or only its beginning, by strace -f -y: "1234 fdatasync(7</data/queue.db-wal>) = 0".
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")

# Calls whose failure is a failure of the disk.
DISK_CALLS = ("write", "pwrite64", "pread64", "fdatasync", "fsync", "ftruncate", "fallocate", "openat", "openat2", "mkdir",
              "mkdirat", "rename", "renameat", "unlink", "unlinkat", "link", "linkat")
SYNC_CALLS = ("fdatasync", "fsync")


# In the order in which they are made where `threads = 1`.
THREADS = ("loop", "log", "history", "storage", *["password"] * 2, "pool", *["control"] * 4, "http")


class Call:
    """The `number`-th call of `name` by the `thread`-th thread of the daemon."""

    def __init__(self, thread, name, number, text=""):
        self.thread, self.name, self.number, self.text = thread, name, number, text

    def __str__(self):
        thread = THREADS[self.thread] if self.thread < len(THREADS) else f"thread {self.thread}"
        return f"{thread} {self.name} #{self.number}"


def in_order(tids, first):
    """As they were made; ids begin anew after the greatest."""
    return sorted(tids, key=lambda tid: (tid < first, tid))


def threads(pid):
    """Its thread ids, in the order in which they were made."""
    return in_order((int(tid) for tid in os.listdir(f"/proc/{pid}/task")), pid)


def calls_of(log, known=()):
    """The calls in a log of `strace -f -y`, in their order. `known`: thread ids, beside those that called something."""
    lines = [found for found in map(_CALL.match, pathlib.Path(log).read_text(errors="replace").splitlines()) if found]
    tids = [*known, *(int(found[1]) for found in lines)]
    order = in_order(set(tids), tids[0])
    counts, calls = collections.Counter(), []
    for found in lines:
        tid, name, text = int(found[1]), found[2], found[3]
        counts[tid, name] += 1
        if name not in ("exit", "exit_group", "execve"):
            calls.append(Call(order.index(tid), name, counts[tid, name], text))
    return calls


def lack():
    """Why no sweep is possible here; "" if it is."""
    if STRACE is None:
        return "strace is not installed (packaging/install-deps)"
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            subprocess.run([STRACE, "-q", "-o", "/dev/null", "-p", str(sleeper.pid)], capture_output=True, text=True, timeout=0.3)
        except subprocess.TimeoutExpired:
            return ""  # it traces
        finally:
            sleeper.kill()
    return "strace may not attach to a running process here (kernel.yama.ptrace_scope, or a container without CAP_SYS_PTRACE)"


class Tracer:
    """strace on a running daemon. Ends with it, or by detach()."""

    def __init__(self, relay, folder, options, tids, follow):
        self.log = pathlib.Path(folder) / "strace.log"
        self.log.unlink(missing_ok=True)
        args = [STRACE, "-q", "-y", "-o", self.log, *(["-f"] if follow else []), *options]
        for tid in tids:
            args += ["-p", tid]
        self.program = harness.Program(args, pathlib.Path(folder) / "strace.err")

        def attached():
            return all(_traced(relay.program.pid, tid) for tid in tids) or not relay.program.running()

        harness.wait_for("strace to attach", attached, 10, every=0.002)

    def struck(self):
        """As struck() below."""
        return struck(self.log)

    def seen(self, name):
        """How often the one thread that is traced made the call."""
        return len(re.findall(rf"^{name}\(", self.log.read_text(errors="replace"), re.M))

    def detach(self):
        if self.program.running():
            self.program.signal(2)
            self.program.wait(10)


def struck(log):
    """The lines of the log that tell of the fault; none before it came to pass. Each thread that is traced has one:
    strace counts for it alone."""
    return re.findall(r"^.*(?:INJECTED|killed by SIGKILL).*$", pathlib.Path(log).read_text(errors="replace"), re.M)


def _traced(pid, tid):
    """Whether a tracer has it and let it go on."""
    try:
        status = pathlib.Path(f"/proc/{pid}/task/{tid}/status").read_text()
    except OSError:
        return False  # it has ended
    return not re.search(r"^TracerPid:\s+0$", status, re.M) and not re.search(r"^State:\s+t", status, re.M)


def record(relay, folder):
    """Notes every call of every thread from now on."""
    return Tracer(relay, folder, [], [relay.program.pid], follow=True)


def inject(relay, folder, call, fault):
    """`fault`, as "signal=SIGKILL" or "error=EIO", at `call`, counted from now on."""
    tid = threads(relay.program.pid)[call.thread]
    return Tracer(relay, folder, injection(call, fault), [tid], follow=False)


def injection(call, fault):
    return ["-e", f"trace={call.name}", "-e", f"inject={call.name}:{fault}:when={call.number}"]


def from_the_start(folder, options, follow):
    """The wrapper with which harness.Waypost.launch() starts a daemon that is traced from its first call on: its first
    thread, and the others if it is to `follow` them. -D: the daemon is our child, as without strace."""
    follows = ["-f"] if follow else []
    return [STRACE, "-D", "-q", *follows, "-y", "-o", pathlib.Path(folder) / "strace.log", *options]
