#include "mta/sasl.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/text.h"
#include "smtp/scram.h"

namespace waypost::mta::sasl {
namespace {

using smtp::scram::is_nonce;
using smtp::scram::parse_saslname;
using smtp::scram::take_attribute;

/// Nobody logs in here as somebody else.
bool acts_for_itself(std::string_view authorization, std::string_view login) {
  return authorization.empty() || authorization == login;
}

Step password_of(const std::string& login, std::string_view password) {
  if (!is_prepared(password, kLongestPassword)) return Refused{"the password is empty, too long or has controls"};
  return Password{login, std::string(password)};
}

/// RFC 4616.
class Plain : public Exchange {
 public:
  Step on_response(std::string_view octets) override {
    const std::vector<std::string_view> parts = split(octets, '\0');
    if (parts.size() != 3) return Malformed{"PLAIN is authzid NUL authcid NUL passwd"};
    if (!is_prepared(parts[1], kLongestLogin)) return Refused{"the login is empty, too long or has controls"};
    login_ = parts[1];
    if (!acts_for_itself(parts[0], login_)) return Refused{"another authorization identity was asked for"};
    return password_of(login_, parts[2]);
  }
};

/// Not an RFC: draft-murchison-sasl-login, what Outlook and devices speak.
class Login : public Exchange {
 public:
  Step on_response(std::string_view octets) override {
    if (name_.empty()) {
      if (!is_prepared(octets, kLongestLogin)) return Refused{"the login is empty, too long or has controls"};
      name_ = octets;
      return Challenge{"Password:"};
    }
    login_ = name_;
    return password_of(login_, octets);
  }

 protected:
  std::string first_challenge() const override { return "Username:"; }

 private:
  std::string name_;
};

/// RFC 4422 appendix A.
class External : public Exchange {
 public:
  explicit External(std::string identity) : identity_(std::move(identity)) {}
  Step on_response(std::string_view octets) override {
    login_ = identity_;
    if (!acts_for_itself(octets, login_)) return Refused{"another authorization identity was asked for"};
    return Accepted{login_};
  }

 private:
  std::string identity_;
};

/// RFC 5802, RFC 7677.
class Scram : public Exchange {
 public:
  Scram(Surroundings surroundings, bool plus) : around_(std::move(surroundings)), plus_(plus) {}

  Step on_response(std::string_view octets) override {
    switch (next_) {
      case Next::first:
        return on_first(octets);
      case Next::proof:
        return on_proof(octets);
      case Next::nothing:
        break;
    }
    if (!octets.empty()) return Malformed{"the last response of SCRAM is empty"};
    return Accepted{login_};
  }

 private:
  enum class Next { first, proof, nothing };

  Step on_first(std::string_view octets) {
    // gs2-header: flag "," [ "a=" authzid ] "," (RFC 5801 §4, RFC 5802 §7)
    std::string_view rest = octets;
    const std::string_view flag = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), flag.size() + 1));
    std::string_view authorization;
    if (!rest.starts_with(',')) {
      const std::optional<std::string_view> given = take_attribute(rest, 'a');
      if (!given) return Malformed{"no gs2 header"};
      authorization = *given;
    } else {
      rest.remove_prefix(1);
    }
    gs2_header_ = octets.substr(0, octets.size() - rest.size());
    if (!gs2_header_.ends_with(',')) return Malformed{"no gs2 header"};
    client_first_ = rest;
    if (rest.starts_with("m=")) return Refused{"an extension of SCRAM is demanded that is not known"};
    const std::optional<std::string_view> name = take_attribute(rest, 'n');
    const std::optional<std::string_view> nonce = take_attribute(rest, 'r');
    if (!name || !nonce || !is_nonce(*nonce, kLongestNonce)) return Malformed{"no name and nonce"};
    const std::optional<std::string> login = parse_saslname(*name);
    const std::optional<std::string> acts_as = parse_saslname(authorization);
    if (!login || !acts_as) return Malformed{"a name is not encoded as RFC 5802 asks"};
    if (!is_prepared(*login, kLongestLogin)) return Refused{"the login is empty, too long or has controls"};
    login_ = *login;
    if (!acts_for_itself(*acts_as, login_)) return Refused{"another authorization identity was asked for"};
    if (std::optional<Step> refused = bind(flag)) return *std::move(refused);

    lookup_ = around_.scram(login_);
    nonce_ = std::string(*nonce) + around_.nonce;
    server_first_ = "r=" + nonce_ + ",s=" + base64_encode(lookup_.verifier.salt) +
                    ",i=" + std::to_string(lookup_.verifier.iterations);
    next_ = Next::proof;
    return Challenge{server_first_};
  }

  /// The channel binding that the client's flag asks for (RFC 5802 §6); a step if that cannot be.
  std::optional<Step> bind(std::string_view flag) {
    if (flag == "n" && !plus_) return std::nullopt;
    if (flag == "y" && !plus_) {
      // "I could, but you do not": we do, so somebody between us took -PLUS out of our offer.
      if (around_.bindings.empty()) return std::nullopt;
      return Refused{"channel binding was offered, and the client says that it was not"};
    }
    if (!flag.starts_with("p=")) {
      if (flag == "n" || flag == "y") return Refused{"SCRAM-SHA-256-PLUS without channel binding"};
      return Malformed{"no gs2 header"};
    }
    if (!plus_) return Refused{"channel binding in SCRAM-SHA-256, which is for SCRAM-SHA-256-PLUS"};
    for (const Binding& binding : around_.bindings) {
      if (binding.type != flag.substr(2)) continue;
      binding_ = binding.octets;
      return std::nullopt;
    }
    return Refused{"a channel binding of another type"};
  }

  Step on_proof(std::string_view octets) {
    const std::size_t at = octets.rfind(",p=");
    if (at == std::string_view::npos) return Malformed{"no proof"};
    std::string_view rest = octets.substr(0, at);
    const std::string message = client_first_ + ',' + server_first_ + ',' + std::string(rest);
    const std::optional<std::string_view> channel = take_attribute(rest, 'c');
    const std::optional<std::string_view> nonce = take_attribute(rest, 'r');
    if (!channel || !nonce) return Malformed{"no channel binding and nonce"};
    const std::optional<std::string> proof = base64_decode(octets.substr(at + 3));
    if (!proof) return Malformed{"the proof is not base64"};

    const bool bound = *channel == base64_encode(gs2_header_ + binding_);
    const bool proves = scram::proves(lookup_.verifier, message, *proof);  // of an unknown login, too: it takes as long
    if (!bound) return Refused{"the channel binding differs"};
    if (*nonce != nonce_) return Refused{"the nonce differs"};
    if (!proves || !lookup_.known) return Refused{"bad credentials"};
    next_ = Next::nothing;
    return Challenge{"v=" + base64_encode(scram::server_signature(lookup_.verifier, message))};
  }

  const Surroundings around_;
  const bool plus_;
  Next next_ = Next::first;
  ScramLookup lookup_;
  std::string gs2_header_, binding_, client_first_, server_first_, nonce_;
};

}  // namespace

bool is_prepared(std::string_view text, std::size_t longest) {
  return smtp::scram::is_prepared(text, longest);
}

Step Exchange::begin(std::optional<std::string_view> initial) {
  if (initial) return on_response(*initial);
  return Challenge{first_challenge()};
}

std::unique_ptr<Exchange> make_exchange(std::string_view mechanism, Surroundings surroundings) {
  if (mechanism == "PLAIN") return std::make_unique<Plain>();
  if (mechanism == "LOGIN") return std::make_unique<Login>();
  if (mechanism == "EXTERNAL" && !surroundings.external.empty())
    return std::make_unique<External>(std::move(surroundings.external));
  if (!surroundings.scram) return nullptr;
  if (mechanism == "SCRAM-SHA-256") return std::make_unique<Scram>(std::move(surroundings), false);
  if (mechanism == "SCRAM-SHA-256-PLUS" && !surroundings.bindings.empty())
    return std::make_unique<Scram>(std::move(surroundings), true);
  return nullptr;
}

std::vector<std::string> mechanisms(bool scram, bool channel_binding, bool external) {
  std::vector<std::string> out;
  if (scram && channel_binding) out.emplace_back("SCRAM-SHA-256-PLUS");
  if (scram) out.emplace_back("SCRAM-SHA-256");
  out.emplace_back("PLAIN");
  out.emplace_back("LOGIN");
  if (external) out.emplace_back("EXTERNAL");
  return out;
}

}  // namespace waypost::mta::sasl
