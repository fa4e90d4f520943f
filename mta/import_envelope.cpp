#include "mta/import_envelope.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/escape.h"
#include "smtp/parameters.h"

namespace waypost::mta {
namespace {

Result<smtp::Path> path_of(const std::string& text, bool may_be_null) {
  const std::string bracketed = "<" + text + ">";
  std::string_view rest = bracketed;
  smtp::PathRules rules;
  rules.utf8 = true;
  rules.null = may_be_null;
  Result<smtp::Path> path = smtp::take_path(rest, rules);
  if (path && rest.empty()) return path;
  return fail(Errc::invalid, "no address: " + escape(text, 100));
}

/// ` KEYWORD=value`, where there is a value. One with a blank would be two parameters.
Result<std::string> parameter(const char* keyword, const std::string& value) {
  if (value.empty()) return std::string();
  const auto is_odd = [](char c) { return c == ' ' || static_cast<unsigned char>(c) < ' ' || c == 127; };
  if (std::any_of(value.begin(), value.end(), is_odd))
    return fail(Errc::invalid, std::string("no value of ") + keyword + ": " + escape(value, 100));
  return std::string(" ") + keyword + "=" + value;
}

/// All that an export may name.
smtp::Extensions all_extensions() {
  smtp::Extensions all;
  all.eight_bit_mime = all.binary_mime = all.dsn = all.smtputf8 = all.require_tls = all.chunking = true;
  return all;
}

bool is_set(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

Result<std::optional<ImportRecipient>> import_recipient(const Json& json) {
  const std::string state = text_of(json, "state");
  ImportRecipient waiting;
  waiting.held = state == "held";
  if (!waiting.held && state != "active" && state != "deferred") return std::optional<ImportRecipient>();
  Result<smtp::Path> path = path_of(text_of(json, "address"), false);
  if (!path) return fail(path.error());
  waiting.recipient.forward_path = *std::move(path);
  const Result<std::string> notify = parameter("NOTIFY", text_of(json, "notify"));
  if (!notify) return fail(notify.error());
  const Result<std::string> orcpt = parameter("ORCPT", text_of(json, "orcpt"));
  if (!orcpt) return fail(orcpt.error());
  const auto parsed = smtp::parse_rcpt_parameters(*notify + *orcpt, all_extensions());
  if (!parsed) return fail(Errc::invalid, parsed.error().text());
  waiting.recipient.notify = parsed->notify;
  waiting.recipient.orcpt = parsed->orcpt;
  return std::optional<ImportRecipient>(std::move(waiting));
}

Result<smtp::Envelope> import_envelope(const Json& json) {
  // The null one is an empty text: nobody's sender is lost by a name that is missing.
  if (!json.is_object() || !json.contains("from") || !json["from"].is_string())
    return fail(Errc::invalid, "no envelope of an export: it has no \"from\"");
  Result<smtp::Path> from = path_of(text_of(json, "from"), true);
  if (!from) return fail(from.error());
  std::string text;
  for (const auto& [keyword, key] : {std::pair{"BODY", "body"}, std::pair{"RET", "ret"}, std::pair{"ENVID", "envid"}}) {
    const Result<std::string> one = parameter(keyword, text_of(json, key));
    if (!one) return fail(one.error());
    text += *one;
  }
  if (is_set(json, "smtputf8")) text += " SMTPUTF8";
  if (is_set(json, "require_tls")) text += " REQUIRETLS";
  const auto parsed = smtp::parse_mail_parameters(text, all_extensions());
  if (!parsed) return fail(Errc::invalid, parsed.error().text());
  smtp::Envelope envelope;
  envelope.reverse_path = *std::move(from);
  envelope.body = parsed->body;
  envelope.smtputf8 = parsed->smtputf8;
  envelope.require_tls = parsed->require_tls;
  envelope.ret = parsed->ret;
  envelope.envid = parsed->envid;
  return envelope;
}

}  // namespace waypost::mta
