// tests/power/check.h: a disk after a cut against the ledger, through the real recovery.
#pragma once
#include <string>
#include <vector>

#include "tests/power/ledger.h"
#include "tests/support/sim_disk.h"

namespace waypost::tests::power {

struct Broken {
  enum class Kind : std::uint8_t {
    lost,      ///< accepted and not ended, and not there
    returned,  ///< ended, and there
    unknown,   ///< nobody sent it
    altered,   ///< other recipients, states, octets than were
    split,     ///< of an end and its notification there is one
    orphan,    ///< a spool file of no message
    reused,    ///< an id
    corrupt,   ///< the database does not open, or is not whole
  };
  Kind kind;
  std::string text;
};
const char* name_of(Broken::Kind kind);

/// `cut`: the first call that was not made. Opens the queue, uses it and closes it.
std::vector<Broken> check(SimDisk& disk, const Ledger& ledger, Position cut);

/// What SQLite finds in queue.db; "ok" where it is whole. Nobody else may have it open.
std::string integrity(SimDisk& disk);

/// Of a disk on which bits were flipped: that nothing altered would be sent. Whatever else is missing or refused.
std::vector<Broken> check_nothing_altered(SimDisk& disk, const Ledger& ledger);

}  // namespace waypost::tests::power
