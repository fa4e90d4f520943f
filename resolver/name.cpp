#include "resolver/name.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::resolver {

namespace {

std::string_view without_dot(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name;
}

}  // namespace

std::string canonical(std::string_view name) {
  return to_lower(without_dot(name));
}

bool fits_dns(std::string_view name) {
  name = without_dot(name);
  if (name.empty() || name.size() > 253) return false;
  bool visible = std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '\\'; });
  if (!visible) return false;
  for (std::string_view label : split(name, '.'))
    if (label.empty() || label.size() > 63) return false;
  return true;
}

}  // namespace waypost::resolver
