// queue/forwarding.h: Store::forward(): recipients are sent elsewhere, as an administrator wants it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "queue/history.h"
#include "queue/storage_thread.h"
#include "queue/store.h"
#include "queue/store_core.h"

namespace waypost::queue {

/// The destination of a domain's mail that goes to another next hop: "b.example/smtp:[192.0.2.7]:25". "": the usual
/// one.
std::string rerouted(std::string_view destination, std::string_view next_hop);
/// Whether it is such a one: the name of no route has a colon.
bool is_rerouted(std::string_view destination);

class ForwardOperation : public Operation {
 public:
  ForwardOperation(StoreCore& core, const ForwardRequest& request);
  Result<> apply(Database& db) override;
  void committed() override;
  std::size_t forwarded = 0;

 private:
  struct Row;
  Result<std::optional<Row>> read(Database& db, std::uint32_t index) const;
  Result<bool> reroute(Database& db, const Row& row);
  Result<bool> redirect(Database& db, const Row& row);
  Result<> add(Database& db, const Row& row, const std::string& address);

  StoreCore& core_;
  const ForwardRequest& request_;
  std::vector<HistoryEvent> history_;
};

}  // namespace waypost::queue
