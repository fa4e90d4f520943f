"""Sessions per second that bring no mail: STARTTLS, and logins, and what a session costs. Waypost beside Postfix, whose logins
are Dovecot's, with the same certificate, the same hashes and one generator: as many processes as there are cores, 20
connections at a time. It takes much of the machine itself, so what a session costs the server says more than the rate."""
import base64
import concurrent.futures
import multiprocessing
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import harness
import postfix
import tls
from processes import spent

AT_ONCE, PASSWORD = 20, "secret"
P256, RSA = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), ("rsa:2048",)
# title, key of the certificate, the users' hash: None if nobody logs in
CASES = [
    ("STARTTLS, P-256", P256, None),
    ("STARTTLS, RSA 2048", RSA, None),
    ("AUTH PLAIN, sha512crypt", P256, "sha512crypt"),
    ("AUTH PLAIN, yescrypt", P256, "yescrypt"),
]

POSTFIX = """
smtpd_tls_security_level = may
smtpd_tls_chain_files = {pem}
"""
WITH_LOGINS = """
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/auth
"""

# A file of passwords is looked at by Dovecot's one process `auth`.
DOVECOT = """
protocols =
base_dir = {folder}/base
state_dir = {folder}/base
log_path = {folder}/dovecot.log
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
ssl = no
auth_mechanisms = plain
passdb {{
  driver = passwd-file
  args = scheme=CRYPT username_format=%u {folder}/users
}}
service auth {{
  client_limit = 2000
  unix_listener {folder}/auth {{
    mode = 0666
  }}
}}
"""


def run(*args, **options):
    return subprocess.run(args, check=True, capture_output=True, text=True, **options).stdout.strip()


def hash_of(method):
    """The password's hash as openssl makes it, or as `waypost user add` does."""
    if method == "sha512crypt":
        return run("openssl", "passwd", "-6", PASSWORD)
    with tempfile.TemporaryDirectory() as folder:
        relay = harness.Waypost(folder, auth=f'users = "{folder}/users"\nrequire_tls = false')
        run(harness.WAYPOST, "--config", relay.config, "user", "add", "someone", input=PASSWORD + "\n")
        return pathlib.Path(folder, "users").read_text().split(":")[1]


def accounts(hash_):
    return [f"user{n}:{hash_}\n" for n in range(AT_ONCE)] if hash_ else []


class Waypost:
    def __init__(self, folder, pem, hash_):
        folder.mkdir()
        (folder / "users").write_text("".join(accounts(hash_)))
        self.relay = harness.Waypost(
            folder, tls=f'certificate = "{pem}"\nkey = "{pem}"', auth=f'users = "{folder}/users"\nrequire_tls = false',
            limits="connections_per_client = 1000")
        self.port = self.relay.submission
        self.relay.start()
        self.programs = [self.relay.program]

    def stop(self):
        self.relay.stop()


class Postfix:
    def __init__(self, folder, pem, hash_):
        folder.mkdir()
        (folder / "users").write_text("".join(accounts(hash_)))
        self.dovecot = None
        if hash_:
            (folder / "dovecot.conf").write_text(DOVECOT.format(folder=folder))
            self.dovecot = harness.Program([harness.PEERS / "bin/dovecot", "-F", "-c", folder / "dovecot.conf"], folder / "dovecot.out")
            harness.wait_for("Dovecot's socket", (folder / "auth").exists, 20)
        extra = (POSTFIX + (WITH_LOGINS if hash_ else "")).format(folder=folder, pem=pem)
        self.server = postfix.Postfix(folder / "postfix", "127.0.0.1", harness.free_port(), hold=True, extra=extra)
        self.port = self.server.port
        self.server.start()
        self.programs = [self.server.program, *filter(None, [self.dovecot])]

    def stop(self):
        self.server.stop()
        if self.dovecot:
            self.dovecot.kill()


SERVERS = {"Postfix": Postfix, "Waypost": Waypost}


def ask(peer, line, want):
    if line:
        peer.sendall(line + b"\r\n")
    heard = b""
    while not heard.endswith(b"\r\n") or heard[:-2].rsplit(b"\r\n", 1)[-1][3:4] != b" ":
        octets = peer.recv(4096)
        if not octets:
            raise AssertionError(f"{line}: {heard!r} and the end")
        heard += octets
    if not heard.startswith(want):
        raise AssertionError(f"{line}: want {want}, got {heard!r}")


def session(port, context, user):
    """One session, with a login or, where there is no user, with STARTTLS. Returns the cipher that was agreed on."""
    with socket.create_connection(("127.0.0.1", port), 60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ask(peer, b"", b"220")
        ask(peer, b"EHLO client.test.example", b"250")
        if user:
            ask(peer, b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{PASSWORD}".encode()), b"235")
            ask(peer, b"QUIT", b"221")
            return None
        ask(peer, b"STARTTLS", b"220")
        with context.wrap_socket(peer) as secured:
            agreed = secured.cipher()
            ask(secured, b"EHLO client.test.example", b"250")
            ask(secured, b"QUIT", b"221")
            return agreed


def connections(port, users, began, seconds):
    """Sessions in all, and those that end between `began` and `seconds` later, of as many threads as `users`, each with its
    own account."""
    context = tls.any_certificate()

    def one(user):
        count = counted = 0
        while time.monotonic() < began + seconds:
            session(port, context, user)
            count += 1
            counted += began <= time.monotonic() < began + seconds
        return count, counted

    with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
        return [sum(each) for each in zip(*pool.map(one, users))]


def rate(server, users, seconds):
    """Sessions per second, and milliseconds of the server's processor time for each."""
    processes = min(os.cpu_count(), AT_ONCE)
    with concurrent.futures.ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        before = spent(server.programs)
        began = time.monotonic() + 0.5  # until then they warm up
        shares = [pool.submit(connections, server.port, users[n::processes], began, seconds) for n in range(processes)]
        count, counted = [sum(each) for each in zip(*[share.result() for share in shares])]
        return counted / seconds, 1000 * (spent(server.programs) - before) / count


def measure(case, folder, names, rounds, seconds):
    """{name: (sessions per second, milliseconds for each) of each round}. The servers of a case stand side by side and take turns."""
    title, key, method = case
    pem = folder / "relay.pem"
    tls.make_pair(pem, "relay.test.example", key=key)
    hash_ = hash_of(method) if method else None
    users = [f"user{n}" if hash_ else "" for n in range(AT_ONCE)]
    servers, out, agreed = {}, {name: [] for name in names}, {}
    try:
        for name in names:
            servers[name] = SERVERS[name](folder / name, pem, hash_)
            for user in users:  # one after another: who has logged in from here once is not held up by others
                agreed[name] = session(servers[name].port, tls.any_certificate(), user)
        if len(set(agreed.values())) > 1:
            raise AssertionError(f"{title}: unlike TLS: {agreed}")
        for round_ in range(rounds):
            for name in names[round_ % len(names):] + names[: round_ % len(names)]:
                out[name].append(rate(servers[name], users, seconds))
        return out
    finally:
        for name, server in servers.items():
            server.stop()
            shutil.rmtree(folder / name, ignore_errors=True)
