"""Logging in where Dovecot knows who may: the real one, over both kinds of socket, stopped and started anew under an open
session."""
import base64
import smtplib
import statistics
import time

import harness

TRUSTED = "127.0.0.9"
MESSAGE = "From: ann@b.example\r\nTo: box@local.example\r\nSubject: {}\r\n\r\ntext\r\n"


def plain(login, password):
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


class Dovecot:
    """Its authentication server alone, with the users of a passwd-file. Names are compared in lower case."""

    def __init__(self, folder, users, passdb=None, failure_delay=0, mechanisms="plain login"):
        self.folder, self.socket, self.port = folder, folder / "auth-client", harness.free_port()
        self.config = folder / "dovecot.conf"
        folder.mkdir()
        lines = [f"{name}:{{PLAIN}}{password}::::::" for name, password in users.items()]
        (folder / "users").write_text("\n".join(lines) + "\n")
        self.config.write_text(f"""
protocols =
base_dir = {folder}/base
state_dir = {folder}/base
log_path = {folder}/dovecot.log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
ssl = no
auth_mechanisms = {mechanisms}
auth_username_format = %Lu
auth_failure_delay = {failure_delay} secs
passdb {{
  {passdb or f"driver = passwd-file{chr(10)}  args = username_format=%u {folder}/users"}
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
# Failures of one client are not held back for longer and longer.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {self.socket} {{
    mode = 0666
  }}
  inet_listener {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
""")
        self.start()

    def start(self):
        self.program = harness.Program([harness.PEERS / "bin/dovecot", "-F", "-c", self.config], self.folder / "dovecot.out")
        harness.wait_for("Dovecot to listen", lambda: harness.listening("127.0.0.1", self.port), 20)

    def stop(self):
        """It and all its parts, so that none holds the port."""
        self.program.kill()
        harness.wait_for("Dovecot to be gone", lambda: not harness.listening("127.0.0.1", self.port), 20)


class DovecotAuth(harness.TestCase):
    def relay(self, dovecot, more=""):
        return self.waypost(
            f"waypost-{len(self.relays)}", auth=f'dovecot = "{dovecot}"\nrequire_tls = false\n{more}', relay=f'networks = ["{TRUSTED}/32"]',
            extra=f'[[domain]]\nname = "local.example"\ndeliver = "maildir:{self.folder}/mail/{{domain}}/{{local}}"\n').start()

    def session(self, relay, source="127.0.0.1"):
        client = smtplib.SMTP("127.0.0.1", relay.submission, local_hostname="client.test.example", timeout=60,
                              source_address=(source, 0))
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def login(self, client, login, password):
        code, text = client.docmd("AUTH", "PLAIN " + plain(login, password))
        return code, text.decode()

    def wait_for_log(self, relay, text):
        harness.wait_for(f"{text!r} in the log", lambda: text in relay.log_text(), 20)

    def test_who_logs_in(self):
        dovecot = Dovecot(self.folder / "dovecot", {"ann@b.example": "secret", "bob": "p ss wörd"})
        for name, at in (("socket", str(dovecot.socket)), ("tcp", f"inet:127.0.0.1:{dovecot.port}")):
            with self.subTest(at=name):
                relay = self.relay(at, "sender_must_match = true")
                client = self.session(relay)
                self.assertEqual(client.esmtp_features["auth"].split(), ["PLAIN", "LOGIN"])
                self.assertEqual(self.login(client, "Ann@B.example", "secret")[0], 235)
                # The user is whom Dovecot names.
                self.assertEqual(client.mail("other@b.example")[0], 553)
                client.sendmail("ann@b.example", ["box@local.example"], MESSAGE.format(name))
                client.quit()
                self.wait_for_log(relay, "sasl_method=PLAIN, sasl_username=ann@b.example\n")

                client = self.session(relay)
                self.assertEqual(client.docmd("AUTH", "LOGIN " + base64.b64encode(b"bob").decode())[0], 334)
                self.assertEqual(client.docmd(base64.b64encode("p ss wörd".encode()).decode())[0], 235)

                refused = {self.login(self.session(relay, f"127.1.{i}.1"), login, password)
                           for i, (login, password) in enumerate((("bob", "wrong"), ("nobody", "wrong"), ("nobody", "secret")))}
                self.assertEqual(refused, {(535, "5.7.8 Authentication credentials invalid")})
                self.wait_for_log(relay, "SASL PLAIN authentication failed: bad credentials, sasl_username=nobody\n")
                done = relay.tool("user", "list", check=False)
                self.assertEqual((done.returncode, "auth.dovecot" in done.stderr), (78, True), done.stderr)
                self.assertEqual(relay.stop(), 0)

    def test_dovecot_goes_and_comes(self):
        dovecot = Dovecot(self.folder / "dovecot", {"ann": "secret"})
        relay = self.relay(dovecot.socket)
        client = self.session(relay)
        dovecot.stop()
        # More often than guesses would be free of waiting, or than a session may fail.
        for _ in range(8):
            self.assertEqual(self.login(client, "ann", "secret")[0], 454)
        self.assertEqual(client.noop()[0], 250)
        self.wait_for_log(relay, f"SASL PLAIN authentication failed: asking Dovecot at {dovecot.socket}: ")
        dovecot.start()
        self.assertEqual(self.login(client, "ann", "secret")[0], 235)
        client.sendmail("ann@b.example", ["box@local.example"], MESSAGE.format("back"))

    def test_trouble_of_dovecot(self):
        """It cannot find out: nobody is told that a password is wrong."""
        program = self.folder / "checkpassword"
        program.write_text("#!/bin/sh\nexit 111\n")
        program.chmod(0o755)
        dovecot = Dovecot(self.folder / "dovecot", {}, passdb=f"driver = checkpassword\n  args = {program}")
        relay = self.relay(dovecot.socket)
        client = self.session(relay)
        for _ in range(2):
            self.assertEqual(self.login(client, "ann", "secret")[0], 454)
        self.wait_for_log(relay, "Dovecot cannot look at passwords for now (temp_fail)")

    def test_many_at_once(self):
        """Refusals, which Dovecot holds back for 2 seconds, do not wait for one another."""
        dovecot = Dovecot(self.folder / "dovecot", {"ann": "secret"}, failure_delay=2)
        relay = self.relay(dovecot.socket)
        # Users and networks apart, so that none waits as one of many who guess.
        clients = [self.session(relay, f"127.1.{i}.1") for i in range(40)]
        began = time.monotonic()
        for i, client in enumerate(clients):
            client.putcmd("AUTH", "PLAIN " + plain(f"user{i}", "wrong"))
        self.assertEqual([client.getreply()[0] for client in clients], [535] * 40)
        self.assertLess(time.monotonic() - began, 40)  # one after another they would take 80 s

    def test_many_one_after_another(self):
        """What an attempt costs."""
        dovecot = Dovecot(self.folder / "dovecot", {"ann": "secret"})
        relay = self.relay(dovecot.socket)
        times = []
        for _ in range(50):
            client = self.session(relay)
            began = time.monotonic()
            self.assertEqual(self.login(client, "ann", "secret")[0], 235)
            times.append(time.monotonic() - began)
            client.close()
        print(f"a login by Dovecot takes {statistics.median(times) * 1000:.1f} ms, at most {max(times) * 1000:.1f} ms")


if __name__ == "__main__":
    harness.main()
