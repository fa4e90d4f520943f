// conf/sections.h: the document's sections -> Config: every key, its type, its range. No I/O.
#pragma once
#include <cstddef>
#include <vector>

#include "conf/config.h"
#include "conf/reader.h"

namespace waypost::conf {

/// A domain whose recipients stand in a file of their own, which the caller reads.
struct RecipientFile {
  std::size_t domain = 0;  ///< index into Config::domains
  Item path;
};

/// Reads the whole document. Mistakes go to `reading.errors`; what is wrong keeps its default.
std::vector<RecipientFile> read_sections(const Value& root, Config& config, Reading& reading);

}  // namespace waypost::conf
