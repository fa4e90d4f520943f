"""packaging/from-postfix: what it makes of main.cf, that the daemon's own check takes it, and that waypost-postfix(7) tells of
each parameter that it knows."""
import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging/from-postfix"
WAYPOST, POSTCONF = sys.argv.pop(1), sys.argv.pop(1)

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("from_postfix", str(SCRIPT))
from_postfix = importlib.util.module_from_spec(importlib.util.spec_from_loader("from_postfix", loader))
loader.exec_module(from_postfix)

HOST = "myhostname = mx.example.org\ninet_interfaces = 127.0.0.1\n"
LOCAL = {"networks": ["127.0.0.0/8", "::1/128"]}
DEBIAN = """
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
biff = no
append_dot_mydomain = no
readme_directory = no
compatibility_level = 3.6
smtp_tls_CApath=/etc/ssl/certs
smtp_tls_security_level=may
smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination
myhostname = mx.example.org
alias_maps = hash:/etc/aliases
alias_database = hash:/etc/aliases
myorigin = example.org
mydestination = $myhostname, localhost
relayhost =
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128
mailbox_size_limit = 0
recipient_delimiter = +
inet_interfaces = loopback-only
inet_protocols = all
"""

# main.cf below HOST; what the configuration has of it; what is left out.
CASES = [
    ("", {"hostname": "mx.example.org", "listener": [{"address": "127.0.0.1:25"}], "relay": LOCAL}, set()),
    ("mydomain = example.net\nmyorigin = $mydomain\n", {"origin": "example.net"}, set()),
    ("myorigin = ${mydomain}\n", {"origin": "example.org"}, set()),
    ("myorigin = ${mydomain?x}\n", {"relay": LOCAL}, {"myorigin"}),
    ("a = $b\nb = $a\nmyorigin = $a\n", {}, {"myorigin", "a", "b"}),
    ("inet_interfaces = all\n", {"listener": [{"address": "0.0.0.0:25"}, {"address": "[::]:25"}]}, set()),
    ("inet_interfaces = all\ninet_protocols = ipv4\n", {"listener": [{"address": "0.0.0.0:25"}]}, set()),
    ("inet_interfaces = 192.0.2.1, [2001:db8::1], name.example\n",
     {"listener": [{"address": "192.0.2.1:25"}, {"address": "[2001:db8::1]:25"}]}, {"inet_interfaces"}),
    ("mynetworks = 10.0.0.0/8,\n  [2001:db8::]/32, !10.1.0.0/16, cidr:/etc/postfix/nets\n",
     {"relay": {"networks": []}}, {"mynetworks"}),
    ("mynetworks = 10.0.0.0/8, [2001:db8::]/32\n", {"relay": {"networks": ["10.0.0.0/8", "2001:db8::/32"]}}, set()),
    ("mynetworks = 10.0.0.0/8\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n",
     {"relay": {"networks": []}}, {"mynetworks"}),
    ("mynetworks = 10.0.0.0/8\nsmtpd_relay_restrictions =\n"
     "smtpd_recipient_restrictions = permit_sasl_authenticated, reject_unauth_destination\n",
     {"relay": {"networks": []}}, {"mynetworks"}),
    ("mynetworks = 10.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n",
     {"relay": {"networks": ["10.0.0.0/8"]}}, set()),
    ("smtp_use_tls = yes\nsmtp_enforce_tls = yes\n", {"delivery": {"tls": "encrypt"}}, set()),
    ("relay_domains = example.com example.net\n",
     {"relay": LOCAL | {"domains": ["example.com", "*.example.com", "example.net", "*.example.net"]}}, set()),
    ("relay_domains = hash:/etc/postfix/relays\n", {"relay": LOCAL | {"domains": []}}, {"relay_domains"}),
    ("relayhost = smart.example.net\n", {"route": [{"match": "*", "next_hop": "smtp:smart.example.net"}]}, set()),
    ("relayhost = [192.0.2.7]:submission\n", {"route": [{"match": "*", "next_hop": "smtp:[192.0.2.7]:587"}]}, set()),
    ("relayhost = [smart.example.net]:465\nsmtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\n",
     {"route": [{"match": "*", "next_hop": "smtps:[smart.example.net]:465"}], "delivery": {"tls": "encrypt"}}, set()),
    ("smtp_tls_security_level = dane\n", {}, {"smtp_tls_security_level"}),
    ("smtp_use_tls = yes\nsmtp_bind_address = 192.0.2.1\n", {"delivery": {"tls": "opportunistic", "source": ["192.0.2.1"]}}, set()),
    ("maximal_queue_lifetime = 3\nbounce_queue_lifetime = 12h\ndelay_warning_time = 4\nminimal_backoff_time = 5m\n"
     "maximal_backoff_time = 1h\n",
     {"queue": {"expire": "3d", "bounce_expire": "12h", "delay_warning": "4h", "retry": ["5m", "10m", "20m", "40m", "1h"]}}, set()),
    ("maximal_queue_lifetime = soon\nmessage_size_limit = 0\n", {}, {"maximal_queue_lifetime", "message_size_limit"}),
    ("message_size_limit = 20480000\nsmtpd_recipient_limit = 500\nhopcount_limit = 50\nsmtpd_client_connection_rate_limit = 30\n",
     {"limits": {"message_size": 20480000, "recipients": 500, "hops": 50, "connection_rate": "30/60s"}}, set()),
    ("smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, reject_rbl_client list.example,\n"
     " reject_unknown_sender_domain reject_non_fqdn_helo_hostname check_policy_service inet:127.0.0.1:10023\n",
     {"checks": {"sender_domain": True, "helo": "qualified", "lists": [{"zone": "list.example"}]}}, {"smtpd_recipient_restrictions"}),
    ("virtual_mailbox_domains = example.com\nvirtual_transport = lmtp:unix:private/dovecot-lmtp\nrecipient_delimiter = +\n",
     {"domain": [{"name": "example.com", "deliver": "lmtp:/var/spool/postfix/private/dovecot-lmtp", "sub_address": "+"}]}, set()),
    ("mydestination = $myhostname\nmailbox_transport = lmtp:inet:127.0.0.1:24\n",
     {"domain": [{"name": "mx.example.org", "deliver": "lmtp:127.0.0.1:24"}]}, set()),
    ("virtual_alias_domains = example.com\nvirtual_alias_maps = hash:@FOLDER@/virtual\n",
     {"domain": [{"name": "example.com", "aliases": "@FOLDER@/virtual"}]}, set()),
    ("virtual_mailbox_domains = example.com\nvirtual_mailbox_base = /srv/mail\n", {}, {"virtual_mailbox_domains", "virtual_mailbox_base"}),
    ("smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\nsmtpd_tls_auth_only = no\n",
     {"listener": [{"address": "127.0.0.1:25", "auth": True}],
      "auth": {"dovecot": "/var/spool/postfix/private/auth", "require_tls": False}}, set()),
    ("smtpd_sasl_auth_enable = yes\n", {}, {"smtpd_sasl_auth_enable"}),
    ("smtpd_tls_cert_file = @FOLDER@/cert\nsmtpd_tls_key_file = @FOLDER@/key\nsmtpd_tls_security_level = may\n",
     {"tls": {"certificate": "@FOLDER@/cert", "key": "@FOLDER@/key"}}, set()),
    ("smtpd_tls_security_level = may\n", {}, {"smtpd_tls_security_level"}),
    ("smtpd_milters = inet:127.0.0.1:8891\nheader_checks = regexp:/x\nsender_canonical_maps = hash:/x\nfoo_bar = 1\n", {},
     {"smtpd_milters", "header_checks", "sender_canonical_maps", "foo_bar"}),
    ("syslog_name = postfix-out\nmaillog_file = /dev/stdout\n", {"log": {"syslog_name": "postfix-out", "target": "stderr"}}, set()),
    ("myorigin = a\"b\\c.example\n", None, set()),
]


class FromPostfix(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="waypost-from-postfix-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "virtual").write_text("ann@example.com ann@example.net\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                        "/CN=mx.example.org", "-keyout", self.folder / "key", "-out", self.folder / "cert"],
                       check=True, capture_output=True)

    def translate(self, text):
        """The configuration, its text, and the parameters that are left out."""
        done = subprocess.run([SCRIPT], input=text, capture_output=True, text=True, check=True)
        left = set(re.findall(r"^left out: (\w+): .", done.stderr, re.M))
        return tomllib.loads(done.stdout), done.stdout, left

    def check(self, text):
        config = self.folder / "waypost.toml"
        config.write_text(text)
        return subprocess.run([WAYPOST, "--config", config, "config", "check"], capture_output=True, text=True)

    def test_main_cf_becomes_a_configuration(self):
        for lines, wanted, left_out in CASES:
            lines = lines.replace("@FOLDER@", str(self.folder))
            with self.subTest(lines):
                got, text, left = self.translate(HOST + lines)
                self.assertEqual(left, left_out)
                if wanted is None:
                    continue
                wanted = tomllib.loads(re.sub("@FOLDER@", str(self.folder), toml(wanted)))
                self.assertEqual({key: got.get(key) for key in wanted}, wanted)
                done = self.check(text)
                self.assertEqual(done.returncode, 0, text + done.stdout + done.stderr)

    def test_what_postconf_prints(self):
        folder = self.folder / "postfix"
        folder.mkdir()
        (folder / "main.cf").write_text(DEBIAN)
        (folder / "master.cf").write_text("smtp inet n - y - - smtpd\n")
        printed = subprocess.run([POSTCONF, "-n", "-c", folder], capture_output=True, text=True, check=True).stdout
        from_file, _, left_of_file = self.translate(DEBIAN)
        got, text, left = self.translate(printed)
        self.assertEqual((got, left), (from_file, left_of_file))
        self.assertEqual(got["listener"], [{"address": "127.0.0.1:25"}, {"address": "[::1]:25"}])
        self.assertEqual(left, {"mydestination", "alias_maps", "smtpd_banner", "smtp_tls_CApath"})
        self.assertEqual(self.check(text).returncode, 0)

    def test_what_is_no_main_cf(self):
        for text in ("hello\n", "= x\n", "a b = c\n"):
            done = subprocess.run([SCRIPT], input=text, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (65, ""), done.stderr)
        self.assertEqual(subprocess.run([SCRIPT, self.folder / "none"], capture_output=True).returncode, 66)
        self.assertEqual(subprocess.run([SCRIPT, "a", "b"], capture_output=True).returncode, 64)

    def test_the_manual_page_has_each_parameter(self):
        page = (ROOT / "man/waypost-postfix.7").read_text().replace("\\&", "")
        known = from_postfix.TAKEN | set(from_postfix.INSTEAD)
        told = set(re.findall(r"^\.It Ic (\S+)$", page, re.M))
        self.assertEqual(told, known)

    def test_the_commands_of_the_manual_page_exist(self):
        page = (ROOT / "man/waypost-postfix.7").read_text()
        for line in re.findall(r"^\.Dl (waypost .*)$", page, re.M):
            verb = re.match(r"waypost((?: [a-z]+)+?)(?= (?:-|[A-Z]|ann|example)|$)", line)[1]
            said = subprocess.run([WAYPOST, *verb.split(), "--help"], capture_output=True, text=True).stdout
            self.assertIn(f"Usage: waypost{verb} ", said, line)


def toml(value):
    """A table of plain values as text that tomllib reads."""
    def inline(each):
        if isinstance(each, dict):
            return "{" + ", ".join(f"{key} = {inline(one)}" for key, one in each.items()) + "}"
        if isinstance(each, list):
            return "[" + ", ".join(map(inline, each)) + "]"
        return from_postfix.quoted(each)
    return "".join(f"{key} = {inline(each)}\n" for key, each in value.items())


if __name__ == "__main__":
    unittest.main(verbosity=2)
