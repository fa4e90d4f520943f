#include "delivery/conversion.h"

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/delivery/reference_mime.h"

using namespace waypost;
using namespace waypost::delivery;
using namespace std::string_literals;
using Verdict = Conversion::Verdict;

namespace {

Conversion scan(std::string_view message, std::size_t chunk = SIZE_MAX) {
  ConversionScan scan;
  for (std::string_view rest = message; !rest.empty(); rest.remove_prefix(std::min(chunk, rest.size())))
    scan.feed(rest.substr(0, chunk));
  return scan.finish();
}

std::string convert(std::string_view message, const Conversion& conversion, std::size_t chunk = SIZE_MAX) {
  Converter converter(conversion);
  std::string out;
  for (std::string_view rest = message; !rest.empty(); rest.remove_prefix(std::min(chunk, rest.size())))
    converter.feed(rest.substr(0, chunk), out);
  converter.finish(out);
  CHECK(converter.octets() == out.size());
  return out;
}

bool same(const Conversion& a, const Conversion& b) {
  return a.verdict == b.verdict && a.eight_bit_header == b.eight_bit_header && a.octets_left == b.octets_left &&
         a.entities == b.entities;
}

/// The converted message, after all that holds for every message was looked at.
std::string converted(std::string_view message) {
  Conversion conversion = scan(message);
  std::string out = convert(message, conversion);
  for (std::size_t chunk = 1; chunk <= std::min<std::size_t>(message.size(), 80); ++chunk) {
    CHECK(same(scan(message, chunk), conversion));
    CHECK(convert(message, conversion, chunk) == out);
  }
  CHECK((out != message) == (conversion.verdict == Verdict::convertible));
  if (conversion.verdict > Verdict::convertible) return out;

  CHECK(reference::compare(message, out) == "");
  if (!conversion.octets_left) CHECK(reference::is_7bit(out));
  CHECK(scan(out).verdict == Verdict::unneeded);
  return out;
}

/// Lines, and a CRLF after each.
std::string lines(const std::vector<std::string>& all) {
  std::string out;
  for (const std::string& line : all) out += line + "\r\n";
  return out;
}

/// A MIME message: these fields and this body.
std::string mime(const std::vector<std::string>& fields, const std::string& body) {
  return lines({"Received: by relay.example", "MIME-Version: 1.0"}) + lines(fields) + "\r\n" + body;
}

std::string body_of(const std::string& message) {
  return message.substr(message.find("\r\n\r\n") + 4);
}

const std::string kAccent = "caf\xE9";

/// A row of a table: a message, and what becomes of it.
struct Row {
  std::string message;
  std::string want;
};

void check(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    CAPTURE(row.message);
    CHECK(converted(row.message) == row.want);
  }
}

void check_unchanged(const std::vector<std::string>& messages) {
  for (const std::string& message : messages) {
    CAPTURE(message);
    CHECK(converted(message) == message);
  }
}

}  // namespace

TEST_SUITE("delivery/conversion") {
  TEST_CASE("what is 7bit and says so stays as it is, octet by octet") {
    check_unchanged({
        "",
        "\r\n",
        "Subject: x\r\n",
        "Subject: x\r\n\r\n",
        "Subject: x\r\n\r\nno end",
        "no field\r\n",
        "Subject: x\r\nno field\r\n\r\nbody",
        mime({"Content-Transfer-Encoding: 7bit"}, std::string(998, 'x') + "\r\n"),
        mime({"Content-Transfer-Encoding: base64"}, "AAAA\r\n"),
        mime({"Content-Type: multipart/mixed; boundary=b"}, "before\r\n--b\r\n\r\none\r\n--b \t\r\n\r\n--b--\r\nafter"),
        mime({"Content-Type: multipart/mixed; boundary=b"}, "--b\r\nX: no end"),
        mime({"Content-Type: multipart/mixed; boundary=b"}, "--b\r\nX: y\r\n--b\r\n--b--"),
        mime({"Content-Type: message/rfc822"}, "Subject: inner\r\n\r\n-\r\n--\r\n---\r\n"),
        mime({"Content-Type: message/rfc822"}, ""),
    });
  }

  TEST_CASE("text becomes quoted-printable [RFC 6152 3]") {
    check({
        {mime({"Content-Type: text/plain; charset=iso-8859-1", "Content-Transfer-Encoding: 8bit"}, kAccent + "\r\n"),
         mime({"Content-Type: text/plain; charset=iso-8859-1", "Content-Transfer-Encoding: quoted-printable"},
              "caf=E9\r\n")},
        {mime({"content-transfer-encoding :\r\n BINARY (comment)", "Subject: x"}, kAccent),
         mime({"Content-Transfer-Encoding: quoted-printable", "Subject: x"}, "caf=E9")},
        // Its label says 7bit, or nothing: the octets are there all the same.
        {mime({"Content-Transfer-Encoding: 7bit"}, kAccent + "\r\n"),
         mime({"Content-Transfer-Encoding: quoted-printable"}, "caf=E9\r\n")},
        {mime({"Content-Type: text/html"}, kAccent + "\r\n"),
         mime({"Content-Type: text/html", "Content-Transfer-Encoding: quoted-printable"}, "caf=E9\r\n")},
        {mime({"Content-Type: text"}, kAccent + "\r\n"),
         mime({"Content-Type: text", "Content-Transfer-Encoding: quoted-printable"}, "caf=E9\r\n")},
        // Of two labels the first counts, and one is left.
        {mime({"Content-Transfer-Encoding: 8bit", "X: y", "Content-Transfer-Encoding: 7bit"}, kAccent + "\r\n"),
         mime({"Content-Transfer-Encoding: quoted-printable", "X: y"}, "caf=E9\r\n")},
        {mime({"Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64"}, kAccent + "\r\n"),
         mime({"Content-Transfer-Encoding: quoted-printable"}, "caf=E9\r\n")},
        // A report's fields are text, not a message of their own.
        {mime({"Content-Type: message/delivery-status"}, "Reporting-MTA: dns; " + kAccent + "\r\n\r\nX: y\r\n"),
         mime({"Content-Type: message/delivery-status", "Content-Transfer-Encoding: quoted-printable"},
              "Reporting-MTA: dns; caf=E9\r\n\r\nX: y\r\n")},
    });
  }

  TEST_CASE("a NUL, a bare CR or LF, or a line over 998 octets need it as well [RFC 2045 2.7]") {
    const std::string label = "Content-Transfer-Encoding: ";
    check({
        {mime({}, std::string("a\0b\r\n", 5)), mime({label + "quoted-printable"}, "a=00b\r\n")},
        {mime({}, "a\rb\nc\r\r\n\n"), mime({label + "quoted-printable"}, "a=0Db=0Ac=0D\r\n=0A")},
        {mime({}, "a\r"), mime({label + "quoted-printable"}, "a=0D")},
    });
    std::string long_line = converted(mime({}, std::string(999, 'x') + "\r\n"));
    CHECK(long_line.starts_with(mime({label + "quoted-printable"}, std::string(75, 'x') + "=\r\n")));
    CHECK(long_line.ends_with("\r\n" + std::string(24, 'x') + "\r\n"));
    // A line's length is not that of the two beside it.
    std::string two = std::string(998, 'x') + "\r\n" + std::string(998, 'x') + "\r\n";
    check_unchanged(
        {mime({}, two), mime({"Content-Type: multipart/mixed; boundary=b"}, "--b\r\n\r\n" + two + "--b\r\n")});
  }

  TEST_CASE("quoted-printable: how each octet is written [RFC 2045 6.7]") {
    struct Line {
      std::string text;
      std::string want;
    };
    const std::string x70(70, 'x');
    const Line rows[] = {
        {"a=b", "a=3Db"},
        {"a \t", "a =09"},
        {"a ", "a=20"},
        {" ", "=20"},
        {" a\tb", " a\tb"},
        {"\x7F\x1F", "=7F=1F"},
        {".", "."},
        {"From me", "From me"},
        {"", ""},
        // No line begins with a hyphen: it cannot be a delimiter.
        {"-- ", "=2D-=20"},
        {x70 + "12345", x70 + "12345"},
        {x70 + "123456", x70 + "12345=\r\n6"},
        {x70 + "12345-6", x70 + "12345=\r\n=2D6"},
        {x70 + "1234=", x70 + "1234=\r\n=3D"},
        {x70 + "12=", x70 + "12=3D"},
        {x70 + "1234 ", x70 + "1234=\r\n=20"},
        {x70 + "1234 5", x70 + "1234 =\r\n5"},
    };
    for (const Line& row : rows) {
      CAPTURE(row.text);
      CHECK(body_of(converted(mime({}, row.text + "\r\n\xE9\r\n"))) == row.want + "\r\n=E9\r\n");
      CHECK(body_of(converted(mime({}, "\xE9\r\n" + row.text))) == "=E9\r\n" + row.want);
    }
  }

  TEST_CASE("data becomes base64, with its line ends but for the one of the delimiter [RFC 2046 5.1.1]") {
    const std::vector<std::string> top = {"Content-Type: multipart/mixed; boundary=b"};
    const std::string part = "--b\r\nContent-Type: image/x; name=y\r\n";
    const std::string was = part + "Content-Transfer-Encoding: binary\r\n\r\n";
    const std::string is = part + "Content-Transfer-Encoding: base64\r\n\r\n";
    check({
        {mime(top, was + "\xFF\xFE\r\n--b--\r\n"), mime(top, is + "//4=\r\n--b--\r\n")},
        {mime(top, was + "\xFF\xFE\r\n\r\n--b--\r\n"), mime(top, is + "//4NCg==\r\n--b--\r\n")},
        {mime(top, was + "\xFF\r\n\n\r--b\r\n--b--\r\n"), mime(top, is + "/w0KCg0tLWI=\r\n--b--\r\n")},
        {mime(top, was + "\xFF\xFE\r\n"), mime(top, is + "//4NCg==\r\n")},
        {mime(top, was + "\xFF\xFE"), mime(top, is + "//4=\r\n")},
        {mime({"Content-Type: application/json"}, "\"\xC3\xA9\"\r\n"),
         mime({"Content-Type: application/json", "Content-Transfer-Encoding: base64"}, "IsOpIg0K\r\n")},
    });
    // Two of them; a line that is full.
    std::string row = was + std::string(57, '\xFF') + "\r\n", encoded = is + std::string(76, '/') + "\r\n";
    check({{mime(top, row + row + "--b--\r\n"), mime(top, encoded + encoded + "--b--\r\n")}});
    for (std::size_t size = 1; size < 200; ++size) {
      std::string data(size, '\xA5');
      std::string out = body_of(converted(mime(top, was + data + "\r\n--b--\r\n")));
      std::size_t begin = out.find("\r\n\r\n") + 4;
      CHECK(reference::decode_base64(out.substr(begin, out.find("\r\n--b--") - begin)) == data);
    }
  }

  TEST_CASE("only the parts that need it change") {
    const std::string before =
        "to you\r\n--b\r\nContent-Type: text/plain\r\nX: 1\r\n\r\nplain  \r\n--b \r\nContent-Type: text/html\r\n"
        "Content-Transfer-Encoding: 8bit\r\n\r\n";
    const std::string after = "\r\n--b\r\n\r\n=3D not encoded\r\n--b--\r\nbye\r\n";
    std::string want = before;
    want.replace(want.find("8bit"), 4, "quoted-printable");
    check({{mime({"Content-Type: multipart/mixed; boundary=b"}, before + kAccent + after),
            mime({"Content-Type: multipart/mixed; boundary=b"}, want + "caf=E9" + after)}});
  }

  TEST_CASE("what is called 8bit or binary becomes 7bit once it is [RFC 2045 6.4]") {
    const std::string type = "Content-Type: multipart/mixed; boundary=b";
    const std::string label = "Content-Transfer-Encoding: ";
    const std::string left = "--b\r\n" + label + "base64\r\n\r\n\xE9\r\n--b--\r\n";
    check({
        {mime({label + "8bit"}, "plain\r\n"), mime({label + "7bit"}, "plain\r\n")},
        {mime({label + "8BIT", "X: y"}, ""), mime({label + "7bit", "X: y"}, "")},
        {mime({type, label + "binary"}, "--b\r\n\r\n\xE9\r\n--b--\r\n"),
         mime({type, label + "7bit"}, "--b\r\n" + label + "quoted-printable\r\n\r\n=E9\r\n--b--\r\n")},
        {mime({"Content-Type: message/rfc822", label + "8bit"}, "MIME-Version: 1.0\r\n\r\n\xE9\r\n"),
         mime({"Content-Type: message/rfc822", label + "7bit"},
              "MIME-Version: 1.0\r\n" + label + "quoted-printable\r\n\r\n=E9\r\n")},
    });
    check_unchanged({
        // Not what holds octets that stay, in a part or in the header section of one.
        mime({type, label + "8bit"}, left),
        mime({type, label + "8bit"}, "--b\r\nSubject: \xE9\r\n\r\nx\r\n--b--\r\n"),
        mime({type, label + "binary"}, "--b\r\nSubject:" + std::string(1000, 'x') + "\r\n\r\nx\r\n--b--\r\n"),
        mime({type, label + "8bit"}, "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n" + label +
                                         "8bit\r\n\r\n--c\r\nX: \xE9\r\n\r\n--c--\r\n"),
    });
    // A field that goes away is none of them.
    const std::string again = label + "base64 (\xE9)\r\n";
    check({{mime({type, label + "8bit"}, "--b\r\n" + label + "8bit\r\n" + again + "\r\nx\r\n--b--\r\n"),
            mime({type, label + "7bit"}, "--b\r\n" + label + "7bit\r\n\r\nx\r\n--b--\r\n")}});
    check_unchanged({mime({type, label + "8bit"}, "--b\r\n" + label + "7bit\r\n" + again + "\r\nx\r\n--b--\r\n")});
    // Its own header section is not in its body.
    check({{mime({label + "8bit", "Subject: \xE9"}, "x\r\n"), mime({label + "7bit", "Subject: \xE9"}, "x\r\n")}});
  }

  TEST_CASE("a message that is no MIME becomes one, of a text of which nothing is known [RFC 1428 3]") {
    const std::string version = "MIME-Version: 1.0\r\n";
    const std::string type = "Content-Type: text/plain; charset=unknown-8bit\r\n";
    const std::string label = "Content-Transfer-Encoding: quoted-printable\r\n";
    check({
        {"Subject: x\r\n\r\n\xE9\r\n", "Subject: x\r\n" + version + type + label + "\r\n=E9\r\n"},
        {"Subject: x\r\nContent-Type: text/html\r\n\r\n\xE9\r\n",
         "Subject: x\r\nContent-Type: text/html\r\n" + version + label + "\r\n=E9\r\n"},
        {"Content-transfer-encoding: 8bit\r\nSubject: x\r\n\r\n\xE9\r\n",
         label + "Subject: x\r\n" + version + type + "\r\n=E9\r\n"},
        {"mime-version : 1.0\r\n\r\n\xE9\r\n", "mime-version : 1.0\r\n" + label + "\r\n=E9\r\n"},
        // US-ASCII is the default, and true here.
        {"Subject: x\r\n\r\n" + std::string("a\0\r\n", 4), "Subject: x\r\n" + version + label + "\r\na=00\r\n"},
        {"\r\n\xE9\r\n", version + type + label + "\r\n=E9\r\n"},
        // A part needs no version, the message around it does; a message in it is one of its own.
        {"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xE9\r\n--b\r\nContent-Type: "
         "message/rfc822\r\n\r\n"
         "Subject: y\r\n\r\n\xE8\r\n--b--\r\n",
         "Content-Type: multipart/mixed; boundary=b\r\n" + version + "\r\n--b\r\n" + label +
             "\r\n=E9\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: y\r\n" + version + type + label +
             "\r\n=E8\r\n--b--\r\n"},
    });
  }

  TEST_CASE("a header section without a blank line after it gets one if what follows changes") {
    const std::string version = "MIME-Version: 1.0\r\n";
    const std::string type = "Content-Type: text/plain; charset=unknown-8bit\r\n";
    const std::string label = "Content-Transfer-Encoding: quoted-printable\r\n";
    check({
        {"Subject: x\r\nno field \xE9\r\nX: y\r\n",
         "Subject: x\r\n" + version + type + label + "\r\nno field =E9\r\nX: y\r\n"},
        {"no field \xE9\r\n", version + type + label + "\r\nno field =E9\r\n"},
        {" no field \xE9\r\n", version + type + label + "\r\n no field =E9\r\n"},
        {"\xE9", version + type + label + "\r\n=E9"},
        {version + "Content-Type: multipart/mixed; boundary=b\r\n--b\r\n" + version + "\xE9\r\n--b--\r\n",
         version + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + version + label +
             "\r\n=E9\r\n--b--\r\n"},
        {version + "Content-Type: message/rfc822\r\nno field \xE9\r\n",
         version + "Content-Type: message/rfc822\r\n\r\n" + version + type + label + "\r\nno field =E9\r\n"},
        // "a?b: c" would be a field.
        {version + "Content-Type: multipart/mixed; boundary=b\r\na\xE9" + "b: c\r\n--b\r\n",
         version + "Content-Type: multipart/mixed; boundary=b\r\n\r\na?b: c\r\n--b\r\n"},
    });
  }

  TEST_CASE("signed and encrypted content must not change [RFC 1847 2.1]") {
    auto in = [](const std::string& type, const std::string& part) {
      return mime({"Content-Type: multipart/" + type + "; boundary=s"},
                  "--s\r\n" + part + "\r\n--s\r\nContent-Type: application/x\r\n\r\nproof\r\n--s--\r\n");
    };
    const std::string text = "Content-Transfer-Encoding: 8bit\r\n\r\n" + kAccent;
    const std::string inner = "Content-Type: multipart/mixed; boundary=i\r\n\r\n";
    for (const std::string& message : {
             in("signed", text),
             in("Encrypted", text),
             in("signed", inner + "--i\r\n" + text + "\r\n--i--"),
             in("signed", inner + kAccent + "\r\n--i\r\n--i--"),
             in("signed", "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n" + kAccent),
             in("signed", "\r\n" + std::string(999, 'x')),
             mime({"Content-Type: message/rfc822"}, in("signed", text)),
             "DKIM-Signature: v=1\r\n" + in("signed", text),
         }) {
      CAPTURE(message);
      CHECK(scan(message).verdict == Verdict::signed_content);
      CHECK(converted(message) == message);
    }
    check_unchanged({
        in("signed", "\r\nplain"),
        // What is signed keeps its label, and so does what is around it.
        in("signed", "Content-Transfer-Encoding: 8bit\r\n\r\nplain"),
        mime({"Content-Type: multipart/signed; boundary=s", "Content-Transfer-Encoding: 8bit"},
             "--s\r\nContent-Transfer-Encoding: 8bit\r\n\r\nplain\r\n--s--\r\n"),
        in("signed", "Content-Transfer-Encoding: base64\r\n\r\n\xE9"),
    });

    // Beside signed content all is free.
    std::string sealed = in("signed", "\r\nplain  ");
    const std::string top = "Content-Type: multipart/mixed; boundary=o";
    const std::string wrapped = "\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n" + sealed + "\r\n--o--\r\n";
    check({
        {mime({top}, "--o\r\n\r\n\xE9" + wrapped),
         mime({top}, "--o\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9" + wrapped)},
        {mime({"Content-Type: multipart/signed; boundary=s"}, "\xE9\r\n--s\r\n\r\nplain\r\n--s--\r\n\xE9\r\n"),
         mime({"Content-Type: multipart/signed; boundary=s"}, "?\r\n--s\r\n\r\nplain\r\n--s--\r\n?\r\n")},
    });
    const std::string dkim = "DKIM-Signature: v=1; d=a.example; b=x\r\n";
    CHECK(scan(dkim + mime({}, kAccent)).verdict == Verdict::convertible);
  }

  TEST_CASE("what is 7bit by its type cannot be converted [RFC 2046 5.2.2, 5.2.3]") {
    for (const char* type : {"message/partial; id=a; number=1", "MESSAGE/External-Body; access-type=local-file"}) {
      std::string field = std::string("Content-Type: ") + type;
      std::string message = mime({field}, "Content-Type: text/plain\r\n\r\n" + kAccent + "\r\n");
      CHECK(scan(message).verdict == Verdict::impossible);
      CHECK(converted(message) == message);
      check_unchanged({mime({field}, "Content-Type: text/plain\r\n\r\nplain\r\n")});
    }
  }

  TEST_CASE("octets over 127 in what is said to be encoded, or cannot be, stay and are told of") {
    const std::string label = "Content-Transfer-Encoding: ";
    const std::string type = "Content-Type: ";
    for (const std::string& message : {
             mime({label + "quoted-printable"}, "=E9\xE9\r\n"),
             mime({label + "Base64"}, "AAAA\xE9\r\n"),
             mime({label + "base64"}, std::string(1000, 'A') + "\r\n"),
             mime({label + "x-uuencode"}, kAccent + "\r\n"),
             mime({type + "message/rfc822", label + "base64"}, kAccent + "\r\n\r\n\xE9\r\n"),
             mime({type + "multipart/mixed"}, "--b\r\n\r\n\xE9\r\n--b--\r\n"),
             mime({type + "multipart/mixed; boundary=\"\xE9\""}, "--\xE9\r\n\r\nx\r\n--\xE9--\r\n"),
             mime({type + "multipart/mixed; boundary=" + std::string(901, 'b')},
                  "--" + std::string(901, 'b') + "\r\n\r\n\xE9\r\n"),
             mime({label + "base64", label + "8bit"}, kAccent + "\r\n"),
             // It has no part: readers show it as text.
             mime({type + "multipart/mixed; boundary=c"}, "--b\r\n\r\n\xE9\r\n--b--\r\n"),
             mime({type + "multipart/mixed; boundary=b"}, "\xE9\r\n--b--\r\n"),
         }) {
      CAPTURE(message);
      Conversion conversion = scan(message);
      CHECK(conversion.octets_left);
      CHECK(conversion.verdict == Verdict::unneeded);
      CHECK(converted(message) == message);
    }
    std::string both =
        mime({type + "multipart/mixed; boundary=b"},
             "--b\r\n" + label + "base64\r\n\r\n\xE9\r\n--b\r\n" + label + "8bit\r\n\r\n\xE9\r\n--b--\r\n");
    CHECK(scan(both).octets_left);
    std::string want = both;
    want.replace(want.find("8bit\r\n\r\n\xE9"), 9, "quoted-printable\r\n\r\n=E9");
    CHECK(converted(both) == want);
  }

  TEST_CASE("octets over 127 in fields stay and are told of [RFC 6531]") {
    for (const std::string& message :
         {"Subject: \xE9\r\n\r\nplain\r\n"s, mime({"Content-Type: multipart/mixed; boundary=b"},
                                                  "--b\r\nContent-Description: \xE9\r\n\r\nplain\r\n--b--\r\n")}) {
      CHECK(scan(message).eight_bit_header);
      CHECK(converted(message) == message);
    }
    CHECK(!scan(mime({}, kAccent)).eight_bit_header);
    check({{mime({"Subject: \xE9"}, "\xE9\r\n"),
            mime({"Subject: \xE9", "Content-Transfer-Encoding: quoted-printable"}, "=E9\r\n")}});
  }

  TEST_CASE("before the first and after the last part, which nobody reads, octets are replaced") {
    const std::vector<std::string> top = {"Content-Type: multipart/mixed; boundary=\"b?\""};
    const std::string part = "--b?\r\n\r\nplain\r\n";
    check({
        {mime(top, kAccent + "\r\n" + part + "--b?--\r\n" + kAccent), mime(top, "caf?\r\n" + part + "--b?--\r\ncaf?")},
        {mime(top, std::string("a\0b\rc\nd\r\n", 9) + part), mime(top, "a?b?c?d\r\n" + part)},
        {mime(top, std::string(1500, 'x') + "\r\nend\r\n" + part),
         mime(top, std::string(998, 'x') + "\r\nend\r\n" + part)},
        // None becomes a delimiter by it.
        {mime(top, "--b\xE9\r\n--b\r\n" + part), mime(top, "?-b?\r\n--b\r\n" + part)},
        {mime(top, "--b?" + std::string(1500, ' ') + "x\r\n" + part),
         mime(top, "?-b?" + std::string(994, ' ') + "\r\n" + part)},
        {mime(top, part + "--b?--\r\n--b?\r\n\xE9\r\n"), mime(top, part + "--b?--\r\n--b?\r\n?\r\n")},
        // Whatever its label says, it cannot be encoded.
        {mime({top[0], "Content-Transfer-Encoding: base64"}, kAccent + "\r\n" + part),
         mime({top[0], "Content-Transfer-Encoding: base64"}, "caf?\r\n" + part)},
    });
  }

  TEST_CASE("the boundary: quoted or not, folded, with comments [RFC 2046 5.1.1]") {
    struct Boundary {
      const char* field;
      const char* boundary;
    };
    const Boundary rows[] = {
        {"multipart/mixed; boundary=b", "b"},
        {"Multipart / Mixed ; BOUNDARY = b", "b"},
        {"multipart/mixed; charset=x;\r\n\tboundary=\"=_a b:c/d\"; x=y", "=_a b:c/d"},
        {"multipart/mixed; boundary=\"a\\\"b\\\\\"", "a\"b\\"},
        {"multipart/mixed; boundary=\"b  \"", "b"},
        {"(a;b=\")multipart(c)/(d)mixed(e;boundary=no);(f(g))boundary(h)=(i)b(j)", "b"},
        {"multipart/mixed; x=\";boundary=no\"; boundary=b", "b"},
        {"multipart/mixed;boundary==_?:,/+b;", "=_?:,/+b"},
        {"multipart/mixed; boundary=b; boundary=c", "b"},
        {"multipart/mixed; boundary=\"b", "b"},
        {"multipart/mixed;; ;boundary=b", "b"},
        {"multipart/x-unknown; boundary=b", "b"},
    };
    for (const Boundary& row : rows) {
      CAPTURE(row.field);
      const std::string field = std::string("Content-Type: ") + row.field;
      const std::string begin = std::string("--") + row.boundary + " \t\r\n";
      const std::string end = std::string("\r\n--") + row.boundary + "--";
      CHECK(converted(mime({field}, begin + "\r\n\xE9" + end)) ==
            mime({field}, begin + "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E9" + end));
    }
  }

  TEST_CASE("delimiters: whole lines alone, those of outer entities too, as receivers take them") {
    const std::string label = "Content-Transfer-Encoding: quoted-printable\r\n";
    const std::vector<std::string> top = {"Content-Type: multipart/mixed; boundary=o"};
    const std::string inner = "--o\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n";
    const std::vector<std::string> like_field = {"Content-Type: multipart/mixed; boundary=\"o:\""};
    const std::string spaces(1000, ' ');
    const std::string twin = "--o\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n";
    check({
        // Lines that look like one.
        {mime(top, "--o\r\n\r\n--ox\r\n-o\r\n --o\r\n--o-\r\n--o---\r\n--o\tx\r\n\xE9\r\n--o--"),
         mime(top, "--o\r\n" + label + "\r\n=2D-ox\r\n=2Do\r\n --o\r\n=2D-o-\r\n=2D-o---\r\n=2D-o\tx\r\n=E9\r\n--o--")},
        // No close delimiter, inside and outside.
        {mime(top, inner + "--i\r\n\r\n\xE9\r\n--o\r\n\r\n\xE8\r\n"),
         mime(top, inner + "--i\r\n" + label + "\r\n=E9\r\n--o\r\n" + label + "\r\n=E8\r\n")},
        // The outer one's end, in a header section and in an inner preamble.
        {mime(top, inner + "--i\r\nX: y\r\n--o--\r\n\xE9\r\n"), mime(top, inner + "--i\r\nX: y\r\n--o--\r\n?\r\n")},
        {mime(top, inner + "text\r\n--o\r\n\r\n\xE9\r\n"),
         mime(top, inner + "text\r\n--o\r\n" + label + "\r\n=E9\r\n")},
        // One boundary for both: the inner one's, until it is closed.
        {mime(top, twin + "--o\r\n\r\n\xE9\r\n--o--\r\n\xE8\r\n--o\r\n\r\n\xE7\r\n--o--\r\n\xE6\r\n"),
         mime(top,
              twin + "--o\r\n" + label + "\r\n=E9\r\n--o--\r\n?\r\n--o\r\n" + label + "\r\n=E7\r\n--o--\r\n?\r\n")},
        // One that begins with the other, and one that is the other's close delimiter.
        {mime(top,
              "--o\r\nContent-Type: multipart/mixed; boundary=o--\r\n\r\n--o--\r\n\r\n\xE9\r\n--o----\r\n--o--\r\n"),
         mime(top, "--o\r\nContent-Type: multipart/mixed; boundary=o--\r\n\r\n--o--\r\n" + label +
                       "\r\n=E9\r\n--o----\r\n--o--\r\n")},
        // In a header section, of its own entity, and one that looks like a field.
        {mime(top, "--o\r\nContent-Type: multipart/mixed; boundary=o\r\n--o\r\n\r\n\xE9\r\n--o--\r\n--o\r\n\r\n\xE8"),
         mime(top, "--o\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + label +
                       "\r\n=E9\r\n--o--\r\n--o\r\n" + label + "\r\n=E8")},
        {mime(like_field, "--o:\r\nContent-Transfer-Encoding: 8bit\r\n--o:\r\n\r\n\xE9\r\n--o:--"),
         mime(like_field, "--o:\r\nContent-Transfer-Encoding: 7bit\r\n--o:\r\n" + label + "\r\n=E9\r\n--o:--")},
        {mime(like_field, "--o:\r\n--o:" + spaces + "\r\n\r\n\xE9\r\n--o:--"),
         mime(like_field, "--o:\r\n--o:" + spaces + "\r\n" + label + "\r\n=E9\r\n--o:--")},
        // The last line ends without CRLF.
        {mime(top, "--o\r\n\r\n\xE9\r\n--o"), mime(top, "--o\r\n" + label + "\r\n=E9\r\n--o")},
        // A part's text that ends in white space, before its delimiter.
        {mime(top, "--o\r\n\r\n\xE9 \r\n--o--"), mime(top, "--o\r\n" + label + "\r\n=E9=20\r\n--o--")},
    });
  }

  TEST_CASE("messages inside are converted inside, and not encoded [RFC 2045 6.4]") {
    const std::string label = "Content-Transfer-Encoding: quoted-printable\r\n";
    const std::string version = "MIME-Version: 1.0\r\n";
    const std::string type = "Content-Type: text/plain; charset=unknown-8bit\r\n";
    check({
        // One whose own header section may be in UTF-8 is encoded as a whole [RFC 6532 3.7].
        {mime({"Content-Type: message/global"}, "Subject: gr\xC3\xBC\xC3\x9F\r\n\r\ntext\r\n"),
         mime({"Content-Type: message/global", "Content-Transfer-Encoding: quoted-printable"},
              "Subject: gr=C3=BC=C3=9F\r\n\r\ntext\r\n")},
        {mime({"Content-Type: message/rfc822"}, "Content-Type: message/rfc822\r\n\r\n\r\n\xE9\r\n"),
         mime({"Content-Type: message/rfc822"},
              "Content-Type: message/rfc822\r\n" + version + "\r\n" + version + type + label + "\r\n=E9\r\n")},
        // Parts of a digest are messages unless they say otherwise [RFC 2046 5.1.5].
        {mime({"Content-Type: multipart/digest; boundary=d"},
              "--d\r\n\r\nSubject: x\r\n\r\n\xE9\r\n--d\r\nContent-Type: text/plain\r\n\r\n\xE8\r\n--d--\r\n"),
         mime({"Content-Type: multipart/digest; boundary=d"}, "--d\r\n\r\nSubject: x\r\n" + version + type + label +
                                                                  "\r\n=E9\r\n--d\r\nContent-Type: text/plain\r\n" +
                                                                  label + "\r\n=E8\r\n--d--\r\n")},
    });
  }

  TEST_CASE("what is over a limit is not converted") {
    auto nested = [](std::size_t depth) {  // messages, and the text of the last one
      std::string out;
      for (std::size_t i = 1; i < depth; ++i) out += "Content-Type: message/rfc822\r\n\r\n";
      return out + "\r\n\xE9\r\n";
    };
    auto parts = [](std::size_t count) {
      std::string out = mime({"Content-Type: multipart/mixed; boundary=b"}, "");
      for (std::size_t i = 0; i < count; ++i) out += "--b\r\n\r\n\xE9\r\n";
      return out;
    };
    auto header = [](std::size_t octets) { return "X: " + std::string(octets - 5, 'x') + "\r\n\r\n\xE9\r\n"; };
    CHECK(scan(nested(MimeWalk::kMaxDepth)).verdict == Verdict::convertible);
    CHECK(scan(nested(MimeWalk::kMaxDepth + 1)).verdict == Verdict::impossible);
    CHECK(scan(parts(MimeWalk::kMaxEntities - 1)).verdict == Verdict::convertible);
    CHECK(scan(parts(MimeWalk::kMaxEntities)).verdict == Verdict::impossible);
    for (std::size_t chunk : {SIZE_MAX, std::size_t{1000}, std::size_t{7}}) {
      CHECK(scan(header(MimeWalk::kMaxHeader), chunk).verdict == Verdict::convertible);
      CHECK(scan(header(MimeWalk::kMaxHeader + 1), chunk).verdict == Verdict::impossible);
      CHECK(scan(std::string(2 * MimeWalk::kMaxHeader, 'x'), chunk).verdict == Verdict::impossible);
    }
    std::string too_deep = nested(MimeWalk::kMaxDepth + 1);
    CHECK(convert(too_deep, scan(too_deep)) == too_deep);
  }

  TEST_CASE("a bare CR or LF in a header section: nothing is safe to change") {
    for (const char* field : {"X: a\nContent-Type: text/html", "X: a\rb", "X: a\r\r\n b"}) {
      CHECK(scan(mime({field}, kAccent)).verdict == Verdict::impossible);
      check_unchanged({mime({field}, "plain"), mime({field}, kAccent)});
    }
  }

  TEST_CASE("a Converter that gets other octets than were scanned does no harm") {
    Conversion conversion = scan("Subject: x\r\n\r\n\xE9\r\n");
    std::string other =
        mime({"Content-Type: multipart/mixed; boundary=b"}, "--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n");
    std::string out = convert(other, conversion);
    CHECK(out.ends_with("--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n"));
  }
}
