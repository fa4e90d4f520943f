"""What the daemon gives up at its start, seen from outside, and that all goes on without it: started by root on port 25 it
ends as nobody, without capabilities, with a list of system calls and of folders. In a network namespace of its own."""
import ctypes
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import smtplib
import subprocess
import unittest

import harness
import smtp
import tls

CLONE_NEWNET = 0x40000000
NOBODY = pwd.getpwnam("nobody")
CONTENT = b"Subject: hello\r\n\r\ntext\r\n"


def own_network():
    """Ports below 1024 are free there."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise unittest.SkipTest(f"no network of its own can be had: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def landlock_version():
    """Of this kernel (landlock_create_ruleset(2)); a negative number where it has none, or does not let us."""
    create_ruleset, version = 444, 1
    return ctypes.CDLL(None).syscall(create_ruleset, None, 0, version)


@unittest.skipUnless(landlock_version() >= 2, "this kernel has no landlock of version 2")
@unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
class Confinement(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        own_network()

    def setUp(self):
        super().setUp()
        self.sink = smtp.Sink(harness.free_port(), "127.0.0.61")
        self.pem = self.folder / "tls/relay.pem"
        self.pem.parent.mkdir()
        tls.make_pair(self.pem, "relay.test.example")
        self.logs = self.folder / "log"
        self.logs.mkdir()
        os.chown(self.logs, NOBODY.pw_uid, NOBODY.pw_gid)
        self.relay = self.waypost(**self.sections())
        for path in (self.relay.folder, self.relay.data):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)

    def sections(self, pem=None, mail="waypost/mail", **more):
        pem = pem or self.pem
        return {"user": "nobody", "tls": f'certificate = "{pem}"\nkey = "{pem}"', **more, "extra": f"""
            [[listener]]
            address = "127.0.0.1:25"
            [[domain]]
            name = "home.example"
            deliver = "maildir:{self.folder}/{mail}/{{domain}}/{{local}}"
            [[route]]
            match = "*"
            next_hop = "smtp:[127.0.0.61]:{self.sink.port}"
        """}

    def mail(self, port=25):
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.starttls(context=tls.any_certificate())
            client.sendmail("s@client.test.example", ["ann@home.example", "r@away.example"], CONTENT)

    def came(self, count):
        harness.wait_for("mail in the Maildir", lambda: len(self.relay.delivered("home.example", "ann")) == count, 20)
        harness.wait_for("mail at the next hop", lambda: len(self.sink.messages) == count, 20)
        self.relay.wait_empty(20)

    def confined(self):
        return json.loads(self.relay.tool("status", "--json").stdout)["confined"]

    def test_seen_from_outside(self):
        """Of each thread, that of the log too, which is older than the rest."""
        self.relay.start()
        self.mail()
        self.came(1)
        tasks = list(pathlib.Path(f"/proc/{self.relay.program.pid}/task").iterdir())
        self.assertGreater(len(tasks), 4)
        for task in tasks:
            status = (task / "status").read_text()
            facts = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.M))
            self.assertEqual(facts["Uid"].split(), [str(NOBODY.pw_uid)] * 4, status)
            self.assertEqual(facts["Gid"].split(), [str(NOBODY.pw_gid)] * 4, status)
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(facts[kind], 16), 0, f"{kind}\n{status}")
            self.assertEqual((facts["NoNewPrivs"], facts["Seccomp"]), ("1", "2"), status)
        self.assertEqual(os.stat(f"/proc/{self.relay.program.pid}/mem").st_uid, 0, "not dumpable")
        confined = self.confined()
        self.assertEqual((confined["user"], confined["no_capabilities"], confined["seccomp"], confined["missing"]),
                         ("nobody", True, True, []))
        self.assertGreaterEqual(confined["landlock"], 2)
        said = f"user nobody, no capabilities, seccomp, landlock (version {confined['landlock']})"
        self.assertRegex(self.relay.tool("status").stdout, rf"(?m)^confined: {re.escape(said)}$")
        self.assertIn(f"confined: {said}", self.relay.log_text())

    def test_all_goes_on(self):
        """Mail by TLS from port 25 to a Maildir and a next hop, of this machine's users, over reloads, a log that is moved away,
        a backup, a check and a new start."""
        log = self.logs / "waypost.log"
        self.relay.write_config(**self.sections(log=f'target = "{log}"', top=f'writable = ["{self.folder}/backup"]'))
        (self.folder / "backup").mkdir()
        os.chown(self.folder / "backup", NOBODY.pw_uid, NOBODY.pw_gid)
        self.relay.launch()

        def has(word):
            return lambda: log.exists() and re.search(word, log.read_text())

        harness.wait_for("the daemon", has(r"\bready\b"), 20)
        self.mail()
        self.came(1)
        log.rename(self.logs / "waypost.log.1")
        self.relay.program.signal(signal.SIGHUP)
        harness.wait_for("the reload", has("reload -- "), 20)
        self.assertEqual(os.stat(log).st_uid, NOBODY.pw_uid)
        tls.make_pair(self.pem, "relay.test.example")
        os.chmod(self.pem, 0o644)
        self.relay.tool("reload")
        self.mail()
        self.came(2)
        subprocess.run(["sendmail", "-C", str(self.relay.config), "-i", "ann@home.example", "r@away.example"], input=CONTENT,
                       executable=harness.BUILD / "sendmail", check=True, timeout=30)
        self.came(3)
        self.assertRegex(self.relay.tool("trace", "--to", "ann@home.example").stdout, r"root\[uid=0\]")
        self.relay.tool("store", "check")
        self.relay.tool("store", "backup", str(self.folder / "backup/monday"))
        self.assertTrue((self.folder / "backup/monday/queue.db").exists())
        self.relay.tool("log", "reopen")
        self.assertNotRegex(log.read_text(), r"warning: |error: |Operation not permitted|not implemented")
        self.assertEqual(self.relay.stop(), 0)
        self.relay.launch()
        harness.wait_for("the daemon again", has(r"\bready\b"), 20)
        self.mail()
        self.came(4)

    def test_a_reload_that_names_other_folders(self):
        """It is refused as a whole, with what to do; after a restart all is well."""
        self.relay.start()
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        os.chown(elsewhere, NOBODY.pw_uid, NOBODY.pw_gid)
        other = elsewhere / "other.pem"
        tls.make_pair(other, "other.test.example")
        os.chmod(other, 0o644)
        for what, sections in ((other, self.sections(pem=other)),
                               (f"{elsewhere}/", self.sections(mail="elsewhere")),
                               (f"{elsewhere}/", self.sections(log=f'target = "{elsewhere}/log"'))):
            self.relay.write_config(**sections)
            refused = self.relay.tool("reload", check=False)
            self.assertEqual(refused.returncode, 78, refused.stderr)
            self.assertIn(f"{what} is outside of the folders that the daemon confined itself to at its start (restart it",
                          refused.stderr)
            self.mail()
        self.came(3)
        self.relay.write_config(**self.sections(pem=other, top=f'writable = ["{elsewhere}"]'))
        self.assertEqual(self.relay.stop(), 0)
        self.relay.start()
        self.mail()
        self.came(4)
        self.relay.tool("store", "backup", str(elsewhere / "backup"))

    def test_a_backup_to_where_nobody_may_write(self):
        self.relay.start()
        refused = self.relay.tool("store", "backup", str(self.folder / "log/backup"), check=False)
        self.assertEqual(refused.returncode, 77, refused.stderr)
        self.assertIn("log/backup is not where the daemon may write: name the folder above it in `writable`, and under "
                      "systemd in ReadWritePaths= of the unit, then restart",
                      refused.stderr)

    def test_off(self):
        """For trouble: it says so, and nothing but the user is given up."""
        self.relay.write_config(**self.sections(top='confine = "off"'))
        self.relay.start()
        self.assertIn('warning: confinement: confine = "off"', self.relay.log_text())
        self.assertEqual(self.confined()["missing"], ['confine = "off"'])
        self.assertIn('confined: user nobody   not: confine = "off"', self.relay.tool("status").stdout)
        self.relay.tool("store", "backup", str(self.logs / "backup"))
        self.mail()
        self.came(1)

    @unittest.skipUnless(shutil.which("strace"), "packaging/install-deps installs strace")
    def test_a_kernel_without(self):
        """What there is not is done without, and told."""
        calls = "landlock_create_ruleset,seccomp"
        seen = self.relay.launch("strace", "-D", "-f", "-qq", "-o", self.folder / "strace.log", "-e", f"trace={calls}",
                                 "-e", f"inject={calls}:error=ENOSYS")
        self.relay.logged(r"\bready\b", start=seen)
        confined = self.confined()
        self.assertEqual((confined["user"], confined["no_capabilities"], confined["seccomp"], confined["landlock"]),
                         ("nobody", True, False, 0))
        self.assertEqual(confined["missing"][0], "landlock: this kernel has none")
        self.assertRegex(confined["missing"][1], "^seccomp: ")
        self.assertIn("warning: confinement: landlock: this kernel has none", self.relay.log_text())
        self.mail()
        self.came(1)

    def test_a_folder_that_cannot_be_made(self):
        """It is told at the start, and the rest of the mail goes on."""
        self.relay.write_config(**self.sections(mail="closed/mail"))
        self.relay.start()
        self.assertRegex(self.relay.log_text(), r"warning: confinement: making the folder \S+/closed: Permission denied: nothing can be "
                                                r"written there before it is made and the daemon restarted")
        self.mail()
        harness.wait_for("mail at the next hop", lambda: len(self.sink.messages) == 1, 20)
        self.assertEqual(self.relay.queued(), 1)


if __name__ == "__main__":
    harness.main()
