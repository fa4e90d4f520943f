"""Final delivery with Dovecot: its LMTP server over both kinds of socket, with a status for each recipient, and a Maildir
of ours that it reads."""
import os
import subprocess
import time

import harness
import smtp

USER = 65534 if os.getuid() == 0 else os.getuid()
GROUP = 65534 if os.getuid() == 0 else os.getgid()


class Dovecot:
    """With the users of a domain, whose mail is below `mail`. A user's rule says how much may be there."""

    def __init__(self, folder, users, location="maildir:~/Maildir"):
        self.folder, self.written = folder, int(time.time())
        self.socket, self.port = folder / "lmtp", harness.free_port()
        self.config = folder / "dovecot.conf"
        (folder / "mail").mkdir(parents=True)
        if os.getuid() == 0:
            os.chown(folder / "mail", USER, GROUP)
        self.users(users)
        self.config.write_text(f"""
protocols = lmtp
base_dir = {folder}/base
state_dir = {folder}/base
log_path = {folder}/dovecot.log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
ssl = no
first_valid_uid = 1
mail_location = {location}
mail_plugins = quota
quota_full_tempfail = yes
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
passdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {folder}/users
}}
service lmtp {{
  unix_listener {self.socket} {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
""")
        self.program = harness.Program([harness.PEERS / "bin/dovecot", "-F", "-c", self.config], folder / "dovecot.out")
        harness.wait_for("Dovecot to listen", lambda: harness.listening("127.0.0.1", self.port), 20)

    def users(self, rules):
        """{address: its quota rule, or ""}; read again when it changes."""
        lines = [f"{address}:{{PLAIN}}secret:{USER}:{GROUP}::{self.folder}/mail/{address}::"
                 + (f"userdb_quota_rule={rule}" if rule else "") for address, rule in rules.items()]
        (self.folder / "users").write_text("\n".join(lines) + "\n")
        self.written += 1  # Dovecot goes by the second
        os.utime(self.folder / "users", (self.written, self.written))

    def subjects(self, address):
        """What Dovecot finds in a user's mailbox."""
        done = subprocess.run([harness.PEERS / "bin/doveadm", "-c", self.config, "-f", "tab", "fetch", "-u", address,
                               "hdr.subject", "all"], capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise AssertionError(f"doveadm: {done.stdout}{done.stderr}")
        return sorted(done.stdout.splitlines()[1:])


class Lmtp(harness.TestCase):
    def send(self, relay, recipients, subject):
        with smtp.Client(relay.mx) as client:
            client.send("s@a.example", recipients, f"Subject: {subject}\r\n\r\ntext\r\n".encode())

    def test_a_status_for_each_recipient(self):
        limit = "*:storage=1B"
        users = {"alice@b.example": "", "carol@b.example": "", "socket@b.example": limit, "tcp@b.example": limit}
        dovecot = Dovecot(self.folder / "dovecot", users)
        for name, hop in (("socket", f"lmtp:{dovecot.socket}"), ("tcp", f"lmtp:127.0.0.1:{dovecot.port}")):
            with self.subTest(hop=name):
                full = f"{name}@b.example"
                relay = self.waypost(name, queue='retry = ["1s"]',
                                     extra=f'[[domain]]\nname = "b.example"\ndeliver = "{hop}"\n').start()
                self.send(relay, ["alice@b.example", full, "carol@b.example"], f"by {name}")
                harness.wait_for("two deliveries and a deferral",
                                 lambda: "4.2.2" in relay.log_text() and relay.log_text().count("status=sent") == 2, 20)
                self.assertEqual(relay.queued(), 1)
                self.assertIn(f"by {name}", dovecot.subjects("alice@b.example"))
                self.assertIn(f"by {name}", dovecot.subjects("carol@b.example"))
                self.assertEqual(dovecot.subjects(full), [])
                users[full] = ""
                dovecot.users(users)
                relay.wait_empty(30)
                self.assertEqual(dovecot.subjects(full), [f"by {name}"])
                self.assertEqual(dovecot.subjects("alice@b.example").count(f"by {name}"), 1)
                self.send(relay, ["nobody@b.example"], "nobody")
                harness.wait_for("a bounce", lambda: "status=bounced" in relay.log_text(), 20)
                relay.stop()

    def test_a_socket_that_is_not_there_yet(self):
        folder = self.folder / "dovecot"
        relay = self.waypost(queue='retry = ["1s"]',
                             extra=f'[[domain]]\nname = "b.example"\ndeliver = "lmtp:{folder}/lmtp"\n').start()
        self.send(relay, ["alice@b.example"], "early")
        harness.wait_for("a deferral", lambda: "no such file" in relay.log_text(), 20)
        dovecot = Dovecot(folder, {"alice@b.example": ""})
        relay.wait_empty(30)
        self.assertEqual(dovecot.subjects("alice@b.example"), ["early"])

    def test_dovecot_reads_a_maildir_of_ours(self):
        relay = self.waypost(extra=f"""
            [[domain]]
            name = "b.example"
            deliver = "maildir:{self.folder}/mail/{{domain}}/{{local}}"
        """).start()
        for i in range(20):
            self.send(relay, ["alice@b.example"], f"message {i:02}")
        relay.wait_empty(30)
        box = self.folder / "mail/b.example/alice"
        subprocess.run(["chown", "-R", f"{USER}:{GROUP}", self.folder / "mail"], check=True)
        dovecot = Dovecot(self.folder / "dovecot", {"alice@b.example": ""}, location=f"maildir:{box}")
        self.assertEqual(dovecot.subjects("alice@b.example"), [f"message {i:02}" for i in range(20)])


if __name__ == "__main__":
    harness.main()
