"""Postfix as packaging/peers unpacked it, tuned as its TUNING_README and the manual recommend for throughput, in a folder of
its own. Needs root. Nothing of the machine's own mail service is touched."""
import os
import pathlib
import shutil
import signal

import harness

ROOT = harness.PEERS / "postfix"
LIBRARIES = ROOT / "usr/lib/postfix"

MAIN_CF = """
compatibility_level = 3.6
myhostname = postfix.test.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject

daemon_directory = {libraries}/sbin
command_directory = {root}/usr/sbin
meta_directory = {root}/etc/postfix
shlib_directory = {libraries}
queue_directory = {folder}/queue
data_directory = {folder}/data
# Any account but root and nobody will do: the queue is in a folder of ours.
mail_owner = daemon
setgid_group = staff
import_environment = MAIL_CONFIG MAIL_LOGTAG LD_LIBRARY_PATH={libraries}
export_environment = LD_LIBRARY_PATH={libraries}
maillog_file = {folder}/log
maillog_file_prefixes = /
alias_maps =
alias_database =
local_recipient_maps =

# TUNING_README: more processes, no delay for the queue manager, no look-up of client names, no limits for clients,
# connections reused, a destination's concurrency high from the start, a large active queue, hashed queues.
default_process_limit = 200
in_flow_delay = 0
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = {cached}
initial_destination_concurrency = 20
default_destination_concurrency_limit = 20
qmgr_message_active_limit = 40000
qmgr_message_recipient_limit = 40000
hash_queue_names = incoming, active, deferred, defer, hold
hash_queue_depth = 1
enable_original_recipient = no
header_checks =
relayhost = {relayhost}
{hold}
{extra}
"""


def each_once(main_cf):
    """The last value of each parameter. Every process warns of one that is there twice, postlogd too: into its own socket, and
    where others have filled that before it reads, it waits for itself, and they for it."""
    def name(line):
        return line.partition("=")[0].strip()

    lines = [line for line in main_cf.splitlines() if line and line[0] not in "# "]
    last = {name(line): line for line in lines}
    return "".join(f"{line}\n" for line in last.values())


class Postfix:
    def __init__(self, folder, sink, sink_port, hold, extra=""):
        """`sink`: where all mail goes; None: where MX records say.
        `hold`: mail goes to the hold queue, so that accepting alone is measured (no queue manager, no delivery).
        `extra`: more lines of main.cf."""
        self.folder = pathlib.Path(folder)
        self.port = harness.free_port()
        conf = self.folder / "conf"
        conf.mkdir(parents=True)
        (conf / "main.cf").write_text(each_once(MAIN_CF.format(
            libraries=LIBRARIES, root=ROOT, folder=self.folder, extra=extra,
            cached=f"[{sink}]" if sink else "", relayhost=f"[{sink}]:{sink_port}" if sink else "",
            hold="smtpd_client_restrictions = check_client_access static:HOLD" if hold else "")))
        services = []
        for line in (ROOT / "usr/share/postfix/master.cf.dist").read_text().splitlines():
            fields = line.split()
            if line[:1] in ("", "#", " ", "\t") or len(fields) < 8:
                continue
            if fields[:2] == ["smtp", "inet"]:
                fields[0] = f"127.0.0.1:{self.port}"
            fields[4] = "n"  # no chroot: its folder would need copies of system files
            services.append(" ".join(fields))
        (conf / "master.cf").write_text("\n".join(services) + "\n")
        queue = self.folder / "queue"
        for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private",
                     "public", "saved", "trace"):
            (queue / name).mkdir(parents=True)
            shutil.chown(queue / name, "daemon", "staff" if name in ("maildrop", "public") else None)
        (queue / "pid").mkdir()
        (queue / "maildrop").chmod(0o730)
        (queue / "public").chmod(0o710)
        (self.folder / "data").mkdir()
        shutil.chown(self.folder / "data", "daemon")
        self.command = [LIBRARIES / "sbin/master", "-c", conf]

    def start(self, wrapper=()):
        environment = dict(os.environ, LD_LIBRARY_PATH=str(LIBRARIES), MAIL_CONFIG=str(self.folder / "conf"))
        self.program = harness.Program([*wrapper, *self.command], self.folder / "master.log", env=environment)
        harness.wait_for("Postfix", lambda: harness.listening("127.0.0.1", self.port), 20)

    def stop(self):
        self.program.signal(signal.SIGTERM)
        self.program.wait(20)
