// resolver/name.h: domain names as text, as questions take them and answers give them. Pure.
#pragma once
#include <string>
#include <string_view>

namespace waypost::resolver {

/// Lower case, without the trailing dot: the form in which names are compared and kept. The root is "".
std::string canonical(std::string_view name);

/// True if the DNS can hold it as a host's or mail domain's name: labels of 1 to 63 octets, 253 in all, visible ASCII
/// without a backslash. A trailing dot is allowed; the root is no such name.
bool fits_dns(std::string_view name);

}  // namespace waypost::resolver
