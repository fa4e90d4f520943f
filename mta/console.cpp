#include "mta/console.h"

#include <sysexits.h>

#include "base/escape.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

constexpr int kSchema = 1;  // of what --json prints: another where a key goes, or becomes another

int exit_of(Errc code) {
  switch (code) {
    case Errc::refused:
    case Errc::closed:
      return EX_UNAVAILABLE;
    case Errc::denied:
      return EX_NOPERM;
    case Errc::busy:
    case Errc::timed_out:
      return EX_TEMPFAIL;
    case Errc::unsupported:
      return EX_CONFIG;
    default:
      return EX_SOFTWARE;
  }
}

int exit_of(int status) {
  switch (status) {
    case 400:
    case 413:
    case 414:
    case 431:
      return EX_USAGE;
    case 403:
      return EX_NOPERM;
    case 404:
      return 1;
    case 409:
      return EX_CANTCREAT;
    case 422:
      return EX_CONFIG;
    case 501:
      return EX_UNAVAILABLE;
    case 503:
    case 507:
      return EX_TEMPFAIL;
    default:
      return EX_SOFTWARE;
  }
}

}  // namespace

int own_exit(Errc code) {
  switch (code) {
    case Errc::busy:
    case Errc::exists:
      return EX_CANTCREAT;
    case Errc::denied:
      return EX_NOPERM;
    case Errc::invalid:
      return EX_USAGE;
    case Errc::not_found:
      return EX_NOINPUT;
    case Errc::full:
    case Errc::cancelled:
      return EX_TEMPFAIL;
    case Errc::unsupported:
      return EX_CONFIG;
    default:
      return EX_IOERR;
  }
}

void Console::print(const Json& json) {
  Json line;
  line["schema"] = kSchema;
  line.update(json);
  out << to_line(line) << "\n";
}

void Console::give_up(int code, const std::string& why) {
  err << "waypost: " << escape(why, 2000) << "\n";
  exit_code = code;
}

std::optional<std::string> Console::fetch_octets(const ControlRequest& request) {
  return octets_of(ask(request));
}

std::optional<std::string> Console::octets_of(Result<ControlAnswer> answer) {
  if (!answer) {
    give_up(exit_of(answer.error().code), answer.error().what);
    return std::nullopt;
  }
  if (answer->status < 300) return std::move(answer->body);
  const Json json = parse_json(answer->body);
  std::string why = text_of(json, "error");
  if (why.empty()) why = "the daemon answers with " + std::to_string(answer->status);
  if (answer->status == 414 || answer->status == 431) why = "too long a filter";
  give_up(exit_of(answer->status), why);
  return std::nullopt;
}

std::optional<Json> Console::fetch(const ControlRequest& request) {
  return read(ask(request));
}

std::optional<Json> Console::read(Result<ControlAnswer> answer) {
  const std::optional<std::string> body = octets_of(std::move(answer));
  if (!body) return std::nullopt;
  Json json = parse_json(*body);
  if (json.is_object()) return json;
  give_up(EX_SOFTWARE, "the daemon's answer is not understood");
  return std::nullopt;
}

std::string shown(const Json& json, const char* key) {
  return escape(text_of(json, key), 2000);
}

std::string joined(const Json& list) {
  std::string out;
  for (const Json& each : list) out += (out.empty() ? "" : ", ") + escape(each.get<std::string>());
  return out;
}

std::string shown_time(const Json& json, const char* key) {
  const std::optional<net::WallTime> time = time_of_json(text_of(json, key));
  return time ? local_time(*time) : "";
}

}  // namespace waypost::mta
