"""A relay under test with what is around it: a sink behind a gate, a Maildir, a ledger, and messages of both kinds, in the
row and in a spool file."""
import random
import threading
import time

import harness
import ledger
import smtp

SMALL, SPOOLED = 600, 20_000  # inline_limit is 8 KiB, to keep the second one quick
MAILDIR_DOMAIN = "box.example"


class Scene:
    """While the gate is shut the sink takes connections and no mail, so that mail is accepted and not delivered. What
    is for a recipient marked as bad is refused there with 550."""

    def __init__(self, folder, sections=None, environment=None, extra=""):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(1)
        self.ledger, self.number, self.seen = ledger.Ledger(), 0, set()
        self.gate = threading.Event()
        self.gate.set()
        self.sink = smtp.Sink(harness.free_port(), "127.0.0.71", self.script, lambda message: self.ledger.taken(message),
                              keep=False)
        self.box = folder / "box"
        settings = {"queue": 'retry = ["1s"]\ninline_limit = "8KiB"', "top": "threads = 1", **(sections or {})}
        self.relay = harness.Waypost(folder / "relay", **settings, extra=f"""
            [[domain]]
            name = "{MAILDIR_DOMAIN}"
            deliver = "maildir:{self.box}"
            [[route]]
            match = "*"
            next_hop = "smtp:[127.0.0.71]:{self.sink.port}"
            {extra}
        """)
        self.relay.environment.update(UV_THREADPOOL_SIZE="1", **(environment or {}))

    def script(self, verb, argument, state):
        if verb in ("CONNECT", "MAIL"):  # MAIL: on a connection that was kept
            self.gate.wait(60)
        return b"550 5.1.1 no such user\r\n" if verb == "RCPT" and b"-bad@away" in argument else None

    def new_id(self, suffix=""):
        self.number += 1
        return f"m{self.number}{suffix}"

    def send(self, *messages, domain="away.example"):
        """On one connection; a message is (octets, suffix of its id). Returns the replies to the final dots, and the words
        of what went wrong where they end early."""
        replies = []
        try:
            client = smtp.Client(self.relay.mx, timeout=20)
        except (OSError, ConnectionError):
            return ["no connection"]
        try:
            for octets, suffix in messages:
                replies.append(self.ledger.send(client, self.new_id(suffix), octets, self.rng, domain)[0])
            client.quit()
        except AssertionError as error:
            replies.append(str(error).split("got ")[-1])
        except (OSError, ConnectionError):
            replies.append("connection lost")
        finally:
            client.close()
        return replies

    def collect(self):
        """What came into the Maildir since the last time."""
        for path in (self.box / "new").glob("*"):
            if path.name not in self.seen:
                self.seen.add(path.name)
                self.ledger.taken_content(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def start(self):
        """And a message of each kind goes through, so that all threads and folders are there."""
        self.relay.start()
        self.gate.set()
        self.send((SPOOLED, ""), (SMALL, ""))
        self.send((SMALL, ""), domain=MAILDIR_DOMAIN)

    def drain(self, timeout=30):
        self.gate.set()
        asked = time.monotonic()

        def empty():
            nonlocal asked
            if self.relay.ask("/v1/queue/count")["messages"] == 0:
                return True
            if time.monotonic() > asked + 0.5:
                asked = time.monotonic()
                self.relay.tool("queue", "retry", "--all", "--yes", check=False)
            return False

        harness.wait_for("the queue to drain", empty, timeout, every=0.005)
        self.collect()

    def quiet(self):
        """Until the storage thread has nothing left to do. To ask it is work: the checkpoint comes after 0.1 s without."""
        harness.wait_for("the checkpoint", lambda: self.relay.ask("/v1/status")["store"]["wal_pages"] == 0, 10, every=0.13)

    def end_daemon(self):
        if self.relay.program and self.relay.program.running():
            self.relay.kill()

    def end(self):
        self.end_daemon()
        self.gate.set()
        self.sink.stop()
