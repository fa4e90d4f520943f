"""What the README says: packaging/run starts a relay, and the commands that it prints do what they say. Twice, since the
second start finds the first one's folder."""
import re
import signal
import subprocess

import harness


class Quickstart(harness.TestCase):
    def test_run_as_printed(self):
        mx, submission = harness.free_port(), harness.free_port()
        for start in (1, 2):
            run = harness.Program(
                [harness.ROOT / "packaging/run", "--folder", self.folder / "run", "--ports", f"{mx},{submission}",
                 "--programs", harness.BUILD], self.folder / f"run-{start}.log")
            harness.wait_for("ready", lambda: re.search(r"\bready\b", run.text()) or not run.running(), 30)
            self.assertTrue(run.running(), run.text())
            # Commands stand with four spaces before them, continued after a `|`.
            block = run.text().split("In another terminal:")[1].split("The configuration is")[0]
            commands = re.findall(r"^ {4}(\S.*\|\n {6}.*|\S.*)", block, re.M)
            self.assertEqual(len(commands), 5, commands)

            def say(command):
                done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
                self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
                return done.stdout

            send, read, trace, queue, status = commands
            say(send)
            harness.wait_for("the message", lambda: len(list(self.folder.glob("run/maildir/*/ann/new/*"))) == start, 20)
            self.assertIn("It works.", say(read))
            self.assertIn("ann@quickstart.example", say(trace))
            say(queue)
            say(status)
            run.signal(signal.SIGINT)
            self.assertEqual(run.wait(40), 0)


if __name__ == "__main__":
    harness.main()
