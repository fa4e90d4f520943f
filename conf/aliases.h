// conf/aliases.h: files of aliases and of those who have moved, as other MTAs have them (aliases(5), virtual(5)). Pure.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "conf/config.h"

namespace waypost::conf {

/// What reading such a file needs and finds.
struct AliasReader {
  /// The text of another file: `:include:/path`. Errors: as reading a file.
  std::function<Result<std::string>(const std::string& path)> read;
  /// A mistake, in this line of this file, and what to do.
  std::function<void(const std::string& path, int line, const std::string& message, const std::string& hint)> wrong;
};

/// One alias a line, `name: target, target`, or `name target`; a line that begins with a space goes on with the one
/// before; "#" at the beginning of a line is a comment. `name` is a local part of `domain`, or an address of it; `@` or
/// `@DOMAIN` stands for all that are none. A target is an address, a name of `domain`, `\name` (that one itself, no
/// alias of it), or `:include:/path`, a file of targets, which is read once for an alias. Programs and files as targets
/// are mistakes: nothing is ever run, and mail is written to Maildirs alone.
void read_aliases(std::string_view text, const std::string& path, const std::string& domain, const AliasReader& reader,
                  Aliases& into);

/// The same of a table: names and targets as in a file, but that a name is taken as it is. The targets of a name that
/// stands in several rows go together. Mistakes are of line 0.
using AliasRow = std::pair<std::string, std::string>;
void read_aliases(const std::vector<AliasRow>& rows, const std::string& path, const std::string& domain,
                  const AliasReader& reader, Aliases& into);

/// One a line: `name new@address`.
void read_relocated(std::string_view text, const std::string& path, const std::string& domain,
                    const AliasReader& reader, std::map<std::string, std::string>& into);

void read_relocated(const std::vector<AliasRow>& rows, const std::string& path, const std::string& domain,
                    const AliasReader& reader, std::map<std::string, std::string>& into);

/// A circle among the aliases of all domains, "a@x.example -> b@x.example -> a@x.example"; "" if there is none. A name
/// among its own targets is no circle: it is the mailbox. Or a chain of more than 100 steps,
/// "a@x.example -> ... for more than 100 steps".
std::string find_alias_loop(const Config& config);

}  // namespace waypost::conf
