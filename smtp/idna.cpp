#include "smtp/idna.h"

#include <cstdint>
#include <memory>

#include <idn2.h>

#include "base/escape.h"
#include "base/text.h"
#include "smtp/address.h"

namespace waypost::smtp {

Result<std::string> ascii_domain(std::string_view domain) {
  if (is_ascii(domain)) return std::string(domain);
  const std::string terminated(domain);
  std::uint8_t* out = nullptr;
  // As browsers and other MTAs do: case folded and composed first (UTS 46), without the forms of IDNA2003.
  constexpr int kFlags = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL;
  const int failed = idn2_lookup_u8(reinterpret_cast<const std::uint8_t*>(terminated.c_str()), &out, kFlags);
  if (failed != IDN2_OK) {
    return fail(Errc::invalid, "\"" + escape(domain, 255) + "\" is no domain name: " + idn2_strerror(failed));
  }
  const std::unique_ptr<std::uint8_t, void (*)(void*)> owned(out, idn2_free);
  std::string ascii(reinterpret_cast<const char*>(out));
  // Characters that are passed over may leave a label without any.
  if (!is_domain(ascii)) return fail(Errc::invalid, "\"" + escape(domain, 255) + "\" is no domain name");
  return ascii;
}

}  // namespace waypost::smtp
