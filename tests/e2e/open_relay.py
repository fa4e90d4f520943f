"""No open relay: what a stranger may try to have mail carried elsewhere, a form a row, with the reply that it gets
(PROTOCOL, RFC 5321 3.3, 3.6.1, 4.1.1.3, appendix C and F.2), and what came of it all: only mail for our own domains.
"""
import base64
import re
import subprocess

import harness
import smtp

STRANGER, TRUSTED = "127.0.0.2", "127.0.0.1"
AWAY, BACKUP = "127.0.0.66", "127.0.0.67"  # the sinks: of the route "*", and of the domain that we relay for
HELLO, MAIL, RCPT = "EHLO client.far.example", "MAIL FROM:<s@far.example>", "RCPT TO:<r@away.example>"
DENIED, ROUTED, NOBODY, LITERAL = "554 5.7.1", "550 5.7.1", "550 5.1.1", "550 5.1.2"
MALFORMED, PARAMETER, NOT_ASCII = "501 5.1.3", "501 5.5.4", "553 5.6.7"
SEQUENCE, LOGIN = "503 5.5.1", "530 5.7.0"


def plain(authorization, login, password):
    return base64.b64encode(f"{authorization}\0{login}\0{password}".encode()).decode()


def rcpt(argument, want=DENIED, sender="<s@far.example>", hello=HELLO):
    """A transaction with one recipient, which is refused, and DATA with it."""
    return [(hello, "250"), (f"MAIL FROM:{sender}", "250"), (f"RCPT TO:{argument}", want), ("DATA", SEQUENCE)]


def after(*steps):
    """What might have opened a door, and then an ordinary attempt."""
    return [(HELLO, "250"), *steps, (MAIL, "250"), (RCPT, DENIED), ("DATA", SEQUENCE)]


def taken(form, argument, *more):
    """What is rightly accepted. `more`: steps between RCPT and DATA."""
    return [(HELLO, "250"), (MAIL, "250"), (f"RCPT TO:{argument}", "250 2.1.5"), *more, ("DATA", "354"),
            (f"Subject: {form}\r\n\r\ntext\r\n.", "250 2.0.0")]


# On the MX listener. A form; lines and what each gets: the start of a reply, a list of them for several, or "closed".
MX = [
    # The address as it is.
    ("plain", rcpt("<r@away.example>")),
    ("upper case", rcpt("<R@AWAY.EXAMPLE>")),
    ("verbs in lower case", after(("rset", "250"))),
    ("HELO", rcpt("<r@away.example>", hello="HELO client.far.example")),
    ("trailing dot", rcpt("<r@away.example.>")),
    ("postmaster elsewhere", rcpt("<postmaster@away.example>")),
    ("a name of one label", rcpt("<r@away>")),
    ("localhost", rcpt("<r@localhost>")),
    ("our host's name", rcpt("<r@relay.test.example>")),
    ("an A-label", rcpt("<r@xn--wy-pka.example>")),

    # Names that look like one of ours.
    ("below our domain", rcpt("<ann@sub.own.example>")),
    ("above our domain", rcpt("<ann@example>")),
    ("our domain as a prefix", rcpt("<ann@own.example.away.example>")),
    ("our domain as the end of a label", rcpt("<ann@notown.example>")),
    ("a relay domain as the end of a label", rcpt("<r@notbackup.example>")),
    ("below a relay domain without wildcard", rcpt("<r@sub.backup.example>")),
    ("the domain of a wildcard itself", rcpt("<r@wild.example>")),
    ("two trailing dots", rcpt("<ann@own.example..>", MALFORMED)),
    ("a dot in front", rcpt("<ann@.own.example>", MALFORMED)),
    ("two dots within", rcpt("<ann@own..example>", MALFORMED)),
    ("only a dot", rcpt("<ann@.>", MALFORMED)),

    # Source routes: dropped, and never a permission.
    ("route by us", rcpt("<@own.example:r@away.example>")),
    ("route by our host", rcpt("<@relay.test.example:r@away.example>")),
    ("route by two of ours", rcpt("<@own.example,@backup.example:r@away.example>")),
    ("route by a relay domain", rcpt("<@backup.example:r@away.example>")),
    ("route by a literal", rcpt("<@[127.0.0.1]:r@away.example>", MALFORMED)),
    ("route in a route", rcpt("<@own.example:@away.example:ann@own.example>", MALFORMED)),
    ("route with spaces", rcpt("<@own.example, @own.example:r@away.example>", MALFORMED)),
    ("route with a percent", rcpt("<@own.example:r%away.example@backup.example>", ROUTED)),
    ("route without a mailbox", rcpt("<@own.example:>", MALFORMED)),
    ("route without a colon", rcpt("<@own.example,r@away.example>", MALFORMED)),
    ("a colon in front", rcpt("<:r@away.example>", MALFORMED)),
    ("a colon behind our domain", rcpt("<own.example:r@away.example>", MALFORMED)),

    # An address within the local part.
    ("percent at our domain", rcpt("<r%away.example@own.example>", NOBODY)),
    ("percent twice at our domain", rcpt("<r%away.example%own.example@own.example>", NOBODY)),
    ("percent at a relay domain", rcpt("<r%away.example@backup.example>", ROUTED)),
    ("percent below a wildcard", rcpt("<r%away.example@a.wild.example>", ROUTED)),
    ("percent at our host's name", rcpt("<r%away.example@relay.test.example>")),
    ("percent at our literal", rcpt("<r%away.example@[127.0.0.1]>", LITERAL)),
    ("percent without a domain", rcpt("<r%away.example>", MALFORMED)),
    ("percent in the domain", rcpt("<r@away.example%own.example>", MALFORMED)),
    ("percent, quoted, at a relay domain", rcpt('<"r%away.example"@backup.example>', ROUTED)),
    ("percent-encoded @ at a relay domain", rcpt("<r%40away.example@backup.example>", ROUTED)),
    ("bang at our domain", rcpt("<away.example!r@own.example>", NOBODY)),
    ("bang at a relay domain", rcpt("<away.example!r@backup.example>", ROUTED)),
    ("bangs, us first", rcpt("<own.example!away.example!r@backup.example>", ROUTED)),
    ("bang without a domain", rcpt("<away.example!r>", MALFORMED)),
    ("bangs without a domain", rcpt("<own.example!away.example!r>", MALFORMED)),
    ("quoted @ at our domain", rcpt('<"r@away.example"@own.example>', NOBODY)),
    ("quoted @ at a relay domain", rcpt('<"r@away.example"@backup.example>', ROUTED)),
    ("quoted pair @ at a relay domain", rcpt('<"r\\@away.example"@backup.example>', ROUTED)),
    ("quoted pair @, unquoted", rcpt("<r\\@away.example@backup.example>", MALFORMED)),
    ("quoted @ without a domain", rcpt('<"r@away.example">', MALFORMED)),
    ("quoted route at a relay domain", rcpt('<"@away.example:r"@backup.example>', ROUTED)),
    ("quoted bracket, then elsewhere", rcpt('<"ann@own.example>"@away.example>')),
    ("quote that does not end", rcpt('<"ann@own.example>', MALFORMED)),
    ("quote that ends too early", rcpt('<"ann"r@away.example>', MALFORMED)),
    ("encoded word at our domain", rcpt("<=?utf-8?q?r=40away.example?=@own.example>", NOBODY)),
    ("two @, ours last", rcpt("<r@away.example@own.example>", MALFORMED)),
    ("two @, ours first", rcpt("<ann@own.example@away.example>", MALFORMED)),
    ("@ in front", rcpt("<@away.example>", MALFORMED)),
    ("@ twice in a row", rcpt("<r@@away.example>", MALFORMED)),
    ("local part too long", rcpt(f"<{'r' * 256}@away.example>", MALFORMED)),
    ("line too long", rcpt(f"<{'r' * 3000}@away.example>", "500 5.5.2")),

    # Literals.
    ("another's IPv4", rcpt("<r@[192.0.2.7]>", LITERAL)),
    ("the next hop's IPv4", rcpt(f"<r@[{AWAY}]>", LITERAL)),
    ("our IPv4, no postmaster", rcpt("<r@[127.0.0.1]>", LITERAL)),
    ("the client's own IPv4, postmaster", rcpt(f"<postmaster@[{STRANGER}]>", LITERAL)),
    ("another's IPv6", rcpt("<r@[IPv6:2001:db8::1]>", LITERAL)),
    ("loopback by IPv6", rcpt("<r@[IPv6:::1]>", LITERAL)),
    ("mapped IPv4", rcpt(f"<r@[IPv6:::ffff:{AWAY}]>", LITERAL)),
    ("IPv4 without brackets", rcpt(f"<r@{AWAY}>")),
    ("IPv4 in two numbers", rcpt("<r@[127.66]>", MALFORMED)),
    ("IPv4 in one number", rcpt("<r@[2130706498]>", MALFORMED)),
    ("IPv4 in hexadecimal", rcpt("<r@[0x7f000042]>", MALFORMED)),
    ("IPv4 behind #", rcpt("<r@#2130706498>", MALFORMED)),
    ("IPv4 as IPv6", rcpt(f"<r@[IPv6:{AWAY}]>", MALFORMED)),
    ("IPv6 without its tag", rcpt("<r@[2001:db8::1]>", MALFORMED)),
    ("literal with a port", rcpt(f"<r@[{AWAY}:25]>", MALFORMED)),
    ("literal with a name", rcpt("<r@[away.example]>", MALFORMED)),
    ("literal that does not end", rcpt(f"<r@[{AWAY}>", MALFORMED)),
    ("literal below our domain", rcpt(f"<r@[{AWAY}].own.example>", MALFORMED)),
    ("empty literal", rcpt("<r@[]>", MALFORMED)),

    # Spaces, comments, brackets.
    ("space behind the colon", rcpt(" <r@away.example>")),
    ("tab behind the colon", rcpt("\t<r@away.example>")),
    ("space before the colon", [(HELLO, "250"), (MAIL, "250"), ("RCPT TO :<r@away.example>", PARAMETER), ("DATA", SEQUENCE)]),
    ("tab behind the verb", [(HELLO, "250"), (MAIL, "250"), ("RCPT\tTO:<r@away.example>", DENIED), ("DATA", SEQUENCE)]),
    ("space within", rcpt("<r @away.example>", MALFORMED)),
    ("space in front of the address", rcpt("< r@away.example>", MALFORMED)),
    ("space behind the address", rcpt("<r@away.example >", MALFORMED)),
    ("tab behind the address", rcpt("<r@away.example\t>", MALFORMED)),
    ("space, then our domain", rcpt("<r@away.example ann@own.example>", MALFORMED)),
    ("tab in quotes", rcpt('<"r\t"@away.example>', MALFORMED)),
    ("comment in the local part", rcpt("<r(ann@own.example)@away.example>", MALFORMED)),
    ("comment in the domain", rcpt("<r@away.example(own.example)>", MALFORMED)),
    ("comment behind the path", rcpt("<r@away.example> (own.example)", PARAMETER)),
    ("no brackets", rcpt("r@away.example", PARAMETER)),
    ("no opening bracket", rcpt("r@away.example>", PARAMETER)),
    ("no closing bracket", rcpt("<r@away.example", MALFORMED)),
    ("brackets twice", rcpt("<<r@away.example>>", MALFORMED)),
    ("a phrase before the path", rcpt('"ann@own.example" <r@away.example>', PARAMETER)),
    ("two paths, comma", rcpt("<ann@own.example>,<r@away.example>", PARAMETER)),
    ("two paths, space", rcpt("<ann@own.example> <r@away.example>", PARAMETER)),
    ("two addresses in a path", rcpt("<ann@own.example,r@away.example>", MALFORMED)),
    ("a semicolon", rcpt("<ann@own.example;r@away.example>", MALFORMED)),
    ("empty path", rcpt("<>", MALFORMED)),
    ("empty quotes", rcpt('<"">', MALFORMED)),
    ("NUL behind our domain", rcpt("<ann@own.example\0@away.example>", "501 5.5.2")),
    ("NUL behind another's", rcpt("<r@away.example\0@own.example>", "501 5.5.2")),
    ("a command behind CR", rcpt("<ann@own.example>\rRCPT TO:<r@away.example>", PARAMETER)),
    ("a command behind LF", [(HELLO, "250"), (MAIL, "250"), ("NOOP\nRCPT TO:<r@away.example>", ["250", DENIED]),
                             ("DATA", SEQUENCE)]),

    # Encodings.
    ("quoted-printable dot", rcpt("<r@away=2Eexample>", MALFORMED)),
    ("xtext @", rcpt("<r+40away.example>", MALFORMED)),
    ("a Cyrillic letter", rcpt("<r@\u0430way.example>", NOT_ASCII)),
    ("an ideographic full stop", rcpt("<ann@own\u3002example>", NOT_ASCII)),
    ("a fullwidth @", rcpt("<r\uff20away.example@own.example>", NOT_ASCII)),
    ("an overlong dot", rcpt("<r@away\udcc0\udcaeexample>", NOT_ASCII)),
    ("Latin 1", rcpt("<r\udce4@own.example>", NOT_ASCII)),

    # Parameters.
    ("ORCPT of ours", rcpt("<r@away.example> ORCPT=rfc822;ann@own.example")),
    ("NOTIFY", rcpt("<r@away.example> NOTIFY=NEVER")),
    ("AUTH= at RCPT", rcpt("<r@away.example> AUTH=ann@own.example", "555 5.5.4")),
    ("AUTH= at MAIL", [(HELLO, "250"), (f"{MAIL} AUTH=ann@own.example", "555 5.5.4"), (RCPT, SEQUENCE), ("DATA", SEQUENCE)]),
    ("XADDR= at MAIL", [(HELLO, "250"), (f"{MAIL} ADDR=127.0.0.1", "555 5.5.4"), (RCPT, SEQUENCE), ("DATA", SEQUENCE)]),

    # Who the client says it is.
    ("from our user", rcpt("<r@away.example>", sender="<ann@own.example>")),
    ("from our postmaster", rcpt("<r@away.example>", sender="<postmaster>")),
    ("from our host", rcpt("<r@away.example>", sender="<root@relay.test.example>")),
    ("from our literal", rcpt("<r@away.example>", sender="<root@[127.0.0.1]>")),
    ("from a relay domain", rcpt("<r@away.example>", sender="<s@backup.example>")),
    ("from localhost", rcpt("<r@away.example>", sender="<root@localhost>")),
    ("from itself", rcpt("<r@away.example>", sender="<r@away.example>")),
    ("from nobody", rcpt("<r@away.example>", sender="<>")),
    ("from our user by a route", rcpt("<r@away.example>", sender="<@own.example:ann@own.example>")),
    ("EHLO with our name", rcpt("<r@away.example>", hello="EHLO relay.test.example")),
    ("EHLO with our domain", rcpt("<r@away.example>", hello="EHLO own.example")),
    ("EHLO localhost", rcpt("<r@away.example>", hello="EHLO localhost")),
    ("EHLO with a trusted address", rcpt("<r@away.example>", hello=f"EHLO [{TRUSTED}]")),
    ("XCLIENT", after((f"XCLIENT ADDR={TRUSTED} NAME=localhost LOGIN=ann", "502 5.5.1"))),
    ("XFORWARD", after((f"XFORWARD ADDR={TRUSTED} NAME=localhost", "500 5.5.2"))),
    ("PROXY", [(f"PROXY TCP4 {TRUSTED} {TRUSTED} 40000 25", "500 5.5.2"), *rcpt("<r@away.example>")]),
    ("AUTH where there is none", after((f"AUTH PLAIN {plain('', 'ann', 'secret')}", "502 5.5.1"))),

    # Other commands.
    ("VRFY", after(("VRFY <r@away.example>", "252 2.0.0"))),
    ("EXPN", after(("EXPN r@away.example", "502 5.5.1"))),
    ("ETRN", after(("ETRN away.example", "502 5.5.1"))),
    ("ATRN", after(("ATRN away.example", "500 5.5.2"))),
    ("TURN", after(("TURN", "500 5.5.2"))),
    ("SEND", after(("SEND FROM:<s@far.example>", "500 5.5.2"))),
    ("SAML", after(("SAML FROM:<s@far.example>", "500 5.5.2"))),
    ("STARTTLS without a certificate", after(("STARTTLS", "502 5.5.1"))),

    # The order of things.
    ("RCPT without MAIL", [(HELLO, "250"), (RCPT, SEQUENCE), ("DATA", SEQUENCE)]),
    ("RCPT before EHLO", [(RCPT, SEQUENCE), (MAIL, SEQUENCE), ("DATA", SEQUENCE)]),
    ("the same again", [*rcpt("<r@away.example>")[:3], (RCPT, DENIED), (RCPT, DENIED), ("DATA", SEQUENCE)]),
    ("after RSET", after((MAIL, "250"), ("RCPT TO:<ann@own.example>", "250"), ("RSET", "250"))),
    ("after EHLO again", after((MAIL, "250"), ("RCPT TO:<ann@own.example>", "250"), ("EHLO relay.test.example", "250"))),
    ("after HELO", after((MAIL, "250"), ("RCPT TO:<ann@own.example>", "250"), ("HELO relay.test.example", "250"))),
    ("another MAIL within", [(HELLO, "250"), (MAIL, "250"), ("MAIL FROM:<ann@own.example>", SEQUENCE), (RCPT, DENIED)]),
    ("pipelined with DATA", [(HELLO, "250"), (f"{MAIL}\r\n{RCPT}\r\nDATA", ["250", DENIED, "554 5.5.1"])]),
    ("pipelined with the message", [(HELLO, "250"), (f"{MAIL}\r\n{RCPT}\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.",
                                                     ["250", DENIED, "554 5.5.0", "closed"])]),
    ("pipelined with BDAT", [(HELLO, "250"), (f"{MAIL}\r\n{RCPT}\r\nBDAT 4 LAST\r\nab\r\nNOOP", ["250", DENIED, "554 5.5.1", "250"])]),
    ("BDAT behind it", [*rcpt("<r@away.example>")[:3], ("BDAT 4 LAST\r\nab\r\nNOOP", [SEQUENCE, "250"])]),
    ("commands in a refused BDAT", [*rcpt("<r@away.example>")[:3], (f"BDAT {len(MAIL) + 2} LAST\r\n{MAIL}", SEQUENCE), (RCPT, DENIED)]),
    ("RCPT between chunks", [(HELLO, "250"), (MAIL, "250"), ("RCPT TO:<ann@own.example>", "250"), ("BDAT 4\r\nab", "250"),
                             (RCPT, SEQUENCE), ("RSET", "250")]),
]

# On the submission listener, where nobody gets further without a login.
SUBMISSION = [
    ("plain", [(HELLO, "250"), (MAIL, LOGIN), (RCPT, SEQUENCE), ("DATA", SEQUENCE)]),
    ("to our own domain", [(HELLO, "250"), (MAIL, LOGIN), ("RCPT TO:<ann@own.example>", SEQUENCE), ("DATA", SEQUENCE)]),
    ("from our user", [(HELLO, "250"), ("MAIL FROM:<ann@own.example>", LOGIN), (RCPT, SEQUENCE)]),
    ("from nobody", [(HELLO, "250"), ("MAIL FROM:<>", LOGIN), ("RCPT TO:<postmaster>", SEQUENCE)]),
    ("AUTH= at MAIL", [(HELLO, "250"), (f"{MAIL} AUTH=ann@own.example", LOGIN), (RCPT, SEQUENCE)]),
    ("AUTH=<> at MAIL", [(HELLO, "250"), (f"{MAIL} AUTH=<>", LOGIN), (RCPT, SEQUENCE)]),
    ("pipelined", [(HELLO, "250"), (f"{MAIL}\r\n{RCPT}\r\nDATA", [LOGIN, SEQUENCE, SEQUENCE])]),
    ("wrong password", [(HELLO, "250"), (f"AUTH PLAIN {plain('', 'ann', 'wrong')}", "535 5.7.8"), (MAIL, LOGIN), (RCPT, SEQUENCE)]),
    ("another's identity", [(HELLO, "250"), (f"AUTH PLAIN {plain('ann', 'bob', 'wrong')}", "535 5.7.8"), (MAIL, LOGIN)]),
    ("nobody's name and password", [(HELLO, "250"), (f"AUTH PLAIN {plain('', '', '')}", "535 5.7.8"), (MAIL, LOGIN)]),
    ("an empty response", [(HELLO, "250"), ("AUTH PLAIN =", "501 5.5.2"), (MAIL, LOGIN)]),
    ("no base64", [(HELLO, "250"), ("AUTH PLAIN ****", "501 5.5.2"), (MAIL, LOGIN)]),
    ("AUTH given up", [(HELLO, "250"), ("AUTH PLAIN", "334"), ("*", "501 5.7.0"), (MAIL, LOGIN)]),
    ("AUTH ANONYMOUS", [(HELLO, "250"), ("AUTH ANONYMOUS cg==", "504 5.5.4"), (MAIL, LOGIN)]),
    ("AUTH EXTERNAL", [(HELLO, "250"), ("AUTH EXTERNAL YW5u", "504 5.5.4"), (MAIL, LOGIN)]),
    ("AUTH after HELO", [("HELO client.far.example", "250"), (f"AUTH PLAIN {plain('', 'ann', 'secret')}", SEQUENCE), (MAIL, LOGIN)]),
    ("AUTH with MAIL behind it", [(HELLO, "250"), (f"AUTH PLAIN {plain('', 'ann', 'wrong')}\r\n{MAIL}", ["554 5.5.0", "closed"])]),
    ("XCLIENT", [(HELLO, "250"), ("XCLIENT LOGIN=ann", "502 5.5.1"), (MAIL, LOGIN)]),
]

# What is ours, so that the table above is no wall that stands before everything; and what hides in it.
TAKEN = [
    ("our user", "<ann@own.example>"),
    ("our user, upper case and a dot", "<ANN@Own.Example.>"),
    ("our user by way of others", "<@away.example,@far.example:ann@own.example>"),
    ("our user with another's ORCPT", "<ann@own.example> ORCPT=rfc822;r@away.example"),
    ("our user with a percent in the detail", "<ann+r%away.example@own.example>"),
    ("our user, quoted", '<"ann"@own.example>'),
    ("postmaster", "<PostMaster>"),
    ("postmaster of our host", "<postmaster@relay.test.example>"),
    ("postmaster at our literal", "<postmaster@[127.0.0.1]>"),
    ("a relay domain", "<r@BACKUP.example>"),
    ("below a wildcard", "<r@a.wild.example>"),
    ("our user, and one elsewhere", "<ann@own.example>", (RCPT, DENIED)),
]


class OpenRelay(harness.TestCase):
    def play(self, port, steps, source=STRANGER):
        """What went otherwise than it should, or None. A step after which we were sent away is the last."""
        client = smtp.Client(port, greet=False, source=source, timeout=20)
        try:
            client.reply()
            for line, wants in steps:
                client.socket.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
                for want in [wants] if isinstance(wants, str) else wants:
                    try:
                        code, text = client.reply()
                        got = f"{code} {text}"
                    except ConnectionError:
                        got = "closed"
                    if not got.startswith(want):
                        return f"{line!r:.200}: want {want}, got {got}"
            return None
        finally:
            client.close()

    def test_strangers(self):
        away = smtp.Sink(harness.free_port(), AWAY)
        backup = smtp.Sink(harness.free_port(), BACKUP)
        self.addCleanup(away.stop)
        self.addCleanup(backup.stop)
        relay = self.waypost(
            auth=f'users = "{self.folder}/users"\nrequire_tls = false',
            relay=f'networks = ["{TRUSTED}/32"]\ndomains = ["backup.example", "*.wild.example"]',
            limits="connections_per_client = 1000",
            extra=f"""
                [[domain]]
                name = "own.example"
                deliver = "maildir:{self.folder}/waypost/mail"
                recipients = ["ann"]
                sub_address = "+"
                [[route]]
                match = "backup.example"
                next_hop = "smtp:[{BACKUP}]:{backup.port}"
                [[route]]
                match = "*.wild.example"
                next_hop = "smtp:[{BACKUP}]:{backup.port}"
                [[route]]
                match = "*"
                next_hop = "smtp:[{AWAY}]:{away.port}"
            """)
        subprocess.run([harness.WAYPOST, "--config", relay.config, "user", "add", "ann"], input="secret\n", text=True,
                               check=True, capture_output=True)
        relay.start()

        wrong = []
        for port, name, table in ((relay.mx, "mx", MX), (relay.submission, "submission", SUBMISSION)):
            self.assertEqual(len({form for form, _ in table}), len(table), "a form has a name of its own")
            for form, steps in table:
                if found := self.play(port, steps):
                    wrong.append(f"{name}, {form}: {found}")
        for form, argument, *more in TAKEN:
            if found := self.play(relay.mx, taken(form, argument, *more)):
                wrong.append(f"{form}: {found}")
        # What looks like commands to another host is content here.
        hidden = "hidden in a message"
        ends = ["\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n"]
        content = "".join(f"text{end}{MAIL}{end[-1]}{RCPT}{end[-1]}DATA{end[-1]}Subject: evil\r\n\r\n" for end in ends)
        if found := self.play(relay.mx, [*taken(hidden, "<ann@own.example>")[:-1],
                                         (f"Subject: {hidden}\r\n\r\n{content}\r\n.", "250 2.0.0"), ("NOOP", "250")]):
            wrong.append(f"{hidden}: {found}")
        self.assertEqual(wrong, [])
        forms = len(MX) + len(SUBMISSION)
        print(f"{forms} forms refused, {len(TAKEN) + 1} messages rightly taken")
        self.assertGreaterEqual(forms, 60)

        # What came of it: each of these once, nothing else, and nobody was asked where the route "*" leads.
        relay.wait_empty(30)
        relayed = ["a relay domain", "below a wildcard"]
        subjects = lambda contents: sorted(re.search(rb"^Subject: (.*?)\r?$", each, re.M)[1].decode() for each in contents)
        self.assertEqual(subjects(message.content for message in backup.messages), relayed)
        self.assertEqual(subjects(path.read_bytes() for path in (relay.maildir / "new").iterdir()),
                         sorted([form for form, *_ in TAKEN if form not in relayed] + [hidden]))
        self.assertEqual(away.connections, 0)
        self.assertEqual(relay.logged(r"\(queue active\)", len(TAKEN) + 1).count("(queue active)"), len(TAKEN) + 1)

        # The way there is open to those who may use it.
        self.assertIsNone(self.play(relay.mx, [(HELLO, "250"), (MAIL, "250"), (RCPT, "250"), ("DATA", "354"), ("text\r\n.", "250")],
                                    source=TRUSTED))
        harness.wait_for("the trusted client's message", lambda: away.messages, 20)
        self.assertIsNone(self.play(relay.submission, [
            (HELLO, "250"), (f"AUTH PLAIN {plain('', 'ann', 'secret')}", "235 2.7.0"), (MAIL, "250"), (RCPT, "250"), ("DATA", "354"),
            ("text\r\n.", "250")]))
        harness.wait_for("the message of who logged in", lambda: len(away.messages) == 2, 20)
        self.assertEqual(relay.stop(), 0)


if __name__ == "__main__":
    harness.main()
