// delivery/outcome.h: what an attempt made of a recipient or of a host. Made in delivery/disposition.cpp and nowhere else.
#pragma once
#include <string>
#include <vector>

#include "queue/state.h"

namespace waypost::delivery {

/// Of one recipient.
struct Outcome {
  queue::Event event = queue::Event::attempt_deferred;  ///< attempt_deferred, _delivered, _relayed or _failed
  std::string status = "4.0.0";  ///< enhanced status code; its class is that of the event
  std::string reply;             ///< the remote's reply or our words; one line, escaped, at most 512 octets
  std::string host;              ///< `mx1.b.example[192.0.2.7]:25`; "" where none was reached
  /// Deferred, and another host of the destination may do better: it is tried with the next one in this attempt.
  bool try_next_host = false;
};

/// Of a host as a whole: nothing was learnt about any recipient. The next host is tried; if all fail, the destination
/// waits with its whole backlog.
struct HostFailure {
  std::string status = "4.4.1";
  std::string reason;  ///< as Outcome::reply
  std::string host;
  bool ours = false;   ///< our own trouble (descriptors, a stop): says nothing about the host
};

}  // namespace waypost::delivery
