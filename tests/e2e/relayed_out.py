"""What we relay to other mail servers: Postfix, Exim, OpenSMTPD, sendmail and, if `packaging/peers --all` was run, Haraka, with
each of their extensions on and off. All that is given to us is in the server's mailbox once: octet for octet, or, where it
lacks 8BITMIME, as a mail reader decodes it. Where it offers DSN it is told what the sender asked for, and reports to him itself;
where it does not, we do.

WAYPOST_RELAYED_OUT=1000 messages go to each variant of each server; by itself it is 25."""
import collections
import email
import os
import quopri
import re
import time
import unittest

import harness
import next_hops
import samples
import smtp
import tls

MESSAGES = int(os.environ.get("WAYPOST_RELAYED_OUT", "25"))
ALL = 1000
LARGEST = 400_000
HEAD = ["From: <s@a.example>", "To: r@b.example", "Subject: to be relayed"]
MIME = ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"]


def bodies():
    """Bodies that are whole messages, awkward ones, and variations of both: to be relayed they need a head of their own."""
    base = {name: content for name, content in (samples.from_python() | samples.awkward()).items() if len(content) < LARGEST}
    return list((base | samples.variations(base, ALL - len(base))).values())


def head(variant, number):
    """Some in UTF-8 beyond RFC 6532's envelope, as much of today's mail is; some that say nothing of their body."""
    lines = HEAD + [f"X-Number: {variant} {number}"]
    if number % 3 == 0:
        lines.append("X-Greeting: Grüße, 你好")
    if number % 4:
        lines += MIME
    return "\r\n".join(lines).encode() + b"\r\n"


def decoded(octets):
    """A message's body, as a mail reader gets it."""
    fields, _, body = octets.partition(b"\n\n")
    if re.search(rb"^content-transfer-encoding: *quoted-printable", fields, re.M | re.I):
        body = quopri.decodestring(body)
    return body


def status_fields(report):
    """Of a report: the fields of the message, and of its one recipient."""
    status = next(part for part in report.walk() if part.get_content_type().endswith("delivery-status"))
    return status.get_payload()


@unittest.skipUnless(os.getuid() == 0, "the other servers start as root")
class RelayedOut(harness.TestCase):
    def begin(self, kind):
        pem = self.folder / "peer.pem"
        tls.make_pair(pem, "peer.test.example")
        pem.chmod(0o644)
        self.hop = kind(self.folder / kind.__name__, pem).start()
        routes = "\n".join(f'[[route]]\nmatch = "{variant}.example"\nnext_hop = "smtp:[127.0.0.1]:{port}"'
                           for variant, port in self.hop.ports.items())
        self.relay = self.waypost(queue='retry = ["1s"]', delivery="concurrency = 4", extra=f"""
            {routes}
            [[domain]]
            name = "a.example"
            deliver = "maildir:{self.folder}/waypost/mail/{{domain}}"
        """).start()

    def offers(self, variant, keyword):
        return keyword in self.offered[variant]

    def check_offers(self):
        """Each variant lacks what it says, of what the server has."""
        self.offered = {variant: self.hop.offered(variant) for variant in self.hop.variants}
        for variant, off in self.hop.variants.items():
            self.assertTrue(off <= self.offered["all"], variant)
            self.assertTrue(off.isdisjoint(self.offered[variant]), variant)
            alone = len(off) == 1 and off != {"8BITMIME"}  # with which SMTPUTF8 goes
            if alone:
                self.assertEqual(self.offered["all"] - self.offered[variant] - {"PIPECONNECT"}, off)

    def give(self, sent):
        for variant, numbers in self.numbers.items():
            with smtp.Client(self.relay.mx) as client:
                for number in numbers:
                    content = head(variant, number) + b"\r\n" + sent[number]
                    reply = client.send("", f"r{number}@{variant}.example", content, " BODY=8BITMIME")
                    self.assertEqual(reply[0], 250, f"{variant} {number}: {reply}")

    def numbers_of(self, sent):
        """Of each variant; together the variants have them all where they do not have all of them each."""
        longest = self.hop.longest_line or LARGEST
        fit = [n for n, body in enumerate(sent) if max(map(len, re.split(rb"[\r\n]+", body))) <= longest]
        step = max(1, len(fit) // MESSAGES)
        return {variant: fit[at % step::step][:MESSAGES] for at, variant in enumerate(self.hop.variants)}

    def compare(self, sent, kept):
        count, wrong, changed = collections.Counter(), [], collections.Counter()
        for message in kept:
            fields, _, body = message.partition(b"\n\n")
            match = re.search(rb"^X-Number: (\S+) (\d+)$", fields, re.M)
            if not match:
                wrong.append(f"what is this: {message[:300]!r}")
                continue
            variant, number = match[1].decode(), int(match[2])
            count[variant, number] += 1
            want = samples.as_kept(sent[number]).replace(b"\r\n", b"\n")
            given = head(variant, number).replace(b"\r\n", b"\n").splitlines()
            eight = self.offers(variant, "8BITMIME")
            if not eight:
                if not body.isascii():
                    wrong.append(f"{variant} {number}: 8-bit without 8BITMIME: {body[:300]!r}")
                changed[variant] += body != want
                body = decoded(message)
                given = [line for line in given if not line.startswith(b"Content-Transfer-Encoding")]
            if body != want:
                wrong.append(f"{variant} {number}: {body[:300]!r} for {want[:300]!r}")
            lines = fields.splitlines()
            if any(line not in lines for line in given):
                wrong.append(f"{variant} {number}: header {fields[:600]!r}")
            if eight and not self.hop.reorders and b"\n".join(given) not in fields:
                wrong.append(f"{variant} {number}: order of {fields[:600]!r}")
            secured = re.search(rb"\bE?SMTPS\b|with UTF8SMTPS|TLS", fields) is not None
            if secured != (self.hop.secures and self.offers(variant, "STARTTLS")):
                wrong.append(f"{variant} {number}: TLS: {fields[:600]!r}")
        self.assertEqual(wrong[:5], [], f"{len(wrong)} in all")
        want = [(variant, number) for variant, numbers in self.numbers.items() for number in numbers]
        self.assertEqual(sorted(count.elements()), sorted(want))
        for variant, numbers in self.numbers.items():
            if not self.offers(variant, "8BITMIME"):
                self.assertGreater(changed[variant], 0)
        return len(count), sum(changed.values())

    def check_used(self):
        for variant, numbers in self.numbers.items():
            for keyword, times in self.hop.used(variant).items():
                with self.subTest(variant=variant, keyword=keyword):
                    if self.offers(variant, keyword):
                        harness.wait_for("its log", lambda: self.hop.used(variant)[keyword], 8)
                    else:
                        self.assertEqual(times, 0)

    def ask(self, number, recipient, notify, ret):
        with smtp.Client(self.relay.mx) as client:
            client.expect(250, f"MAIL FROM:<s{number}@a.example> RET={ret} ENVID=QQ{number}+2B")
            client.expect(250, f"RCPT TO:<{recipient}> NOTIFY={notify} ORCPT=rfc822;first+2B{number}@old.example")
            client.expect(354, "DATA")
            client.socket.sendall(b"Subject: asked\r\n\r\nall of it\r\n.\r\n")
            self.assertEqual(client.reply()[0], 250)

    def reports(self, box):
        """{number: [reports]} to the senders s{number}@a.example."""
        found = collections.defaultdict(list)
        for octets in box:
            report = email.message_from_bytes(octets)
            if any(part.get_content_type() == "message/delivery-status" for part in report.walk()):
                found[int(re.search(r"s(\d+)@a\.example", report["To"])[1])].append(report)
        return found

    def check_dsn(self):
        """Success, a failure that returns all or the header, and NEVER."""
        before = len(self.hop.kept())
        cases = {}  # number: (variant, recipient, notify, ret)
        for variant in self.hop.variants:
            kinds = [("r", "SUCCESS,FAILURE", "HDRS")]
            if self.hop.returns:
                kinds += [("bad", "FAILURE", "FULL"), ("bad", "FAILURE", "HDRS"), ("bad", "NEVER", "HDRS")]
            for who, notify, ret in kinds:
                cases[len(cases)] = (variant, f"{who}@{variant}.example", notify, ret)
        for number, (_, recipient, notify, ret) in cases.items():
            self.ask(number, recipient, notify, ret)
        self.relay.wait_empty(30)
        promised = {number for number, (variant, _, notify, _) in cases.items()
                    if self.offers(variant, "DSN") and notify != "NEVER"}
        relayed = {number for number, (variant, _, notify, _) in cases.items()
                   if "SUCCESS" in notify and not self.offers(variant, "DSN")}
        # Without DSN a failure is told in any case, NEVER or not, of what the server knows.
        failed = {number for number, (variant, recipient, _, _) in cases.items()
                  if recipient.startswith("bad") and not self.offers(variant, "DSN")}
        harness.wait_for("the server's reports", lambda: set(self.reports(self.hop.kept())) >= promised | failed, 30)
        harness.wait_for("mail", lambda: len(self.hop.kept()) >= before + len(self.hop.variants) + len(promised | failed), 30)
        theirs, ours = self.reports(self.hop.kept()), self.reports(self.relay.delivered("a.example", ""))
        self.assertEqual(set(theirs), promised | failed)
        self.assertEqual(set(ours), relayed)
        for number in promised:
            with self.subTest(of=self.hop.name, case=cases[number]):
                (report,) = theirs[number]
                message, recipient = status_fields(report)
                if self.hop.repeats:
                    # Exim does not decode xtext.
                    self.assertRegex(message["Original-Envelope-Id"], rf"^QQ{number}\+(2B)?$")
                    self.assertRegex(recipient["Original-Recipient"], rf"^rfc822; ?first\+(2B)?{number}@old\.example$")
                _, to, _, ret = cases[number]
                self.assertEqual(recipient["Action"].split()[0], "failed" if to.startswith("bad") else "delivered")
                if self.hop.repeats:
                    self.assertEqual(b"all of it" in report.as_bytes(), ret == "FULL")
        for number in relayed:
            with self.subTest(of="ours", case=cases[number]):
                (report,) = ours[number]
                message, recipient = status_fields(report)
                self.assertEqual(message["Original-Envelope-Id"], f"QQ{number}+")
                self.assertEqual(recipient["Original-Recipient"], f"rfc822;first+{number}@old.example")
                self.assertEqual(recipient["Action"], "relayed")
        return len(promised), len(relayed)

    def check_utf8(self):
        """An address in UTF-8, where the server takes it; else it comes back (RFC 6531 3.5)."""
        for variant in self.hop.variants:
            with smtp.Client(self.relay.mx) as client:
                client.expect(250, "MAIL FROM:<wide@a.example> SMTPUTF8")
                client.expect(250, f"RCPT TO:<grüße@{variant}.example>")
                client.expect(354, "DATA")
                client.socket.sendall(f"Subject: größer\r\nX-Wide: {variant}\r\n\r\ntext\r\n.\r\n".encode())
                self.assertEqual(client.reply()[0], 250)
        self.relay.wait_empty(30)
        takes = {variant for variant in self.hop.variants if self.offers(variant, "SMTPUTF8")}

        def got():
            text = b"\n".join(self.hop.kept())
            return {variant for variant in self.hop.variants if f"Subject: größer\nX-Wide: {variant}\n".encode() in text}

        harness.wait_for("mail in UTF-8", lambda: got() == takes, 30)
        for variant in self.hop.variants:
            status = r"dsn=2\.\d\.\d, status=sent" if variant in takes else r"dsn=5\.6\.7, status=bounced"
            line = rf"to=<grüße@{variant}\.example>, .* {status} "
            harness.wait_for(line, lambda: re.search(line, self.relay.log_text()), 10)

    def to(self, kind):
        self.begin(kind)
        self.check_offers()
        sent = bodies()
        self.numbers = self.numbers_of(sent)
        total = sum(map(len, self.numbers.values()))
        began = time.monotonic()
        self.give(sent)
        given = time.monotonic()
        self.relay.wait_empty(300)
        self.assertNotRegex(self.relay.log_text(), r"status=(bounced|deferred|expired)")
        harness.wait_for("all messages", lambda: len(os.listdir(self.hop.box / "new")) >= total, 300, every=0.2)
        took = f"{given - began:.1f} s to give, {time.monotonic() - given:.1f} s more to come"
        count, converted = self.compare(sent, self.hop.kept())
        self.check_used()
        promised, relayed = self.check_dsn()
        self.check_utf8()
        self.assertNotRegex(self.relay.log_text(), r"status=(deferred|expired)")
        print(f"{self.hop.name}: {count} messages to {len(self.hop.variants)} variants, each once; {converted} converted; "
              f"{promised} reports by it, {relayed} 'relayed' by us; {took}")

    def test_postfix(self):
        self.to(next_hops.Postfix)

    def test_exim(self):
        self.to(next_hops.Exim)

    def test_opensmtpd(self):
        self.to(next_hops.OpenSmtpd)

    def test_sendmail(self):
        self.to(next_hops.Sendmail)

    @unittest.skipUnless(next_hops.Haraka.root.exists(), "packaging/peers --all fetches it")
    def test_haraka(self):
        self.to(next_hops.Haraka)


if __name__ == "__main__":
    harness.main()
