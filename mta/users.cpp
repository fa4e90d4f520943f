#include "mta/users.h"

#include <algorithm>
#include <cstdint>

#include <crypt.h>

#include "base/escape.h"
#include "base/text.h"
#include "mta/sasl.h"
#include "smtp/sender_rule.h"

namespace waypost::mta {
namespace {

constexpr std::uint32_t kUsualIterations = 100'000;  // of a decoy where nobody has a verifier
constexpr std::size_t kUsualSalt = 16;

/// A number that only the secret's holder can foresee.
std::size_t pick(std::string_view secret, const std::string& login, std::size_t choices) {
  const std::string digest = scram::hmac(secret, "pick " + login);
  std::size_t number = 0;
  for (std::size_t i = 0; i < 7; ++i) number = number << 8 | static_cast<unsigned char>(digest[i]);
  return number % choices;
}

std::string false_octets(std::string_view secret, const std::string& what, std::size_t octets) {
  std::string out;
  while (out.size() < octets) out += scram::hmac(secret, std::to_string(out.size()) + ' ' + what);
  out.resize(octets);
  return out;
}

Result<std::string> parse_hash(std::string_view text) {
  std::string hash(text);
  if (hash.empty()) return fail(Errc::invalid, "no hash after the name: * stands for none");
  const bool printable = std::all_of(hash.begin(), hash.end(), [](char c) { return c > ' ' && c < 0x7F && c != ':'; });
  if (!printable) return fail(Errc::invalid, "the hash has spaces, controls or other characters that no hash has");
  if (hash.front() == '*' || hash.front() == '!') return hash;
  if (hash.front() != '$' || crypt_checksalt(hash.c_str()) != CRYPT_SALT_OK)
    return fail(Errc::invalid, "the hash is of a method that is unknown or too weak: give the user a new password");
  return hash;
}

Result<std::vector<std::string>> parse_senders(std::string_view text) {
  std::vector<std::string> senders;
  if (text.empty()) return senders;
  for (std::string_view rule : split(text, ',')) {
    const Result<> good = smtp::check_sender_rule(rule);
    if (!good) return fail(good.error());
    senders.emplace_back(rule);
  }
  return senders;
}

/// Those behind the name; the last two may lack.
Result<User> parse_user(const std::vector<std::string_view>& fields) {
  if (fields.size() > 3) return fail(Errc::invalid, "more fields than name, hash, verifier and senders");
  Result<std::string> hash = parse_hash(fields[0]);
  if (!hash) return fail(hash.error());
  User user;
  user.hash = *std::move(hash);
  if (fields.size() > 1 && !fields[1].empty()) {
    Result<ScramVerifier> verifier = scram::parse_verifier(fields[1]);
    if (!verifier) return fail(verifier.error());
    user.scram = *std::move(verifier);
  }
  if (fields.size() > 2) {
    Result<std::vector<std::string>> senders = parse_senders(fields[2]);
    if (!senders) return fail(senders.error());
    user.senders = *std::move(senders);
  }
  return user;
}

std::string_view take_line(std::string_view& text) {
  const auto [line, rest] = split_once(text, '\n');
  text = rest;
  return line;
}

bool says_nothing(std::string_view line) {
  return trim(line).empty() || line.starts_with('#');
}

}  // namespace

Users::Lookup Users::find(const std::string& login, std::string_view secret) const {
  const std::size_t decoy = with_any_.empty() ? 0 : pick(secret, login, with_any_.size());  // computed for all
  const auto found = users_.find(login);
  const bool known = found != users_.end() && (found->second.has_hash() || found->second.has_scram());
  if (known) return {found->second, true};
  if (with_any_.empty()) return {};
  return {users_.at(with_any_[decoy]), false};
}

ScramLookup Users::find_scram(const std::string& login, std::string_view secret) const {
  ScramVerifier decoy;
  decoy.iterations = kUsualIterations;
  std::size_t salt = kUsualSalt;
  if (!with_scram_.empty()) {
    const ScramVerifier& like = *users_.at(with_scram_[pick(secret, login, with_scram_.size())]).scram;
    decoy.iterations = like.iterations;
    salt = like.salt.size();
  }
  decoy.salt = false_octets(secret, "salt " + login, salt);
  decoy.stored_key = false_octets(secret, "key " + login, 32);
  decoy.server_key = decoy.stored_key;
  const auto found = users_.find(login);
  if (found != users_.end() && found->second.has_scram()) return {*found->second.scram, true};
  return {decoy, false};
}

bool Users::add(const std::string& name, const User& user) {
  const bool is_new = users_.emplace(name, user).second;
  if (!is_new) return false;
  if (user.has_hash() || user.has_scram()) with_any_.push_back(name);
  if (user.has_scram()) with_scram_.push_back(name);
  return true;
}

ParsedUsers parse_users(std::string_view text, const std::string& file) {
  ParsedUsers out;
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view line = take_line(text);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (says_nothing(line)) continue;
    const auto mistake = [&](const std::string& what) {
      out.mistakes.push_back(escape(file) + ':' + std::to_string(number) + ": " + what);
    };
    const auto [name, rest] = split_once(line, ':');
    const Result<> good = check_user_name(name);
    if (!good) {
      mistake(good.error().what);
      continue;
    }
    const Result<User> user = parse_user(split(rest, ':'));
    if (!user)
      mistake(user.error().what);
    else if (!out.users.add(std::string(name), *user))
      mistake("the user " + escape(name, 80) + " stands in the file already");
  }
  return out;
}

ParsedUsers parse_users(const std::vector<std::vector<std::string>>& rows, const std::string& table) {
  ParsedUsers out;
  for (const std::vector<std::string>& row : rows) {
    const std::string& name = row[0];
    const auto mistake = [&](const std::string& what) {
      out.mistakes.push_back(escape(table) + ": the user " + escape(name, 80) + ": " + what);
    };
    const Result<> good = check_user_name(name);
    if (!good) {
      out.mistakes.push_back(escape(table) + ": " + good.error().what);
      continue;
    }
    const std::string_view hash = row[1].empty() ? "*" : std::string_view(row[1]);
    const Result<User> user = parse_user({hash, row[2], row[3]});
    if (!user)
      mistake(user.error().what);
    else if (!out.users.add(name, *user))
      mistake("stands in the table twice");
  }
  return out;
}

Result<> check_user_name(std::string_view name) {
  const bool good = sasl::is_prepared(name, sasl::kLongestLogin) && !name.starts_with('#') &&
                    name.find_first_of(": ") == std::string_view::npos;
  if (good) return {};
  return fail(Errc::invalid,
              "\"" + escape(name, 80) + "\" is no name: 1 to 255 octets of UTF-8 without spaces, colons and controls");
}

std::string user_line(const std::string& name, const User& user) {
  std::string line = name + ':' + (user.hash.empty() ? "*" : user.hash);
  if (user.scram || !user.senders.empty()) line += ':';
  if (user.scram) line += scram::text(*user.scram);
  for (std::size_t i = 0; i < user.senders.size(); ++i) line += (i == 0 ? ':' : ',') + user.senders[i];
  return line;
}

std::string with_user(std::string_view text, const std::string& name, const std::optional<User>& user) {
  std::string out;
  bool placed = !user.has_value();
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const bool is_users = !says_nothing(line) && split_once(line, ':').first == name;
    if (!is_users) {
      out.append(line).append(1, '\n');
    } else if (!placed) {
      out += user_line(name, *user) + '\n';
      placed = true;
    }
  }
  if (!placed) out += user_line(name, *user) + '\n';
  return out;
}

}  // namespace waypost::mta
