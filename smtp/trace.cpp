#include "smtp/trace.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/text.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kColumns = 78;    // RFC 5322 §2.1.1
constexpr std::size_t kMaxToken = 900;  // so that no line reaches 998 octets
constexpr std::size_t kMaxComment = 255;

/// Tokens that belong together: broken only where they do not fit on one line.
using Clause = std::vector<std::string>;

/// A domain, an address literal or what a lenient HELO admits: one word that needs no quotes and ends nothing.
bool is_word(std::string_view text) {
  if (text.empty() || text.size() > kMaxComment) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_alnum(c) || std::string_view(".-_:[]").find(c) != std::string_view::npos;
  });
}

/// Text in a comment, without what ends one, quotes in one, or is not printable ASCII (RFC 5322 §3.2.2).
std::string comment(std::string_view text) {
  std::string out(text.substr(0, kMaxComment));
  for (char& c : out)
    if (c < ' ' || c >= 0x7F || c == '(' || c == ')' || c == '\\') c = '?';
  return '(' + out + ')';
}

/// No octet that ends or folds a line: for addresses, whose grammar has none of them already.
std::string one_line(std::string_view text) {
  std::string out(text.substr(0, kMaxToken));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7F) c = '?';
  return out;
}

std::string literal(std::string_view address) {
  if (address.find(':') != std::string_view::npos) return "[IPv6:" + std::string(address) + ']';
  return '[' + std::string(address) + ']';
}

Clause from_clause(const Received& received) {
  bool has_address = is_word(received.client_address);
  std::string address = has_address ? literal(received.client_address) : std::string();
  std::string name = is_word(received.client_name) ? received.client_name : "unknown";

  Clause out{"from"};
  if (is_word(received.helo))
    out.push_back(received.helo);
  else
    out.push_back(has_address ? address : "unknown");
  if (has_address) out.push_back('(' + name + ' ' + address + ')');
  if (!received.helo.empty() && !is_word(received.helo)) out.push_back(comment("helo " + received.helo));
  return out;
}

/// As Postfix writes it, for those who read such comments.
std::string tls_comment(const Received& received) {
  std::string out = comment(received.tls);
  if (received.tls_bits <= 0) return out;
  std::string bits = std::to_string(received.tls_bits);
  out.insert(out.size() - 1, " (" + bits + '/' + bits + " bits)");
  return out;
}

std::size_t width(const Clause& clause) {
  std::size_t octets = 0;
  for (const std::string& token : clause) octets += 1 + token.size();
  return octets;
}

/// Fills lines with clauses, then with tokens; a fold stands only between two tokens.
std::string fold(std::string field, const std::vector<Clause>& clauses) {
  std::size_t column = field.size();
  auto put = [&](const std::string& token, bool new_line) {
    field += new_line ? "\r\n\t" : " ";
    column = (new_line ? 1 : column + 1) + token.size();
    field += token;
  };
  for (const Clause& clause : clauses) {
    bool new_line = column + width(clause) > kColumns;
    for (const std::string& token : clause) {
      put(token, new_line || column + 1 + token.size() > kColumns);
      new_line = false;
    }
  }
  return field + "\r\n";
}

}  // namespace

std::string_view protocol_name(const Protocol& protocol) {
  // UTF8SMTP and its forms are ESMTP with SMTPUTF8 (RFC 6531 §4.3); AUTH and STARTTLS come only after EHLO.
  if (protocol.tls && protocol.authenticated) return protocol.utf8 ? "UTF8SMTPSA" : "ESMTPSA";
  if (protocol.authenticated) return protocol.utf8 ? "UTF8SMTPA" : "ESMTPA";
  if (protocol.utf8) return protocol.tls ? "UTF8SMTPS" : "UTF8SMTP";
  if (protocol.esmtp) return protocol.tls ? "ESMTPS" : "ESMTP";
  return "SMTP";
}

std::string received_field(const Received& received) {
  std::vector<Clause> clauses;
  const bool is_local = !received.user.empty();
  bool has_from = !is_local && (!received.helo.empty() || !received.client_address.empty());
  if (has_from) clauses.push_back(from_clause(received));
  if (!received.tls.empty()) clauses.push_back({tls_comment(received)});

  Clause by{"by", is_word(received.by) ? received.by : "localhost"};
  const std::string from_user = is_local ? ", from user " + received.user : "";
  if (!received.software.empty()) by.push_back(comment(received.software + from_user));
  clauses.push_back(std::move(by));

  if (has_from || is_local) clauses.push_back({"with", std::string(protocol_name(received.protocol))});
  if (is_word(received.id)) clauses.push_back({"id", received.id});
  if (!received.recipient.empty() && received.recipient.size() < kMaxToken)
    clauses.push_back({"for", '<' + one_line(received.recipient) + '>'});
  clauses.back().back() += ';';
  clauses.push_back({rfc5322_date(received.at, received.utc_offset)});
  return fold("Received:", clauses);
}

std::string return_path_field(const Path& reverse_path) {
  return "Return-Path: " + one_line(reverse_path.bracketed()) + "\r\n";
}

std::string delivered_to_field(const Mailbox& recipient) {
  return "Delivered-To: " + one_line(recipient.text()) + "\r\n";
}

}  // namespace waypost::smtp
