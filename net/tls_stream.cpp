#include "net/tls_stream.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>

#include "base/escape.h"
#include "net/tls_openssl.h"
#include "net/tls_wire.h"

namespace waypost::net {
namespace {

constexpr std::size_t kPlain = 16384;         // octets in a record of ours
constexpr std::size_t kMaxPending = 1 << 16;  // octets that wait to go out: a write makes no more at a time
constexpr std::size_t kMaxIdle = 64 * 1024;   // octets of a peer without one of its data: it renews keys for ever
constexpr int kCiphersShown = 4;

std::string version_name(std::uint16_t version) {
  if (version == TLS1_3_VERSION) return "TLSv1.3";
  if (version == TLS1_2_VERSION) return "TLSv1.2";
  if (version == TLS1_1_VERSION) return "TLSv1.1";
  if (version == TLS1_VERSION) return "TLSv1";
  return version == SSL3_VERSION ? "SSLv3" : "";
}

/// What a client offered: "TLSv1.1; AES128-SHA AES256-SHA ...". "" if there was no ClientHello.
std::string offer_text(SSL* ssl, const TlsHello& hello) {
  std::string versions;
  for (std::uint16_t version : hello.versions) {
    std::string name = version_name(version);
    if (!name.empty()) versions += (versions.empty() ? "" : " ") + name;
  }
  STACK_OF(SSL_CIPHER)* ciphers = nullptr;
  const auto* wire = reinterpret_cast<const unsigned char*>(hello.ciphers.data());
  bool read = SSL_bytes_to_cipher_list(ssl, wire, hello.ciphers.size(), 0, &ciphers, nullptr) == 1;
  std::string names;
  for (int i = 0; read && i < std::min(sk_SSL_CIPHER_num(ciphers), kCiphersShown); ++i) {
    names += std::string(names.empty() ? "" : " ") + SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i));
  }
  if (read && sk_SSL_CIPHER_num(ciphers) > kCiphersShown) names += " ...";
  sk_SSL_CIPHER_free(ciphers);
  ERR_clear_error();
  return versions + (versions.empty() || names.empty() ? "" : "; ") + names;
}

std::string end_point_binding(const X509* certificate) {
  int digest = NID_undef;
  bool known = certificate != nullptr &&
               X509_get_signature_info(const_cast<X509*>(certificate), &digest, nullptr, nullptr, nullptr) == 1;
  ERR_clear_error();
  if (!known || digest == NID_undef) return "";  // RFC 5929 §4.1: not defined for a signature without one hash
  if (digest == NID_md5 || digest == NID_sha1) digest = NID_sha256;
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned size = 0;
  if (X509_digest(certificate, EVP_get_digestbynid(digest), out.data(), &size) != 1) return "";
  return std::string(reinterpret_cast<const char*>(out.data()), size);
}

/// The stream below is read by read() alone and written by write() alone, once the handshake is over: what OpenSSL has
/// to say while it reads (an alert, a new key) goes out with the next write (RFC 8446 §4.6.3).
class OpensslStream : public TlsStream {
 public:
  OpensslStream(std::shared_ptr<const TlsServer> server, std::shared_ptr<const TlsClient> client)
      : server_(std::move(server)), client_(std::move(client)) {}
  ~OpensslStream() override {
    if (below_) close();
  }

  Result<> take(SslPtr ssl) {
    ssl_ = std::move(ssl);
    SSL_set_app_data(ssl_.get(), &hello_);
    BIO* bio = wire_.make_bio();
    if (bio == nullptr) return fail(Errc::internal, "TLS: no memory");
    SSL_set_bio(ssl_.get(), bio, bio);
    return {};
  }
  void stand_on(std::unique_ptr<Stream> below) { below_ = std::move(below); }

  Task<Result<>> handshake(TimePoint deadline) override {
    for (;;) {
      if (closed_) co_return fail(cancelled("TLS handshake with"));
      ERR_clear_error();
      int done = SSL_do_handshake(ssl_.get());
      int why = SSL_get_error(ssl_.get(), done);
      if (done != 1 && why != SSL_ERROR_WANT_READ) co_return fail(refuse("TLS handshake with"));
      Result<> sent = co_await drain(deadline);
      if (!sent) co_return fail(std::move(sent.error()));
      if (done == 1) break;
      Result<std::size_t> got = co_await fill(deadline);
      if (!got) co_return fail(std::move(got.error()));
      if (*got == 0) {
        co_return fail(Errc::closed,
                       "TLS handshake with " + remote().text() + ": the other side closed the connection");
      }
    }
    if (closed_) co_return fail(cancelled("TLS handshake with"));
    secured_ = true;
    describe();
    co_return Result<>();
  }

  Task<Result<std::size_t>> read(std::span<char> into, TimePoint deadline) override {
    assert(secured_ || closed_);
    std::size_t idle_octets = 0;
    for (;;) {
      if (closed_) co_return fail(cancelled("read from"));
      if (broken_) co_return fail(*broken_);
      ERR_clear_error();
      std::size_t count = 0;
      int done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &count);
      if (done == 1) co_return count;
      int why = SSL_get_error(ssl_.get(), done);
      if (why == SSL_ERROR_ZERO_RETURN) co_return std::size_t{0};
      if (why != SSL_ERROR_WANT_READ) co_return fail(refuse("read from"));
      if (wire_.out().size() > kMaxPending) {
        broken_ = Error(Errc::protocol, "read from " + remote().text() + ": it asks for answers and takes none");
        continue;
      }
      Result<std::size_t> got = co_await fill(deadline);
      if (!got) co_return fail(std::move(got.error()));
      idle_octets += *got;
      if (idle_octets > kMaxIdle) {
        broken_ = Error(Errc::protocol, "read from " + remote().text() + ": it renews keys and says nothing");
        continue;
      }
      // A peer that leaves without close_notify: where a message ends, SMTP says for itself.
      if (*got == 0) co_return std::size_t{0};
    }
  }

  Task<Result<>> write(std::span<const std::string_view> pieces, TimePoint deadline) override {
    assert((secured_ || closed_) && !writing_);
    writing_ = true;
    Result<> written = co_await write_all(pieces, deadline);
    writing_ = false;
    co_return written;
  }

  void close() override {
    if (closed_) return;
    closed_ = true;
    if (secured_ && !broken_ && !writing_) {
      ERR_clear_error();
      SSL_shutdown(ssl_.get());
      ERR_clear_error();
      below_->try_write(wire_.out());
    }
    below_->close();
  }

  const Address& local() const override { return below_->local(); }
  const Address& remote() const override { return below_->remote(); }
  const TlsInfo& info() const override { return info_; }

  std::string channel_binding(ChannelBinding kind) const override {
    if (!secured_) return "";
    if (kind == ChannelBinding::tls_server_end_point) {
      if (server_) return end_point_binding(SSL_get_certificate(ssl_.get()));
      return end_point_binding(SSL_get0_peer_certificate(ssl_.get()));
    }
    bool unique = SSL_version(ssl_.get()) >= TLS1_3_VERSION || SSL_get_extms_support(ssl_.get()) == 1;
    if (!unique) return "";
    constexpr std::string_view kLabel = "EXPORTER-Channel-Binding";
    std::array<unsigned char, 32> out{};
    static const unsigned char kNoContext = 0;
    bool made = SSL_export_keying_material(ssl_.get(), out.data(), out.size(), kLabel.data(), kLabel.size(),
                                           &kNoContext, 0, 1) == 1;
    return made ? std::string(reinterpret_cast<const char*>(out.data()), out.size()) : "";
  }

  std::string session() const override {
    const SSL_SESSION* session = secured_ ? SSL_get_session(ssl_.get()) : nullptr;
    if (session == nullptr || SSL_SESSION_is_resumable(session) != 1) return "";
    unsigned char* der = nullptr;
    int size = i2d_SSL_SESSION(session, &der);
    std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(std::max(size, 0)));
    OPENSSL_free(der);
    return out;
  }

 private:
  Error cancelled(const std::string& doing) const {
    return {Errc::cancelled, doing + " " + remote().text() + ": closed here"};
  }

  /// What OpenSSL has just failed with; its alert goes out. Nothing is read or written any more.
  Error refuse(const std::string& doing) {
    long verdict = SSL_get_verify_result(ssl_.get());
    bool unverified = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    std::string what = doing + " " + remote().text() + ": " + openssl_reason("it broke the protocol");
    if (unverified) what += std::string(": ") + X509_verify_cert_error_string(verdict);
    std::string offer = server_ && !secured_ ? offer_text(ssl_.get(), hello_) : "";
    if (!offer.empty()) what += " (the client offers " + offer + ")";
    broken_ = Error(Errc::protocol, what);
    if (!writing_) below_->try_write(std::exchange(wire_.out(), {}));
    return *broken_;
  }

  Task<Result<std::size_t>> fill(TimePoint deadline) {
    Result<std::size_t> got = co_await below_->read(wire_.space(), deadline);
    if (got) wire_.filled(*got);
    co_return got;
  }

  Task<Result<>> drain(TimePoint deadline) {
    while (!wire_.out().empty()) {
      std::string going = std::exchange(wire_.out(), {});  // more may be put there meanwhile
      std::string_view whole = going;
      std::span<const std::string_view> pieces(&whole, 1);
      Result<> sent = co_await below_->write(pieces, deadline);
      if (sent) continue;
      if (sent.error().code == Errc::timed_out) close();
      co_return sent;
    }
    co_return Result<>();
  }

  Task<Result<>> write_all(std::span<const std::string_view> pieces, TimePoint deadline) {
    std::string record;  // small pieces share one
    for (std::string_view piece : pieces) {
      while (!piece.empty()) {
        std::string_view next = piece.substr(0, kPlain - record.size());
        record += next;
        piece.remove_prefix(next.size());
        if (record.size() < kPlain) continue;
        Result<> sealed = seal(record);
        if (!sealed) co_return sealed;
        record.clear();
        if (wire_.out().size() < kMaxPending - TlsWire::kRecord) continue;
        Result<> sent = co_await drain(deadline);
        if (!sent) co_return sent;
      }
    }
    Result<> sealed = seal(record);
    if (!sealed) co_return sealed;
    co_return co_await drain(deadline);
  }

  /// One record, into what is to go out.
  Result<> seal(std::string_view plain) {
    if (closed_) return fail(cancelled("write to"));
    if (broken_) return fail(*broken_);
    if (plain.empty()) return {};
    ERR_clear_error();
    std::size_t count = 0;
    int done = SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &count);
    if (done == 1 && count == plain.size()) return {};
    broken_ = Error(Errc::protocol, "write to " + remote().text() + ": " + openssl_reason("TLS does not go on"));
    return fail(*broken_);
  }

  void describe() {
    info_.version = SSL_get_version(ssl_.get());
    const SSL_CIPHER* cipher = SSL_get_current_cipher(ssl_.get());
    info_.cipher = SSL_CIPHER_get_name(cipher);
    info_.bits = SSL_CIPHER_get_bits(cipher, nullptr);
    info_.resumed = SSL_session_reused(ssl_.get()) == 1;
    const char* asked = client_ ? SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name) : nullptr;
    info_.server_name = escape(asked != nullptr ? std::string_view(asked) : std::string_view(hello_.server_name));
    X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    if (certificate != nullptr) info_.peer = describe_peer(ssl_.get(), certificate);
    hello_ = {};
  }

  std::unique_ptr<Stream> below_;
  std::shared_ptr<const TlsServer> server_;  // one of these two
  std::shared_ptr<const TlsClient> client_;
  TlsHello hello_;
  TlsWire wire_;
  SslPtr ssl_;
  TlsInfo info_;
  std::optional<Error> broken_;
  bool secured_ = false;
  bool writing_ = false;
  bool closed_ = false;
};

Result<std::unique_ptr<TlsStream>> over(std::unique_ptr<Stream>&& below, Result<SslPtr> ssl,
                                        std::shared_ptr<const TlsServer> server,
                                        std::shared_ptr<const TlsClient> client) {
  if (!ssl) return fail(std::move(ssl.error()));
  auto stream = std::make_unique<OpensslStream>(std::move(server), std::move(client));
  Result<> taken = stream->take(*std::move(ssl));
  if (!taken) return fail(std::move(taken.error()));
  stream->stand_on(std::move(below));
  return std::unique_ptr<TlsStream>(std::move(stream));
}

}  // namespace

Result<std::unique_ptr<TlsStream>> tls_accept(std::unique_ptr<Stream>&& below, std::shared_ptr<const TlsServer> server,
                                              TimePoint now) {
  Result<SslPtr> ssl = server->inside().connection(now);
  return over(std::move(below), std::move(ssl), std::move(server), nullptr);
}

Result<std::unique_ptr<TlsStream>> tls_connect(std::unique_ptr<Stream>&& below, std::shared_ptr<const TlsClient> client,
                                               const TlsTarget& target) {
  Result<SslPtr> ssl = client->inside().connection(target);
  return over(std::move(below), std::move(ssl), nullptr, std::move(client));
}

}  // namespace waypost::net
