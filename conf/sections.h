// conf/sections.h: the document's sections -> Config: every key, its type, its range. No I/O.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "conf/config.h"
#include "conf/reader.h"

namespace waypost::conf {

/// A file that belongs to a domain, or a table ("sqlite:/path"), which the caller reads.
struct DomainFile {
  enum class Kind : std::uint8_t { recipients, aliases, relocated };
  Kind kind = Kind::recipients;
  std::size_t domain = 0;  ///< index into Config::domains
  Item path;
};

/// Reads the whole document. Mistakes go to `reading.errors`; what is wrong keeps its default.
std::vector<DomainFile> read_sections(const Value& root, Config& config, Reading& reading);

}  // namespace waypost::conf
