// queue/grouping.cpp
#include "queue/grouping.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace waypost::queue {
namespace {

constexpr std::array<std::pair<std::string_view, GroupBy>, 7> kNames{{{"domain", GroupBy::domain},
                                                                      {"sender", GroupBy::sender},
                                                                      {"error", GroupBy::error},
                                                                      {"mx", GroupBy::mx},
                                                                      {"state", GroupBy::state},
                                                                      {"user", GroupBy::user},
                                                                      {"source", GroupBy::source}}};

void merge(Group& to, const Group& from) {
  to.oldest = to.recipients == 0 ? from.oldest : std::min(to.oldest, from.oldest);
  to.messages += from.messages;
  to.recipients += from.recipients;
  to.octets += from.octets;
  for (std::size_t i = 0; i < to.ages.size(); ++i) to.ages[i] += from.ages[i];
}

/// 421 and 4.7.0 stay, the first words of a reply.
bool is_code(std::string_view word) {
  return word.size() <= 8 && std::all_of(word.begin(), word.end(), [](char c) { return is_digit(c) || c == '.'; });
}

/// Addresses, host names in brackets, numbers, ids: words with an `@`, or with a digit.
bool is_particular(std::string_view word) {
  return word.find('@') != std::string_view::npos || std::any_of(word.begin(), word.end(), is_digit);
}

}  // namespace

std::optional<GroupBy> parse_group_by(std::string_view name) {
  for (const auto& [known, by] : kNames)
    if (known == name) return by;
  return std::nullopt;
}

void Grouping::add_to(Entry& entry, Id message, std::uint64_t octets, net::WallTime arrival, std::size_t column) {
  Group& group = entry.group;
  group.oldest = group.recipients == 0 ? arrival : std::min(group.oldest, arrival);
  group.recipients += 1;
  group.ages[column] += 1;
  if (group.messages > 0 && entry.last == message) return;
  entry.last = message;
  group.messages += 1;
  group.octets += octets;
}

void Grouping::add(const std::string& key, Id message, std::uint64_t octets, net::WallTime arrival) {
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(now_ - arrival).count();
  std::size_t column = 0;
  while (column < Group::kMinutes.size() && minutes >= Group::kMinutes[column]) ++column;
  auto found = entries_.find(key);
  if (found == entries_.end() && entries_.size() >= kMostKeys) return add_to(beyond_, message, octets, arrival, column);
  if (found == entries_.end()) {
    found = entries_.emplace(key, Entry{}).first;
    found->second.group.key = key;
  }
  add_to(found->second, message, octets, arrival, column);
}

Groups Grouping::largest(std::size_t limit) const {
  std::vector<const Group*> all;
  for (const auto& [key, entry] : entries_) all.push_back(&entry.group);
  std::sort(all.begin(), all.end(), [](const Group* a, const Group* b) {
    return a->recipients != b->recipients ? a->recipients > b->recipients : a->key < b->key;
  });
  Groups out;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i < limit) {
      out.groups.push_back(*all[i]);
      continue;
    }
    merge(out.others, *all[i]);
    out.left_out += 1;
  }
  if (beyond_.group.recipients > 0) {
    merge(out.others, beyond_.group);
    out.left_out += 1;
  }
  return out;
}

std::string error_shape(std::string_view reply) {
  std::string out;
  std::size_t words = 0;
  while (!reply.empty()) {
    const std::size_t end = std::min(reply.find_first_of(" \t\r\n()<>[]{}\"',;="), reply.size());
    const std::string_view word = reply.substr(0, end);
    if (!word.empty()) ++words;
    const bool keep = !is_particular(word) || (words <= 2 && is_code(word));
    if (keep)
      out += word;
    else if (!out.ends_with("..."))
      out += "...";
    reply.remove_prefix(end);
    if (reply.empty()) break;
    out += reply.front();
    reply.remove_prefix(1);
  }
  return out;
}

}  // namespace waypost::queue
