// mta/explain.h: what would become of a message that was not sent: whether it is taken, from whom, for whom, and where
// it would go. `waypost explain`.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "conf/config.h"
#include "delivery/dispatcher.h"
#include "mta/policy.h"
#include "net/task.h"
#include "queue/store.h"
#include "smtp/path.h"
#include "smtp/reply.h"

namespace waypost::mta {

struct ExplainQuery {
  std::string to;
  std::string from;                  ///< "": the null reverse-path
  std::string client = "127.0.0.1";  ///< numeric
  std::string login;                 ///< "": none
  std::optional<conf::Role> role;    ///< of the listener; nullopt: submission where there is a login, else mx
};

/// What admission makes of it, by the same functions that MAIL and RCPT ask. What lists in the DNS, limits and next
/// hops would say is not asked.
struct Admission {
  std::string client_class;  ///< "": none
  bool trusted = false;      ///< by relay.networks
  bool may_send = false;     ///< to anyone
  smtp::Path sender;
  std::optional<smtp::Reply> sender_refused;
  smtp::Path recipient;
  std::optional<smtp::Reply> recipient_refused;
  std::vector<smtp::Path> goals;  ///< whom the recipient stands for; none where it is refused
};
/// Pure. Errors: invalid (no address, no client).
Result<Admission> explain_admission(const conf::Config& config, const ExplainQuery& query);

/// Where mail for one of the goals waits, and goes.
struct Way {
  smtp::Path to;
  std::string destination;
  std::string decided_by;  ///< "domain b.example", "route 3 (*.example)", "the DNS"
  delivery::Directions directions;
  delivery::Dispatcher::Found found;
  std::vector<queue::DestinationRow> state;  ///< of the destination, and its site, where something is known
};

struct Explanation {
  Admission admission;
  std::vector<Way> ways;
};

/// On the dispatcher's loop. Errors: as above, and those of the store.
net::Task<Result<Explanation>> explain(std::shared_ptr<const conf::Config> config, delivery::Dispatcher& dispatcher,
                                       queue::Store& store, ExplainQuery query, net::WallTime now);

}  // namespace waypost::mta
