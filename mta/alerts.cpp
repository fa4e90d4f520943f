#include "mta/alerts.h"

#include <sys/statvfs.h>

#include "mta/output.h"
#include "queue/disk_space.h"

namespace waypost::mta {
namespace {

// One question may be lost, or be of a domain that its own servers do not answer for.
constexpr std::uint64_t kUnanswered = 3;
constexpr net::Duration kSilence = std::chrono::minutes(1);

}  // namespace

Disk disk_of(const std::string& folder) {
  struct statvfs facts {};
  if (statvfs(folder.c_str(), &facts) != 0) return {};
  return {static_cast<std::uint64_t>(facts.f_bavail) * facts.f_frsize,
          static_cast<std::uint64_t>(facts.f_blocks) * facts.f_frsize};
}

std::vector<std::string> alerts(const DaemonFacts& facts, const Disk& disk) {
  std::vector<std::string> out;
  if (facts.reload_failed)
    out.push_back("the last reload failed: the configuration in force is older than " + facts.config_file +
                  " (waypost config check)");
  if (disk.size > 0 && disk.free <= queue::kept_free(disk.size))
    out.push_back("no new mail is taken: " + octets_text(disk.free) + " are free on the disk of " + facts.data_dir +
                  ", and " + octets_text(queue::kept_free(disk.size)) +
                  " are kept for what is queued. Deleted mail is kept for a day, too: waypost queue delete --for-good "
                  "state:removed");
  if (facts.lately.dns_unanswered >= kUnanswered && facts.lately.dns_silence >= kSilence)
    out.push_back("no name server has answered for " +
                  age_text(std::chrono::duration_cast<std::chrono::seconds>(facts.lately.dns_silence)) + ", " +
                  counted(facts.lately.dns_unanswered, "question", "questions") +
                  ": mail that needs them waits, and none comes back for it (waypost config check)");
  if (facts.corrupt_drops > 0)
    out.push_back(counted(facts.corrupt_drops, "file", "files") +
                  " of the drop folder could not be taken: look into corrupt/");
  if (facts.history_dropped > 0)
    out.push_back(counted(facts.history_dropped, "event", "events") + " of the history dropped: its disk is too slow");
  return out;
}

}  // namespace waypost::mta
