"""kill -9 of the daemon at 100 random moments, under load in and out. The clients keep a ledger of every 250 they got,
the sink one of every 250 it gave. At the end nothing accepted is lost, nothing unknown came, and duplicates are counted.
One message in ten is refused by the sink, so that bounces are made under fire too: for each of these at least one bounce
arrives and the message never does. Environment: E2E_SEED, E2E_KILLS."""
import os
import random
import re
import threading
import time

import harness
import smtp
from ledger import BAD, Ledger

KILLS = int(os.environ.get("E2E_KILLS", 100))
CLIENTS = 4
MOST_WAITING = 4000  # accepted and not seen since: the clients are faster than the sink, and the end must come to pass
# Larger than inline_limit now and then, so that spool files are written and swept as well.
SIZES = [500] * 6 + [4000] * 6 + [30_000] * 2 + [200_000]


class Load(threading.Thread):
    """A client that sends one message after the other, some on one connection, and comes back when the daemon does."""

    def __init__(self, name, port, ledger, seed):
        super().__init__(daemon=True)
        self.name, self.port, self.ledger = name, port, ledger
        self.rng, self.ending, self.failure = random.Random(f"{seed}/{name}"), False, None

    def run(self):
        number, client = 0, None
        while not self.ending:
            try:
                if client is None:
                    client = smtp.Client(self.port, timeout=20)
                for _ in range(self.rng.randrange(1, 20)):
                    while self.ledger.waiting() > MOST_WAITING and not self.ending:
                        time.sleep(0.01)
                    number += 1
                    self.send(client, f"{self.name}-{number}")
                client.quit()
                client = None
            except (OSError, ConnectionError):
                if client:
                    client.close()
                client = None
                time.sleep(0.01)  # the daemon is down; no condition to wait for but its port
            except AssertionError as error:
                # 421 and 451 are a daemon that is going down or coming up; anything else is a finding.
                if not re.search(r"got \((421|451)", str(error)):
                    self.failure = error
                    return
                client.close()
                client = None

    def send(self, client, id_):
        id_ += BAD if self.rng.random() < 0.1 else ""
        code, text = self.ledger.send(client, id_, self.rng.choice(SIZES), self.rng)
        if code not in (250, 421, 451):
            raise AssertionError(f"end of data: got ({code}, {text})")


class KillNine(harness.TestCase):
    def test_nothing_lost(self):
        seed = int(os.environ.get("E2E_SEED", random.SystemRandom().randrange(1 << 32)))
        print(f"seed {seed}: E2E_SEED={seed} repeats the moments and the mail, not the scheduling")
        rng = random.Random(seed)
        ledger = Ledger()

        moods = random.Random(seed + 1)

        def script(verb, argument, state):
            """Some for ever refused, one in ten to come again, and the last reply late, so that kills find work under way."""
            if verb == "RCPT" and b"-bad@away" in argument:
                return b"550 5.1.1 no such user\r\n"
            if verb == "RCPT" and moods.random() < 0.1:
                return b"450 4.2.1 come again\r\n"
            if verb == "DOT":
                time.sleep(moods.uniform(0, 0.03))
            return None

        sink = smtp.Sink(harness.free_port(), "127.0.0.42", script, ledger.taken, keep=False)
        relay = self.waypost(
            queue='retry = ["1s", "1s", "2s", "2s"]\ninline_limit = "64KiB"',
            extra=f"""
                [[route]]
                match = "*"
                next_hop = "smtp:[127.0.0.42]:{sink.port}"
            """).start()
        load = [Load(f"c{n}", relay.mx, ledger, seed) for n in range(CLIENTS)]
        for client in load:
            client.start()

        began, starts = time.monotonic(), []
        for kill in range(KILLS):
            time.sleep(rng.uniform(0.05, 1.6))  # the random moment
            relay.kill()
            again = time.monotonic()
            relay.start()
            starts.append(time.monotonic() - again)
            for client in load:
                self.assertIsNone(client.failure)
        for client in load:
            client.ending = True
        for client in load:
            client.join(60)
        spent = time.monotonic() - began

        def drained():
            relay.tool("queue", "retry", "--all", "--yes", check=False)
            return relay.queued() == 0

        harness.wait_for("the queue to drain", drained, 120, every=1)
        twice, bounced_twice = ledger.again()
        print(f"{KILLS} kills in {spent:.0f} s; {len(ledger.tried)} messages tried, {len(ledger.accepted)} accepted "
              f"({len(ledger.bad())} to be bounced), {len(ledger.lost())} lost, {twice} arrived again, "
              f"{bounced_twice} bounces arrived again; start-up {max(starts):.2f} s at most")
        self.assertEqual(ledger.broken(), [])
        self.assertGreater(len(ledger.accepted), 10 * KILLS, "there was load")
        # A duplicate needs a message in flight at a kill, or one whose outcome was not committed: some per connection out.
        self.assertLess(twice + bounced_twice, 40 * KILLS)
        self.assertEqual(relay.stop(), 0)
        left = [path for path in relay.data.rglob("*") if path.is_file() and "body" in path.parts]
        self.assertEqual(left, [], "spool files of no message")


if __name__ == "__main__":
    harness.main()
