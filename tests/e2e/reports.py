"""Every kind of notification, as the relay makes it: of failure, delay, delivery, relaying and expansion, in ASCII and in UTF-8
(RFC 6533), with what RET, ENVID and ORCPT ask for. Python's `email` reads them without a defect, two of Debian's readers of bounces
find in them who failed, and a person can read them: golden/reports has each, but for ids, dates and ports. WAYPOST_GOLDEN=write
writes these files anew; look at what changed before you commit it.
"""
import dataclasses
import email
import email.policy
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest
from email.errors import NonASCIILocalPartDefect

import harness
import smtp

PARSERS = harness.PEERS / "parsers/usr"
GOLDEN = pathlib.Path(__file__).parent / "golden/reports"
# Each prints a line of JSON for each file that it is given.
PYTHON = """
import email, json, sys
from flufl.bounce import all_failures
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        print(json.dumps([sorted(a.decode() for a in found) for found in all_failures(email.message_from_binary_file(file))]))
"""
PERL = """
use JSON::PP;
use Mail::DeliveryStatus::BounceParser;
local $/;
for my $path (@ARGV) {
  open(my $file, "<:raw", $path) or die $path;
  my $bounce = Mail::DeliveryStatus::BounceParser->new(<$file>);
  print encode_json([$bounce->is_bounce ? "bounce" : "other", $bounce->is_bounce ? sort($bounce->addresses) : ()]), "\\n";
}
"""


@dataclasses.dataclass
class Case:
    """A message, and the one report that it causes. Its sender is `{name}@office.test.example`, or with a ü."""

    name: str
    action: str
    to: list  # recipients, with parameters
    mail: str = ""  # MAIL's parameters
    wide: bool = False  # the sender's address is in UTF-8
    head: str = "Subject: Quarterly figures\r\nMessage-ID: <1@client.test.example>\r\n"
    body: bytes = b"Some text.\r\n"
    whole: bool = False  # the message comes back
    relay: str = "relay"

    def sender(self):
        return f"{self.name}{'-ü' if self.wide else ''}@office.test.example"


ENVID, ORCPT = " ENVID=QQ+2B314159", " ORCPT=rfc822;First+2BLast@old.test.example"
UTF8, WIDE = " SMTPUTF8 BODY=8BITMIME", "Subject: Größe, 你好\r\nMessage-ID: <1@client.test.example>\r\n"
WIDE_ORCPT = " ORCPT=utf-8;J\\x{F6}rg@old.test.example"
# What comes in the other test.
OVER = Case("over", "relayed", ["late@later.example"])
OTHERS = ["over-delayed", "over", "digest"]
CASES = [
    Case("failed", "failed", ["bad@refuses.example"]),
    Case("failed-hdrs", "failed", ["bad@refuses.example NOTIFY=FAILURE" + ORCPT], " RET=HDRS" + ENVID),
    Case("failed-full", "failed", ["bad@refuses.example NOTIFY=FAILURE" + ORCPT], " RET=FULL" + ENVID, whole=True),
    Case("failed-full-8bit", "failed", ["bad@refuses.example"], " RET=FULL BODY=8BITMIME", body="Grüße.\r\n".encode(),
         head="Subject: 8 bit\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
              "Content-Transfer-Encoding: 8bit\r\n", whole=True),
    Case("failed-several", "failed", ["bad@refuses.example", "worse@refuses.example", "good@refuses.example"]),
    Case("failed-here", "failed", ["any@closed.example"]),  # nobody was asked
    Case("failed-expired", "failed", ["late@dead.example" + ORCPT], ENVID, relay="short"),
    Case("failed-hosts", "failed", ["bad@both.example"]),  # the first one cannot be reached
    Case("failed-expired-hosts", "failed", ["late@none.example"], relay="short"),
    Case("failed-expired-said", "failed", ["late@later.example"], relay="short"),
    Case("failed-utf8", "failed", ["böse@refuses.example" + WIDE_ORCPT], UTF8 + " RET=HDRS" + ENVID, True, WIDE),
    Case("failed-utf8-full", "failed", ["böse@refuses.example" + WIDE_ORCPT], UTF8 + " RET=FULL", True, WIDE, whole=True),
    Case("failed-utf8-sender", "failed", ["bad@refuses.example"], UTF8, True, WIDE),
    Case("failed-utf8-needed", "failed", ["größe@plain.example"], UTF8, False, WIDE),
    Case("delayed", "delayed", ["late@dead.example"]),
    Case("delayed-asked", "delayed", ["late@later.example NOTIFY=DELAY" + ORCPT], " RET=FULL" + ENVID),
    Case("delayed-utf8", "delayed", ["spät@later.example"], UTF8, True, WIDE),
    Case("delivered", "delivered", ["box@here.example NOTIFY=SUCCESS" + ORCPT], " RET=FULL" + ENVID),
    Case("delivered-utf8", "delivered", ["kästchen@here.example NOTIFY=SUCCESS" + WIDE_ORCPT], UTF8, True, WIDE),
    Case("relayed", "relayed", ["any@plain.example NOTIFY=SUCCESS,FAILURE,DELAY" + ORCPT], " RET=HDRS" + ENVID),
    Case("relayed-utf8", "relayed", ["größe@wide.example NOTIFY=SUCCESS" + WIDE_ORCPT], UTF8, True, WIDE),
    Case("expanded", "expanded", ["team@here.example NOTIFY=SUCCESS" + ORCPT], " RET=HDRS" + ENVID),
    Case("expanded-utf8", "expanded", ["team@here.example NOTIFY=SUCCESS" + WIDE_ORCPT], UTF8, True, WIDE),
]


def address(to):
    return to.split()[0]


def in_xtext(text):
    """utf-8-addr-xtext of RFC 6533 3."""
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in text)


def normalised(octets):
    """Without what is another each time. A paragraph with a date in it may be folded elsewhere, so it is one line."""
    text = octets.decode()
    own = re.search(r"^Message-ID: <([0-9A-Z]{12})@relay", text, re.M)[1]
    text = text.replace(own, "REPORT-ID")
    text = re.sub(r"\b(?=[A-Z]*\d)[0-9A-HJKMNP-TV-Z]{12}\b", "QUEUE-ID", text)
    text = re.sub(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),\s+\d+\s+\w{3}\s+\d{4}\s+\d\d:\d\d:\d\d\s+\+0000", "DATE", text)
    text = re.sub(r"(127\.0\.0\.\d+\]?):\d{5}\b", r"\1:PORT", text)
    parts = text.split("\n\n")
    return "\n\n".join(" ".join(part.split()) if "tried until DATE" in part.replace("\n", " ") else part for part in parts)


class Reports(harness.TestCase):
    maxDiff = None

    def start(self):
        def refuses(verb, argument, state):
            if verb == "RCPT" and (b"<bad@" in argument or "<böse@".encode() in argument):
                return b"550-5.1.1 There is nobody of that name;\r\n550 5.1.1 see https://refuses.example/why?who=<you>\r\n"
            if verb == "RCPT" and b"<worse@" in argument:
                return "553 5.7.1 geht nicht: \xfc\xe4\r\n".encode("latin-1")
            return None

        def later(verb, argument, state):
            return b"450 4.2.1 Busy, come back\r\n" if verb == "RCPT" and self.busy else None

        wide = [*smtp.Sink.extensions, b"SMTPUTF8"]
        self.busy = True
        self.ports = {}
        for name, host, script, extensions in (("refuses", 81, refuses, wide), ("later", 82, later, wide),
                                               ("plain", 83, None, smtp.Sink.extensions), ("wide", 84, None, wide)):
            sink = smtp.Sink(harness.free_port(), f"127.0.0.{host}", script)
            sink.extensions = extensions
            self.addCleanup(sink.stop)
            self.ports[name] = sink.address, sink.port
        self.ports["dead"] = "127.0.0.85", harness.free_port()
        self.ports["deader"] = "127.0.0.86", harness.free_port()
        aliases = self.folder / "aliases"
        aliases.write_text("team: one, two\n")
        routes = "".join(f'[[route]]\nmatch = "{name}.example"\nnext_hop = "smtp:[{host}]:{port}"\n'
                         for name, (host, port) in self.ports.items())
        hop = {name: f"smtp:[{host}]:{port}" for name, (host, port) in self.ports.items()}
        extra = f"""
            {routes}
            [[route]]
            match = "both.example"
            next_hop = ["{hop['dead']}", "{hop['refuses']}"]
            [[route]]
            match = "none.example"
            next_hop = ["{hop['dead']}", "{hop['deader']}"]
            [[route]]
            match = "closed.example"
            next_hop = "reject:closed since May"
            [[domain]]
            name = "office.test.example"
            deliver = "maildir:{self.folder}/reports"
            [[domain]]
            name = "here.example"
            deliver = "maildir:{self.folder}/mail/{{local}}"
            aliases = "{aliases}"
        """
        # The one that says when a delay is over, and sends digests.
        told = 'retry = ["1s"]\nexpire = "1h"\ndelay_warning = "2s"\ndelay_over = true\ndigest = "2s"'
        return {"relay": self.waypost("relay", queue='retry = ["1s"]\nexpire = "1h"\ndelay_warning = "2s"', extra=extra).start(),
                "told": self.waypost("told", queue=told, extra=extra).start(),
                "short": self.waypost("short", queue='retry = ["1s"]\nexpire = "3s"\ndelay_warning = "0s"', extra=extra).start()}

    def send(self, relay, case):
        with smtp.Client(relay.mx) as client:
            client.expect(250, f"MAIL FROM:<{case.sender()}>{case.mail}")
            for to in case.to:
                path, _, parameters = to.partition(" ")
                client.expect(250, f"RCPT TO:<{path}> {parameters}".rstrip())
            client.expect(354, "DATA")
            content = f"From: <{case.sender()}>\r\n{case.head}\r\n".encode() + case.body
            client.socket.sendall(smtp.stuff(content))
            self.assertEqual(client.reply()[0], 250)

    def fail_for_nobody(self, relay, *recipients):
        """Mail with a null reverse-path that comes to no good."""
        with smtp.Client(relay.mx) as client:
            client.expect(250, "MAIL FROM:<>")
            for to in recipients:
                client.expect(250, f"RCPT TO:<{to}>")
            client.expect(354, "DATA")
            client.socket.sendall(b"Subject: a report\r\n\r\n.\r\n")
            self.assertEqual(client.reply()[0], 250)

    def reports(self):
        """{sender: [octets]}"""
        found = {}
        for path in (self.folder / "reports/new").glob("*"):
            octets = path.read_bytes()
            to = re.search(rb"^To: <([^>]*)>$", octets, re.M)[1].decode()
            found.setdefault(to, []).append(octets)
        return found

    def read(self, case, octets):
        """Its parts by Python's strict reading. In UTF-8 it is text to Python: its bytes have no other charset."""
        policy = email.policy.strict.clone(utf8=True)
        report = email.message_from_string(octets.decode(), policy=policy)
        for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"):
            self.assertTrue(report[name], name)
            # That a local part is not ASCII is a defect to Python alone (RFC 6532 3.2).
            self.assertEqual([d for d in report[name].defects if not isinstance(d, NonASCIILocalPartDefect)], [])
        self.assertEqual(report["Return-Path"], "<>")
        self.assertEqual(report["To"].addresses[0].addr_spec, case.sender())
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        people, status, original = report.iter_parts()
        for part in report.walk():
            self.assertEqual(part.defects, [])
        for part in (report, people, status, original):
            self.assertEqual(part["Content-Transfer-Encoding"], None if part.as_string().isascii() else "8bit")
        self.assertEqual(people.get_content_type(), "text/plain")
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        self.assertTrue(status.as_string().isascii(), "RFC 6533 3: this type is 7bit")
        message, *recipients = status.get_payload()
        self.assertEqual(message["Reporting-MTA"], "dns; relay.test.example")
        self.assertEqual(message["Original-Envelope-Id"], "QQ+314159" if ENVID in case.mail else None)
        expected = [to for to in case.to if not to.startswith("good@")]
        self.assertEqual(len(recipients), len(expected))
        for to, fields in zip(expected, recipients):
            self.check_recipient(case, to, fields)
        wide_head = not case.head.isascii() or case.wide
        if case.whole:
            self.assertEqual(original.get_content_type(), "message/global" if wide_head else "message/rfc822")
        else:
            self.assertEqual(original.get_content_type(), "message/global-headers" if wide_head else "text/rfc822-headers")
        self.assertEqual(case.body.decode().strip() in original.as_string(), case.whole)

    def check_recipient(self, case, to, fields):
        self.assertEqual(fields["Action"], case.action)
        self.assertRegex(fields["Status"], {"failed": r"^5\.\d+\.\d+$", "delayed": r"^4\.\d+\.\d+$"}.get(case.action, r"^2\.0\.0$"))
        form = "rfc822" if address(to).isascii() else "utf-8"
        self.assertEqual(fields["Final-Recipient"], f"{form}; {in_xtext(address(to))}")
        original = self.original(to)
        form = "utf-8" if to.endswith(WIDE_ORCPT) else "rfc822"
        self.assertEqual(fields["Original-Recipient"], original and f"{form};{original}")
        self.assertEqual(fields["Will-Retry-Until"] is not None, case.action == "delayed")

    def original(self, to):
        """What ORCPT says, as a report has it."""
        return {ORCPT: "First+Last@old.test.example", WIDE_ORCPT: "J\\x{F6}rg@old.test.example"}.get(
            next((orcpt for orcpt in (ORCPT, WIDE_ORCPT) if to.endswith(orcpt)), None))

    def others(self):
        """{path: what flufl.bounce and Mail::DeliveryStatus::BounceParser find} of all reports."""
        paths = sorted((self.folder / "reports/new").glob("*"))
        python = [sys.executable, "-c", PYTHON, *paths]
        perl = ["perl", f"-I{PARSERS}/share/perl5", "-e", PERL, *paths]
        environment = {**os.environ, "PYTHONPATH": str(PARSERS / "lib/python3/dist-packages")}
        found = []
        for command in (python, perl):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            found.append([json.loads(line) for line in done.stdout.splitlines()])
            self.assertEqual(len(found[-1]), len(paths))
        return {path.read_bytes(): each for path, *each in zip(paths, *found)}

    def check_others(self, case, found):
        """They find who failed, and nobody where nobody did. flufl.bounce passes over addresses of type utf-8; BounceParser
        takes them as they are, and knows no delay."""
        (temporary, permanent), (kind, *theirs) = found
        told = [self.original(to) or address(to) for to in case.to if not to.startswith("good@")]
        in_ascii = [one for one in told if one.isascii() and "\\x" not in one]
        self.assertEqual(temporary, in_ascii if case.action == "delayed" else [])
        self.assertEqual(permanent, in_ascii if case.action == "failed" else [])
        self.assertEqual(kind, "bounce" if case.action == "failed" else "other")
        self.assertEqual(theirs, [in_xtext(one) for one in told] if case.action == "failed" else [])

    def golden(self, name, octets):
        path, text = GOLDEN / f"{name}.eml", normalised(octets)
        if os.environ.get("WAYPOST_GOLDEN") == "write":
            GOLDEN.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.assertTrue(path.exists(), f"no {path}: WAYPOST_GOLDEN=write makes it")
        self.assertEqual(text, path.read_text())

    def test_each_kind(self):
        relays = self.start()
        for case in CASES:
            self.send(relays[case.relay], case)
        senders = {case.sender() for case in CASES}
        harness.wait_for("a report of each", lambda: set(self.reports()) >= senders, 40)
        reports = self.reports()
        self.assertEqual(set(reports), senders)
        others = self.others()
        for case in CASES:
            with self.subTest(case=case.name):
                self.assertEqual(len(reports[case.sender()]), 1)
                octets = reports[case.sender()][0]
                self.read(case, octets)
                self.golden(case.name, octets)
                self.check_others(case, others[octets])
        if os.environ.get("WAYPOST_GOLDEN") == "write":
            known = {f"{name}.eml" for name in [*(case.name for case in CASES), *OTHERS]}
            for path in GOLDEN.iterdir():
                if path.name not in known:
                    path.unlink()

    def test_delay_over_and_digest(self):
        relay = self.start()["told"]
        self.send(relay, OVER)
        self.fail_for_nobody(relay, "bad@refuses.example", "worse@refuses.example")
        harness.wait_for("a report of the delay", lambda: len(self.reports().get(OVER.sender(), [])) == 1, 40)
        delayed = self.reports()[OVER.sender()][0]
        self.golden("over-delayed", delayed)
        self.busy = False
        harness.wait_for("one that it is over", lambda: len(self.reports()[OVER.sender()]) == 2, 40)
        over, = (octets for octets in self.reports()[OVER.sender()] if octets != delayed)
        self.read(OVER, over)
        self.golden("over", over)
        # Nobody is told of it but the postmaster, who is at the first domain.
        postmaster = "postmaster@office.test.example"
        harness.wait_for("a digest", lambda: postmaster in self.reports(), 40)
        self.assertEqual(set(self.reports()), {OVER.sender(), postmaster})
        self.assertEqual(len(self.reports()[postmaster]), 1)
        digest = self.reports()[postmaster][0]
        read = email.message_from_bytes(digest, policy=email.policy.strict)
        self.assertEqual((read["Return-Path"], read["Auto-Submitted"], read.get_content_type()), ("<>", "auto-generated", "text/plain"))
        self.assertEqual(read.defects, [])
        self.golden("digest", digest)


if __name__ == "__main__":
    harness.main()
