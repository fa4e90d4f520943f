// conf/load.h: waypost.toml -> Config, with every mistake reported. Reads files; for start-up, reload and `config
// check`.
#pragma once
#include <string>
#include <vector>

#include "base/result.h"
#include "conf/config.h"

namespace waypost::conf {

/// The configuration that programs take unless they are told of another.
inline constexpr const char* kUsualFile = "/etc/waypost/waypost.toml";

/// One thing wrong, or dubious, in a file: where, which key, what, and what to do.
struct Finding {
  std::string file;
  int line = 0;  ///< 0: of the file as a whole
  int column = 0;
  std::string key;      ///< "listener[2].role"; "" if none
  std::string message;  ///< what is wrong
  std::string hint;     ///< what to do: `did you mean "hostname"?`; may be ""
  /// `waypost.toml:12:3: listener[2].role: ... (did you mean "mx"?)`
  std::string text() const;
};

/// What one key holds, as it would stand in a file.
struct Setting {
  std::string key;    ///< "listener[1].role"
  std::string value;  ///< "\"mx\"", "[\"1m\", \"5m\"]"; "" where nothing is set, and there is no default
  std::string place;  ///< "waypost.toml:12:3"; "": the default
  bool operator==(const Setting&) const = default;
};

struct Loaded {
  Config config;                  ///< whole only if there are no errors
  std::vector<Finding> errors;    ///< any: the configuration must not be used
  std::vector<Finding> warnings;  ///< worth a line at start: risky settings
  std::vector<Setting> settings;  ///< every key of the sections that are there, in the order of the manual
};

/// A whole file. Errors: not_found, too_big (over 64 MiB), io; the text is the reason alone.
Result<std::string> read_file(const std::string& path);

/// Reads a file and what its `include` names (globs, lexical order, relative to the file).
Loaded load(const std::string& path);

/// The same from a text, for tests and for a reload that has read it already. `include` is an error here.
Loaded load_text(const std::string& text, const std::string& name);

/// Every key that exists, dotted, as the manual lists them: "listener.address", "queue.retry". Sorted.
std::vector<std::string> all_keys();
/// The same with the defaults.
std::vector<Setting> all_defaults();

}  // namespace waypost::conf
