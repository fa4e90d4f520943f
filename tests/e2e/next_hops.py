"""Other mail servers as packaging/peers unpacked them, as the hosts to which mail is relayed: each takes mail for any address,
and for the reports that it makes itself, and keeps all of it in a Maildir, `box`. It listens on a port for each of its
`variants`, which say what the server does not offer there. What is for `bad@` comes back from it after it was accepted. Needs
root. `start()` waits until it listens."""
import re
import shutil
import subprocess

import harness
import peers
import postfix
import smtp

USER, GROUP = 65534, 65534  # whose box it is


def each_off(*keywords):
    """Variants: everything on; each one off; all of them off."""
    return {"all": set(), **{"no-" + keyword.lower(): {keyword} for keyword in keywords}, "none": set(keywords)}


class NextHop:
    variants = {}
    user, group = USER, GROUP
    longest_line = None  # that it takes, where there is a limit
    reorders = False     # its header section has our fields in an order of its own
    returns = True       # it makes reports, where DSN is on and where `bad@` fails
    repeats = True       # its reports name ENVID and ORCPT, and return what RET says
    secures = True       # a handshake goes well where STARTTLS is on

    def __init__(self, folder, pem):
        self.folder, self.box, self.pem = folder, folder / "box", pem
        self.name = type(self).__name__
        self.ports = {variant: harness.free_port() for variant in self.variants}
        self.programs = []
        folder.mkdir()
        for name in ("", "new", "cur", "tmp"):
            (self.box / name).mkdir()
            shutil.chown(self.box / name, self.user, self.group)
        self.own = folder / "own.pem"  # for those who mind who else may read it
        shutil.copyfile(pem, self.own)
        self.own.chmod(0o600)
        self.prepare()

    def off(self, keyword, variants=None):
        """The ports where it is not offered."""
        return [port for variant, port in (variants or self.ports).items() if keyword in self.variants[variant]]

    def run(self, *command, log="out.log", **options):
        self.programs.append(harness.Program(command, self.folder / log, **options))
        return self.programs[-1]

    def start(self):
        self.launch()
        for port in self.ports.values():
            harness.wait_for(f"{self.name} on {port}", lambda: self.is_there(port), 30)
        return self

    def is_there(self, port):
        for program in self.programs:
            if not program.running():
                raise AssertionError(f"{self.name} ended:\n{program.text()[-2000:]}")
        return harness.listening("127.0.0.1", port)

    def offered(self, variant):
        """The keywords of its reply to EHLO."""
        with smtp.Client(self.ports[variant]) as client:
            return {line.split()[0].upper() for line in client.ehlo[1].splitlines()[1:]}

    def used(self, variant):
        """{extension: how many messages it says were sent with it}, of those that its log tells."""
        return {}

    def kept(self):
        return [path.read_bytes() for path in (self.box / "new").iterdir()]


class Postfix(NextHop):
    variants = each_off("PIPELINING", "SIZE", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")

    def prepare(self):
        self.postfix = postfix.Postfix(self.folder / "postfix", "127.0.0.1", harness.free_port(), hold=False, extra=f"""
message_size_limit = 0
header_size_limit = 10000000
local_header_rewrite_clients =
smtpd_reject_unlisted_recipient = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {self.pem}
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:box/
virtual_mailbox_base = {self.folder}
virtual_mailbox_limit = 0
virtual_minimum_uid = 1
virtual_uid_maps = static:{USER}
virtual_gid_maps = static:{GROUP}
transport_maps = regexp:{{ {{ /^bad@/ error:5.1.1 no such user }} }}
""")
        with open(self.folder / "postfix/conf/master.cf", "a") as services:
            for variant, port in self.ports.items():
                services.write(f"127.0.0.1:{port} inet n - n - - smtpd -o syslog_name=postfix/{variant} "
                               f"-o smtpd_discard_ehlo_keywords={','.join(self.variants[variant])}\n")

    def launch(self):
        self.postfix.start()
        self.programs.append(self.postfix.program)

    def used(self, variant):
        log = (self.folder / "postfix/log").read_text(errors="replace")
        counts = {}
        for keyword, command in (("CHUNKING", "bdat"), ("STARTTLS", "starttls")):
            done = re.findall(rf"postfix/{variant}/smtpd\[\d+\]: disconnect .*? {command}=(\d+)", log)
            counts[keyword] = sum(map(int, done))
        return counts


class Exim(NextHop):
    """8BITMIME is on or off for all of a daemon's ports, so there are two. With a configuration of ours Debian's delivers with
    the rights of its own user alone."""

    user = group = 64901  # that packaging/peers makes
    variants = each_off("PIPELINING", "STARTTLS", "8BITMIME", "DSN", "SMTPUTF8", "CHUNKING")

    def prepare(self):
        for eight in (True, False):
            ports = {variant: port for variant, port in self.ports.items() if ("8BITMIME" in self.variants[variant]) != eight}
            self.write(self.folder / f"exim{8 if eight else 7}", ports, eight)

    def write(self, folder, ports, eight):
        folder.mkdir()
        shutil.chown(folder, self.user)

        def hosts(keyword):
            off = self.off(keyword, ports)
            return f"${{if inlist{{$received_port}}{{{' : '.join(map(str, off))}}}{{}}{{*}}}}" if off else "*"

        (folder / "exim.conf").write_text(f"""
primary_hostname = exim.test.example
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {" : ".join(map(str, ports.values()))}
log_selector = +incoming_interface +8bitmime
message_size_limit = 0
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
keep_environment =
host_lookup =
dns_dnssec_ok = 0
deliver_drop_privilege
accept_8bitmime = {"true" if eight else "false"}
tls_certificate = {self.pem}
tls_advertise_hosts = {hosts("STARTTLS")}
pipelining_advertise_hosts = {hosts("PIPELINING")}
dsn_advertise_hosts = {hosts("DSN")}
smtputf8_advertise_hosts = {hosts("SMTPUTF8")}
chunking_advertise_hosts = {hosts("CHUNKING")}
acl_smtp_rcpt = accept
begin routers
bad:
  driver = redirect
  local_parts = bad
  allow_fail
  data = :fail: no such user
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  maildir_format
  directory = {self.box}
  check_string =
  escape_string =
begin retry
* * F,1h,1s
""")

    def launch(self):
        for eight in (8, 7):
            folder = self.folder / f"exim{eight}"
            self.run(harness.PEERS / "bin/exim4", "-C", folder / "exim.conf", "-bdf", "-q2s", log=f"out{eight}.log")

    def used(self, variant):
        folder = self.folder / ("exim7" if "8BITMIME" in self.variants[variant] else "exim8")
        log = (folder / "mainlog").read_text(errors="replace")
        came = re.findall(rf"^.* <= .* I=\[127\.0\.0\.1\]:{self.ports[variant]} .*$", log, re.M)
        flags = {"CHUNKING": r" K ", "STARTTLS": r" X=TLS", "8BITMIME": r" M8S=8\b"}
        return {keyword: sum(1 for line in came if re.search(flag, line)) for keyword, flag in flags.items()}


class OpenSmtpd(NextHop):
    """Debian's, with an OpenSSL that is newer than it, fails in every handshake."""

    variants = each_off("STARTTLS", "DSN")
    longest_line = 65000
    repeats = secures = False

    def prepare(self):
        self.config = self.folder / "smtpd.conf"
        listeners = "\n".join(
            f"listen on 127.0.0.1 port {port} hostname opensmtpd.test.example"
            + ("" if "STARTTLS" in self.variants[variant] else " tls pki own")
            + (" no-dsn" if "DSN" in self.variants[variant] else "") for variant, port in self.ports.items())
        self.config.write_text(f"""
smtp max-message-size "100M"
smtp limit max-mails 1000000
pki own cert "{self.own}"
pki own key "{self.own}"
table everybody {{ "@" = "nobody" }}
{listeners}
action "box" maildir "{self.box}" virtual <everybody>
action "fail" mda "/bin/false" virtual <everybody>
match from any for rcpt-to regex "^bad@" action "fail"
match from any for any action "box"
""")
        self.config.chmod(0o600)

    def launch(self):
        self.run(harness.PEERS / "bin/smtpd", "-d", "-f", self.config)


class Sendmail(NextHop):
    """It always offers 8BITMIME and SIZE."""

    variants = each_off("PIPELINING", "STARTTLS", "DSN")
    reorders = True

    def prepare(self):
        script = self.folder / "keep"
        script.write_text(f"""#!/bin/sh
umask 077
[ "$1" != bad ] || exit 67 # EX_NOUSER
file=$(mktemp {self.box}/tmp/XXXXXXXXXX) && cat >"$file" && mv "$file" {self.box}/new/ || exit 75
""")
        script.chmod(0o755)
        (self.folder / "queue").mkdir(mode=0o700)
        (self.folder / "switch").write_text("hosts files\naliases files\n")
        letters = {"PIPELINING": "p", "STARTTLS": "s", "DSN": "d"}  # a capital: not offered
        names = {variant: variant.replace("-", "") for variant in self.variants}
        features = "\n".join(
            f"R{names[variant]}\t$# " + " ".join(
                letter.upper() if keyword in off else letter for keyword, letter in letters.items())
            for variant, off in self.variants.items())
        daemons = "\n".join(f"O DaemonPortOptions=Name={names[variant]},Addr=127.0.0.1,Port={port}"
                            for variant, port in self.ports.items())
        mailer = f"P={script}, F=lsn8mu, U={USER}:{GROUP}, E=\\n, L=0, T=DNS/RFC822/X-Unix, A=keep $u"
        # Rule sets in their shortest form: brackets go (3), and all mail to one mailer (0).
        (self.folder / "sendmail.cf").write_text(f"""
V10
Djsendmail.test.example
DnMAILER-DAEMON
{daemons}
O QueueDirectory={self.folder}/queue
O PidFile={self.folder}/pid
O DeliveryMode=queueonly
O MaxRunnersPerQueue=4
O MaxQueueChildren=8
O MinQueueAge=0
O QueueLA=1000
O RefuseLA=1000
O Timeout.ident=0
O EightBitMode=pass8
O SendMimeErrors=True
O ServerCertFile={self.own}
O ServerKeyFile={self.own}
O CACertFile={self.own}
O CACertPath={self.folder}
O DontBlameSendmail=TrustStickyBit
O ResolverOptions=-DNSRCH -DEFNAMES
O ServiceSwitchFile={self.folder}/switch
O HostsFile=/etc/hosts
HReceived: from $s ([$&{{client_addr}}]) by $j with $r$?{{tls_version}} (using TLS)$. id $i; $b
Scheck_relay
R$*\t$# OK
Ssrv_features
R$*\t$: $&{{daemon_name}}
{features}
S3
R$*<>$*\t$n
R$*<$*>$*\t$2
S0
Rbad@$+\t$#out $@ here $: bad
R$+\t$#out $@ here $: $1
Mout, {mailer}
Mlocal, {mailer}
Mprog, {mailer}
""")

    def launch(self):
        self.run(harness.PEERS / "bin/sendmail", "-C", self.folder / "sendmail.cf", "-bD", "-q1s")


class Haraka(NextHop):
    """There only after `packaging/peers --all`."""

    variants = each_off("PIPELINING", "SIZE", "STARTTLS", "8BITMIME", "SMTPUTF8")
    returns = False
    root = peers.Haraka.root

    def prepare(self):
        shutil.copytree(self.root / "config", self.folder / "config")
        (self.folder / "plugins").mkdir()
        connection = (self.root / "config/connection.ini").read_text()
        for limit in ("bytes", "data_line_length", "mime_parts", "max_lines"):
            connection = re.sub(rf"^{limit}=.*$", f"{limit}=100000000", connection, flags=re.M)
        off = {str(port): sorted(self.variants[variant]) for variant, port in self.ports.items()}
        for name, text in {
            "config/me": "haraka.test.example\n",
            "config/smtp.ini": "listen=" + ",".join(f"127.0.0.1:{port}" for port in self.ports.values()) + "\nnodes=0\n",
            "config/plugins": "tls\nkeep\n",
            "config/connection.ini": connection,
            "config/tls.ini": f"key={self.pem}\ncert={self.pem}\n",
            "plugins/keep.js": f"""
const fs = require('node:fs');
const off = {off};
exports.register = function () {{ this.register_hook('capabilities', 'less', 100); }};
exports.less = (next, connection) => {{
  connection.capabilities = connection.capabilities.filter((line) =>
    !off[connection.local.port].includes(line.split(' ')[0]));
  next();
}};
exports.hook_rcpt = (next) => next(OK);
exports.hook_queue = (next, connection) => {{
  const name = connection.transaction.uuid;
  const file = fs.createWriteStream(`{self.box}/tmp/${{name}}`);
  file.once('close', () => {{
    fs.renameSync(`{self.box}/tmp/${{name}}`, `{self.box}/new/${{name}}`);
    next(OK);
  }});
  connection.transaction.message_stream.pipe(file, {{ line_endings: '\\n' }});
}};
""",
        }.items():
            (self.folder / name).write_text(text)
        # Else it has openssl look for some, for minutes, which outlives it.
        subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out",
                        self.folder / "config/dhparams.pem"], check=True, capture_output=True)

    def launch(self):
        self.run("node", self.root / "bin/haraka", "-c", self.folder)
