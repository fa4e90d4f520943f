#include "conf/suggest.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::conf {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the usual table: a swap looks two rows back.
  std::vector<std::size_t> before_last;
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, last[j] + 1, row[j - 1] + 1});
      bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
    before_last = last;
    last = row;
  }
  return last[b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() > 64) return "";
  // "port" is no misspelling of "ca": at most a third of the word may differ, but always one character.
  std::size_t best = std::max<std::size_t>(1, word.size() / 3) + 1;
  std::string found;
  for (const std::string& candidate : candidates) {
    std::size_t distance = edit_distance(to_lower(word), to_lower(candidate));
    if (distance >= best) continue;
    best = distance;
    found = candidate;
  }
  if (!found.empty()) return found;
  // "timeouts", "max_recipients", "size": a word of the name, or the name and more.
  for (const std::string& candidate : candidates) {
    if (word.size() < 4 || candidate.size() < 4) continue;
    bool inside = candidate.find(word) != std::string::npos || word.find(candidate) != std::string_view::npos;
    if (inside) return candidate;
  }
  return "";
}

}  // namespace waypost::conf
