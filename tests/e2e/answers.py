"""What exchangers and DNS answer, and what becomes of it: bounces that Python's `email` reads, and retries."""
import email
import email.policy
import smtplib
import subprocess

import harness
import smtp

RECORDS = [
    "null MX 0 .",
    "refuses MX 10 mx-refuses", "mx-refuses A 127.0.0.31",
    "later MX 10 mx-later", "mx-later A 127.0.0.32",
    # d.nodata.example exists without addresses or exchangers.
    "nodata TXT nothing",
]
ORIGINAL_SUBJECT = "What becomes of it"


class Answers(harness.TestCase):
    def swaks(self, relay, recipient):
        """swaks sends one message; returns its Message-ID."""
        message_id = f"<{recipient.replace('@', '.')}@client.test.example>"
        done = subprocess.run(
            ["swaks", "--server", "127.0.0.1", "--port", str(relay.mx), "--helo", "client.test.example",
             "--from", "sender@office.test.example", "--to", recipient, "--header", f"Subject: {ORIGINAL_SUBJECT}",
             "--header", f"Message-Id: {message_id}", "--body", "Some text."],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return message_id

    def check_report(self, octets, recipients, action="failed"):
        """A multipart/report of the recipients ({address: a tuple of accepted Status values}). Returns the message."""
        self.assertNotRegex(octets.replace(b"\r\n", b"\n"), rb"\r", "no stray CR")
        report = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(report.defects, [])
        self.assertEqual(report["Return-Path"], "<>")
        self.assertTrue(report["Date"] and report["Message-ID"] and report["From"] and report["Subject"])
        self.assertIn("sender@office.test.example", report["To"])
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        self.assertEqual(report["MIME-Version"], "1.0")
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        text, status, original = report.iter_parts()
        self.assertEqual(text.get_content_maintype(), "text")
        for recipient in recipients:
            self.assertIn(recipient, text.get_content())
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        per_message, *per_recipient = status.get_payload()
        self.assertEqual(per_message["Reporting-MTA"], "dns; relay.test.example")
        self.assertEqual(len(per_recipient), len(recipients))
        for fields in per_recipient:
            address = fields["Final-Recipient"].removeprefix("rfc822;").strip()
            self.assertIn(fields["Status"].split()[0], recipients[address])
            self.assertEqual(fields["Action"], action)
        self.assertIn(original.get_content_type(), ("text/rfc822-headers", "message/rfc822"))
        headers = original.as_bytes().split(b"\n\n", 1)[1]
        self.assertEqual(email.message_from_bytes(headers)["Subject"], ORIGINAL_SUBJECT)
        return report

    def start(self, **sections):
        self.port = harness.free_port()
        dns = harness.NameServer(self.folder / "dns", RECORDS)
        sections.setdefault("queue", 'retry = ["1s", "1s", "2s"]')
        aliases = self.folder / "aliases"
        aliases.write_text("team: one, two\n")
        return self.waypost(
            resolver=f'servers = ["127.0.0.1:{dns.port}"]\ntimeout = "2s"\ntries = 2',
            delivery=f'port = {self.port}\nconnect_timeout = "5s"',
            extra=f"""
                [[domain]]
                name = "office.test.example"
                deliver = "maildir:{self.folder}/waypost/mail/{{domain}}/{{local}}"
                aliases = "{aliases}"
            """, **sections).start()

    def bounces(self, relay, count, timeout=30):
        return harness.wait_for(f"{count} bounces", lambda: len(found := relay.delivered("office.test.example", "sender"))
                                >= count and found, timeout)

    def test_bounces_and_retry(self):
        relay = self.start()
        asked = []

        def refuse(verb, argument, state):
            return b"550 5.7.1 not from <you>\r\n" if verb == "RCPT" else None

        def later(verb, argument, state):
            if verb != "RCPT":
                return None
            asked.append(argument)
            return b"450 4.2.1 busy, come back\r\n" if len(asked) == 1 else None

        smtp.Sink(self.port, "127.0.0.31", refuse)
        slow = smtp.Sink(self.port, "127.0.0.32", later)
        cases = {  # recipient: accepted Status values
            "one@null.example": ("5.1.10",),
            "two@nowhere.example": ("5.1.2",),
            "three@refuses.example": ("5.7.1",),
        }
        sent = {recipient: self.swaks(relay, recipient) for recipient in cases}
        self.swaks(relay, "four@later.example")

        bounces = self.bounces(relay, 3)
        by_recipient = {}
        for octets in bounces:
            report = email.message_from_bytes(octets, policy=email.policy.default)
            status = next(part for part in report.iter_parts() if part.get_content_type() == "message/delivery-status")
            recipient = status.get_payload()[1]["Final-Recipient"].removeprefix("rfc822;").strip()
            by_recipient[recipient] = octets
        self.assertEqual(set(by_recipient), set(cases))
        for recipient, codes in cases.items():
            report = self.check_report(by_recipient[recipient], {recipient: codes})
            self.assertEqual(report["In-Reply-To"], sent[recipient])
        refused = email.message_from_bytes(by_recipient["three@refuses.example"])
        fields = refused.get_payload()[1].get_payload()[1]
        self.assertRegex(fields["Diagnostic-Code"], r"^smtp; *550 5\.7\.1 not from <you>")
        self.assertIn("127.0.0.31", fields["Remote-MTA"] + fields["Diagnostic-Code"] + refused.as_string())

        message = harness.wait_for("the deferred message", lambda: slow.messages, 30)[0]
        self.assertEqual(message.recipients, ["four@later.example"])
        self.assertEqual(len(asked), 2)
        relay.wait_empty(30)
        self.assertEqual(len(relay.delivered("office.test.example", "sender")), 3, "no fourth report")

    def test_success_is_told_where_asked(self):
        """RFC 3461: to a Maildir of ours it is delivered; to a host without DSN it is relayed; to one with, it is asked."""
        relay = self.start()
        plain = smtp.Sink(self.port, "127.0.0.31")
        asked = []

        def promises(verb, argument, state):
            if verb in ("MAIL", "RCPT"):
                asked.append(argument.decode())

        with_dsn = smtp.Sink(self.port, "127.0.0.32", promises)
        with_dsn.extensions = [*smtp.Sink.extensions, b"DSN"]
        with smtplib.SMTP("127.0.0.1", relay.mx, local_hostname="client.test.example") as client:
            for recipient in ("here@office.test.example", "r@refuses.example", "r@later.example"):
                refused = client.sendmail("sender@office.test.example", [recipient],
                                          f"Subject: {ORIGINAL_SUBJECT}\r\n\r\ntext\r\n",
                                          mail_options=["RET=HDRS", "ENVID=QQ314159"],
                                          rcpt_options=["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;{recipient}"])
                self.assertEqual(refused, {})
        reports = self.bounces(relay, 2)
        relay.wait_empty(30)
        self.assertEqual(len(relay.delivered("office.test.example", "sender")), 2, "none of the host that promised")
        for octets in reports:
            local = b"here@office.test.example" in octets
            recipient = "here@office.test.example" if local else "r@refuses.example"
            report = self.check_report(octets, {recipient: ("2.0.0",)}, action="delivered" if local else "relayed")
            fields = report.get_payload()[1].get_payload()
            self.assertEqual(fields[0]["Original-Envelope-Id"], "QQ314159")
            self.assertEqual(fields[1]["Original-Recipient"], f"rfc822;{recipient}")
        self.assertEqual(len(plain.messages), 1)
        self.assertEqual(len(with_dsn.messages), 1)
        said = " ".join(asked)
        for parameter in ("RET=HDRS", "ENVID=QQ314159", "NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;r@later.example"):
            self.assertIn(parameter, said)

    def test_an_alias_is_expanded(self):
        """RFC 3461 section 5.2.7.3: the sender hears that an alias of several was expanded, once, and of nobody behind it."""
        relay = self.start()
        with smtplib.SMTP("127.0.0.1", relay.mx, local_hostname="client.test.example") as client:
            client.sendmail("sender@office.test.example", ["team@office.test.example"],
                            f"Subject: {ORIGINAL_SUBJECT}\r\n\r\ntext\r\n", rcpt_options=["NOTIFY=SUCCESS"])
        report = self.bounces(relay, 1)[0]
        self.check_report(report, {"team@office.test.example": ("2.0.0",)}, action="expanded")
        relay.wait_empty(30)
        self.assertEqual(len(relay.delivered("office.test.example", "sender")), 1)
        for name in ("one", "two"):
            self.assertEqual(len(relay.delivered("office.test.example", name)), 1)

    def test_recipients_of_one_message(self):
        """One message to several: each has its own end, and those that fail together share a report."""
        relay = self.start()

        def some(verb, argument, state):
            if verb == "RCPT" and b"bad" in argument:
                return b"553 5.1.1 no such user\r\n"

        sink = smtp.Sink(self.port, "127.0.0.31", some)
        with smtp.Client(relay.mx) as client:
            content = f"Subject: {ORIGINAL_SUBJECT}\r\n\r\ntext\r\n".encode()
            reply = client.send("sender@office.test.example",
                                ["good1@refuses.example", "bad1@refuses.example", "good2@refuses.example",
                                 "bad2@refuses.example"], content)
            self.assertEqual(reply[0], 250, reply)
        bounce = self.bounces(relay, 1)[0]
        self.check_report(bounce, {"bad1@refuses.example": ("5.1.1",), "bad2@refuses.example": ("5.1.1",)})
        relay.wait_empty(30)
        self.assertEqual(sorted(r for m in sink.messages for r in m.recipients),
                         ["good1@refuses.example", "good2@refuses.example"])
        self.assertEqual(len(relay.delivered("office.test.example", "sender")), 1)

    def test_null_sender_is_never_answered(self):
        relay = self.start()
        with smtp.Client(relay.mx) as client:
            self.assertEqual(client.send("", "one@null.example", b"Subject: a bounce\r\n\r\n")[0], 250)
            self.assertEqual(client.send("", "two@nowhere.example", b"Subject: a bounce\r\n\r\n")[0], 250)
        relay.wait_empty(30)
        self.assertEqual(list(relay.maildir.glob("*/*/new/*")), [])

    def test_expiry(self):
        relay = self.start(queue='retry = ["1s"]\nexpire = "4s"\ndelay_warning = "0s"')
        with smtp.Client(relay.mx) as client:  # nobody listens on 127.0.0.31
            content = f"Subject: {ORIGINAL_SUBJECT}\r\n\r\ntext\r\n".encode()
            self.assertEqual(client.send("sender@office.test.example", "late@refuses.example", content)[0], 250)
        bounce = self.bounces(relay, 1, 40)[0]
        self.check_report(bounce, {"late@refuses.example": ("4.4.7", "5.4.7", "4.4.1", "5.4.1")})
        relay.wait_empty(30)

    def test_delay_warning(self):
        relay = self.start(queue='retry = ["1s"]\nexpire = "1h"\ndelay_warning = "2s"')
        with smtp.Client(relay.mx) as client:
            content = f"Subject: {ORIGINAL_SUBJECT}\r\n\r\ntext\r\n".encode()
            self.assertEqual(client.send("sender@office.test.example", "late@refuses.example", content)[0], 250)
        notice = self.bounces(relay, 1, 40)[0]
        self.check_report(notice, {"late@refuses.example": ("4.4.1", "4.4.7", "4.4.2")}, action="delayed")
        self.assertEqual(relay.queued(), 1)


if __name__ == "__main__":
    harness.main()
