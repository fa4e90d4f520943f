#include "delivery/sasl_client.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/escape.h"
#include "base/text.h"
#include "smtp/scram.h"

namespace waypost::delivery {

namespace scram = smtp::scram;

/// A mechanism's messages, out of their base64.
class SaslExchange {
 public:
  SaslExchange() = default;
  SaslExchange(const SaslExchange&) = delete;
  SaslExchange& operator=(const SaslExchange&) = delete;
  virtual ~SaslExchange() = default;

  /// What the client says before the host does. nullopt: the host speaks first.
  virtual std::optional<std::string> initial() = 0;
  /// Errors as of SaslClient::answer().
  virtual Result<std::string> respond(std::string_view challenge) = 0;
  /// All was said, and the host has proved what it has to.
  virtual bool complete() const = 0;
};

namespace {

constexpr std::size_t kLongestCommand = 512;  // RFC 5321 §4.5.3.1.4, with CRLF
constexpr std::size_t kLongestQuoted = 200;   // of the host's text in an error
constexpr SaslMechanism kMechanisms[] = {SaslMechanism::scram_sha_256, SaslMechanism::scram_sha_1, SaslMechanism::plain,
                                         SaslMechanism::login};

bool is_among(const std::vector<std::string>& names, SaslMechanism mechanism) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& each) { return equals_no_case(each, name(mechanism)); });
}

bool tells_password(SaslMechanism mechanism) {
  return mechanism == SaslMechanism::plain || mechanism == SaslMechanism::login;
}

tl::unexpected<Error> one_too_many() {
  return fail(Errc::protocol, "the host goes on asking when all was said");
}

/// RFC 4616.
class Plain : public SaslExchange {
 public:
  explicit Plain(const Credentials& credentials)
      : message_(std::string(1, '\0') + credentials.user + std::string(1, '\0') + credentials.password) {}

  std::optional<std::string> initial() override { return std::move(message_); }
  Result<std::string> respond(std::string_view) override { return one_too_many(); }
  bool complete() const override { return true; }

 private:
  std::string message_;
};

/// The challenges are told apart by their order: their words differ from host to host, and the draft bids a client not
/// to look at them. Nothing goes with the command, since some hosts do not expect it.
class Login : public SaslExchange {
 public:
  explicit Login(Credentials credentials) : credentials_(std::move(credentials)) {}

  std::optional<std::string> initial() override { return std::nullopt; }

  Result<std::string> respond(std::string_view) override {
    if (said_ == 2) return one_too_many();
    return ++said_ == 1 ? credentials_.user : credentials_.password;
  }

  bool complete() const override { return said_ == 2; }

 private:
  Credentials credentials_;
  int said_ = 0;
};

/// RFC 5802, RFC 7677. The flag `n` says that we know no channel binding; `y` would be for a client that does, at a
/// host that seems not to.
class Scram : public SaslExchange {
 public:
  Scram(scram::Hash hash, const Credentials& credentials, std::string nonce)
      : hash_(hash),
        password_(credentials.password),
        nonce_(std::move(nonce)),
        client_first_("n=" + scram::saslname(credentials.user) + ",r=" + nonce_) {}

  std::optional<std::string> initial() override { return std::string(kGs2Header) + client_first_; }

  Result<std::string> respond(std::string_view challenge) override {
    switch (next_) {
      case Next::server_first:
        return on_first(challenge);
      case Next::server_final:
        return on_final(challenge);
      case Next::nothing:
        break;
    }
    return one_too_many();
  }

  bool complete() const override { return next_ == Next::nothing; }

 private:
  enum class Next { server_first, server_final, nothing };
  static constexpr std::string_view kGs2Header = "n,,";

  Result<std::string> on_first(std::string_view challenge) {
    std::string_view rest = challenge;
    if (rest.starts_with("e=")) return refused(rest);
    if (rest.starts_with("m=")) return fail(Errc::unsupported, "the host demands an extension of SCRAM");
    const std::optional<std::string_view> nonce = scram::take_attribute(rest, 'r');
    const std::optional<std::string_view> encoded = scram::take_attribute(rest, 's');
    const std::optional<std::string_view> count = scram::take_attribute(rest, 'i');
    if (!nonce || !encoded || !count) return fail(Errc::protocol, "the host's challenge lacks a nonce, salt or count");
    // RFC 5802 §5.1: another's nonce is of another exchange, and one to which nothing was added could be repeated.
    if (!nonce->starts_with(nonce_) || nonce->size() == nonce_.size() ||
        !scram::is_nonce(*nonce, SaslClient::kLongestNonce))
      return fail(Errc::protocol, "the host's nonce is not ours with its own behind it");
    const std::optional<std::string> salt = base64_decode(*encoded);
    if (!salt || salt->empty()) return fail(Errc::protocol, "the host's salt is not base64");
    const std::optional<std::uint64_t> iterations = parse_decimal(*count);
    if (!iterations) return fail(Errc::protocol, "the host's iteration count is no number");
    if (*iterations < SaslClient::kFewestIterations || *iterations > SaslClient::kMostIterations)
      return fail(Errc::unsupported, "the host asks for " + std::to_string(*iterations) + " iterations, not " +
                                         std::to_string(SaslClient::kFewestIterations) + " to " +
                                         std::to_string(SaslClient::kMostIterations));

    const std::string without_proof = "c=" + base64_encode(kGs2Header) + ",r=" + std::string(*nonce);
    const std::string message = client_first_ + ',' + std::string(challenge) + ',' + without_proof;
    const std::string key = scram::salted(hash_, password_, *salt, static_cast<std::uint32_t>(*iterations));
    const std::string client_key = scram::hmac(hash_, key, "Client Key");
    const std::string mask = scram::hmac(hash_, scram::digest(hash_, client_key), message);
    signature_ = scram::hmac(hash_, scram::hmac(hash_, key, "Server Key"), message);
    next_ = Next::server_final;
    return without_proof + ",p=" + base64_encode(scram::exclusive_or(client_key, mask));
  }

  Result<std::string> on_final(std::string_view challenge) {
    std::string_view rest = challenge;
    if (rest.starts_with("e=")) return refused(rest);
    const std::optional<std::string_view> verifier = scram::take_attribute(rest, 'v');
    const std::optional<std::string> signature = verifier ? base64_decode(*verifier) : std::nullopt;
    if (!signature) return fail(Errc::protocol, "the host's last message has no signature");
    if (!scram::equal(*signature, signature_))
      return fail(Errc::denied, "the host's signature is wrong: it does not know the password itself");
    next_ = Next::nothing;
    return std::string();  // RFC 4954 §4: SMTP has no room for it beside the 235
  }

  static tl::unexpected<Error> refused(std::string_view message) {
    return fail(Errc::denied, "the host ends SCRAM: " + escape(*scram::take_attribute(message, 'e'), kLongestQuoted));
  }

  const scram::Hash hash_;
  const std::string password_, nonce_, client_first_;
  Next next_ = Next::server_first;
  std::string signature_;  // the host's, as it has to be
};

std::unique_ptr<SaslExchange> make_exchange(SaslMechanism mechanism, Credentials credentials, std::string nonce) {
  switch (mechanism) {
    case SaslMechanism::scram_sha_256:
      return std::make_unique<Scram>(scram::Hash::sha256, credentials, std::move(nonce));
    case SaslMechanism::scram_sha_1:
      return std::make_unique<Scram>(scram::Hash::sha1, credentials, std::move(nonce));
    case SaslMechanism::plain:
      return std::make_unique<Plain>(credentials);
    case SaslMechanism::login:
      break;
  }
  return std::make_unique<Login>(std::move(credentials));
}

}  // namespace

std::string_view name(SaslMechanism mechanism) {
  switch (mechanism) {
    case SaslMechanism::scram_sha_256:
      return "SCRAM-SHA-256";
    case SaslMechanism::scram_sha_1:
      return "SCRAM-SHA-1";
    case SaslMechanism::plain:
      return "PLAIN";
    case SaslMechanism::login:
      break;
  }
  return "LOGIN";
}

Result<SaslMechanism> choose_mechanism(const std::vector<std::string>& offered, bool is_private,
                                       const std::vector<std::string>& allowed) {
  if (offered.empty()) return fail(Errc::unsupported, "the host offers no AUTH");
  bool known = false;
  bool in_the_clear = false;
  for (SaslMechanism mechanism : kMechanisms) {
    if (!is_among(offered, mechanism)) continue;
    known = true;
    if (!allowed.empty() && !is_among(allowed, mechanism)) continue;
    if (is_private || !tells_password(mechanism)) return mechanism;
    in_the_clear = true;
  }
  std::string names;
  for (const std::string& each : offered) names += ' ' + each;
  names = "the host offers AUTH" + escape(names, kLongestQuoted);
  if (in_the_clear) return fail(Errc::denied, names + ", which needs TLS");
  if (known) return fail(Errc::unsupported, names + ", of which the configuration allows none");
  return fail(Errc::unsupported, names + ", of which none is known here");
}

std::string auth_command(std::string_view mechanism, const std::optional<std::string>& initial) {
  const std::string bare = "AUTH " + std::string(mechanism);
  if (!initial) return bare;
  std::string whole = bare + ' ' + (initial->empty() ? "=" : base64_encode(*initial));
  return whole.size() + 2 <= kLongestCommand ? whole : bare;
}

SaslClient::SaslClient(SaslMechanism mechanism, std::unique_ptr<SaslExchange> exchange)
    : name_(name(mechanism)), exchange_(std::move(exchange)) {
  std::optional<std::string> initial = exchange_->initial();
  command_ = auth_command(name_, initial);
  if (command_ == auth_command(name_, std::nullopt)) waiting_ = std::move(initial);
}

SaslClient::SaslClient(SaslClient&&) noexcept = default;
SaslClient& SaslClient::operator=(SaslClient&&) noexcept = default;
SaslClient::~SaslClient() = default;

Result<SaslClient> SaslClient::make(SaslMechanism mechanism, Credentials credentials, std::string nonce) {
  if (!scram::is_prepared(credentials.user, kLongestUser))
    return fail(Errc::invalid, "the user is empty, longer than 255 octets, no UTF-8 or has controls");
  if (!scram::is_prepared(credentials.password, kLongestPassword))
    return fail(Errc::invalid, "the password is empty, longer than 4096 octets, no UTF-8 or has controls");
  if (!tells_password(mechanism) && !scram::is_nonce(nonce, kLongestNonce))
    return fail(Errc::invalid, "the nonce is empty, too long or has a comma");
  return SaslClient(mechanism, make_exchange(mechanism, std::move(credentials), std::move(nonce)));
}

Result<std::string> SaslClient::answer(std::string_view challenge) {
  if (broken_) return fail(Errc::protocol, "the host goes on after the login was given up");
  Result<std::string> response = respond(challenge);
  if (response) return base64_encode(*response);
  broken_ = true;
  return fail(response.error().code, std::string(name_) + ": " + response.error().what);
}

Result<std::string> SaslClient::respond(std::string_view challenge) {
  if (challenge.size() > kLongestChallenge) return fail(Errc::protocol, "the host's challenge is too long");
  const std::optional<std::string> octets = base64_decode(challenge);
  if (!octets) return fail(Errc::protocol, "the host's challenge is not base64");
  if (!waiting_) return exchange_->respond(*octets);
  // A challenge to one who speaks first is empty (RFC 4954 §4). Some put words there; what they say is of no use.
  std::string initial = *std::move(waiting_);
  waiting_.reset();
  return initial;
}

Result<> SaslClient::finished() const {
  if (broken_) return fail(Errc::denied, std::string(name_) + ": the host takes a login that was given up");
  if (waiting_ || !exchange_->complete())
    return fail(Errc::protocol, std::string(name_) + ": the host takes the login before it is done");
  return {};
}

}  // namespace waypost::delivery
