"""SMTP smuggling: every mix of CR, LF, dot and NUL of up to five octets, put where a server that takes it for the end of the
data would see another transaction behind it. A raw client sends them to waypostd, which relays to Postfix, Exim, OpenSMTPD
and, if `packaging/peers --all` was run, Haraka; a sink is behind each. What goes in comes out: as many messages, with the
body that PROTOCOL's normalisation makes, and never the hidden one.

WAYPOST_SMUGGLING_LENGTH=6 goes further."""
import itertools
import os
import re
import socket
import unittest

import harness
import peers
import smtp

LENGTH = int(os.environ.get("WAYPOST_SMUGGLING_LENGTH", "5"))
PER_CONNECTION = 8  # refusals; from the tenth on they are slowed down
HIDDEN = "hidden"


def sequences():
    return [bytes(mix) for length in range(1, LENGTH + 1) for mix in itertools.product(b"\r\n.\0", repeat=length)]


def wire(number, sequence, domains):
    """What the client sends after 354, as it is: no dot is doubled."""
    hidden = b"MAIL FROM:<%s@x.example>\r\n" % HIDDEN.encode()
    hidden += b"".join(b"RCPT TO:<%s@%s>\r\n" % (HIDDEN.encode(), domain.encode()) for domain in domains)
    hidden += b"DATA\r\nSubject: hidden\r\nX-Number: -1\r\n\r\nthe hidden body"
    return b"Subject: smuggling\r\nX-Number: %d\r\n\r\nthe body" % number + sequence + hidden + b"\r\n.\r\n"


def read(sent):
    """Of octets on the wire, by RFC 5321 4.1.1.4 and 4.5.2: the content, and what is behind its end. A first dot before a
    bare CR or LF is all of a line by then, so it is content (smtp/transparency.h)."""
    content, _, behind = sent.partition(b"\r\n.\r\n")
    return re.sub(rb"\r\n\.(?![\r\n])", b"\r\n", content + b"\r\n"), behind


def normalised(content):
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def verdict(content, reject):
    """The reply that a message is to get: its code, and how its text begins."""
    if b"\0" in content:
        return 554, "5.6.0 "
    if reject and normalised(content) != content:
        return 550, "5.6.0 "
    return 250, "2.0.0 "


class Attacker:
    """Sends the messages by raw sockets, and keeps `want`, {number: body} of those accepted, and what was `wrong`."""

    def __init__(self, port, domains, reject):
        self.port, self.domains, self.reject = port, domains, reject
        self.want, self.wrong = {}, []
        self.client, self.refused = None, 0

    def send(self, number, sequence):
        if self.refused == PER_CONNECTION:
            self.quit()
        self.client = self.client or smtp.Client(self.port)
        client = self.client
        client.expect(250, "MAIL FROM:<s@a.example>")
        for domain in self.domains:
            client.expect(250, f"RCPT TO:<r{number}@{domain}>")
        client.expect(354, "DATA")
        sent = wire(number, sequence, self.domains)
        content, behind = read(sent)
        client.socket.sendall(sent)
        reply = client.reply()
        if behind:
            # The real end: what follows are commands. This client does not wait for 354, so it must not get that.
            client.socket.shutdown(socket.SHUT_WR)
            heard = client.input.read()
            if not heard or re.search(rb"^354", heard, re.M):
                self.wrong.append(f"{sequence!r}: after the end {heard!r}")
            self.quit()
        elif (last := client.command("VRFY in-step"))[0] != 252:
            self.wrong.append(f"{sequence!r}: reply {reply}, and {last} to VRFY")
            self.quit()
        code, start = verdict(content, self.reject)
        if reply[0] != code or not reply[1].startswith(start):
            self.wrong.append(f"{sequence!r}: reply {reply} for {code}")
        if code == 250:
            self.want[number] = normalised(content.partition(b"\r\n\r\n")[2])
        else:
            self.refused += 1

    def quit(self):
        if self.client:
            self.client.quit()
        self.client, self.refused = None, 0


@unittest.skipUnless(os.getuid() == 0, "the other servers start as root")
class Smuggling(harness.TestCase):
    def around(self, bare_newline):
        kinds = [peers.Postfix, peers.Exim, peers.OpenSmtpd]
        if peers.Haraka.root.exists():
            kinds.append(peers.Haraka)
        else:
            print("Haraka: skipped; packaging/peers --all fetches it")
        sinks = [smtp.Sink(harness.free_port()) for _ in kinds]
        for sink in sinks:
            self.addCleanup(sink.stop)
        chain = [kind(self.folder / kind.__name__, sink.port).start() for kind, sink in zip(kinds, sinks)]
        domains = [f"{peer.name.lower()}.example" for peer in chain]
        port = harness.free_port()
        # OpenSMTPD's backlog is 5: beyond it, the system loses connections that look established from here.
        relay = self.waypost(delivery="concurrency = 4", extra=f"""
            [[listener]]
            address = "127.0.0.1:{port}"
            role = "mx"
            bare_newline = "{bare_newline}"
        """ + "".join(f"""
            [[route]]
            match = "{domain}"
            next_hop = "smtp:[127.0.0.1]:{peer.port}"
        """ for domain, peer in zip(domains, chain))).start()

        attacker = Attacker(port, domains, bare_newline == "reject")
        mixes = sequences()
        for number, sequence in enumerate(mixes):
            attacker.send(number, sequence)
        accepted = len(attacker.want)

        def all_there(what):
            for peer, sink in zip(chain, sinks):
                harness.wait_for(f"{what} of {peer.name}", lambda: len(sink.messages) >= len(attacker.want), 120)

        all_there("all messages")
        # One more: what hid in those before it was let in by then, and is relayed sooner.
        attacker.send(len(mixes), b"")
        attacker.quit()
        all_there("the last message")
        relay.wait_empty(30)

        want, wrong = attacker.want, attacker.wrong
        for peer, sink, domain in zip(chain, sinks, domains):
            numbers = []
            for message in sink.messages:
                head, _, body = message.content.partition(b"\r\n\r\n")
                number = int(re.search(rb"^X-Number: (-?\d+)\r?$", head, re.M)[1])
                numbers.append(number)
                if body != want.get(number) or message.recipients != [f"r{number}@{domain}"]:
                    wrong.append(f"{peer.name}: to {message.recipients}: {body!r} for {want.get(number)!r}")
            if sorted(numbers) != sorted(want):
                wrong.append(f"{peer.name}: {len(numbers)} messages of {len(want)}")
        print(f"{bare_newline}: {len(mixes)} mixes, {accepted} accepted and {len(mixes) - accepted} refused; "
              f"{', '.join(f'{peer.name} {len(sink.messages) - 1}' for peer, sink in zip(chain, sinks))}; {len(wrong)} wrong")
        self.assertEqual(wrong[:10], [])

    def test_the_trap(self):
        """Straight to Postfix, which takes LF.LF for an end, the hidden message comes through."""
        sink = smtp.Sink(harness.free_port())
        self.addCleanup(sink.stop)
        peer = peers.Postfix(self.folder / "Postfix", sink.port).start()
        with smtp.Client(peer.port) as client:
            client.expect(250, "MAIL FROM:<s@a.example>")
            client.expect(250, "RCPT TO:<r@b.example>")
            client.expect(354, "DATA")
            client.socket.sendall(wire(0, b"\n.\n", ["b.example"]))
            harness.wait_for("the hidden message", lambda: [f"{HIDDEN}@b.example"] in [m.recipients for m in sink.messages])

    def test_normalize(self):
        self.around("normalize")

    def test_reject(self):
        self.around("reject")


if __name__ == "__main__":
    harness.main()
