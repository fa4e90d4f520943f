#include "smtp/command.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "smtp/address.h"
#include "smtp/idna.h"

namespace waypost::smtp {
namespace {

using Parsed = tl::expected<Command, Reply>;

constexpr std::size_t kMaxHeloName = 255;
constexpr std::size_t kMaxMechanism = 20;    // RFC 4422 §3.1
constexpr std::size_t kMaxUnknownVerb = 16;  // for a log line

Parsed refuse(Reply reply) {
  return tl::unexpected(std::move(reply));
}

/// RFC 5321 §4.1.1.1 asks for a domain or an address literal. Real clients also say the machine's name as it is
/// (underscores, hyphens at the ends, a final dot), a bare address, or a literal without its tag; none of these means
/// harm, and a Received field can hold them all.
bool is_helo_name(std::string_view name) {
  if (name.empty() || name.size() > kMaxHeloName) return false;
  bool literal = name.front() == '[' && name.back() == ']' && name.size() > 2;
  if (literal) name = name.substr(1, name.size() - 2);
  bool good = std::all_of(name.begin(), name.end(),
                          [](char c) { return is_alnum(c) || c == '.' || c == '-' || c == '_' || c == ':'; });
  return good && std::any_of(name.begin(), name.end(), is_alnum);
}

/// What has no arguments: 501 5.5.4 for any (RFC 5321 §4.3.2).
Parsed alone(Command command, std::string_view arguments) {
  if (!trim(arguments).empty()) return refuse(reply::bad_parameter(std::string(verb(command)) + " takes no argument"));
  return command;
}

template <class Greeting>
Parsed parse_helo(std::string_view arguments, std::string_view syntax) {
  std::string_view name = trim(arguments);
  if (!is_helo_name(name)) return refuse(reply::bad_syntax(syntax));
  return Greeting{std::string(name)};
}

/// Takes `FROM:` or `TO:` off the front; a space after it does no harm (RFC 5321 §3.3), and take_path() skips it.
bool take_prefix(std::string_view& arguments, std::string_view prefix) {
  arguments = trim_front(arguments);
  if (!starts_with_no_case(arguments, prefix)) return false;
  arguments.remove_prefix(prefix.size());
  return true;
}

PathRules path_rules(const CommandRules& rules, bool null) {
  PathRules out;
  // UTF-8 is always parsed: whether it may stand there is known only after the parameters, and has a reply of its own.
  out.utf8 = true;
  out.bare = rules.bare_path;
  out.null = null;
  out.without_domain = rules.path_without_domain;
  return out;
}

bool lacks_brackets(std::string_view arguments, const CommandRules& rules) {
  std::string_view path = trim_front(arguments);
  return !rules.bare_path && !path.starts_with('<');
}

/// After a path comes the end of the line or a space.
bool runs_on(std::string_view rest) {
  return !rest.empty() && !is_space(rest.front());
}

/// Domains have one form from here on: that of the DNS, in which they are compared, and which every host understands.
Result<> name_in_ascii(Path& path) {
  Result<std::string> domain = ascii_domain(path.mailbox.domain);
  if (!domain) return fail(domain.error());
  path.mailbox.domain = *std::move(domain);
  return {};
}

Parsed parse_mail(std::string_view arguments, const CommandRules& rules) {
  constexpr std::string_view kSyntax = "Syntax: MAIL FROM:<address>";
  if (!take_prefix(arguments, "FROM:") || lacks_brackets(arguments, rules))
    return refuse(reply::bad_parameter(kSyntax));

  std::string_view path_text = arguments;
  Result<Path> path = take_path(arguments, path_rules(rules, true));
  if (!path && !is_ascii(path_text) && !rules.offered.smtputf8) return refuse(reply::needs_smtputf8());
  if (!path) return refuse(reply::bad_sender_syntax(path.error().what));
  if (runs_on(arguments)) return refuse(reply::bad_parameter(kSyntax));

  auto parameters = parse_mail_parameters(arguments, rules.offered);
  if (!parameters) return refuse(parameters.error());
  if (!parameters->smtputf8 && !is_ascii(path->text())) return refuse(reply::needs_smtputf8());
  const Result<> named = name_in_ascii(*path);
  if (!named) return refuse(reply::bad_sender_syntax(named.error().what));
  return Mail{*std::move(path), *std::move(parameters)};
}

Parsed parse_rcpt(std::string_view arguments, const CommandRules& rules) {
  constexpr std::string_view kSyntax = "Syntax: RCPT TO:<address>";
  if (!take_prefix(arguments, "TO:") || lacks_brackets(arguments, rules)) return refuse(reply::bad_parameter(kSyntax));

  std::string_view path_text = arguments;
  Result<Path> path = take_path(arguments, path_rules(rules, false));
  if (!path && !is_ascii(path_text) && !rules.utf8_transaction) return refuse(reply::needs_smtputf8());
  if (!path) return refuse(reply::bad_recipient_syntax(path.error().what));
  if (runs_on(arguments)) return refuse(reply::bad_parameter(kSyntax));

  auto parameters = parse_rcpt_parameters(arguments, rules.offered);
  if (!parameters) return refuse(parameters.error());
  if (!rules.utf8_transaction && !is_ascii(path->text())) return refuse(reply::needs_smtputf8());
  const Result<> named = name_in_ascii(*path);
  if (!named) return refuse(reply::bad_recipient_syntax(named.error().what));
  return Rcpt{*std::move(path), *std::move(parameters)};
}

Parsed parse_vrfy(std::string_view arguments) {
  std::string_view text = trim(arguments);
  if (text.empty()) return refuse(reply::bad_parameter("Syntax: VRFY address"));
  return Vrfy{std::string(text)};
}

bool is_mechanism(std::string_view text) {  // RFC 4422 §3.1
  if (text.empty() || text.size() > kMaxMechanism) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_'; });
}

Parsed parse_auth(std::string_view arguments, const CommandRules& rules) {
  if (rules.offered.auth.empty()) return Auth{};
  std::string_view mechanism = take_word(arguments);
  std::string_view initial = take_word(arguments);
  if (!is_mechanism(mechanism) || !trim(arguments).empty())
    return refuse(reply::bad_parameter("Syntax: AUTH mechanism [initial-response]"));
  Auth auth{to_upper(mechanism), std::nullopt};
  if (!initial.empty()) auth.initial_response = initial;
  return auth;
}

Parsed parse_bdat(std::string_view arguments, const CommandRules& rules) {
  if (!rules.offered.chunking) return Bdat{};
  std::optional<std::uint64_t> octets = parse_decimal(take_word(arguments));
  std::string_view last = take_word(arguments);
  bool good = octets && (last.empty() || equals_no_case(last, "LAST")) && trim(arguments).empty();
  if (!good) return refuse(reply::bad_parameter("Syntax: BDAT octets [LAST]"));
  return Bdat{*octets, !last.empty()};
}

/// RFC 1985 §5.1. `#queue`, whose meaning is local, means nothing here.
Parsed parse_etrn(std::string_view arguments, const CommandRules& rules) {
  if (!rules.offered.etrn) return Etrn{};
  std::string_view node = take_word(arguments);
  const bool below = node.starts_with('@');
  if (below) node.remove_prefix(1);
  if (!is_domain(node) || !trim(arguments).empty()) return refuse(reply::bad_parameter("Syntax: ETRN domain"));
  return Etrn{std::string(node), below};
}

Parsed parse_xclient_command(std::string_view arguments, const CommandRules& rules) {
  if (!rules.offered.xclient) return Xclient{};
  tl::expected<Xclient, Reply> xclient = parse_xclient(arguments);
  if (!xclient) return refuse(xclient.error());
  return *std::move(xclient);
}

std::string with_argument(std::string_view verb, std::string_view argument) {
  std::string out(verb);
  if (!argument.empty()) out.append(1, ' ').append(argument);
  return out;
}

struct TextOf {
  std::string operator()(const Helo& c) const { return "HELO " + c.name; }
  std::string operator()(const Ehlo& c) const { return "EHLO " + c.name; }
  std::string operator()(const Mail& c) const {
    return "MAIL FROM:" + c.reverse_path.bracketed() + smtp::text(c.parameters);
  }
  std::string operator()(const Rcpt& c) const {
    return "RCPT TO:" + c.forward_path.bracketed() + smtp::text(c.parameters);
  }
  std::string operator()(const Vrfy& c) const { return with_argument("VRFY", c.text); }
  std::string operator()(const Expn& c) const { return with_argument("EXPN", c.text); }
  std::string operator()(const Help& c) const { return with_argument("HELP", c.topic); }
  std::string operator()(const Etrn& c) const { return with_argument("ETRN", (c.below ? "@" : "") + c.domain); }
  std::string operator()(const Xclient& c) const { return "XCLIENT" + smtp::text(c); }
  std::string operator()(const Auth& c) const {
    return with_argument(with_argument("AUTH", c.mechanism), c.initial_response.value_or(""));
  }
  std::string operator()(const Bdat& c) const { return "BDAT " + std::to_string(c.octets) + (c.last ? " LAST" : ""); }
  template <class Other>
  std::string operator()(const Other& c) const {
    return std::string(verb(c));
  }
};

struct VerbOf {
  std::string_view operator()(const Helo&) const { return "HELO"; }
  std::string_view operator()(const Ehlo&) const { return "EHLO"; }
  std::string_view operator()(const Mail&) const { return "MAIL"; }
  std::string_view operator()(const Rcpt&) const { return "RCPT"; }
  std::string_view operator()(const Data&) const { return "DATA"; }
  std::string_view operator()(const Rset&) const { return "RSET"; }
  std::string_view operator()(const Noop&) const { return "NOOP"; }
  std::string_view operator()(const Quit&) const { return "QUIT"; }
  std::string_view operator()(const Vrfy&) const { return "VRFY"; }
  std::string_view operator()(const Expn&) const { return "EXPN"; }
  std::string_view operator()(const Help&) const { return "HELP"; }
  std::string_view operator()(const Etrn&) const { return "ETRN"; }
  std::string_view operator()(const Xclient&) const { return "XCLIENT"; }
  std::string_view operator()(const StartTls&) const { return "STARTTLS"; }
  std::string_view operator()(const Auth&) const { return "AUTH"; }
  std::string_view operator()(const Bdat&) const { return "BDAT"; }
  std::string_view operator()(const Unknown& c) const { return c.verb; }
};

}  // namespace

tl::expected<Command, Reply> parse_command(std::string_view line, const CommandRules& rules) {
  if (line.find('\0') != std::string_view::npos) return refuse(reply::bad_syntax("NUL in a command"));
  std::string_view arguments = line;
  std::string verb = to_upper(take_word(arguments));

  if (verb == "HELO") return parse_helo<Helo>(arguments, "Syntax: HELO hostname");
  if (verb == "EHLO") return parse_helo<Ehlo>(arguments, "Syntax: EHLO hostname");
  if (verb == "MAIL") return parse_mail(arguments, rules);
  if (verb == "RCPT") return parse_rcpt(arguments, rules);
  if (verb == "DATA") return alone(Data{}, arguments);
  if (verb == "RSET") return alone(Rset{}, arguments);
  if (verb == "QUIT") return alone(Quit{}, arguments);
  if (verb == "NOOP") return Noop{};
  if (verb == "VRFY") return parse_vrfy(arguments);
  if (verb == "HELP") return Help{std::string(trim(arguments))};
  if (verb == "EXPN") return Expn{std::string(trim(arguments))};
  if (verb == "ETRN") return parse_etrn(arguments, rules);
  if (verb == "XCLIENT") return parse_xclient_command(arguments, rules);
  if (verb == "AUTH") return parse_auth(arguments, rules);
  if (verb == "BDAT") return parse_bdat(arguments, rules);
  if (verb == "STARTTLS") return rules.offered.starttls ? alone(StartTls{}, arguments) : Parsed(StartTls{});
  return Unknown{verb.substr(0, kMaxUnknownVerb)};
}

std::string text(const Command& command) {
  return std::visit(TextOf{}, command);
}

std::string_view verb(const Command& command) {
  return std::visit(VerbOf{}, command);
}

std::string shown_command(std::string_view line) {
  enum class Rest : std::uint8_t { none, word, path, words, mechanism };
  struct Known {
    std::string_view verb;
    Rest rest;  // what it may say
  };
  static constexpr std::array<Known, 17> kVerbs = {{{"HELO", Rest::word},
                                                    {"EHLO", Rest::word},
                                                    {"LHLO", Rest::word},
                                                    {"MAIL", Rest::path},
                                                    {"RCPT", Rest::path},
                                                    {"BDAT", Rest::words},
                                                    {"VRFY", Rest::word},
                                                    {"EXPN", Rest::word},
                                                    {"ETRN", Rest::word},
                                                    {"XCLIENT", Rest::words},
                                                    {"AUTH", Rest::mechanism},
                                                    {"DATA", Rest::none},
                                                    {"RSET", Rest::none},
                                                    {"NOOP", Rest::none},
                                                    {"HELP", Rest::none},
                                                    {"QUIT", Rest::none},
                                                    {"STARTTLS", Rest::none}}};
  static constexpr std::array<std::string_view, 12> kMechanisms = {
      "PLAIN",       "LOGIN",   "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512",
      "OAUTHBEARER", "XOAUTH2", "EXTERNAL", "ANONYMOUS",   "GSSAPI",        "NTLM"};
  static constexpr std::string_view kWithheld = " (not shown)";
  const auto within = [](const auto& names, std::string_view name) {
    return std::find(names.begin(), names.end(), to_upper(name)) != names.end();
  };
  std::string_view rest = line;
  const std::string verb = to_upper(take_word(rest));
  const auto* const known =
      std::find_if(kVerbs.begin(), kVerbs.end(), [&verb](const Known& each) { return each.verb == verb; });
  if (known == kVerbs.end()) return "(no command, " + std::to_string(line.size()) + " octets, not shown)";
  rest = trim(rest);
  if (rest.empty() || known->rest == Rest::words) return std::string(line);
  const std::string_view first = take_word(rest);
  if (known->rest == Rest::path) {
    const std::string start = to_upper(first.substr(0, first.find(':') + 1));
    if (start == (verb == "MAIL" ? "FROM:" : "TO:")) return std::string(line);
  }
  if (known->rest == Rest::word && rest.empty()) return std::string(line);
  if (known->rest != Rest::mechanism || !within(kMechanisms, first)) return verb + std::string(kWithheld);
  return verb + " " + std::string(first) + (rest.empty() ? "" : std::string(kWithheld));
}

std::optional<std::string_view> foreign_protocol(std::string_view line) {
  // A TLS record (RFC 8446 §5.1): handshake, version 3.x; or the ClientHello of SSL 2 that old scanners send.
  if (line.starts_with("\x16\x03")) return "TLS";
  if (line.size() >= 4 && (line[0] & 0x80) != 0 && line[2] == 1 && line[3] == 3) return "TLS";

  static constexpr std::array<std::string_view, 10> kMethods = {"GET",     "POST",    "HEAD",  "PUT",   "DELETE",
                                                                "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI"};
  std::string_view rest = line;
  std::string_view method = take_word(rest);
  if (method.empty() || method.data() != line.data() || rest.empty()) return std::nullopt;
  if (equals_no_case(method, "Host:")) return "HTTP";
  for (std::string_view known : kMethods)
    if (method == known) return "HTTP";
  return std::nullopt;
}

}  // namespace waypost::smtp
