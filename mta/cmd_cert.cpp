#include "mta/cmd_cert.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sysexits.h>

#include "base/escape.h"
#include "mta/certificates.h"
#include "mta/cmd_status.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

constexpr const char* kNone = "no certificate is configured: tls.certificate and tls.key of waypost.toml(5)\n";

ControlRequest certificates_request() {
  ControlRequest request;
  request.path = "/v1/certificates";
  return request;
}

/// Of the list in an answer, that of the same key; null if there is none.
const Json* find(const Json& certificates, const std::string& key) {
  const auto found = std::find_if(certificates.begin(), certificates.end(),
                                  [&key](const Json& each) { return text_of(each, "key") == key; });
  return found == certificates.end() ? nullptr : &*found;
}

/// nullopt: no daemon could be asked, as `err` says.
std::optional<Json> certificates_in_force(Console& console) {
  const Result<ControlAnswer> answer = console.ask(certificates_request());
  Json json = answer && answer->status < 300 ? parse_json(answer->body) : Json();
  if (json.is_object()) return list_of(json, "certificates");
  const std::string why = answer ? "the daemon answers with " + std::to_string(answer->status) : answer.error().what;
  console.err << "waypost: " << escape(why, 2000) << "; the files alone are shown\n";
  return std::nullopt;
}

Json list_json(const CertificateFiles& files, const conf::Config& config, net::WallTime now) {
  ReadCertificate read{files, {}};
  const Result<net::TlsChain> chain = net::TlsChain::read(files.certificate_file, config.tls.ca);
  if (chain) read.certificate = chain->certificate;
  Json json;
  json.update(read_certificate_json(read));
  json["trouble"] = chain ? "" : chain.error().what;
  json["days_left"] =
      chain ? Json(std::chrono::floor<std::chrono::days>(read.certificate.not_after - now).count()) : Json(nullptr);
  return json;
}

std::string until(const Json& certificate, net::WallTime now) {
  const std::optional<net::WallTime> end = time_of_json(text_of(certificate, "not_after"));
  if (!end) return "";
  const auto days = std::chrono::floor<std::chrono::days>(*end - now).count();
  return local_time(*end) +
         (*end <= now ? " (expired)" : " (" + counted(static_cast<std::uint64_t>(days), "day", "days") + ")");
}

std::string fingerprint(const Json& certificate, const char* key = "sha256") {
  return "SHA256:" + shown(certificate, key);
}

/// "in_force" is what the daemon has under the same key; it is not there where no daemon was asked.
std::string in_force(const Json& certificate) {
  if (!certificate.contains("in_force")) return "not known: no daemon was asked";
  const Json& used = certificate["in_force"];
  if (!text_of(certificate, "trouble").empty())
    return "not known: the file was not read; the daemon has " + (used.is_null() ? "none" : fingerprint(used));
  if (used.is_null()) return "no: the daemon has none; waypost cert reload";
  if (text_of(used, "sha256") == text_of(certificate, "sha256")) return "yes";
  return "no: the daemon has " + fingerprint(used) + ", until " + shown_time(used, "not_after") +
         "; waypost cert reload";
}

void write_certificate(const Json& certificate, Console& console) {
  console.out << shown(certificate, "key") << "\n";
  Table table;
  table.add({"file", shown(certificate, "file")});
  table.add({"key", shown(certificate, "key_file")});
  if (const std::string trouble = shown(certificate, "trouble"); !trouble.empty()) {
    table.add({"trouble", trouble});
  } else {
    table.add({"names", joined(list_of(certificate, "names"))});
    const std::string issuer = shown(certificate, "issuer");
    table.add({"issuer", issuer == shown(certificate, "subject") ? "itself" : issuer});
    table.add({"until", until(certificate, console.now())});
    table.add({"certificate", fingerprint(certificate)});
    table.add({"public key", fingerprint(certificate, "spki_sha256")});
  }
  table.add({"in force", in_force(certificate)});
  console.out << table.text("  ");
}

/// nullopt: it has errors, as `err` says, and the exit code is set.
std::optional<conf::Loaded> load_config(Console& console) {
  conf::Loaded loaded = conf::load(console.config_file());
  if (loaded.errors.empty()) return loaded;
  for (const conf::Finding& error : loaded.errors) console.err << "error: " << escape(error.text(), 2000) << "\n";
  console.exit_code = EX_CONFIG;
  return std::nullopt;
}

Json change_of(const Json* before, const Json* after) {
  Json json;
  const Json& named = after != nullptr ? *after : *before;
  json["key"] = text_of(named, "key");
  json["file"] = text_of(named, "file");
  const auto part = [](const Json* of, const char* key) { return of != nullptr ? (*of)[key] : Json(nullptr); };
  json["sha256"] = part(after, "sha256");
  json["not_after"] = part(after, "not_after");
  json["before"] = part(before, "sha256");
  json["changed"] = json["sha256"] != json["before"];
  return json;
}

std::string change_text(const Json& change) {
  const std::string now = fingerprint(change) + ", until " + shown_time(change, "not_after");
  if (change["sha256"].is_null()) return "no longer named";
  if (change["before"].is_null()) return "new: " + now;
  return (change["changed"] == true ? "another one: " : "the same: ") + now;
}

}  // namespace

int cert_list(bool json, Console& console) {
  const std::optional<conf::Loaded> loaded = load_config(console);
  if (!loaded) return console.exit_code;
  const std::vector<CertificateFiles> files = certificate_files(loaded->config.tls);
  if (files.empty()) {
    if (!json) console.out << kNone;
    return 1;
  }
  const std::optional<Json> used = certificates_in_force(console);
  for (const CertificateFiles& each : files) {
    Json line = list_json(each, loaded->config, console.now());
    if (used) {
      const Json* same = find(*used, each.key);
      line["in_force"] = same != nullptr ? *same : Json(nullptr);
    }
    if (json)
      console.print(line);
    else
      write_certificate(line, console);
  }
  return 0;
}

int cert_check(bool json, Console& console) {
  const std::optional<conf::Loaded> loaded = load_config(console);
  if (!loaded) return console.exit_code;
  const LoadedCertificates read = load_certificates(loaded->config, console.now(), Reader::checking);
  Json report;
  report["certificates"] = Json::array();
  report["findings"] = Json::array();
  for (const conf::Finding& each : read.errors) report["findings"].push_back(finding_json(each, "error"));
  for (const conf::Finding& each : read.warnings) report["findings"].push_back(finding_json(each, "warning"));
  for (const CertificateFiles& each : certificate_files(loaded->config.tls)) {
    Json line = list_json(each, loaded->config, console.now());
    line["ok"] = text_of(line, "trouble").empty() && find(report["findings"], each.key) == nullptr;
    report["certificates"].push_back(std::move(line));
  }
  const bool none = report["certificates"].empty();
  const int found = none || !report["findings"].empty() ? 1 : 0;
  if (json) {
    console.print(report);
    return found;
  }
  if (none) console.out << kNone;
  for (const Json& finding : report["findings"])
    console.out << text_of(finding, "severity") << ": " << shown(finding, "text") << "\n";
  for (const Json& each : report["certificates"])
    if (each["ok"] == true)
      console.out << "ok: " << shown(each, "key") << ": " << joined(list_of(each, "names")) << ", until "
                  << until(each, console.now()) << "\n";
  return found;
}

int cert_reload(bool json, Console& console) {
  const std::optional<Json> before = console.fetch(certificates_request());
  if (!before) return console.exit_code;
  const std::optional<Json> report = ask_for_reload(console);
  if (!report) return console.exit_code;
  const std::optional<Json> after = console.fetch(certificates_request());
  if (!after) return console.exit_code;
  const Json& old = list_of(*before, "certificates");
  const Json& now = list_of(*after, "certificates");
  Json changes = Json::array();
  for (const Json& each : now) changes.push_back(change_of(find(old, text_of(each, "key")), &each));
  for (const Json& each : old)
    if (find(now, text_of(each, "key")) == nullptr) changes.push_back(change_of(&each, nullptr));
  if (json) {
    Json all;
    all["file"] = text_of(*report, "file");
    all["certificates"] = std::move(changes);
    console.print(all);
    return 0;
  }
  console.out << "reloaded " << shown(*report, "file") << "\n";
  if (changes.empty()) console.out << "no certificate is in force\n";
  for (const Json& each : changes) console.out << shown(each, "key") << ": " << change_text(each) << "\n";
  return 0;
}

void add_cert(CLI::App& app, Console& console) {
  CLI::App* cert = app.add_subcommand("cert", "The certificates that clients are shown");
  cert->require_subcommand(1);
  cert->footer("Example: waypost cert list");
  auto json = std::make_shared<bool>(false);
  CLI::App* list = cert->add_subcommand("list", "Each with its names, its end, and whether the daemon has that one");
  list->add_flag("--json", *json, "A JSON object a line, keys stable");
  list->footer("Example: waypost cert list");
  list->callback([json, &console] { console.exit_code = cert_list(*json, console); });
  CLI::App* check = cert->add_subcommand("check", "What is wrong with them, and what to do about it");
  check->add_flag("--json", *json, "One JSON object, keys stable");
  check->footer("Example: waypost cert check");
  check->callback([json, &console] { console.exit_code = cert_check(*json, console); });
  CLI::App* reload = cert->add_subcommand("reload", "Have the daemon read configuration and certificates again");
  reload->add_flag("--json", *json, "One JSON object, keys stable");
  reload->footer("Example: waypost cert reload");
  reload->callback([json, &console] { console.exit_code = cert_reload(*json, console); });
}

}  // namespace waypost::mta
