"""A 50 MB message on 50 connections at once raises the daemon's resident memory by less than 64 MB, while it comes in
and while it goes out."""
import threading

import harness
import smtp

CONNECTIONS, SIZE, LIMIT = 50, 50_000_000, 64 << 20


class Memory(harness.TestCase):
    def test_fifty_large_messages(self):
        sink = harness.SmtpSink(self.folder, "127.0.0.43", harness.free_port())
        relay = self.waypost(
            limits='message_size = "50MiB"',
            extra=f"""
                [[route]]
                match = "*"
                next_hop = "smtp:[127.0.0.43]:{sink.port}"
            """).start()
        with smtp.Client(relay.mx) as client:  # what a first message makes the daemon allocate is no growth
            self.assertEqual(client.send("s@client.test.example", "r@away.example", b"Subject: small\r\n\r\n")[0], 250)
        relay.wait_empty(30)
        before = relay.memory("VmRSS")

        line = b"m" * 76 + b"\r\n"
        content = memoryview(b"Subject: large\r\n\r\n" + line * ((SIZE - 18) // len(line)) + b".\r\n")
        together = threading.Barrier(CONNECTIONS)
        replies = []

        def send(n):
            with smtp.Client(relay.mx, timeout=300) as client:
                client.expect(250, f"MAIL FROM:<s{n}@client.test.example>")
                client.expect(250, f"RCPT TO:<r{n}@away{n}.example>")
                client.expect(354, "DATA")
                together.wait(60)
                for at in range(0, len(content), 1 << 20):
                    client.socket.sendall(content[at : at + (1 << 20)])
                replies.append(client.reply())

        clients = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(CONNECTIONS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(300)
        taken = relay.memory("VmHWM")
        self.assertEqual([code for code, _ in replies], [250] * CONNECTIONS)
        relay.wait_empty(300)
        sent = relay.memory("VmHWM")
        print(f"RSS {before >> 20} MiB before; at most {taken >> 20} MiB while {CONNECTIONS} x {SIZE // 10**6} MB came in, "
              f"{sent >> 20} MiB until they had gone out")
        self.assertLess(sent - before, LIMIT)


if __name__ == "__main__":
    harness.main()
