"""Messages to send: the e-mail samples of Python's test suite, awkward ones, and variations of both. All deterministic."""
import pathlib
import random
import re

PYTHON_SAMPLES = [pathlib.Path(f"/usr/lib/python3.11/test/{folder}") for folder in ("test_email/data", "")]


def from_python():
    """{name: content} of Debian's libpython3.11-testsuite."""
    found = {}
    for path in sorted(PYTHON_SAMPLES[0].glob("msg_*.txt")):
        found[path.name] = path.read_bytes()
    if len(found) < 40:
        raise AssertionError(f"no e-mail samples in {PYTHON_SAMPLES[0]}: install libpython3.11-testsuite")
    return {name: content for name, content in found.items() if b"\0" not in content}


def awkward():
    head = b"From: <a@client.test.example>\r\nSubject: awkward\r\n\r\n"
    rng = random.Random(7)
    binary = bytes(rng.choice(range(1, 256)) for _ in range(20000))
    return {
        "empty": b"",
        "one-newline": b"\r\n",
        "headers-only": b"Subject: headers only\r\nFrom: <a@client.test.example>\r\n",
        "headers-and-separator": head,
        "no-final-newline": head + b"the last line has no end",
        "no-headers": b"just text\r\nwithout a header section\r\n",
        "begins-with-space": b" like a continuation line\r\n\r\ntext\r\n",
        "begins-with-blank-line": b"\r\ntext after a blank line\r\n",
        "begins-with-dot": b".first\r\n" + head,
        "only-a-dot": b".",
        "only-dots": b".\r\n..\r\n...\r\n....\r\n.\r\n",
        "dot-lines": head + b".\r\n..\r\n.a\r\na.\r\n. \r\n.\r\n\r\n.\r\n",
        "ends-with-dot-line": head + b"text\r\n.\r\n",
        "ends-with-blank-lines": head + b"text\r\n" + b"\r\n" * 100,
        "8-bit": head + bytes(range(128, 256)) + b"\r\n" + "Grüße, привет, 你好\r\n".encode(),
        "8-bit-header": "Subject: Grüße\r\nX-Latin: \xe4\xf6\r\n\r\n".encode("latin-1") + b"text\r\n",
        "every-octet": head + bytes(n for n in range(1, 256) if n not in (10, 13)) + b"\r\n",
        "bare-lf": head + b"one\ntwo\n\nthree\r\n",
        "bare-cr": head + b"one\rtwo\r\rthree\r\n",
        "cr-cr-lf": head + b"one\r\r\ntwo\r\r\r\nthree\r\n",
        "lf-cr": head + b"one\n\rtwo\n\r\n\rthree\r\n",
        "lf-dot-lf": head + b"before\n.\nafter\r\n",
        "lf-dot-crlf": head + b"before\n.\r\nafter\r\n",
        "crlf-dot-lf": head + b"before\r\n.\nafter\r\n",
        "cr-dot-cr": head + b"before\r.\rafter\r\n",
        "cr-dot-crlf": head + b"before\r.\r\nafter\r\n",
        "crlf-dot-cr": head + b"before\r\n.\rafter\r\n",
        "smuggled": head + b"text\n.\nMAIL FROM:<x@x.example>\nRCPT TO:<y@y.example>\nDATA\nno\n.\n",
        "ends-in-cr": head + b"text\r",
        "ends-in-lf": head + b"text\n",
        "ends-in-lf-dot": head + b"text\n.",
        "bare-lf-headers": b"Subject: unix\nFrom: <a@client.test.example>\n\ntext\nmore\n",
        "long-line-998": head + b"x" * 998 + b"\r\n",
        "long-line-999": head + b"x" * 999 + b"\r\n",
        "long-line-100k": head + b"y" * 100_000 + b"\r\n",
        "long-lines-of-dots": head + (b"." * 100_000 + b"\r\n") * 3,
        "long-line-no-end": head + b"z" * 300_000,
        "long-header": b"X-Long: " + b"h" * 60_000 + b"\r\n\r\ntext\r\n",
        "folded-header": b"X-Folded: a\r\n" + b" folded\r\n" * 500 + b"\tand tabbed\r\n\r\ntext\r\n",
        "many-headers": b"".join(b"X-Header-%d: value %d\r\n" % (n, n) for n in range(900)) + b"\r\ntext\r\n",
        "no-colon-header": b"this is no header\r\nSubject: after it\r\n\r\ntext\r\n",
        "own-return-path": b"Return-Path: <forged@x.example>\r\nDelivered-To: someone@else.example\r\n" + head + b"text\r\n",
        "received-lines": b"Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 30 + head,
        "from-line": b"From someone Mon Jan  1 00:00:00 2024\r\n" + head + b"From here\r\n>From there\r\n",
        "binary": head + binary,
        "commands": head + b"QUIT\r\nRSET\r\nDATA\r\n354 go on\r\n250 ok\r\n",
        "tabs-and-trailing-space": head + b"\ttab \t \r\n   \r\n \r\n",
        "inline-limit": head + b"i" * (65536 - len(head) - 2) + b"\r\n",
        "above-inline-limit": head + b"j" * 65536 + b"\r\n",
        "1-MB-dots": head + b".\r\n" * 350_000,
        "30-MB": head + (b"k" * 76 + b"\r\n") * (30_000_000 // 78),
    }


def variations(base, count):
    """`count` messages made of pieces of `base`, with line ends, dots and 8-bit octets put in at random places."""
    rng = random.Random(11)
    names = sorted(name for name, content in base.items() if len(content) < 20_000)
    splinters = [b"\r\n", b"\n", b"\r", b".", b"\r\n.", b"\r\n.\r\n", b"\n.\n", b"\xff", b"\x80", b"\x1b", b" ", b"\t", b"\x7f"]
    found = {}
    for n in range(count):
        one, other = rng.choice(names), rng.choice(names)
        content = bytearray(base[one][: rng.randrange(len(base[one]) + 1)] + base[other][rng.randrange(len(base[other]) + 1):])
        for _ in range(rng.randrange(30)):
            at = rng.randrange(len(content) + 1)
            content[at:at] = rng.choice(splinters)
        found[f"variation-{n}-{one}-{other}"] = bytes(content)
    return found


def all_samples():
    base = from_python() | awkward()
    return base | variations(base, 320 - len(base))


def as_kept(content):
    """What a relay that keeps octets makes of content as sent by smtp.stuff(): CRLF for every bare CR and LF."""
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)
