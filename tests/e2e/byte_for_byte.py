"""300 and more messages, real and awkward ones, arrive as they were sent but for the trace lines: relayed by SMTP and
delivered to a Maildir."""
import collections
import re

import harness
import samples
import smtp

RECEIVED = rb"Received: [^\r\n]+\r\n(?:[ \t][^\r\n]+\r\n)*"


def without_return_path(content):
    """Final delivery removes the header's Return-Path fields (PROTOCOL: they are put on top anew)."""
    header, separator, body = content.partition(b"\r\n\r\n")
    header = re.sub(rb"(?im)(?:^|(?<=\n))return-path:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|$)", b"", header + b"\r\n")
    return header + separator[2:] + body if separator else header[:-2] + separator + body


class ByteForByte(harness.TestCase):
    def test_relayed_and_delivered(self):
        sent = samples.all_samples()
        self.assertGreaterEqual(len(sent), 300)
        sink = smtp.Sink(harness.free_port(), "127.0.0.41")
        relay = self.waypost(extra=f"""
            [[domain]]
            name = "local.test.example"
            deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
            [[route]]
            match = "*"
            next_hop = "smtp:[127.0.0.41]:{sink.port}"
        """).start()

        names = list(sent)
        with smtp.Client(relay.mx) as client:
            for n, name in enumerate(names):
                for recipient in (f"r{n}@away.example", "local@local.test.example"):
                    reply = client.send(f"s{n}@client.test.example", recipient, sent[name], " BODY=8BITMIME")
                    self.assertEqual(reply[0], 250, f"{name}: {reply}")
        harness.wait_for("the sink to have all", lambda: len(sink.messages) >= len(names), 120)
        relay.wait_empty(60)

        at_sink = {message.recipients[0]: message for message in sink.messages}
        wrong = []
        for n, name in enumerate(names):
            message, want = at_sink[f"r{n}@away.example"], samples.as_kept(sent[name])
            added = message.content[: len(message.content) - len(want)]
            if not message.content.endswith(want) or not re.fullmatch(RECEIVED, added):
                wrong.append(f"{name}: relayed {message.content[:300]!r}... for {want[:200]!r}...")
            if message.sender != f"s{n}@client.test.example":
                wrong.append(f"{name}: sender {message.sender}")

        delivered = collections.Counter()
        files = relay.delivered("local.test.example", "local")
        self.assertEqual(len(files), len(names))
        by_sender = {}
        for content in files:
            by_sender[re.match(rb"Return-Path: <s(\d+)@client\.test\.example>\n", content)[1].decode()] = content
        top = rb"Return-Path: <[^>\n]*>\nDelivered-To: local@local\.test\.example\n" + RECEIVED.replace(rb"\r\n", rb"\n")
        for n, name in enumerate(names):
            # A Maildir's lines end in LF, as every reader of one expects.
            content, want = by_sender[str(n)], samples.as_kept(sent[name])
            wants = {w.replace(b"\r\n", b"\n") for w in (want, without_return_path(want))}
            if not any(content.endswith(w) and re.fullmatch(top, content[: len(content) - len(w)]) for w in wants):
                wrong.append(f"{name}: in the Maildir {content[:400]!r}... for {want[:200]!r}...")
            delivered["Maildir"] += 1
        print(f"{len(names)} messages by SMTP and {delivered['Maildir']} in the Maildir compared; {len(wrong)} differ")
        self.assertEqual(wrong[:10], [])


if __name__ == "__main__":
    harness.main()
