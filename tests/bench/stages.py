"""Where a message's cost goes, by thread: processor time, system calls, allocations, copies and SQL statements, and the
octets that are written to each file. Each work is done three times, since counting takes time itself: as it is, with
bench_counts preloaded, and under strace. What is before and after the work, and the start, is not counted."""
import collections
import pathlib
import re
import shutil
import struct
import time

import harness
import works

COUNTS = 64 * 64 + 192 * 256  # octets of bench_counts' file
WARM_UP = 500
# title, whether it goes out again, connections, messages of the full run
WORKS = [
    ("accepted by 20 connections", False, 20, 10_000),
    ("accepted by 1 connection", False, 1, 4_000),
    ("accepted by 20 connections and relayed", True, 20, 10_000),
]
# Where octets are written to, by the path that strace shows.
PLACES = [(r"^(TCP|TCPv6|socket):", "the net"), (r"/queue\.db-wal$", "queue.db-wal"), (r"/queue\.db$", "queue.db"),
          (r"/history\.db-wal$", "history.db-wal"), (r"/history\.db$", "history.db"), (r"/body/", "body/"),
          (r"\.log$", "the log"), (r"eventfd", "eventfd")]
WRITES = ("write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg")


class Stage:
    """What a thread did. Figures of all messages."""

    FIGURES = "time", "calls", "allocations", "allocated", "copies", "copied", "statements"

    def __init__(self):
        for name in self.FIGURES:
            setattr(self, name, 0)


def threads(pid):
    """{tid: (name, nanoseconds of processor time)}."""
    out = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = "loop" if int(task.name) == pid else (task / "comm").read_text().strip()  # the first one is the program's thread
        out[int(task.name)] = name, int((task / "schedstat").read_text().split()[0])
    return out


def read_counts(file):
    """({tid: [allocations, ...]}, {SQL: count})."""
    octets = file.read_bytes()
    by_thread = {row[0]: row[1:6] for row in struct.iter_unpack("=8Q", octets[:4096]) if row[0]}
    statements = collections.Counter()
    for _, count, text in struct.iter_unpack("=QQ240s", octets[4096:]):
        statements[" ".join(text.split(b"\0")[0].decode(errors="replace").split())] += count
    return by_thread, statements


def of_trace(lines, began, ended):
    """({tid: calls by name}, {place: octets}) of strace's lines between these times."""
    calls, octets, place = collections.defaultdict(collections.Counter), collections.Counter(), {}
    for line in lines:
        found = re.match(r"(\d+)\s+([\d.]+) (?:<\.\.\. (\w+) resumed>|(\w+)\((?:\d+<(.*?)>(?=[,)]))?)", line)
        if not found:
            continue  # a signal, or an end
        tid, name = int(found[1]), found[3] or found[4]
        if found[4]:
            place[tid] = found[5] or ""
            if began <= float(found[2]) < ended:
                calls[tid][name] += 1
        if name in WRITES and began <= float(found[2]) < ended and (wrote := re.search(r"= (\d+)$", line.rstrip())):
            octets[next((what for pattern, what in PLACES if re.search(pattern, place[tid])), place[tid])] += int(wrote[1])
    return calls, octets


def do(folder, relays, connections, count, look, wrapper=(), environment=()):
    """Does a work. `look`: is called with the daemon's pid before and after it; returns what it said."""
    with works.sinking(slots=WARM_UP + count) as sink:
        port = sink.port if relays else harness.free_port()
        relay = harness.Waypost(folder / "waypost", extra=f'\n[[route]]\nmatch = "*"\nnext_hop = "smtp:[{works.SINK}]:{port}"\n')
        relay.environment |= dict(environment)
        relay.start(wrapper=wrapper)

        def bring(first, number):
            works.load(relay.mx, connections=min(connections, number), messages=number, first=first)
            if relays:
                sink.wait(first + number)
                harness.wait_for("the queue to be empty", lambda: relay.ask("/v1/queue/count")["messages"] == 0, 60)
            time.sleep(0.5)  # what is written later: the log, the history

        try:
            bring(0, WARM_UP)
            before = look(relay.program.pid)
            bring(WARM_UP, count)
            return before, look(relay.program.pid)
        finally:
            relay.stop()
            shutil.rmtree(folder / "waypost", ignore_errors=True)


def measure(folder, relays, connections, count):
    """({thread's name: Stage}, calls by name, octets by place, SQL statements) of so many messages."""
    stages = collections.defaultdict(Stage)

    before, after = do(folder, relays, connections, count, threads)
    for tid, (name, spent) in after.items():
        stages[name].time += spent - before.get(tid, (name, 0))[1]

    file = folder / "counts"
    file.write_bytes(bytes(COUNTS))
    preload = {"LD_PRELOAD": str(harness.BUILD / "bench_counts.so"), "WAYPOST_BENCH_COUNTS": str(file)}
    before, after = do(folder, relays, connections, count, lambda pid: (threads(pid), *read_counts(file)), environment=preload)
    for tid, counted in after[1].items():
        if tid in after[0]:
            for figure, now, then in zip(Stage.FIGURES[2:], counted, before[1].get(tid, [0] * 5)):
                stage = stages[after[0][tid][0]]
                setattr(stage, figure, getattr(stage, figure) + now - then)
    statements = after[2] - before[2]

    trace = folder / "trace"
    wrapper = ["strace", "-D", "-f", "-y", "-qq", "-ttt", "-s", "0", "-o", trace]
    (_, began), (names, ended) = do(folder, relays, connections, count, lambda pid: (threads(pid), time.time()), wrapper)
    with open(trace, errors="replace") as lines:
        by_thread, octets = of_trace(lines, began, ended)
    trace.unlink()
    calls = sum(by_thread.values(), collections.Counter())
    for tid, counted in by_thread.items():
        if tid in names:
            stages[names[tid][0]].calls += counted.total()
    return stages, calls, octets, statements


def show(title, count, stages, calls, octets, statements):
    each = lambda value: f"{value / count:,.{1 if value < 100 * count else 0}f}"
    most = lambda found: "; ".join(f"{name} {each(value)}" for name, value in found.most_common() if value >= 0.05 * count)
    heads = "processor, us", "calls", "allocations", "octets", "copies", "octets", "SQL"
    print(f"\n{title}, for a message of 4 KiB, of {count:,}\n{'':16}" + "".join(f"{head:>14}" for head in heads))
    whole = Stage()
    for name, stage in sorted(stages.items(), key=lambda item: -item[1].time):
        stage.time /= 1000
        figures = [getattr(stage, figure) for figure in Stage.FIGURES]
        for figure, value in zip(Stage.FIGURES, figures):
            setattr(whole, figure, getattr(whole, figure) + value)
        if any(value >= 0.05 * count for value in figures):
            print(f"{name:16}" + "".join(f"{each(value):>14}" for value in figures))
    if missing := [figure for figure in Stage.FIGURES if getattr(whole, figure) == 0]:
        raise AssertionError(f"{title}: nothing was counted of {', '.join(missing)}")
    print(f"{'all':16}" + "".join(f"{each(getattr(whole, figure)):>14}" for figure in Stage.FIGURES))
    print(f"  system calls: {most(calls)}\n  octets written: {most(octets)}\n  SQL:")
    for text, number in statements.most_common():
        if number >= 0.05 * count:
            print(f"    {each(number)}  {text[:110]}")


def run(folder, scale, only):
    for title, relays, connections, count in WORKS:
        if not only or any(text.lower() in title for text in only):
            count = max(100, int(count * scale))
            show(title, count, *measure(folder, relays, connections, count))
