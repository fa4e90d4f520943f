// smtp/idna.h: international domain names in the form that the DNS has (IDNA2008, RFC 5891). Pure.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace waypost::smtp {

/// A domain name with its labels in ASCII: `xn--bcher-kva.example` of `bücher.example`, in UTF-8. One that is ASCII
/// already comes back as it is. Errors: invalid (no name that IDNA admits, or too long).
Result<std::string> ascii_domain(std::string_view domain);

}  // namespace waypost::smtp
