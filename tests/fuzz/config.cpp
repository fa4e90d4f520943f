// tests/fuzz/config.cpp: any text as waypost.toml. Every mistake has its place, in one line; a configuration without
// one is whole. Covers: conf/load.cpp conf/document.cpp conf/reader.cpp conf/sections.cpp conf/values.cpp
// conf/units.cpp conf/validate.cpp
#include <algorithm>
#include <string>

#include "base/escape.h"
#include "conf/load.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

void check_finding(const conf::Finding& finding, std::ptrdiff_t lines) {
  fuzz::check(!finding.file.empty() && finding.line >= 0 && finding.column >= 0, "a finding has its place");
  if (finding.file == "t.toml") fuzz::check(finding.line <= lines, "within the file");
  fuzz::check(!finding.message.empty(), "it says what is wrong");
  std::string text = finding.text();
  fuzz::check(fuzz::is_one_line(text), "in one line");
  auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; };
  fuzz::check(std::none_of(text.begin(), text.end(), control), "without controls");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(fuzz::view(data, size));
  // Files of recipients are read; those that never end are no business of a test.
  if (text.find("/dev") != std::string::npos || text.find("/proc") != std::string::npos) return 0;
  std::ptrdiff_t lines = std::count(text.begin(), text.end(), '\n') + 1;
  conf::Loaded loaded = conf::load_text(text, "t.toml");
  for (const conf::Finding& finding : loaded.errors) check_finding(finding, lines);
  for (const conf::Finding& finding : loaded.warnings) check_finding(finding, lines);
  conf::Loaded again = conf::load_text(text, "t.toml");
  fuzz::check(again.errors.size() == loaded.errors.size(), "a file has the same mistakes twice");
  if (!loaded.errors.empty()) return 0;

  const conf::Config& config = loaded.config;
  fuzz::check(!config.hostname.empty() && fuzz::is_one_line(config.hostname), "the relay has a name");
  fuzz::check(!config.queue.retry.empty(), "there is a next attempt");
  for (std::chrono::seconds wait : config.queue.retry) fuzz::check(wait.count() > 0, "which is later");
  fuzz::check(config.queue.expire.count() > 0 && config.queue.bounce_expire.count() > 0, "mail lives for a while");
  fuzz::check(config.limits.message_size > 0 && config.limits.recipients > 0, "something can be sent");
  for (const conf::Domain& domain : config.domains) fuzz::check(!domain.name.empty(), "a domain has a name");
  return 0;
}
