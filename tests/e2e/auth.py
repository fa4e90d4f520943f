"""Logging in: what swaks, curl, smtplib and gsasl make of it, `waypost user`, tables, and what those who guess learn and
slow.

Environment: E2E_SAMPLES, how many attempts are timed (600)."""
import base64
import json
import os
import random
import smtplib
import socket
import sqlite3
import statistics
import subprocess
import threading
import time

import harness
import tls

SAMPLES = int(os.environ.get("E2E_SAMPLES", 600))
TRUSTED = "127.0.0.9"
MESSAGE = "From: ann@office.test.example\r\nTo: box@local.example\r\nSubject: {}\r\n\r\ntext\r\n"


def plain(login, password):
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


class Auth(harness.TestCase):
    def start(self, users, require_tls="false", **sections):
        relay = self.waypost(
            auth=f'users = "{self.folder}/users"\nrequire_tls = {require_tls}',
            relay=f'networks = ["{TRUSTED}/32"]',
            extra=f'[[domain]]\nname = "local.example"\ndeliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"\n', **sections)
        for login, password in users.items():
            self.user(relay, "add", login, password)
        return relay.start()

    def user(self, relay, verb, login, password="", code=0):
        done = subprocess.run([harness.WAYPOST, "--config", str(relay.config), "user", verb, login],
                              input=password + "\n", capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def session(self, relay, source="127.0.0.1"):
        client = smtplib.SMTP("127.0.0.1", relay.submission, local_hostname="client.test.example", timeout=30,
                              source_address=(source, 0))
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def attempt(self, relay, login, password, source="127.0.0.1"):
        """(code, text, seconds) of AUTH PLAIN."""
        client = self.session(relay, source)
        began = time.monotonic()
        code, text = client.docmd("AUTH", "PLAIN " + plain(login, password))
        return code, text.decode(), time.monotonic() - began

    def check_log(self, relay, method, login):
        self.wait_for_log(relay, f"client=unknown[127.0.0.1], sasl_method={method}, sasl_username={login}\n")

    def wait_for_log(self, relay, text):
        """Lines are written a moment after what they tell of."""
        harness.wait_for(f"{text!r} in the log", lambda: text in relay.log_text(), 20)

    def test_clients(self):
        relay = self.start({"ann": "secret", "dev@office.test.example": "p ss:wörd"})
        server = f"127.0.0.1:{relay.submission}"
        swaks = ["swaks", "--server", server, "--from", "ann@office.test.example", "--to", "box@local.example"]
        for method, login, password in (("PLAIN", "ann", "secret"), ("LOGIN", "dev@office.test.example", "p ss:wörd")):
            done = subprocess.run([*swaks, "--auth", method, "--auth-user", login, "--auth-password", password],
                                  capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.check_log(relay, method, login)
        refused = subprocess.run([*swaks, "--auth", "PLAIN", "--auth-user", "ann", "--auth-password", "wrong"],
                                 capture_output=True, text=True, timeout=30)
        self.assertIn("535 5.7.8 Authentication credentials invalid", refused.stdout)
        self.wait_for_log(relay, "SASL PLAIN authentication failed: bad credentials, sasl_username=ann\n")
        unknown = subprocess.run(swaks, capture_output=True, text=True, timeout=30)
        self.assertIn("530 5.7.0 Authentication required", unknown.stdout)

        for method in ("PLAIN", "LOGIN"):
            done = subprocess.run(
                ["curl", "-sS", f"smtp://{server}/client.test.example", "--user", "ann:secret", "--login-options",
                 f"AUTH={method}", "--mail-from", "ann@office.test.example", "--mail-rcpt", "box@local.example", "-T", "-"],
                input=MESSAGE.format("curl"), capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 0, done.stderr)

        client = self.session(relay)
        client.login("ann", "secret")
        client.sendmail("ann@office.test.example", ["box@local.example"], MESSAGE.format("smtplib"))
        client.quit()

        for password, good in (("secret", True), ("wrong", False)):
            done = subprocess.run(
                ["gsasl", "--smtp", "--client", "--no-starttls", "--mechanism", "SCRAM-SHA-256", "--authentication-id",
                 "ann", "--password", password, "--connect", server],
                input="", capture_output=True, text=True, timeout=30)
            self.assertEqual("server trusted" in done.stdout + done.stderr, good, done.stdout + done.stderr)

        harness.wait_for("five messages", lambda: len(relay.delivered("local.example", "box")) == 5, 20)
        for message in relay.delivered("local.example", "box"):
            self.assertRegex(message, rb"\sby relay\.test\.example \(Waypost\)\s+with ESMTPA id ")
        self.assertNotRegex(relay.log_text(), "secret|c2VjcmV0|" + plain("ann", "secret"), "no password is in the log")

        # Mail that waits says whose it is.
        client = self.session(relay)
        client.login("ann", "secret")
        client.sendmail("ann@office.test.example", ["r@far.test.example"], MESSAGE.format("far"))
        client.quit()
        waiting = json.loads(relay.tool("queue", "list", "--json", "user:ann").stdout)
        self.assertIn("user ann", relay.tool("queue", "show", waiting["id"]).stdout)
        self.assertIn(" as ann", relay.tool("trace", waiting["id"]).stdout)
        self.assertEqual(json.loads(relay.tool("queue", "count", "--json", "user:bob").stdout)["messages"], 0)
        self.assertEqual(relay.stop(), 0)

    def test_under_tls(self):
        """With a certificate, and nothing else said: AUTH after STARTTLS alone."""
        pair = self.folder / "pair.pem"
        tls.make_pair(pair, "relay.test.example")
        relay = self.start({"ann": "secret"}, "true", tls=f'certificate = "{pair}"\nkey = "{pair}"')
        client = self.session(relay)
        self.assertFalse(client.has_extn("auth"))
        self.assertEqual(client.docmd("AUTH", "PLAIN " + plain("ann", "secret"))[0], 538)
        client.starttls(context=tls.any_certificate())
        client.login("ann", "secret")
        client.sendmail("ann@office.test.example", ["box@local.example"], MESSAGE.format("smtplib"))
        client.quit()
        done = subprocess.run(
            ["swaks", "--server", f"127.0.0.1:{relay.submission}", "-tls", "--auth", "LOGIN", "--auth-user", "ann",
             "--auth-password", "secret", "--from", "ann@office.test.example", "--to", "box@local.example"],
            capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        harness.wait_for("two messages", lambda: len(relay.delivered("local.example", "box")) == 2, 20)
        for message in relay.delivered("local.example", "box"):
            self.assertRegex(message, rb"using TLSv1\.3 [^;]*\swith ESMTPSA id ")

    def test_users_change(self):
        """The daemon takes a changed file without a reload."""
        relay = self.start({"ann": "secret"})
        self.assertEqual(self.attempt(relay, "bob", "hunter2")[0], 535)
        self.user(relay, "add", "bob", "hunter2")
        self.assertEqual(self.attempt(relay, "bob", "hunter2")[0], 235)
        self.user(relay, "password", "bob", "hunter3")
        self.assertEqual(self.attempt(relay, "bob", "hunter2")[0], 535)
        self.assertEqual(self.attempt(relay, "bob", "hunter3")[0], 235)
        self.user(relay, "check", "bob", "hunter3")
        self.user(relay, "check", "bob", "hunter2", code=1)
        self.user(relay, "delete", "bob")
        self.assertEqual(self.attempt(relay, "bob", "hunter3")[0], 535)
        self.assertEqual(relay.tool("user", "list").stdout.split("\n")[1:],
                         ["ann   yescrypt, SCRAM-SHA-256  -", ""])
        self.assertEqual((self.folder / "users").stat().st_mode & 0o777, 0o640)

        # A session that has logged in ends with a message soon.
        self.user(relay, "add", "bob", "hunter3")
        for verb, before, after in (("password", "hunter3", "hunter4"), ("lock", "hunter4", ""), ("delete", "hunter4", "")):
            with self.subTest(verb):
                client = self.session(relay)
                client.login("bob", before)

                def refused():
                    code, _ = client.mail("bob@a.example")
                    return code == 421 or client.docmd("RSET") is None

                self.assertFalse(refused())
                self.user(relay, verb, "bob", after)
                harness.wait_for("the end of the login", refused)
                if verb == "lock":
                    self.user(relay, "unlock", "bob")

        # A mistake in it changes nothing; without it nobody logs in, for now.
        with open(self.folder / "users", "a") as file:
            file.write("a mistake\n")
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 235)
        self.wait_for_log(relay, "/users:2: ")
        (self.folder / "users").unlink()
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 454)

    def test_tables(self):
        """Users, recipients and aliases in an SQLite database."""
        path = self.folder / "mail.db"
        database = sqlite3.connect(path, isolation_level=None, timeout=20)
        self.addCleanup(database.close)
        database.executescript("""
            CREATE TABLE users(name TEXT PRIMARY KEY, password TEXT, scram TEXT, senders TEXT);
            CREATE TABLE recipients(name TEXT, domain TEXT);
            CREATE TABLE aliases(name TEXT, domain TEXT, target TEXT);
            INSERT INTO recipients VALUES('box', 'local.example'), ('other', 'elsewhere.example');
            INSERT INTO aliases VALUES('Staff', 'local.example', 'box');
        """)
        relay = self.waypost(
            auth=f'users = "sqlite:{path}"\nrequire_tls = false', relay=f'networks = ["{TRUSTED}/32"]',
            extra=f'''
                [[domain]]
                name = "local.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
                recipients = "sqlite:{path}"
                aliases = "sqlite:{path}"
            ''').start()
        password = subprocess.run(["openssl", "passwd", "-6", "secret"], capture_output=True, text=True, check=True).stdout.strip()
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 535)
        database.execute("INSERT INTO users VALUES('ann', ?, NULL, NULL)", (password,))
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 235)
        self.assertIn("sqlite3(1)", self.user(relay, "add", "bob", "hunter2", code=78).stderr)
        self.assertIn("ann   sha512crypt  -\n", relay.tool("user", "list").stdout)

        def recipient(address):
            client = self.session(relay, TRUSTED)
            client.mail("ann@office.test.example")
            return client.rcpt(address)[0]

        self.assertEqual([recipient(f"{name}@local.example") for name in ("box", "staff", "other", "new")],
                         [250, 250, 550, 550])
        # Recipients are read again by a reload; a table that is not there then changes nothing.
        database.execute("INSERT INTO recipients VALUES('new', 'local.example')")
        database.execute("ALTER TABLE aliases RENAME TO names")
        done = relay.tool("reload", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("it needs a table or view aliases(name, target, domain)", done.stdout + done.stderr)
        self.assertEqual([recipient(f"{name}@local.example") for name in ("staff", "new")], [250, 550])
        database.execute("ALTER TABLE names RENAME TO aliases")
        relay.tool("reload")
        self.assertEqual(recipient("new@local.example"), 250)

        # Locked, and then no database at all: who could log in still can.
        database.execute("BEGIN EXCLUSIVE")
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 235)
        self.wait_for_log(relay, f"{path}: database is locked: who could log in before still can")
        database.execute("ROLLBACK")
        database.close()
        path.write_bytes(b"x" * 8192)
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 235)
        self.wait_for_log(relay, f"{path}: file is not a database: who could log in before still can")
        path.unlink()
        self.assertEqual(self.attempt(relay, "ann", "secret")[0], 454)

    def test_thunderbird(self):
        """What Thunderbird says, word by word: STARTTLS and then AUTH on one port, TLS from the first octet on the other."""
        pem = self.folder / "relay.pem"
        tls.make_pair(pem, "relay.test.example")
        smtps = harness.free_port()
        relay = self.waypost(
            tls=f'certificate = "{pem}"\nkey = "{pem}"', auth=f'users = "{self.folder}/users"\nsender_must_match = true',
            relay=f'networks = ["{TRUSTED}/32"]', extra=f"""
                [[listener]]
                address = "127.0.0.1:{smtps}"
                role = "submission"
                tls = "implicit"
                [[domain]]
                name = "local.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
            """)
        self.user(relay, "add", "ann@local.example", "secret")
        relay.start()
        login = plain("ann@local.example", "secret")
        for port, starttls in ((relay.submission, True), (smtps, False)):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            self.addCleanup(connection.close)

            def heard():
                """The lines of one reply."""
                lines = []
                while not lines or lines[-1][3:4] == "-":
                    lines.append(stream.readline().decode().rstrip("\r\n"))
                return lines

            def say(line):
                stream.write(line.encode() + b"\r\n")
                stream.flush()
                return heard()

            if not starttls:
                connection = tls.any_certificate().wrap_socket(connection)
            stream = connection.makefile("rwb")
            self.assertTrue(heard()[0].startswith("220 "))
            if starttls:
                offered = say("EHLO [127.0.0.1]")
                self.assertIn("250-STARTTLS", offered)
                self.assertNotIn("AUTH", " ".join(offered))
                self.assertEqual(say("STARTTLS")[0][:3], "220")
                connection = tls.any_certificate().wrap_socket(connection)
                stream = connection.makefile("rwb")
            offered = say("EHLO [127.0.0.1]")
            self.assertRegex(" ".join(offered), "AUTH .*PLAIN")
            self.assertNotIn("250-STARTTLS", offered)
            self.assertEqual(say(f"AUTH PLAIN {login}")[0][:3], "235")
            message = MESSAGE.format("from Thunderbird")
            self.assertEqual(say("MAIL FROM:<bob@local.example> BODY=8BITMIME SIZE=400")[0][:9], "553 5.7.1")
            self.assertEqual(say(f"MAIL FROM:<ann@local.example> BODY=8BITMIME SIZE={len(message)}")[0][:3], "250")
            self.assertEqual(say("RCPT TO:<box@local.example>")[0][:3], "250")
            self.assertEqual(say("DATA")[0][:3], "354")
            self.assertEqual(say(message + ".")[0][:3], "250")
            self.assertEqual(say("QUIT")[0][:3], "221")
            stream.close()
            connection.close()
        harness.wait_for("both messages", lambda: len(relay.delivered("local.example", "box")) == 2, 20)
        for text in relay.delivered("local.example", "box"):
            self.assertRegex(text, rb"with ESMTPSA id ")

    def test_guessing_tells_nothing(self):
        """An unknown user and a wrong password: the same reply, and times that cannot be told apart."""
        relay = self.start({"ann": "secret"})
        hash_, verifier = (self.folder / "users").read_text().strip().split(":")[1:3]
        # Users of both kinds, whose passwords take unlike times to look at; nobody is asked for twice, from no network
        # twice, so that no attempt waits for those before it.
        with open(self.folder / "users", "a") as file:
            for n in range(4 * SAMPLES):
                file.write(f"known{n}:{hash_}\n" if n % 2 else f"known{n}:*:{verifier}\n")
        self.assertEqual(self.attempt(relay, "known0", "secret", "127.1.0.1")[0], 235)
        self.assertEqual(self.attempt(relay, "known1", "secret", "127.1.1.1")[0], 235)

        rng, replies, seconds = random.Random(1), set(), {True: [], False: []}

        def sample(count):
            kinds = [True, False] * (count // 2)
            rng.shuffle(kinds)
            for known in kinds:
                n = len(seconds[True]) + len(seconds[False])
                login = f"known{2 + len(seconds[True])}" if known else f"other{n}"
                code, text, took = self.attempt(relay, login, "wrong", f"127.{2 + n // 250}.{n % 250}.1")
                replies.add((code, text))
                seconds[known].append(took)

        def chance():
            """That a known user takes longer than an unknown one (the area under the ROC curve); 0.5: nothing to learn."""
            ranked = sorted([(took, known) for known, times in seconds.items() for took in times])
            ranks = sum(rank for rank, (_, known) in enumerate(ranked) if known)
            ours, theirs = len(seconds[True]), len(seconds[False])
            return (ranks - ours * (ours - 1) / 2) / (ours * theirs)

        sample(SAMPLES)
        # Of 600 samples one set in 30 is out of bounds by chance, and hardly any set of four times as many.
        if not 0.45 < chance() < 0.55:
            sample(3 * SAMPLES)
        known, unknown = statistics.median(seconds[True]), statistics.median(seconds[False])
        print(f"{sum(map(len, seconds.values()))} attempts: wrong password {known * 1000:.1f} ms, unknown user {unknown * 1000:.1f} ms, "
              f"chance to tell them apart {chance():.3f}")
        self.assertEqual(replies, {(535, "5.7.8 Authentication credentials invalid")})
        self.assertGreater(chance(), 0.45)
        self.assertLess(chance(), 0.55)

    def test_flood(self):
        """500 attempts a second from 250 networks: mail goes on, and those who come too fast are put off."""
        relay = self.start({"ann": "secret"})

        def messages(count):
            """Seconds that each of some messages takes, on one connection of a trusted client."""
            out = []
            client = self.session(relay, TRUSTED)
            for _ in range(count):
                began = time.monotonic()
                client.sendmail("ann@office.test.example", ["box@local.example"], MESSAGE.format("while others guess"))
                out.append(time.monotonic() - began)
                time.sleep(0.02)
            client.quit()
            return out

        calm = messages(30)
        sockets = []
        for i in range(250):
            one = socket.create_connection(("127.0.0.1", relay.submission), 10, source_address=(f"127.2.{i}.1", 0))
            self.addCleanup(one.close)
            one.sendall(b"EHLO client.test.example\r\n")
            sockets.append(one)
        for one in sockets:
            heard = b""
            while b"\r\n250 " not in heard:
                heard += one.recv(4096)
            one.setblocking(False)

        stop, sent, codes = threading.Event(), [], []

        def flood():
            waiting, began = set(), time.monotonic()
            while not stop.is_set():
                for i, one in enumerate(sockets):
                    if i in waiting:
                        try:
                            codes.append(one.recv(4096)[:3].decode())
                            waiting.discard(i)
                        except BlockingIOError:
                            continue
                    if codes[-1:] == [""] or stop.is_set():
                        return
                    time.sleep(max(0, began + len(sent) / 500 - time.monotonic()))
                    sent.append(i)
                    one.sendall(f"AUTH PLAIN {plain(f'nobody{len(sent)}', 'wrong')}\r\n".encode())
                    waiting.add(i)

        guesses = threading.Thread(target=flood)
        began = time.monotonic()
        guesses.start()
        time.sleep(0.5)
        busy = messages(30)
        stop.set()
        guesses.join()
        rate = len(sent) / (time.monotonic() - began)
        calm, slowed = statistics.median(calm), statistics.median(busy)
        print(f"{rate:.0f} attempts/s, answered {({c: codes.count(c) for c in sorted(set(codes))})}; "
              f"a message {calm * 1000:.1f} ms in calm, {slowed * 1000:.1f} ms meanwhile, at most {max(busy) * 1000:.1f} ms")
        self.assertEqual(set(codes) - {"535", "454", "421"}, set())
        self.assertIn("454", codes, "more came than can be looked at")
        self.assertLess(slowed, 10 * calm + 0.1)
        # Afterwards, once what waits was looked at, ann logs in as ever.
        harness.wait_for("ann to log in", lambda: self.attempt(relay, "ann", "secret", "127.3.0.1")[0] == 235, 20, every=0.2)


if __name__ == "__main__":
    harness.main()
