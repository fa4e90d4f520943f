"""What systemd relies on: sockets that it holds while the daemon is started anew, and what it is told of the daemon's life."""
import re
import signal
import socket
import sys
import threading
import time

import harness
import smtp

# Moves the descriptors of its first argument to 3, 4 ... and says that they are for the program that it becomes.
HAND_OVER = """
import fcntl, os, sys
# By way of numbers that are in nobody's way.
copies = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in sys.argv[1].split(",")]
for number, copy in enumerate(copies):
    os.dup2(copy, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(copies)))
os.execv(sys.argv[2], sys.argv[2:])
"""


def listen(address, port=0):
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.bind((address, port))
    held.listen(512)
    return held


class ServiceManager(harness.TestCase):
    def start(self, relay, held):
        descriptors = [each.fileno() for each in held]
        seen = relay.launch(sys.executable, "-c", HAND_OVER, ",".join(map(str, descriptors)), pass_fds=descriptors)
        return relay.logged(r"\bready\b", start=seen)

    def test_nobody_is_refused_while_the_daemon_is_started_anew(self):
        relay = self.waypost(extra='[[route]]\nmatch = "*"\nnext_hop = "discard:"\n')
        passed, forgotten = listen("127.0.0.1", relay.mx), listen("127.0.0.1")
        log = self.start(relay, [passed, forgotten])
        self.assertIn(f"ready, listening on 127.0.0.1:{relay.mx}, 127.0.0.1:{relay.submission}", log)
        self.assertRegex(log, rf"the service manager holds 127\.0\.0\.1:{forgotten.getsockname()[1]}, but no \[\[listener\]\]")

        accepted, failures, ending = [], [], threading.Event()

        def client():
            while not ending.is_set():
                try:
                    with smtp.Client(relay.mx, timeout=30) as session:
                        session.send("s@client.test.example", ["r@away.example"], b"Subject: x\r\n\r\ntext\r\n")
                        accepted.append(time.monotonic())
                except ConnectionRefusedError as error:
                    failures.append(repr(error))
                except (OSError, ConnectionError, AssertionError) as error:
                    # 421, or the end of a session that was waiting for a command: the daemon stops.
                    if "refused" in str(error):
                        failures.append(repr(error))

        clients = [threading.Thread(target=client, daemon=True) for _ in range(4)]
        for thread in clients:
            thread.start()
        for _ in range(3):
            before = len(accepted)
            harness.wait_for("mail", lambda: len(accepted) > before + 20, 30)
            self.assertEqual(relay.stop(), 0)
            time.sleep(0.3)  # nobody accepts; connections wait in the kernel
            self.start(relay, [passed])
        before = len(accepted)
        harness.wait_for("mail after the last start", lambda: len(accepted) > before + 20, 30)
        ending.set()
        for thread in clients:
            thread.join(30)
        self.assertEqual(failures, [])
        passed.close()
        forgotten.close()

    def test_what_it_is_told(self):
        relay = self.waypost()
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(str(self.folder / "notify"))
        heard.settimeout(10)
        relay.environment |= {"NOTIFY_SOCKET": str(self.folder / "notify"), "WATCHDOG_USEC": "400000"}
        told = []

        def hear(*wanted):
            """The next datagrams, those of the watchdog left out, are these."""
            for want in wanted:
                while (said := heard.recv(100).decode()) == "WATCHDOG=1":
                    told.append(said)
                self.assertEqual(said, want)

        relay.launch()
        hear("READY=1")
        relay.tool("reload")
        hear("RELOADING=1", "READY=1")
        relay.config.write_text(relay.config.read_text() + "nonsense = 1\n")
        relay.program.signal(signal.SIGHUP)
        hear("RELOADING=1", "READY=1")
        self.assertIn("reload refused", relay.logged("reload refused"))
        told.clear()
        ends = time.monotonic() + 1.1
        while time.monotonic() < ends:
            told.append(heard.recv(100).decode())
        self.assertEqual(set(told), {"WATCHDOG=1"})
        self.assertIn(len(told), range(2, 8))  # every 200 ms, on a machine that has time
        self.assertEqual(relay.stop(), 0)
        hear("STOPPING=1")
        heard.close()

    def test_a_port_that_is_not_ours_to_bind(self):
        """It says where systemd's part of it is."""
        relay = self.waypost()
        relay.config.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:24", relay.config.read_text(), count=1))
        as_nobody = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
        if harness.os.geteuid() != 0:
            as_nobody = []
        relay.launch(*as_nobody)
        self.assertEqual(relay.program.wait(20), 77)
        self.assertIn("under systemd waypost.socket has to name it, too", relay.log_text())


if __name__ == "__main__":
    harness.main()
