"""What the servers are put to. A work is called with the name of a server, starts that one with an empty queue, gives it
something to do and returns figures by the title of their row. A round calls each work once for each server."""
import contextlib
import json
import mmap
import os
import pathlib
import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import threading
import time
from concurrent import futures

import floors
import harness
import servers
import smtp
import tls
from processes import memory, spent

SINK = "127.0.0.61"
FLOOR, WAYPOST, POSTFIX = "floor", "Waypost", "Postfix"
CONTENT = 4096
# Of the messages that Waypost gets, so many go to the others: a round takes each of them seconds.
SHARE = {WAYPOST: 1, FLOOR: 2, "Haraka": 0.15, POSTFIX: 0.1, "OpenSMTPD": 0.1, "Exim": 0.03}
SYNC_LATER = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
              "-e", "inject=fsync,fdatasync:delay_exit=5000"]


class Sink:
    """bench_sink, and its counters as they change."""

    NUMBERS = "messages", "recipients", "octets", "connections", "again"

    def __init__(self, slots=0, recipients=1, address=SINK, port=None, pem=None):
        """`slots`: messages that bench_load numbers, each for so many `recipients`."""
        self.port = port or harness.free_port()
        self.file = pathlib.Path(f"/dev/shm/waypost-bench-{os.getpid()}-{self.port}")
        self.file.unlink(missing_ok=True)
        self.program = harness.Program(
            [harness.BUILD / "bench_sink", f"{address}:{self.port}", "--counters", self.file, "--slots", slots,
             "--recipients", recipients, *(["--pem", pem] if pem else [])], "/dev/null")
        harness.wait_for("bench_sink", lambda: harness.listening(SINK, self.port), 10, every=0.01)
        with open(self.file, "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def __getattr__(self, name):
        return struct.unpack_from("=Q", self.map, 8 * self.NUMBERS.index(name))[0]

    def arrivals(self, first, count):
        """When each of these messages came, in nanoseconds. Of messages for one recipient."""
        return struct.unpack_from(f"={count}Q", self.map, 4096 + 8 * first)

    def wait(self, recipients, timeout=900):
        """Until so many have come: not one more, and to none a message again where these are numbered (slots)."""
        harness.wait_for(f"{recipients} recipients in the sink", lambda: self.recipients >= recipients, timeout, every=0.001)
        if self.recipients > recipients or self.again:
            raise AssertionError(f"{self.recipients} recipients of {recipients} in the sink, {self.again} twice")

    def stop(self):
        self.program.kill()
        self.file.unlink(missing_ok=True)


def load(port, host="127.0.0.1", **options):
    """Runs bench_load to its end, and returns what it prints."""
    args = [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items() if value is not False]
    done = subprocess.run([str(harness.BUILD / "bench_load"), f"{host}:{port}", *args], capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        raise AssertionError(f"bench_load {' '.join(args)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def running(one, folder, wrapper=()):
    try:
        one.start(wrapper)
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def sinking(**options):
    sink = Sink(**options)
    try:
        yield sink
    finally:
        sink.stop()


class Row:
    """A line of the table. `goals`: (what against, factor), where what is a server, "fastest" of the peers, FLOOR, or the
    title of another row of Waypost's. Of figures where `less` is better, Waypost is to have at most the factor's share.
    `limit`: an absolute one for Waypost, the most where less is better, else the least."""

    def __init__(self, title, goals=(), unit="/s", less=False, limit=None, digits=0):
        self.title, self.goals, self.unit, self.less, self.limit, self.digits = title, goals, unit, less, limit, digits


class Accept:
    """Messages per second from the first connection to the last 250. What was accepted stays in the queue."""

    def __init__(self, title, count, goals, names=None, starttls=False, wrapper=(), **options):
        self.title, self.count, self.options = title, count, options
        self.starttls, self.wrapper = starttls, wrapper
        self.names = names or [*SHARE]
        self.rows = [Row(title, goals)]

    def __call__(self, name, folder, scale):
        at_once = self.options["connections"]
        count = max(2 * at_once, int(self.count * scale * SHARE[name]))
        pem = None
        if self.starttls:
            pem = folder / "bench.pem"
            tls.make_pair(pem, "relay.test.example")
        options = dict(self.options, starttls=self.starttls, messages=count)
        if name == FLOOR:
            with sinking(pem=pem) as sink:
                return {self.title: count / load(sink.port, host=SINK, **options)["seconds"]}
        with running(servers.ALL[name](folder / name, None, pem=pem), folder / name, self.wrapper) as one:
            load(one.port, messages=max(at_once, count // 20), connections=at_once, size=options.get("size", CONTENT))
            return {self.title: count / load(one.port, **options)["seconds"]}


class Relay:
    """Recipients per second from the first connection to the last one in the sink, and processor time for each. `mx`: by
    look-up, each domain with an exchanger of its own; else to the sink as a next hop."""

    def __init__(self, title, count, goals, names=None, mx=False, processor=None, **options):
        self.title, self.count, self.mx, self.options = title, count, mx, options
        self.names = names or [name for name in SHARE if name != FLOOR]
        self.each = options.get("recipients", 1)
        self.processor = processor
        self.rows = [Row(title, goals)]
        if processor:
            self.rows.append(processor)

    def __call__(self, name, folder, scale):
        count = max(40, int(self.count * scale * SHARE[name]))
        warm = max(20, count // 20)
        with contextlib.ExitStack() as stack:
            listener = dict(address="0.0.0.0", port=25) if self.mx else {}
            sink = stack.enter_context(sinking(slots=warm + count, recipients=self.each, **listener))
            next_hop, options = (SINK, sink.port), {}
            if self.mx:
                domains = self.options.get("domains", 1)
                names = stack.enter_context(name_server(folder / "dns", domains, address="127.0.0.53", port=53))
                next_hop, options = "mx", {"name_server": (names.address, names.port)}
            one = stack.enter_context(running(servers.ALL[name](folder / name, next_hop, **options), folder / name))
            load(one.port, connections=20, messages=warm, **self.options)
            sink.wait(warm * self.each)
            before = one.spent()
            began = time.monotonic()
            load(one.port, connections=20, messages=count, first=warm, **self.options)
            sink.wait((warm + count) * self.each)
            figures = {self.title: count * self.each / (time.monotonic() - began)}
            if self.processor:
                harness.wait_for("the queue to be empty", lambda: one.queued() == 0, 60)
                figures[self.processor.title] = 1e6 * (one.spent() - before) / count
            return figures


@contextlib.contextmanager
def name_server(folder, domains, under="bench", network="127.16", **listener):
    """Domains d0.bench.example and on, each with an exchanger of its own in that network."""
    records = [line for n in range(domains)
               for line in (f"d{n}.{under} MX 10 mx{n}.{under}", f"mx{n}.{under} A {network}.{n // 250}.{n % 250 + 1}")]
    names = harness.NameServer(folder, records, **listener)
    try:
        yield names
    finally:
        names.program.kill()
        shutil.rmtree(folder, ignore_errors=True)


class Latency:
    """One message at a time, with pauses: from the final dot to its reply, and to arrival at the sink. The floor is what one
    sync takes after such a pause, with which all of them begin."""

    names = [WAYPOST, POSTFIX, FLOOR]
    PAUSE = 20  # ms
    rows = [Row(f"idle: final dot to {to}, {share}", [(POSTFIX, 0.5)], unit="us", less=True)
            for to in ("250", "arrival") for share in ("p50", "p99")]

    def __call__(self, name, folder, scale):
        count, warm = max(20, int(400 * scale)), max(20, int(2000 * scale))  # files that grow are slower
        if name == FLOOR:
            synced = statistics.quantiles(floors.idle_syncs(folder, count, self.PAUSE / 1000), n=100)
            return dict(zip([row.title for row in self.rows], [synced[49], synced[98]] * 2))
        times = folder / "times"
        with sinking(slots=warm + count) as sink, \
                running(servers.ALL[name](folder / name, (SINK, sink.port)), folder / name) as one:
            load(one.port, connections=20, messages=warm)
            sink.wait(warm)
            replied = load(one.port, connections=1, messages=count, first=warm, pause=self.PAUSE, times=times)["reply_us"]
            sink.wait(warm + count)
            sent = struct.unpack(f"={count}Q", times.read_bytes()[8 * warm:])
            took = statistics.quantiles([(came - left) / 1000 for left, came in zip(sent, sink.arrivals(warm, count))], n=100)
            times.unlink()
        return dict(zip([row.title for row in self.rows], [replied["p50"], replied["p99"], took[49], took[98]]))


class Trickle:
    """Mail that flows meanwhile, one message at a time, and how long each waits from its final dot to 250, in ms."""

    PAUSE = 0.01
    CONTENT = b"Subject: meanwhile\r\n\r\n" + b"The quick brown fox jumps over the lazy dog, again and again.\r\n" * 64 + b".\r\n"

    def __init__(self, port):
        self.port, self.took, self.ending = port, [], threading.Event()

    def run(self):
        with smtp.Client(self.port, timeout=60) as client:
            while not self.ending.wait(self.PAUSE):
                client.expect(250, "MAIL FROM:<sender@client.test.example>")
                client.expect(250, "RCPT TO:<user@d0.bench.example>")
                client.expect(354, "DATA")
                began = time.monotonic()
                client.socket.sendall(self.CONTENT)
                if client.reply()[0] != 250:
                    raise AssertionError("a message was refused meanwhile")
                self.took.append(1000 * (time.monotonic() - began))

    def __enter__(self):
        self.pool = futures.ThreadPoolExecutor()
        self.running = self.pool.submit(self.run)
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.pool.shutdown()
        self.running.result()

    def figures(self):
        return statistics.median(self.took), statistics.quantiles(self.took, n=100, method="inclusive")[98], max(self.took)


class Backlog:
    """Waypost alone, with so many messages waiting for dead sites, each found by look-up, where nobody listens: what
    healthy mail does beside them, and how quick the tool is. Mail flows in and out while the tool works, and for a
    while without it. The time of a message accepted is of further mail for the dead sites, from so many waiting on."""

    names = [WAYPOST]
    SITES = 1000

    def __init__(self, sizes):
        self.sizes = sizes
        small = sizes[0]
        self.rows = []
        for size in sizes:
            against = lambda what, factor: [(f"{small:,} waiting: {what}", factor)] if size != small else []
            self.rows += [
                Row(f"{size:,} waiting: healthy mail, accepted", against("healthy mail, accepted", 0.9)),
                Row(f"{size:,} waiting: healthy mail, relayed", against("healthy mail, relayed", 0.9)),
                Row(f"{size:,} waiting: resident memory", unit="MB", less=True, digits=1),
                Row(f"{size:,} waiting: start to accepting", unit="s", less=True, limit=1, digits=3),
                Row(f"{size:,} waiting: disk, of the content", unit="x", less=True, limit=1.6 if size > small else None, digits=2),
                Row(f"{size:,} waiting: the tool's first page", unit="s", less=True, limit=0.1, digits=3),
                Row(f"{size:,} waiting: a filter over all", unit="s", less=True, limit=3, digits=2),
                Row(f"{size:,} waiting: those with an error", unit="s", less=True, limit=3, digits=2),
                Row(f"{size:,} waiting: hold all of a filter", unit="s", less=True, limit=20, digits=1),
                Row(f"{size:,} waiting: undo that", unit="s", less=True, limit=20, digits=1),
                *[Row(f"{size:,} waiting: {what}, {share}", unit="ms", less=True, digits=1)
                  for what in ("dot to 250", "beside the tool") for share in ("p50", "p99", "longest")],
                *[Row(f"{size:,} waiting: {share}, for the tool", unit="ms", less=True, limit=20, digits=1) for share in ("p99", "longest")],
                *[Row(f"{size:,} waiting: {what}", against(what, 1.15), unit="us", less=True)
                  for what in ("time of a message, accepted", "time of a message, relayed")],
                Row(f"{size:,} waiting: most memory that was resident", unit="MB", less=True, limit=150, digits=1),
            ]

    def __call__(self, name, folder, scale):
        figures, count = {}, max(200, int(20_000 * scale))
        with sinking() as sink, name_server(folder / "dns", self.SITES, "dead", "127.17") as names:
            relay = harness.Waypost(
                folder / "waypost", limits="connections_per_client = 1000",
                resolver=f'servers = ["{names.address}:{names.port}"]', extra=f"""
                [[route]]
                match = "*.bench.example"
                next_hop = "smtp:[{SINK}]:{sink.port}"
                """).start()
            waiting, healthy = 0, 0

            def waits(more):
                nonlocal waiting
                waiting += more
                options = dict(domains=self.SITES, domain="dead.example")
                return more / load(relay.mx, connections=20, messages=more, **options)["seconds"]

            try:
                load(relay.mx, connections=20, messages=count // 10)
                sink.wait(healthy := count // 10)
                for size in self.sizes:
                    waits(size - waiting)
                    accepted, relayed = self.healthy(relay, sink, healthy, count)
                    healthy += count
                    resident = relay.memory()
                    harness.wait_for(f"all {size} to be refused", lambda: self.refused(relay) == size, 120, every=1)
                    most = relay.memory("VmHWM")
                    alone = [self.restart(relay), disk_usage(relay.data / "queue.db") / (size * CONTENT)]
                    tool, meanwhile = self.tool(relay, 10 * scale)
                    sink.wait(healthy := healthy + meanwhile)
                    further = waits(count)
                    most = max(most, relay.memory("VmHWM"))
                    figures |= zip([row.title for row in self.rows if row.title.startswith(f"{size:,} waiting")],
                                   [accepted, relayed, resident / 1e6, *alone, *tool,
                                    1e6 / further, 1e6 / relayed, most / 1e6])
            finally:
                relay.stop()
                shutil.rmtree(folder / "waypost", ignore_errors=True)
        return figures

    @staticmethod
    def refused(relay):
        return json.loads(relay.tool("queue", "count", 'error:"refused"', "--json").stdout)["messages"]

    @staticmethod
    def healthy(relay, sink, before, count):
        began = time.monotonic()
        accepted = load(relay.mx, connections=20, messages=count)["seconds"]
        sink.wait(before + count)
        return count / accepted, count / (time.monotonic() - began)

    @staticmethod
    def tool(relay, seconds):
        """Its figures, and how many messages went through meanwhile. `seconds`: how long these flow without it."""
        def took(*words):
            began = time.monotonic()
            said = relay.tool(*words, timeout=600).stdout
            return time.monotonic() - began, said

        harness.wait_for("its socket", lambda: relay.tool("health", check=False).returncode == 0, 30)
        with Trickle(relay.mx) as without:
            harness.wait_for("the first ones", lambda: len(without.took) > 10, 30)
            time.sleep(seconds)
        with Trickle(relay.mx) as beside:
            harness.wait_for("the first ones", lambda: len(beside.took) > 10, 30)
            page, _ = took("queue", "list", "--limit", "50")
            scan, _ = took("queue", "count", "to:*1.dead.example", "age:<30d")
            error, _ = took("queue", "count", 'error:"refused"')
            hold, said = took("queue", "hold", "to:@*.dead.example", "--yes")
            undo, _ = took("undo", re.search(r"waypost undo (\d+)", said)[1])
        alone, meanwhile = without.figures(), beside.figures()
        figures = [page, scan, error, hold, undo, *alone, *meanwhile, *(more - less for less, more in zip(alone[1:], meanwhile[1:]))]
        return figures, len(without.took) + len(beside.took)

    @staticmethod
    def restart(relay):
        relay.stop()
        began = time.monotonic()
        relay.launch()
        harness.wait_for("Waypost to greet", lambda: greets(relay.mx), 30, every=0.005)
        return time.monotonic() - began


def greets(port):
    """Whether it says 220. One that has bound its port and opens its queue yet lets a client wait for that."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        return client.recv(4096).startswith(b"220 ")
    return False


def disk_usage(path):
    return sum(part.stat().st_blocks * 512 for part in path.parent.glob(path.name + "*"))


@contextlib.contextmanager
def open_files(wanted):
    """So many for this process and what it starts, or what the system allows: only root may raise its limit."""
    before = _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard if enough else wanted))
    except (ValueError, OSError):
        wanted = hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield wanted
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Idle:
    """Clients that are connected, have said EHLO, and then nothing more."""

    names = [WAYPOST]
    FILES = 65536  # as packaging/system/waypost.service has it
    rows = [Row("idle connections", unit="", limit=10_000),
            Row("idle connections: memory of each", unit="KB", less=True, limit=10, digits=2),
            Row("idle connections: processor time of all", unit="ms/s", less=True, limit=1, digits=2)]

    def __call__(self, name, folder, scale):
        with open_files(self.FILES) as files:
            # The daemon leaves descriptors for spool files and for delivery: four for each connection.
            count = max(100, min(files // 4 - 100, 10_000, int(40_000 * scale)))
            return dict(zip([row.title for row in self.rows], [count, *self.measure(folder, count)]))

    @staticmethod
    def measure(folder, count):
        """Memory of each connection, and processor time of all."""
        relay = harness.Waypost(folder / "waypost", limits="connections = 12000\nconnections_per_client = 12000").start()
        clients = []
        try:
            before = relay.memory()
            for _ in range(count):
                client = socket.create_connection(("127.0.0.1", relay.mx))
                clients.append(client)
                for line in (b"", b"EHLO client.test.example\r\n"):
                    client.sendall(line)
                    while not client.recv(4096).rsplit(b"\n", 2)[-2].startswith((b"220 ", b"250 ")):
                        pass
            each = (relay.memory() - before) / count / 1000
            time.sleep(1)  # whatever it does after the last one
            used, seconds = spent([relay.program]), 5
            time.sleep(seconds)
            return each, 1000 * (spent([relay.program]) - used) / seconds
        finally:
            for client in clients:
                client.close()
            relay.stop()
            shutil.rmtree(folder / "waypost", ignore_errors=True)


class Large:
    """50 MB messages, 20 at once, in and out: the most memory that is resident."""

    names = [WAYPOST]
    rows = [Row("20 messages of 50 MB at once: memory", unit="MB", less=True, limit=100, digits=1),
            Row("20 messages of 50 MB at once, relayed", unit="MB/s")]

    def __call__(self, name, folder, scale):
        size, count = 50_000_000, max(20, int(60 * scale))
        with sinking() as sink, running(servers.ALL[name](folder / name, (SINK, sink.port)), folder / name) as one:
            began = time.monotonic()
            load(one.port, connections=20, messages=count, size=size)
            sink.wait(count)
            seconds = time.monotonic() - began
            return dict(zip([row.title for row in self.rows], [memory(one.programs, "VmHWM") / 1e6, count * size / 1e6 / seconds]))


def all_works(scale):
    sizes = [1_000, 100_000, 1_000_000] if scale == 1 else [1_000, 20_000] if scale > 0.1 else [100, 1_000]
    return [
        Accept("accept, 4 KiB, 20 connections, many each", 40_000, [(POSTFIX, 6), ("fastest", 3), (FLOOR, 0.25)], connections=20),
        Accept("accept, 4 KiB, 100 connections, one each", 20_000, [(POSTFIX, 5), ("fastest", 2.5), (FLOOR, 0.4)], connections=100, each=1,
               names=[name for name in SHARE if name != "OpenSMTPD"]),  # its listen queue is of 5 connections
        Accept("accept, 4 KiB, 1 connection, many", 15_000, [(POSTFIX, 2)], connections=1),
        Accept("accept, 64 KiB, 20 connections", 6_000, [("fastest", 2)], connections=20, size=65_536),
        Accept("accept, 1 MiB, 20 connections", 800, [("fastest", 1.5)], connections=20, size=1_048_576),
        Accept("accept over STARTTLS, 20 connections, one each", 3_000, [(POSTFIX, 2)], connections=20, each=1, starttls=True,
               names=[WAYPOST, POSTFIX, FLOOR]),
        Accept("accept, 100 connections, each sync 5 ms longer", 10_000, [(POSTFIX, 5)], connections=100, wrapper=SYNC_LATER,
               names=[WAYPOST, POSTFIX]),
        Relay("relay, 4 KiB, 20 connections, next hop", 40_000, [(POSTFIX, 10)],
              processor=Row("processor time of a relayed message", [(POSTFIX, 1 / 15)], unit="us", less=True)),
        *[Relay(f"relay by MX, {domains:,} domain{'s' * (domains > 1)}", 40_000, [("relay, 4 KiB, 20 connections, next hop", 0.8)],
                mx=True, domains=domains, names=[WAYPOST, POSTFIX]) for domains in (1, 100, 1000)],
        Relay("relay, 100 recipients at 1 domain, recipients", 2_000, [(POSTFIX, 5)], recipients=100, pipelining=True,
              names=[WAYPOST, POSTFIX]),
        Relay("relay, 100 recipients at 50 domains by MX, recipients", 2_000, [(POSTFIX, 5)], mx=True, recipients=100,
              domains=50, pipelining=True, names=[WAYPOST, POSTFIX]),
        Relay("relay, 100 recipients at 50, next hop, recipients", 2_000, [], recipients=100, domains=50,
              pipelining=True, names=[WAYPOST, POSTFIX]),
        Latency(),
        Idle(),
        Large(),
        Backlog(sizes),
    ]
