"""sendmail, mailq and newaliases as programs of a machine call them: through the daemon's socket, and through the drop
folder while it is away. Command lines are those of the packages named; hostile files in the drop folder harm nothing."""
import email
import json
import os
import pathlib
import signal
import socket
import subprocess
import unittest

import harness

MAILX = harness.PEERS / "bin/bsd-mailx"

DOMAINS = """
[[domain]]
name = "relay.test.example"
deliver = "maildir:{mail}/{{domain}}/{{local}}"
[[domain]]
name = "b.example"
deliver = "maildir:{mail}/{{domain}}/{{local}}"
recipients = ["ann", "bob", "-dash"]
"""
HEADER = "Subject: {}\n\ntext\n"


class Sendmail(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.relay = self.waypost(extra=DOMAINS.format(mail=self.folder / "waypost/mail"))
        self.drop = self.relay.data / "maildrop"

    def call(self, args, text="", code=0, name="sendmail", **options):
        """Runs it under this name, as a caller would, with this on standard input. What it printed."""
        if isinstance(text, str):
            text = text.encode()
        done = subprocess.run([name, "-C", str(self.relay.config), *args], executable=harness.BUILD / "sendmail", input=text,
                              capture_output=True, timeout=30, env={"WAYPOST_HELPERS": str(harness.BUILD)}, **options)
        self.assertEqual(done.returncode, code, f"{args}: {done.stdout}{done.stderr}")
        return (done.stdout + done.stderr).decode()

    def mailbox(self, address, count=1):
        """Messages that were delivered there, once there are so many of them."""
        local, domain = address.rsplit("@", 1)
        harness.wait_for(f"{count} at {address}", lambda: len(self.relay.delivered(domain, local)) >= count, 20)
        return self.relay.delivered(domain, local)

    def status(self):
        return json.loads(self.relay.tool("status", "--json").stdout)

    def test_callers(self):
        """cron, mdadm, unattended-upgrades, mutt, fail2ban, PHP, git, Email::Sender, Alpine."""
        self.relay.start()
        cron = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> job\n\nline\rprogress\r\n100 %\0\n"
        self.call(["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"], cron)
        got = self.mailbox("root@relay.test.example")[0]
        self.assertIn(b"\nFrom: root (Cron Daemon)\n", got)
        self.assertTrue(got.endswith(b"\n\nline\nprogress\n100 %\n"), got)

        to_header = "To: ann@b.example\nSubject: {}\n\ntext\n"
        self.call(["-t"], to_header.format("mdadm"))
        self.call(["-oi", "-t"], to_header.format("unattended-upgrades"))
        self.call(["-oem", "-oi", "--", "ann@b.example"], HEADER.format("mutt"))
        self.call(["-f", "fail2ban", "ann@b.example"], HEADER.format("fail2ban"))
        self.call(["-t", "-i"], to_header.format("php"))
        self.call(["-i", "ann@b.example", "bob@b.example"], HEADER.format("git"))
        self.call(["-i", "-f", "sender@far.example", "--", "ann@b.example", "-dash@b.example"], HEADER.format("perl"))
        alpine = ("EHLO host\r\nMAIL FROM:<ann@b.example>\r\nRCPT TO:<ann@b.example>\r\nDATA\r\n"
                  "Subject: alpine\r\n\r\ntext\r\n.\r\nQUIT\r\n")
        said = self.converse(alpine)
        self.assertIn("221 ", said)
        # mailx: a comma list in -t's fields, and a copy nobody sees.
        self.call(["-i", "-t"], "To: Ann <ann@b.example>\nBcc: bob@b.example\nSubject: mailx\n\n.\ntext\n")

        messages = [email.message_from_bytes(each) for each in self.mailbox("ann@b.example", 9)]
        subjects = {each["Subject"] for each in messages}
        self.assertEqual(subjects, {"mdadm", "unattended-upgrades", "mutt", "fail2ban", "php", "git", "perl", "alpine", "mailx"})
        for each in messages:
            self.assertTrue(each["Date"] and each["Message-ID"] and each["From"], each.as_string())
            self.assertIsNone(each["Bcc"])
            self.assertIn("(Waypost, from user ", each["Received"])
        perl = next(each for each in messages if each["Subject"] == "perl")
        self.assertEqual(perl["Return-Path"], "<sender@far.example>")
        mailx = next(each for each in messages if each["Subject"] == "mailx")
        self.assertEqual(mailx.get_payload(), ".\ntext\n")
        self.mailbox("-dash@b.example")
        self.assertEqual(len(self.mailbox("bob@b.example", 2)), 2)
        self.assertRegex(self.relay.tool("trace", "--to", "bob@b.example").stdout, r"\[uid=\d+\]")

    @unittest.skipUnless(MAILX.exists(), "packaging/peers unpacks it")
    def test_mailx(self):
        """Debian's mail(1), which has been told where sendmail is."""
        self.relay.start()
        program = self.folder / "sendmail"
        program.write_text(f'#!/bin/sh\nexec {harness.BUILD / "sendmail"} -C {self.relay.config} "$@"\n')
        program.chmod(0o755)
        (self.folder / "mailrc").write_text(f"set sendmail={program}\n")
        subprocess.run([MAILX, "-s", "from mailx", "-c", "Bob <bob@b.example>", "-b", "root", "ann@b.example"], input=b"text\n",
                       check=True, timeout=30, env={"MAILRC": str(self.folder / "mailrc"), "HOME": str(self.folder)})
        for address in ("ann@b.example", "bob@b.example", "root@relay.test.example"):
            message = email.message_from_bytes(self.mailbox(address)[0])
            self.assertEqual((message["Subject"], message["To"], message["Bcc"]), ("from mailx", "ann@b.example", None))

    def converse(self, dialogue):
        """-bs: each line is said after the reply to the one before, but those of the message. What was heard."""
        program = subprocess.Popen(["sendmail", "-C", str(self.relay.config), "-bs"], executable=harness.BUILD / "sendmail",
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        replies, in_body = [program.stdout.readline()], False
        for line in dialogue.encode().splitlines(keepends=True):
            program.stdin.write(line)
            program.stdin.flush()
            in_body = in_body and line != b".\r\n"
            while not in_body:
                replies.append(program.stdout.readline())
                if replies[-1][3:4] != b"-":
                    break
            in_body = in_body or replies[-1].startswith(b"354")
        program.stdin.close()
        self.assertEqual(program.wait(20), 0)
        program.stdout.close()
        return b"".join(replies).decode()

    def test_refusals_are_said(self):
        self.relay.start()
        said = self.call(["ann@b.example", "nobody@b.example"], HEADER.format("partly"), code=67)
        self.assertIn("<nobody@b.example> is refused: 550 5.1.1", said)
        self.assertNotIn("ann@b.example", said)
        self.mailbox("ann@b.example")
        self.call(["nobody@b.example"], HEADER.format("x"), code=67)
        self.call([], HEADER.format("x"), code=64)
        self.call(["-t"], HEADER.format("x"), code=64)
        self.call(["-z", "ann@b.example"], code=64)
        self.call(["ann@b.example\nBcc: x@y.example"], code=65)
        self.call(["-t"], "To: ann bob\n\n", code=65)
        self.assertIn("waypostd", self.call(["-bd"], code=64))
        self.call(["-C", "/nowhere", "ann@b.example"], code=78)
        said = self.call(["-bv", "ann@b.example", "nobody@b.example"], code=67)
        self.assertIn("ann@b.example... deliverable", said)
        self.assertIn("nobody@b.example... undeliverable: 550 5.1.1", said)
        said = self.call(["-v", "-N", "success", "-V", "job 7", "-R", "hdrs", "ann@b.example"], HEADER.format("dsn"))
        self.assertIn(" RET=HDRS ENVID=job+207", said)
        self.assertIn("NOTIFY=SUCCESS", said)
        self.relay.stop()
        # Neither a daemon nor a place for the message: the caller is told to try again.
        self.drop.rmdir()
        self.call(["ann@b.example"], HEADER.format("x"), code=75)

    def test_many_recipients(self):
        """More than a message may have, some of them unknown: each gets one, and each that is refused is named."""
        self.relay.write_config(extra=DOMAINS.format(mail=self.folder / "waypost/mail"), limits="recipients = 70")
        self.relay.start()
        known = [f"r{number}@relay.test.example" for number in range(150)]
        unknown = [f"u{number}@b.example" for number in range(60)]
        said = self.call([*known[:75], *unknown, *known[75:]], HEADER.format("many"), code=67)
        self.assertEqual(said.count("is refused: 550 5.1.1"), len(unknown))
        for address in known:
            self.mailbox(address)
        self.relay.stop()
        self.call(known, HEADER.format("again"))
        self.relay.start()
        harness.wait_for("an empty drop folder", lambda: not list(self.drop.iterdir()), 20)
        # 70 of 100, and all of 50; the sender is told of the others.
        harness.wait_for("the second message", lambda: sum(len(self.mailbox(each)) for each in known) == 150 + 120, 20)

    def test_queue_and_aliases(self):
        self.relay.start()
        self.assertEqual(self.call([], name="mailq"), "Mail queue is empty\n")
        self.call(["-q"])
        # Nobody answers for this domain: it waits.
        self.call(["a@far.example"], HEADER.format("waits"))
        harness.wait_for("the queue", lambda: "far.example" in self.call(["-bp"]), 10)
        shown = self.call([], name="mailq").splitlines()
        self.assertTrue(shown[0].startswith("-Queue ID-"))
        self.assertRegex(shown[1], r"^[0-9A-Z]{12}[ *] +\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d  \S+@relay.test.example$")
        self.assertRegex(shown[-1], r"^-- \d+ Kbytes in 1 Request\.$")
        self.call(["-q"])
        self.call(["-qRfar.example"])
        self.call(["-qSnobody"])
        self.call(["-bi"])
        self.assertIn("reloaded", self.call([], name="newaliases"))
        good = self.relay.config.read_text()
        self.relay.config.write_text(good + "\n[limits]\nhops = 0\n")
        self.assertIn("limits.hops", self.call([], code=78, name="newaliases"))
        self.relay.config.write_text(good)
        self.relay.stop()
        self.call([], name="newaliases")

    def test_away_and_back(self):
        """Nothing is lost while the daemon is away, and nothing comes twice."""
        self.relay.start()
        self.relay.stop()
        self.call(["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "ann@b.example"], HEADER.format("one"))
        self.call(["-t"], "To: ann@b.example, nobody@b.example\nSubject: two\n\n.dot\n")
        self.call(["-f", "", "nobody@b.example"], HEADER.format("three"))
        self.assertEqual(len(list(self.drop.iterdir())), 3)
        # One that is stopped in the middle leaves nothing that counts.
        caller = subprocess.Popen([harness.BUILD / "drop", self.drop], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        caller.communicate(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@b.example>\r\nDATA\r\nhalf")
        self.assertEqual(caller.returncode, 65)
        self.assertEqual(len(list(self.drop.iterdir())), 3)
        self.relay.start()
        messages = [email.message_from_bytes(each) for each in self.mailbox("ann@b.example", 2)]
        self.assertEqual({each["Subject"] for each in messages}, {"one", "two"})
        self.assertIn(".dot", next(each for each in messages if each["Subject"] == "two").get_payload())
        harness.wait_for("an empty drop folder", lambda: not list(self.drop.iterdir()), 10)
        # Who was told 0 hears of a refusal; of the one without a sender the administrator does.
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        report = self.mailbox(f"{user}@relay.test.example")[0]
        self.assertIn(b"nobody@b.example", report)
        harness.wait_for("the status", lambda: self.status()["maildrop"]["corrupt"] == 1, 10)
        self.assertIn("1 file of the drop folder", self.relay.tool("status").stdout)
        # While it stops, too.
        self.call(["ann@b.example"], HEADER.format("four"))
        self.relay.program.signal(signal.SIGTERM)
        self.call(["ann@b.example"], HEADER.format("five"))
        self.relay.program.wait(40)
        self.relay.start()
        self.mailbox("ann@b.example", 4)
        self.assertEqual(len(self.relay.delivered("b.example", "ann")), 4)

    def test_hostile_files(self):
        self.relay.start()
        self.relay.stop()
        head = b"MAIL FROM:<>\r\nRCPT TO:<ann@b.example>\r\nDATA\r\n"
        files = {
            "nul": head + b"a\0b\r\n.\r\n",
            "bare": head.replace(b"\r\n", b"\n") + b"text\n.\n",
            "grammar": b"HELO x\r\n" + head + b".\r\n",
            "commands": head + b"text\r\n.\r\nMAIL FROM:<x@b.example>\r\n",
            "no-end": head + b"text\r\n",
            "long": b"MAIL FROM:<" + b"x" * 100_000 + b">\r\n",
            "empty": b"",
        }
        for name, octets in files.items():
            (self.drop / name).write_bytes(octets)
        secret = self.folder / "secret"
        secret.write_bytes(head + b"secret\r\n.\r\n")
        (self.drop / "symlink").symlink_to(secret)
        (self.drop / "hardlink").hardlink_to(secret)
        os.mkfifo(self.drop / "fifo")
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(self.drop / "socket"))
        os.truncate(os.open(self.drop / "huge", os.O_CREAT | os.O_WRONLY), 1 << 40)
        self.call(["ann@b.example"], HEADER.format("good"))
        self.relay.start()
        self.assertEqual(email.message_from_bytes(self.mailbox("ann@b.example")[0])["Subject"], "good")
        harness.wait_for("an empty drop folder", lambda: not list(self.drop.iterdir()), 10)
        self.assertEqual(len(list((self.relay.data / "corrupt").iterdir())), len(files) + 5)
        self.assertEqual(len(self.relay.delivered("b.example", "ann")), 1)
        self.assertTrue(secret.exists())

    def test_other_user(self):
        """The daemon takes the word of the system for who it is; the queue is not for everybody."""
        if os.geteuid() != 0:
            self.skipTest("only root can become another")
        self.folder.chmod(0o755)
        self.relay.folder.chmod(0o755)
        self.relay.start()
        self.call(["-F", "Some Body", "ann@b.example"], HEADER.format("nobody"), user=65534, group=65534)
        message = email.message_from_bytes(self.mailbox("ann@b.example")[0])
        self.assertIn("from user nobody)", message["Received"])
        self.assertEqual(message["Return-Path"], "<nobody@relay.test.example>")
        self.assertEqual(message["From"], '"Some Body" <nobody@relay.test.example>')
        self.assertEqual(pathlib.Path(self.relay.folder / "submit.sock").stat().st_mode & 0o777, 0o666)
        self.call([], code=77, name="mailq", user=65534, group=65534)


if __name__ == "__main__":
    harness.main()
