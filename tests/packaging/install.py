"""The package in a Debian of its own: installed without questions, configured, upgraded under load, removed and purged."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

import system

sys.path.insert(0, str(system.ROOT / "tests/e2e"))
import harness  # noqa: E402
import smtp  # noqa: E402

PACKAGE = pathlib.Path(sys.argv.pop(1))
CONTENT = b"From: a@here.example\r\nSubject: hello\r\n\r\ntext\r\n"
# That send mail by sendmail. Any of the servers would do for mailx before ours is there.
PROGRAMS = ["bsd-mailx", "cron", "git-email", "libmailtools-perl", "mutt", "php-cli"]
SITE = """
[[domain]]
name = "here.example"
deliver = "maildir:/var/mail/{domain}/{local}"

[[route]]
match = "away.example"
next_hop = "smtp:[127.0.0.9]:25"
"""


def field(name):
    return subprocess.run(["dpkg-deb", "-f", PACKAGE, name], check=True, capture_output=True, text=True).stdout.strip()


def dependencies():
    """The first of each choice; mail-transport-agent and what is essential need no name."""
    return [re.sub(r"[ (:].*", "", choice.strip()) for choice in field("Depends").split(",")]


def newer(folder):
    """The same package with the next version."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "-R", PACKAGE, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {field('Version')}+1", control.read_text(), flags=re.M))
    subprocess.run(["dpkg-deb", "-Zgzip", "-b", tree, folder / "newer.deb"], check=True, capture_output=True)
    shutil.rmtree(tree)
    return folder / "newer.deb"


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="waypost-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.tree = system.make_tree([*dependencies(), "ca-certificates", "python3"], PROGRAMS)
        cls.newer = newer(cls.folder)

    def setUp(self):
        self.debian = system.System(self.tree).start()
        self.addCleanup(self.debian.stop)
        self.addCleanup(self.show_log)

    def show_log(self):
        result = self._outcome.result
        if any(test is self for test, _ in result.failures + result.errors):
            print(self.debian("journalctl", "--no-pager", "-n", "60", check=False).stdout, file=sys.stderr)

    def install(self, package):
        shutil.copy(package, self.debian.path("/srv/waypost.deb"))
        return self.debian("dpkg", "--install", "/srv/waypost.deb").stdout

    def send(self, recipient):
        """The last reply to a message; the connection is of the system's own network."""
        replies = []

        def deliver():
            with smtp.Client(25, timeout=20) as client:
                client.send("a@here.example", [recipient], CONTENT)
                replies.append("taken")

        self.debian.in_network(deliver).join(30)
        self.assertEqual(replies, ["taken"])

    def queued(self):
        return json.loads(self.debian("waypost", "queue", "count", "--json").stdout)["messages"]

    def mode(self, path):
        return self.debian("stat", "-c", "%a %U:%G", path).stdout.strip()

    def main_pid(self):
        return self.debian("systemctl", "show", "--value", "-p", "MainPID", "waypost.service").stdout.strip()

    def configure(self):
        self.debian.path("/etc/waypost/conf.d/site.toml").write_text(SITE)
        self.debian("install", "-d", "-o", "waypost", "-g", "mail", "-m", "2770", "/var/mail/here.example")
        self.debian("waypost", "config", "check")
        self.debian("systemctl", "reload", "waypost.service")

    def test_installed_without_questions_it_serves_this_machine_alone(self):
        self.install(PACKAGE)
        units = self.debian("systemctl", "is-active", "waypost.socket", "waypost.service").stdout.split()
        self.assertEqual(units, ["active", "active"])
        # Who listens, by address (of /proc/net/tcp, in hexadecimal) and port; 0A is LISTEN.
        table = [line.split() for line in self.debian("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.splitlines()]
        self.assertEqual([row[1] for row in table if row[3] == "0A"], ["0100007F:0019"])
        status = self.debian("waypost", "status").stdout
        self.assertIn("queue  0 messages", status)
        # What the unit takes away does not keep the daemon from the rest.
        self.assertIn("confined: user waypost, no capabilities, seccomp", status)
        self.assertNotIn("not: ", status)
        verified = self.debian("systemd-analyze", "verify", "--man=no", "waypost.service", "waypost.socket").stdout
        self.assertNotIn("waypost", verified)

        for path, mode in {
            "/etc/waypost/waypost.toml": "640 root:waypost",
            "/etc/waypost/tls": "750 root:waypost",
            "/etc/waypost/secrets": "750 root:waypost",
            "/var/spool/waypost": "710 waypost:waypost-drop",
            "/var/spool/waypost/maildrop": "1730 waypost:waypost-drop",
            "/var/spool/waypost/queue.db": "600 waypost:waypost",
            "/run/waypost": "2755 waypost:waypost-admin",
            "/run/waypost/control.sock": "660 waypost:waypost-admin",
            "/run/waypost/submit.sock": "666 waypost:waypost-admin",
            "/usr/lib/waypost/drop": "2755 root:waypost-drop",
        }.items():
            self.assertEqual(self.mode(path), mode, path)
        status = self.debian("cat", f"/proc/{self.main_pid()}/status").stdout
        for line in (r"CapEff:\t0{16}", r"CapBnd:\t0{16}", r"NoNewPrivs:\t1", r"Seccomp:\t2"):
            self.assertRegex(status, line)
        self.assertRegex(self.debian("cat", "/etc/aliases").stdout, r"(?m)^postmaster: root$")
        self.assertEqual(self.debian("cat", "/etc/mailname").stdout, "fresh\n")
        # An administrator who is no root.
        self.debian("useradd", "--groups", "waypost-admin", "ann")
        self.assertIn("queue  0 messages", self.debian("runuser", "-u", "ann", "--", "waypost", "status").stdout)
        self.debian("useradd", "bob")
        self.assertNotEqual(self.debian("runuser", "-u", "bob", "--", "waypost", "status", check=False).returncode, 0)

    def test_what_autopkgtest_runs(self):
        self.install(PACKAGE)
        shutil.copy(system.ROOT / "packaging/debian/tests/relay", self.debian.path("/srv/relay"))
        self.debian("/srv/relay")

    def test_it_takes_and_delivers_and_an_upgrade_refuses_nobody(self):
        self.install(PACKAGE)
        self.configure()
        self.send("ann@here.example")
        new = self.debian.path("/var/mail/here.example/ann/new")
        harness.wait_for("the message", lambda: new.is_dir() and list(new.iterdir()), 20)
        self.send("someone@away.example")
        harness.wait_for("the other to wait", lambda: self.queued() == 1, 20)

        taken, failures, ending = [], [], threading.Event()

        def load():
            while not ending.is_set():
                try:
                    with smtp.Client(25, timeout=60) as client:
                        client.send("a@here.example", ["ann@here.example"], CONTENT)
                        taken.append(1)
                except ConnectionRefusedError as error:
                    failures.append(repr(error))
                except (OSError, AssertionError):
                    ending.wait(0.01)  # 421: it stops

        threads = [self.debian.in_network(load) for _ in range(4)]
        harness.wait_for("load", lambda: len(taken) > 20, 30)
        before = self.main_pid()
        self.install(self.newer)
        during = len(taken)
        self.assertNotEqual(self.main_pid(), before)
        harness.wait_for("load after it", lambda: len(taken) > during + 20, 30)
        ending.set()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        harness.wait_for("all that was taken", lambda: self.queued() == 1, 60)
        self.assertGreaterEqual(len(list(new.iterdir())), len(taken) + 1)
        self.assertEqual(self.debian("cat", "/etc/waypost/conf.d/site.toml").stdout, SITE)

    def test_users_send_by_sendmail_also_while_the_daemon_is_away(self):
        self.install(PACKAGE)
        self.configure()
        self.debian("useradd", "bob")

        def as_bob(*command, **options):
            return self.debian("runuser", "-u", "bob", "--", *command, **options)

        letter = "To: ann@here.example\nSubject: from bob\n\ntext\n"
        new = self.debian.path("/var/mail/here.example/ann/new")
        as_bob("/usr/sbin/sendmail", "-t", "-i", input=letter)
        harness.wait_for("the message", lambda: new.is_dir() and list(new.iterdir()), 20)
        received = next(new.iterdir()).read_text()
        self.assertRegex(received, r"(?m)^From: .*bob@")

        self.debian("systemctl", "stop", "waypost.socket", "waypost.service")
        as_bob("/usr/lib/sendmail", "-i", "ann@here.example", input=letter)
        self.assertNotEqual(as_bob("ls", "/var/spool/waypost/maildrop", check=False).returncode, 0)
        self.assertEqual(len(list(self.debian.path("/var/spool/waypost/maildrop").iterdir())), 1)
        self.debian("systemctl", "start", "waypost.service")
        harness.wait_for("the other message", lambda: len(list(new.iterdir())) == 2, 20)
        self.assertEqual(list(self.debian.path("/var/spool/waypost/maildrop").iterdir()), [])

    def test_mail_of_the_systems_programs(self):
        self.install(PACKAGE)
        self.configure()
        self.debian("apt-get", "install", "--no-download", "--yes", "--no-install-recommends", *PROGRAMS, timeout=300)
        self.assertEqual(self.debian("dpkg-query", "-W", "-f", "${db:Status-Status}", "waypost").stdout, "installed")
        self.debian("useradd", "--create-home", "bob")
        to = "ann@here.example"
        self.debian("runuser", "-l", "bob", "-c", f"""
set -e
echo text | mailx -s mailx {to}
echo text | mutt -s mutt {to}
php -r 'exit(mail("{to}", "php", "text") ? 0 : 1);'
git init --quiet work
cd work
git config user.name Bob
git config user.email bob@here.example
git commit --quiet --allow-empty -m git
git format-patch --quiet --root --always -o ..
git send-email --quiet --confirm=never --to={to} ../0001-git.patch
printf 'MAILTO={to}\\n@reboot echo cron\\n' | crontab -
""")
        self.debian("rm", "-f", "/run/crond.reboot")  # by it cron knows that it began before
        self.debian("systemctl", "restart", "cron.service")
        new = self.debian.path("/var/mail/here.example/ann/new")
        harness.wait_for("five messages", lambda: new.is_dir() and len(list(new.iterdir())) == 5, 60)
        subjects = {re.search(r"(?m)^Subject: (.*)$", letter.read_text())[1] for letter in new.iterdir()}
        self.assertEqual(subjects, {"mailx", "mutt", "php", "[PATCH] git", "Cron <bob@fresh> echo cron"})

    def test_a_queue_with_mail_survives_purge_unless_its_administrator_says_so(self):
        queue = "/var/spool/waypost/queue.db"
        self.install(PACKAGE)
        self.configure()
        self.send("someone@away.example")
        harness.wait_for("the message to wait", lambda: self.queued() == 1, 20)
        said = self.debian("dpkg", "--purge", "waypost").stdout
        self.assertIn("the queue is kept, with the mail in it (1)", said)
        self.assertTrue(self.debian.path(queue).exists())
        self.assertEqual(self.debian("systemctl", "is-active", "waypost.socket", check=False).stdout.strip(), "inactive")

        self.install(PACKAGE)
        self.assertEqual(self.queued(), 1)
        self.assertTrue(self.debian.path("/etc/waypost/conf.d/site.toml").exists())
        self.debian("dpkg", "--remove", "waypost")
        self.debian("debconf-set-selections", input="waypost waypost/remove_queue boolean true\n")
        self.debian("dpkg", "--purge", "waypost")
        self.assertFalse(self.debian.path("/var/spool/waypost").exists())

        self.install(PACKAGE)
        self.debian.path("/etc/waypost/conf.d/site.toml").unlink()
        self.assertEqual(self.queued(), 0)
        self.assertNotIn("kept", self.debian("dpkg", "--purge", "waypost").stdout)
        for gone in ("/var/spool/waypost", "/etc/waypost", "/run/waypost", "/var/log/waypost"):
            self.assertFalse(self.debian.path(gone).exists(), gone)


if __name__ == "__main__":
    try:
        harness.main()
    except system.Unavailable as reason:
        print(f"SKIPPED: {reason}", file=sys.stderr)
        sys.exit(77)
