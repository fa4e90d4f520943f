#include "delivery/asked.h"

#include <algorithm>

#include "base/text.h"
#include "delivery/disposition.h"
#include "queue/message.h"

namespace waypost::delivery {

void Asked::add(const std::string& host, std::string_view status, std::string_view reply) {
  if (host.empty()) return;
  std::string words = shortened(in_words(host, status, for_senders(reply)), kMaxOctets);
  const auto known = std::find_if(hosts_.begin(), hosts_.end(), [&host](const Host& one) { return one.name == host; });
  if (known != hosts_.end()) {
    known->words = std::move(words);
  } else if (hosts_.size() < kMaxHosts) {
    hosts_.push_back({host, std::move(words)});
  }
}

std::vector<std::string> Asked::lines() const {
  std::vector<std::string> out;
  if (hosts_.size() < 2) return out;
  for (const Host& host : hosts_) out.push_back(host.words);
  return out;
}

std::string Asked::text() const {
  std::string out;
  if (hosts_.size() < 2) return out;
  const std::size_t share = queue::RecipientOutcome::kMaxAsked / hosts_.size() - 1;
  for (const Host& host : hosts_) out += (out.empty() ? "" : "\n") + shortened(host.words, share);
  return out;
}

std::vector<std::string> Asked::lines_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty() && out.size() < kMaxHosts) {
    const auto [line, rest] = split_once(text, '\n');
    if (!line.empty()) out.emplace_back(line);
    text = rest;
  }
  return out;
}

}  // namespace waypost::delivery
