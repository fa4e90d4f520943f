"""Other mail servers as packaging/peers unpacked them, each in a folder of its own: it listens on a loopback port, takes
mail for any domain from anyone and relays it to one next hop. Needs root, since each of them gives up its rights. With
`tls` the next hop must take STARTTLS. With `pem`, a file with a key and a certificate, Postfix and Exim offer STARTTLS. `start()`
waits until it listens."""
import shutil
import subprocess

import harness
import postfix


class Peer:
    """`next_port`: of the next hop, on 127.0.0.1."""

    def __init__(self, folder, next_port, tls=False, pem=None):
        self.folder, self.port, self.next_port, self.pem = folder, harness.free_port(), next_port, pem
        self.name = type(self).__name__
        folder.mkdir()
        self.prepare(tls)

    def run(self, *command, **options):
        self.program = harness.Program(command, self.folder / "out.log", **options)

        def ready():
            if not self.program.running():
                raise AssertionError(f"{self.name} ended:\n{self.program.text()[-2000:]}")
            return harness.listening("127.0.0.1", self.port)

        harness.wait_for(self.name, ready, 30)
        return self


class Postfix(Peer):
    def prepare(self, tls):
        self.postfix = postfix.Postfix(self.folder / "postfix", "127.0.0.1", self.next_port, hold=False)
        self.port = self.postfix.port
        with open(self.folder / "postfix/conf/main.cf", "a") as config:
            # As it was for decades, it takes LF.LF for the end of a message.
            config.write("message_size_limit = 0\nsmtp_line_length_limit = 0\nsmtpd_forbid_bare_newline = no\n")
            if tls:
                config.write("smtp_tls_security_level = encrypt\n")
            if self.pem:
                config.write(f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {self.pem}\n")

    def start(self):
        self.postfix.start()
        return self


class Exim(Peer):
    def prepare(self, tls):
        self.log = self.folder / "mainlog"
        shutil.chown(self.folder, 64901)  # of the user that packaging/peers makes
        (self.folder / "exim.conf").write_text(f"""
primary_hostname = exim.test.example
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/%slog
pid_file_path = {self.folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
message_size_limit = 0
smtp_accept_max = 0
queue_only
queue_run_max = 4
keep_environment =
host_lookup =
dns_dnssec_ok = 0
{f"tls_advertise_hosts = *{chr(10)}tls_certificate = {self.pem}" if self.pem else "tls_advertise_hosts ="}
acl_smtp_rcpt = accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {self.next_port}
  allow_localhost
  message_linelength_limit = 100000000
  {"hosts_require_tls = *" if tls else "hosts_avoid_tls = *"}
begin retry
* * F,1h,1s
""")

    def start(self):
        return self.run(harness.PEERS / "bin/exim4", "-C", self.folder / "exim.conf", "-bdf", "-q1s")


class OpenSmtpd(Peer):
    """It has one connection for each way of relaying, and waits on it for delayed ACKs: so it has four ways, and takes one
    by the last digit before the @ of the recipient."""

    def prepare(self, tls):
        hop, verify = ("smtp+tls", "tls no-verify") if tls else ("smtp+notls", "")
        ways = "".join(f"""
action "{way}" relay host "{hop}://127.0.0.1:{self.next_port}" {verify} helo "opensmtpd{way}.test.example"
match from any for rcpt-to regex "{digits}@" action "{way}"
""" for way, digits in enumerate(("[048]", "[159]", "[26]", "[^0124589]")))
        self.config = self.folder / "smtpd.conf"
        self.config.write_text(f"""
smtp max-message-size "100M"
smtp limit max-mails 1000000
mta limit session-mail-max 1000000
mta limit conn-delay-route 0
listen on 127.0.0.1 port {self.port} hostname opensmtpd.test.example
{ways}
""")
        self.config.chmod(0o600)

    def start(self):
        return self.run(harness.PEERS / "bin/smtpd", "-d", "-f", self.config)


class Sendmail(Peer):
    def prepare(self, tls):
        (self.folder / "queue").mkdir(mode=0o700)
        # Rule sets in their shortest form: brackets go (3), and all mail to one mailer (0).
        (self.folder / "sendmail.cf").write_text(f"""
V10
Djsendmail.test.example
DnMAILER-DAEMON
O DaemonPortOptions=Name=MTA,Addr=127.0.0.1,Port={self.port}
O QueueDirectory={self.folder}/queue
O PidFile={self.folder}/pid
O DeliveryMode=queueonly
O MaxRunnersPerQueue=4
O MaxQueueChildren=8
O ConnectionCacheSize=4
O MinQueueAge=0
O QueueLA=1000
O RefuseLA=1000
O Timeout.ident=0
O Timeout.queuereturn=1d
O EightBitMode=pass8
O ResolverOptions=-DNSRCH -DEFNAMES
O ServiceSwitchFile={self.folder}/switch
O HostsFile=/etc/hosts
Scheck_relay
R$*\t$# OK
S3
R$*<$*>$*\t$2
S0
R$+\t$#out $@ [127.0.0.1] $: $1
Mout, P=[IPC], F=mDFMuXa8, E=\\r\\n, L=0, T=DNS/RFC822/SMTP, A=TCP [127.0.0.1] {self.next_port}
Mlocal, P=[IPC], F=lsmDFMuXa8, E=\\r\\n, L=0, T=DNS/RFC822/SMTP, A=TCP [127.0.0.1] {self.next_port}
Mprog, P=[IPC], F=lsmDFMuXa8, E=\\r\\n, L=0, T=DNS/RFC822/SMTP, A=TCP [127.0.0.1] {self.next_port}
""")
        (self.folder / "switch").write_text("hosts files\naliases files\n")

    def start(self):
        return self.run(harness.PEERS / "bin/sendmail", "-C", self.folder / "sendmail.cf", "-bD", "-q1s")


class Haraka(Peer):
    """There only after `packaging/peers --all`."""

    root = harness.PEERS / "haraka/node_modules/Haraka"

    def prepare(self, tls):
        shutil.copytree(self.root / "config", self.folder / "config")
        (self.folder / "plugins").mkdir()
        for name, text in {
            "config/me": "haraka.test.example\n",
            "config/smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes=0\n",
            "config/plugins": "accept\nqueue/smtp_forward\n",
            "config/smtp_forward.ini": f"host=127.0.0.1\nport={self.next_port}\n"
                                       f"enable_tls={'true' if tls else 'false'}\n",
            "plugins/accept.js": "exports.hook_rcpt = (next) => next(OK)\n",
        }.items():
            (self.folder / name).write_text(text)
        # Else it has openssl look for some, for minutes, which outlives it.
        subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out",
                        self.folder / "config/dhparams.pem"], check=True, capture_output=True)

    def start(self):
        return self.run("node", self.root / "bin/haraka", "-c", self.folder)
