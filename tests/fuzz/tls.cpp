// tests/fuzz/tls.cpp: what strangers say before anybody is known: a ClientHello, and certificates. What is noted of
// them is what they say, within bounds, and fit for a line of the log; a server's certificate is one for the name.
//
// The first octet says what: 0 a ClientHello of fields, 1 octets for a server, 2 a certificate of fields, 3 a
// certificate's DER; with bit 2 the fields are octets of an extension, or the octets are for a client.
// Covers: net/tls.cpp net/tls_certificate.cpp net/tls_stream.cpp net/tls_wire.cpp
#include "net/tls.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/escape.h"
#include "base/text.h"
#include "net/memory_stream.h"
#include "net/tls_openssl.h"
#include "net/tls_stream.h"
#include "tests/fuzz/input.h"
#include "tests/support/test_certificate.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;

namespace {

const std::shared_ptr<const net::TlsServer>& server() {
  auto named = [](std::vector<std::string> names) {
    return tests::make_identity(tests::CertificateOptions(std::move(names)));
  };
  static const std::shared_ptr<const net::TlsServer> made =
      tests::make_tls_server({named({"relay.example"}), named({"*.b.example", "b.example"}), named({"mx.b.example"})});
  return made;
}

const std::shared_ptr<const net::TlsClient>& client() {
  static const std::shared_ptr<const net::TlsClient> made = *net::TlsClient::make({});
  return made;
}

std::string number(std::size_t value, int octets) {
  std::string out;
  while (octets-- > 0) out += static_cast<char>(value >> (8 * octets));
  return out;
}
std::string with_size(int octets, std::string_view text) {
  return number(text.size(), octets).append(text);
}

void check_choice(const net::TlsServer::Inside& inside, const std::string& name) {
  const std::vector<std::size_t>& chosen = inside.choose(name);
  fuzz::check(!chosen.empty(), "there is a certificate for everybody");
  auto covers = [&](std::size_t i) { return inside.identities[i]->certificate().covers(name); };
  bool any = false;
  for (std::size_t i = 0; i < inside.identities.size(); ++i) any = any || covers(i);
  for (std::size_t each : chosen) fuzz::check(covers(each) || (!any && each == 0), "it is for the name, or the first");
}

/// Name, versions and ciphers are fields; further extensions are the rest.
void say_hello(bool raw, std::string_view input) {
  const std::string_view name = fuzz::take_field(input);
  const std::string_view versions = fuzz::take_field(input);
  const std::string_view ciphers = fuzz::take_field(input);
  auto extension = [](std::size_t type, std::string_view data) { return number(type, 2) + with_size(2, data); };
  std::string extensions;
  if (!name.empty()) extensions += extension(0, raw ? name : with_size(2, '\0' + with_size(2, name)));
  if (!versions.empty()) extensions += extension(43, versions);
  extensions += input;
  std::string body = "\x03\x03" + std::string(32, 'r') + '\0' + with_size(2, ciphers) + '\1' + '\0';
  body += with_size(2, extensions);
  const std::string record = "\x16\x03\x01" + with_size(2, '\1' + with_size(3, body));

  Result<net::SslPtr> ssl = server()->inside().connection({});
  fuzz::check(ssl.has_value(), "there is a connection");
  net::TlsHello hello;
  SSL_set_app_data(ssl->get(), &hello);
  BIO* in = BIO_new_mem_buf(record.data(), static_cast<int>(record.size()));
  SSL_set_bio(ssl->get(), in, BIO_new(BIO_s_mem()));
  const int done = SSL_do_handshake(ssl->get());
  ERR_clear_error();
  fuzz::check(done != 1, "nobody is secured by a greeting alone");
  check_choice(server()->inside(), hello.server_name);

  fuzz::check(hello.server_name.size() <= 255 && hello.server_name == to_lower(hello.server_name),
              "a name is short and in lower case");
  fuzz::check(hello.ciphers.size() <= 256 && hello.versions.size() <= 8, "what is kept of the offer is bounded");
  const bool heard = !hello.ciphers.empty();
  if (!heard) return;
  fuzz::check(hello.ciphers == ciphers.substr(0, 256), "the ciphers are those offered");
  if (!input.empty()) return;  // more of the same, perhaps
  if (raw)
    fuzz::check(to_lower(name).find(hello.server_name) != std::string::npos, "a name is from its extension");
  else
    fuzz::check(hello.server_name == (name.size() <= 255 ? to_lower(name) : ""),
                "a name is the one that was asked for");
  std::vector<std::uint16_t> want;
  if (versions.empty()) want = {0x0303};
  for (std::size_t i = 1; i + 1 < versions.size() && want.size() < 8; i += 2)
    want.push_back(static_cast<std::uint16_t>(static_cast<std::uint8_t>(versions[i]) << 8 |
                                              static_cast<std::uint8_t>(versions[i + 1])));
  fuzz::check(hello.versions == want, "the versions are those offered");
}

net::Task<Result<>> write_and_close(net::Stream& stream, std::string octets, net::TimePoint deadline) {
  Result<> sent = co_await stream.write(octets, deadline);
  stream.close();
  co_return sent;
}

void send_octets(bool to_client, std::string_view input) {
  tests::VirtualRuntime runtime;
  net::MemoryPairOptions options;
  options.first_address = *net::Address::parse("192.0.2.1", 1000);
  options.second_address = *net::Address::parse("192.0.2.2", 25);
  std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends = net::memory_pair(runtime, options);
  net::TlsTarget target;
  target.server_name = "mx.b.example";
  target.names = {"mx.b.example"};
  target.demand = true;
  Result<std::unique_ptr<net::TlsStream>> stream =
      to_client ? net::tls_connect(std::move(ends.second), client(), target)
                : net::tls_accept(std::move(ends.second), server(), runtime.now());
  fuzz::check(stream.has_value(), "there is a stream");
  const net::TimePoint deadline = runtime.now() + std::chrono::minutes(1);
  const Result<> sent = runtime.complete(write_and_close(*ends.first, std::string(input), deadline));
  fuzz::check(sent.has_value(), "the octets go out");
  const Result<> shaken = runtime.complete((*stream)->handshake(deadline));
  fuzz::check(!shaken, "nobody is secured by octets that were written before");
  fuzz::check(fuzz::is_one_line(shaken.error().what) && is_utf8(shaken.error().what), "an error is one line of UTF-8");
  fuzz::check(shaken.error().what.size() <= 600, "and not a long one");
  (*stream)->close();
  runtime.run_until_idle();
}

void check_certificate(X509* certificate) {
  const net::TlsCertificate told = net::describe(certificate);
  fuzz::check(ERR_peek_error() == 0, "no error is left over");
  for (const std::string& hash : {told.sha256, told.spki_sha256})
    fuzz::check(hash.empty() || hash.size() == 64, "a hash is hex, or there is none");
  for (const std::string& text : {told.subject, told.issuer})
    fuzz::check(fuzz::is_one_line(text) && is_utf8(text), "who it is of is one line of UTF-8");
  for (const std::string& name : told.names) {
    fuzz::check(!name.empty() && name.size() <= 255 && name == to_lower(name), "a name is short and in lower case");
    auto is_letter = [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.' || c == '*'; };
    fuzz::check(std::all_of(name.begin(), name.end(), is_letter), "a name is of letters of host names");
    std::string loud = name;
    std::transform(loud.begin(), loud.end(), loud.begin(), [](char c) { return c >= 'a' && c <= 'z' ? c - 32 : c; });
    fuzz::check(told.covers(loud), "a name is covered in any case");
    if (name.starts_with("*.")) fuzz::check(told.covers("any" + name.substr(1)), "a wildcard stands for one label");
  }
  auto says = [&told](const std::string& name) {
    return std::find(told.names.begin(), told.names.end(), name) != told.names.end();
  };
  for (const std::string host : {"a.b.example", "b.example", "x.a.b.example", "example"}) {
    const std::string parent = "*" + host.substr(std::min(host.find('.'), host.size()));
    fuzz::check(told.covers(host) == (says(host) || (parent.size() > 1 && says(parent))), "nothing else is covered");
  }
}

/// A common name, the time of its end, and alternative names.
void certify(bool raw, std::string_view input) {
  net::X509Ptr certificate(X509_new());
  const std::string common(fuzz::take_field(input));
  const std::string until(fuzz::take_field(input));
  const auto octets = [](const std::string& text) { return reinterpret_cast<const unsigned char*>(text.data()); };
  X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, MBSTRING_ASC, octets(common),
                             static_cast<int>(common.size()), -1, 0);
  ASN1_STRING_set(X509_getm_notAfter(certificate.get()), until.data(), static_cast<int>(until.size()));

  std::string alternative(input);
  std::vector<std::string> names;
  if (!raw) {
    std::string list;
    while (!input.empty()) {
      const std::string name(fuzz::take_field(input).substr(0, 255));
      if (name.empty()) continue;
      names.push_back(to_lower(name));
      list.append("\x82\x82").append(with_size(2, name));
    }
    alternative = "\x30\x82" + with_size(2, list);
  }
  const net::OpensslPtr<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free> value(ASN1_OCTET_STRING_new());
  ASN1_OCTET_STRING_set(value.get(), octets(alternative), static_cast<int>(alternative.size()));
  const net::OpensslPtr<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509_EXTENSION_create_by_NID(nullptr, NID_subject_alt_name, 0, value.get()));
  X509_add_ext(certificate.get(), extension.get(), -1);
  ERR_clear_error();
  check_certificate(certificate.get());
  if (raw) return;
  const net::TlsCertificate told = net::describe(certificate.get());
  for (const std::string& name : names) {
    const bool plain = !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.*") == name.npos;
    fuzz::check(told.covers(name) == plain || !plain, "a name that it says is there");
  }
  for (const std::string& name : told.names) {
    const bool said = std::find(names.begin(), names.end(), name) != names.end();
    fuzz::check(said || name == to_lower(common), "and no other");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  const bool other = (how & 4) != 0;
  switch (how & 3) {
    case 0:
      say_hello(other, input);
      break;
    case 1:
      send_octets(other, input);
      break;
    case 2:
      certify(other, input);
      break;
    default: {
      const auto* der = reinterpret_cast<const unsigned char*>(input.data());
      const net::X509Ptr certificate(d2i_X509(nullptr, &der, static_cast<long>(input.size())));
      ERR_clear_error();
      if (certificate) check_certificate(certificate.get());
    }
  }
  return 0;
}
