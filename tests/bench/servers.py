"""Mail servers side by side, each in a folder of its own and tuned for throughput as its own documentation says. None of them
is made less safe for it: all about syncing stays as it comes, and their classes say what that is. Needs packaging/peers
(Haraka: --all) and root."""
import os
import pathlib
import re
import shutil
import subprocess
import uuid

import harness
import peers
import postfix
import processes

LARGEST = 100 << 20  # octets of a message

# What is ended by its first process, whatever it started: they are in a namespace of their own.
APART = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]

INSIDE = """#!/bin/sh -e
# Runs a server in the namespace that unshare made.
mount -t proc proc /proc
file=$(readlink -m /etc/resolv.conf)
mkdir -p "${{file%/*}}"
[ -e "$file" ] || : >"$file"
mount --bind "{folder}/resolv.conf" "$file"
{more}
"$@" # no exec: the namespace's first process has to be one that collects the ended
"""


class Group:
    """A control group, which counts the processor time of all that was ever in it. Exim does not wait for the processes that
    deliver, so nothing else knows what they have spent."""

    def __init__(self):
        old, new = pathlib.Path("/sys/fs/cgroup/cpuacct"), pathlib.Path("/sys/fs/cgroup")
        self.folder = (old if old.is_dir() else new) / f"waypost-{uuid.uuid4()}"
        try:
            self.folder.mkdir()
        except OSError:
            self.folder = None  # a container may not

    def command(self):
        """Before a command that is to be in it, as the same process."""
        return ["/bin/sh", "-c", f'echo $$ >{self.folder}/cgroup.procs && exec "$@"', "sh"] if self.folder else []

    def spent(self):
        """Seconds; None: it is not there."""
        if not self.folder:
            return None
        if (self.folder / "cpuacct.usage").exists():
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        return int(re.search(r"^usage_usec (\d+)", (self.folder / "cpu.stat").read_text(), re.M)[1]) / 1e6

    def remove(self):
        if self.folder:
            self.folder.rmdir()
            self.folder = None


class Server:
    """Takes mail for any domain from 127.0.0.1, of up to `LARGEST` octets, on `port`.

    `folder`: is made; all may look into its parents.
    `next_hop`: (address, port), where all mail goes without a look-up. None: mail stays in the queue, and no delivery is
    tried. "mx": the records of `name_server`, (address, 53), say where it goes.
    `pem`: a file with a key and a certificate, for STARTTLS.
    `extra`: more lines of the configuration."""

    name = ""
    part = None  # folder of packaging/peers that has to be on /usr
    stored = ""  # a pattern, which the paths of its queued messages' files have

    def __init__(self, folder, next_hop, pem=None, name_server=None, extra=""):
        self.folder, self.next_hop, self.name_server, self.extra = pathlib.Path(folder), next_hop, name_server, extra
        self.port = harness.free_port()
        self.programs, self.group = [], None
        self.folder.mkdir()
        self.pem = None
        if pem:
            self.pem = self.folder / "own.pem"  # some mind who else may read it
            shutil.copyfile(pem, self.pem)
            self.pem.chmod(0o600)
        self.prepare()

    def apart(self, more=""):
        """The command before one that is to run in namespaces of its own. `more`: what to do there first."""
        if self.next_hop == "mx" and self.name_server[1] != 53:
            raise ValueError(f"{self.name} asks name servers at port 53 alone")
        # `lookup` is for OpenSMTPD. Where no name is looked up, nobody listens there.
        lookup, address = ("file bind", self.name_server[0]) if self.name_server else ("file", "127.0.0.1")
        (self.folder / "resolv.conf").write_text(f"lookup {lookup}\nnameserver {address}\n")
        (self.folder / "inside").write_text(INSIDE.format(folder=self.folder, more=more))
        enter = [harness.PEERS / "enter", self.part] if self.part else []
        return [*self.group.command(), *APART, *enter, "/bin/sh", self.folder / "inside"]

    def run(self, command):
        return harness.Program(command, self.folder / "out.log")

    def start(self, wrapper=()):
        """Returns once it listens. `wrapper`: a command before its own."""
        self.group = Group()
        self.programs = [self.launch(list(wrapper))]

        def ready():
            if not self.programs[0].running():
                raise AssertionError(f"{self.name} ended:\n{self.programs[0].text()[-2000:]}")
            return harness.listening("127.0.0.1", self.port)

        harness.wait_for(self.name, ready, 30)

    def first(self):
        """The first process of its namespace; "" if there is none."""
        unshare = self.programs[0].pid
        return pathlib.Path(f"/proc/{unshare}/task/{unshare}/children").read_text().strip()

    def stop(self):
        first = self.programs[0].running() and self.first()
        self.programs[0].kill()
        if first:  # gone when all the others are
            harness.wait_for(f"the end of {self.name}", lambda: not os.path.exists(f"/proc/{first}"), 20)
        self.group.remove()

    def spent(self):
        """Seconds of processor time of all its processes."""
        spent = self.group.spent()
        return processes.spent(self.programs) if spent is None else spent

    def queued(self):
        """How many messages are in the queue."""
        raise NotImplementedError


def files(folder, wanted):
    """How many files below a folder have such a name."""
    return sum(bool(wanted(name)) for _, _, names in os.walk(folder) for name in names)


class Postfix(Server):
    """As postfix.py has it, by TUNING_README. A process serves one connection, and there are default_process_limit (200) of
    them: more clients wait until one is free. The queue file is fsynced before 250."""

    name = "Postfix"
    stored = r"/queue/(maildrop|incoming|active|deferred|hold)/"

    def prepare(self):
        hold, mx = self.next_hop is None, self.next_hop == "mx"
        sink, sink_port = ("127.0.0.1", 9) if hold else (None, None) if mx else self.next_hop
        extra = f"message_size_limit = {LARGEST}\n"
        if self.pem:
            extra += f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {self.pem}\n"
        self.postfix = postfix.Postfix(self.folder / "postfix", sink, sink_port, hold, extra=extra + self.extra)
        self.port = self.postfix.port

    def launch(self, wrapper):
        self.postfix.start([*self.apart(), *wrapper])
        return self.postfix.program

    def queued(self):
        queue = self.folder / "postfix/queue"
        return sum(files(queue / name, bool) for name in ("maildrop", "incoming", "active", "deferred", "hold"))


class Exim(Server):
    """A process for each connection and each delivery. What its specification names: no log for each message (message_logs),
    a spool of many folders (split_spool_directory), no limits for clients (smtp_accept_*), a long listen queue. Each message
    is delivered at once, as by default, over a connection of its own: queue runners, with queue_only, gave lower rates, by -q
    a little and by -qq, which reuses connections, much. All spool files of a message are fsynced before 250."""

    name = "Exim"
    stored = r"/spool/input/"
    part = "exim"
    user = 64901  # that packaging/peers makes

    def prepare(self):
        shutil.chown(self.folder, self.user)
        if self.pem:
            shutil.chown(self.pem, self.user)
        if self.next_hop == "mx":
            router = "driver = dnslookup"
        else:
            router = f"driver = manualroute\n  route_list = * {self.next_hop[0] if self.next_hop else '127.0.0.1'} byname"
        port = self.next_hop[1] if isinstance(self.next_hop, tuple) else 25
        (self.folder / "exim.conf").write_text(f"""
primary_hostname = exim.test.example
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/%slog
pid_file_path = {self.folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
keep_environment =
host_lookup =
dns_dnssec_ok = 0
message_size_limit = {LARGEST}
smtp_accept_max = 0
smtp_accept_max_per_connection = 1000000
smtp_accept_max_nonmail_hosts =
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 4096
no_message_logs
split_spool_directory
{"" if self.next_hop else "queue_only"}
{f"tls_advertise_hosts = *{chr(10)}tls_certificate = {self.pem}" if self.pem else "tls_advertise_hosts ="}
acl_smtp_rcpt = accept
{self.extra}
begin routers
all:
  {router}
  domains = *
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  allow_localhost
  connection_max_messages = 0
begin retry
* * F,1h,1s
""")

    def launch(self, wrapper):
        runners = ["-q1m"] if self.next_hop else []
        return self.run([*self.apart(), *wrapper, "/usr/sbin/exim4", "-C", self.folder / "exim.conf", "-bdf", *runners])

    def queued(self):
        return files(self.folder / "spool/input", lambda name: name.endswith("-H"))


class OpenSmtpd(Server):
    """Its manual has no word on throughput, and of its limits only that of messages in a session. All others that hold up a
    flow to one next hop are raised: its grammar knows them, of the scheduler and of connections, their number, the pauses
    between them and what waits for them. Its listen queue is of 5 connections: of many at once most wait seconds for TCP's
    next attempt, so that rates with a connection for each message say little of the rest. It never syncs a message: one that
    got its 250 may be lost with the power. Debian's, with an OpenSSL that is newer than it, fails in every handshake."""

    name = "OpenSMTPD"
    stored = r"/spool/"
    part = "opensmtpd"
    queue_group = 64903  # that packaging/peers makes
    tuning = """
scheduler limit max-inflight 50000
mta limit max-conn-per-host 100
mta limit max-conn-per-route 100
mta limit max-conn-per-connector 100
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
mta limit reconn-delay-route 0
mta limit session-mail-max 1000000
mta limit task-hiwat 20000
mta limit task-lowat 10000
mta limit task-release 10000
scheduler limit max-schedule 1000
scheduler limit max-evp-batch-size 1000
scheduler limit max-msg-batch-size 4000
"""

    def prepare(self):
        (self.folder / "spool").mkdir(mode=0o711)
        (self.folder / "spool").chmod(0o711)
        secured = f'pki own cert "{self.pem}"\npki own key "{self.pem}"\n' if self.pem else ""
        host = ""
        if self.next_hop != "mx":
            host = 'host "smtp+notls://{}:{}"'.format(*(self.next_hop or ("127.0.0.1", 9)))
        self.config = self.folder / "smtpd.conf"
        self.config.write_text(f"""
smtp max-message-size "{LARGEST}"
smtp limit max-mails 1000000
{self.tuning}
{secured}
listen on 127.0.0.1 port {self.port} hostname opensmtpd.test.example {"tls pki own" if self.pem else ""}
{self.extra}
action "out" relay {host} helo "opensmtpd.test.example"
match from any for any action "out"
""")
        self.config.chmod(0o600)

    def launch(self, wrapper):
        # Its spool has a fixed path, where packaging/peers has a memory file system: it must lie on the disk as the others' do.
        inside = self.apart(f'mount --bind "{self.folder}/spool" /var/spool/smtpd')
        return self.run([*inside, *wrapper, "/usr/sbin/smtpd", "-d", "-f", self.config])

    def start(self, wrapper=()):
        super().start(wrapper)
        if self.next_hop is None:
            subprocess.run(["nsenter", "--target", self.first(), "--mount", "--pid", "--setgid", str(self.queue_group),
                            "/usr/sbin/smtpctl", "pause", "mta"], check=True, capture_output=True)

    def queued(self):
        return sum(len(os.listdir(bucket)) for bucket in (self.folder / "spool/queue").glob("*"))


class Haraka(Server):
    """There only after `packaging/peers --all`. What its documentation names: as many processes as there are cores
    (Performance-Tuning), each with 100 connections to next hops at once (Outbound). A connection brings one message, as it
    has no way to reuse one. A small plugin permits relaying, knows the next hop, and keeps it from looking up clients' names.
    It logs notices, a few lines for each message. It has code to fsync the queue file before 250, which Node's streams no
    longer call: one that got its 250 may be lost with the power."""

    name = "Haraka"
    stored = r"/queue/"
    root = peers.Haraka.root
    nodes = os.cpu_count()

    def prepare(self):
        shutil.copytree(self.root / "config", self.folder / "config")
        (self.folder / "plugins").mkdir()
        connection = (self.root / "config/connection.ini").read_text()
        for limit, value in {"bytes": LARGEST, "mime_parts": 1_000_000, "max_lines": 1_000_000}.items():
            connection = re.sub(rf"^{limit}=.*$", f"{limit}={value}", connection, flags=re.M)
        if isinstance(self.next_hop, tuple):
            hop = "exports.hook_get_mx = (next) => next(OK, {{ exchange: '{}', port: {} }});".format(*self.next_hop)
        else:
            hop = ""
        for name, text in {
            "config/me": "haraka.test.example\n",
            "config/smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes={self.nodes}\n",
            "config/plugins": ("tls\n" if self.pem else "") + "any_to_hop\n",
            "config/connection.ini": connection,
            "config/log.ini": "[main]\nlevel=notice\nformat=default\n",
            "config/tls.ini": f"key={self.pem}\ncert={self.pem}\n",
            "config/outbound.ini": f"disabled={'false' if self.next_hop else 'true'}\nconcurrency_max=100\nlocal_mx_ok=true\n"
                                   + self.extra,
            "plugins/any_to_hop.js": f"""
exports.hook_lookup_rdns = (next) => next(OK, 'client.test.example');
exports.hook_rcpt = (next, connection) => {{
  connection.relaying = true;
  next(OK);
}};
{hop}
""",
        }.items():
            (self.folder / name).write_text(text)
        # Else it has openssl look for some, for minutes, which outlives it.
        subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out",
                        self.folder / "config/dhparams.pem"], check=True, capture_output=True)

    def launch(self, wrapper):
        return self.run([*self.apart(), *wrapper, "node", self.root / "bin/haraka", "-c", self.folder])

    def queued(self):
        return files(self.folder / "queue", lambda name: not name.startswith("__tmp__"))


class Waypost(Server):
    """As it comes, but for its limits for clients: they may have a quarter of the open files that the system allows it. Held
    mail has a next hop where nobody listens: a destination that has failed is tried again after minutes. The commit of the
    queue's database is synced before 250."""

    name = "Waypost"
    stored = r"/spool/(queue\.db|body/)"

    def prepare(self):
        extra, sections = self.extra, {}
        if self.next_hop == "mx":
            sections["resolver"] = f'servers = ["{self.name_server[0]}:{self.name_server[1]}"]'
        else:
            host, port = self.next_hop or ("127.0.0.1", harness.free_port())
            extra += f'\n[[route]]\nmatch = "*"\nnext_hop = "smtp:[{host}]:{port}"\n'
        if self.pem:
            sections["tls"] = f'certificate = "{self.pem}"\nkey = "{self.pem}"'
        self.relay = harness.Waypost(
            self.folder / "waypost", **sections, extra=extra,
            limits=f'message_size = "{LARGEST >> 20}MiB"\nconnections = 20000\nconnections_per_client = 20000')
        self.port = self.relay.mx

    def launch(self, wrapper):
        self.wrapped = bool(wrapper)
        # Without a wrapper the program is the daemon itself.
        self.relay.launch(*(self.apart() if wrapper else self.group.command()), *wrapper)
        return self.relay.program

    def stop(self):
        if self.wrapped:
            super().stop()
        else:
            self.relay.stop()
            self.group.remove()

    @property
    def queue(self):
        return self.relay.data / "queue.db"

    def queued(self):
        return self.relay.ask("/v1/queue/count")["messages"]


ALL = {server.name: server for server in (Postfix, Exim, OpenSmtpd, Haraka, Waypost)}
