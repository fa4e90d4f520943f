"""The log of a mixed run, as Debian's log readers see it: fail2ban, logcheck, logwatch and pflogsumm, each with the rules that
the package brings, say what the run has done; and logrotate moves it away."""
import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402
import smtp  # noqa: E402

SYSTEM = ROOT / "packaging/system"
PEERS = harness.PEERS
TRUSTED, STRANGER = "127.0.0.2", "127.0.0.66"
CONTENT = b"From: s@client.test.example\r\nMessage-ID: <%d@client.test.example>\r\n\r\ntext\r\n"
PERL = str(PEERS / "parsers/usr/share/perl5") + ":" + str(next((PEERS / "parsers/usr/lib").glob("*/perl5/5.*"), ""))


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60,
                          env=dict(os.environ, PERL5LIB=PERL, PYTHONPATH=str(PEERS / "fail2ban/usr/lib/python3/dist-packages")),
                          **options)


class LogReaders(harness.TestCase):
    SENT, BOUNCED, DEFERRED, RELAYS, UNKNOWN, LOGINS = 5, 2, 3, 4, 2, 4

    def mixed_run(self):
        """The log, of a file as log.target."""
        def refuse(verb, argument, state):
            if verb == "RCPT" and b"no@" in argument:
                return b"550 5.1.1 nobody of that name\r\n"
            return b"450 4.2.1 later\r\n" if verb == "RCPT" and b"later@" in argument else None

        sink = smtp.Sink(harness.free_port(), "127.0.0.51", refuse)
        log = self.folder / "waypost.log"
        relay = self.waypost(
            log=f'target = "{log}"', relay=f'networks = ["{TRUSTED}/32"]',
            auth=f'users = "{self.folder}/users"\nrequire_tls = false',
            extra=f'[[domain]]\nname = "here.example"\ndeliver = "maildir:{self.folder}/mail/{{local}}"\nrecipients = ["ann"]\n'
                  f'[[route]]\nmatch = "*"\nnext_hop = "smtp:[127.0.0.51]:{sink.port}"\n')
        subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", "ann"], input="secret\n", text=True, check=True,
                       capture_output=True)
        relay.launch()
        harness.wait_for("the relay", lambda: log.exists() and "ready, " in log.read_text(), 20)
        recipients = ["yes@away.example"] * self.SENT + ["no@away.example"] * self.BOUNCED + ["later@away.example"] * self.DEFERRED
        for number, recipient in enumerate(recipients):
            with smtp.Client(relay.mx, source=TRUSTED) as client:
                client.send("s@client.test.example", [recipient], CONTENT % number)
        with smtp.Client(relay.mx, source=STRANGER) as client:
            client.expect(250, "MAIL FROM:<s@elsewhere.example>")
            for _ in range(self.RELAYS):
                client.expect(554, "RCPT TO:<victim@far.example>")
            for _ in range(self.UNKNOWN):
                client.expect(550, "RCPT TO:<nobody@here.example>")
        for number in range(self.LOGINS):
            with smtp.Client(relay.submission, source=STRANGER) as client:
                wrong = base64.b64encode(b"\0ann\0guess").decode()
                if number % 2 == 0:
                    client.expect(535, f"AUTH PLAIN {wrong}")
                else:
                    first = base64.b64encode(b"n,,n=ann,r=rOprNGfwEbeRWgbNEkqO").decode()
                    client.expect(334, f"AUTH SCRAM-SHA-256 {first}")
                    client.expect(535, base64.b64encode(b"c=biws,r=wrong,p=d3Jvbmc=").decode())
        harness.wait_for("the ends", lambda: len(re.findall("status=(?:sent|bounced|deferred)", log.read_text())) >= len(recipients), 20)
        harness.wait_for("the queue to settle", lambda: relay.queued() == self.DEFERRED, 20)
        self.assertEqual(relay.stop(), 0)
        sink.stop()
        return log

    def test_they_tell_of_a_run(self):
        log = self.mixed_run()
        for reader in (self.pflogsumm, self.fail2ban, self.logcheck, self.logwatch):
            with self.subTest(reader.__name__):
                reader(log)

    def test_a_rotated_log_goes_on_in_a_new_file(self):
        logs = self.folder / "log"
        logs.mkdir()
        log, moved = logs / "waypost.log", logs / "waypost.log.1"
        relay = self.waypost(log=f'target = "{log}"')
        relay.launch()
        harness.wait_for("the relay", lambda: log.exists() and "ready, " in log.read_text(), 20)
        rules = (SYSTEM / "logrotate").read_text().replace("/var/log/waypost/", f"{logs}/")
        ours = rules.replace("/usr/bin/waypost ", f"{harness.WAYPOST} --config {relay.config} ")
        self.assertNotEqual(ours, rules)
        (self.folder / "logrotate.conf").write_text(ours)
        done = run(PEERS / "logrotate/usr/sbin/logrotate", "--force", "--state", self.folder / "state", self.folder / "logrotate.conf")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        harness.wait_for("the new file", log.exists, 20)
        self.assertIn("ready, ", moved.read_text())
        self.assertEqual(relay.stop(), 0)
        self.assertNotIn("ready, ", log.read_text())
        self.assertNotIn("stopped", moved.read_text())
        self.assertRegex(log.read_text(), r"stopped\n$")

    def figures(self, text, wanted):
        for name, number in wanted.items():
            self.assertEqual(re.findall(rf"^ *(\d+) +{re.escape(name)}", text, re.M)[:1], [str(number)], f"{name} in\n{text}")

    def pflogsumm(self, log):
        said = run(PEERS / "pflogsumm/usr/sbin/pflogsumm", "--syslog-name=waypost", log)
        self.assertEqual(said.stderr, "")
        self.figures(said.stdout, {
            "received": self.SENT + self.BOUNCED + self.DEFERRED,
            "delivered": self.SENT + self.BOUNCED,  # and what came back
            "deferred": self.DEFERRED,
            "bounced": self.BOUNCED,
            "rejected": self.RELAYS + self.UNKNOWN,
        })
        self.assertIn(f"Relay access denied (total: {self.RELAYS})", said.stdout)

    def fail2ban(self, log):
        """Each refused relay, unknown recipient and login is a failure of the stranger, and nothing else is one."""
        folder = self.folder / "fail2ban"
        shutil.copytree(PEERS / "fail2ban/etc/fail2ban", folder)
        shutil.copy(SYSTEM / "fail2ban/filter.conf", folder / "filter.d/waypost.conf")
        said = run(sys.executable, PEERS / "fail2ban/usr/bin/fail2ban-regex", "-c", folder, "-o", "ip", log, "waypost")
        self.assertEqual(said.stdout.split(), [STRANGER] * (self.RELAYS + self.UNKNOWN + self.LOGINS), said.stderr)

    def logcheck(self, log):
        """What remains for an administrator to read is what is no information."""
        left = run("grep", "-Evf", SYSTEM / "logcheck", log).stdout
        self.assertEqual(re.findall(r"warning: unknown\[.*?\]: SASL \S+ authentication failed", left),
                         re.findall(r"warning: unknown\[.*?\]: SASL \S+ authentication failed", log.read_text()))
        self.assertEqual(len(left.splitlines()), self.LOGINS, left)

    def logwatch(self, log):
        # Its script knows the stamps of traditional syslog alone.
        lines = re.sub(r"^\S+", "Nov 27 01:02:03", log.read_text(), flags=re.M)
        said = run("perl", PEERS / "logwatch/usr/share/logwatch/scripts/services/postfix", "--syslog_name", "waypost", input=lines)
        self.assertEqual(said.stderr, "")
        self.figures(said.stdout, {
            "Accepted": self.SENT + self.BOUNCED + self.DEFERRED,
            "Rejected": self.RELAYS + self.UNKNOWN,
            "5xx Reject relay denied": self.RELAYS,
            "5xx Reject unknown user": self.UNKNOWN,
            "SASL authentication failed": self.LOGINS,
            "Deferred": self.DEFERRED,
            "Bounced (remote)": self.BOUNCED,
        })


if __name__ == "__main__":
    harness.main()
