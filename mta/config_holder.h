// mta/config_holder.h: the configuration that is in force: a snapshot that is replaced whole. Any thread.
#pragma once
#include <memory>
#include <mutex>
#include <utility>

#include "conf/config.h"

namespace waypost::mta {

class ConfigHolder {
 public:
  explicit ConfigHolder(conf::Config config) : current_(std::make_shared<const conf::Config>(std::move(config))) {}

  std::shared_ptr<const conf::Config> get() const {
    std::lock_guard lock(guard_);
    return current_;
  }
  void set(conf::Config config) {
    auto next = std::make_shared<const conf::Config>(std::move(config));
    std::lock_guard lock(guard_);
    current_.swap(next);
  }

 private:
  mutable std::mutex guard_;  // a shared_ptr cannot be copied while it is replaced
  std::shared_ptr<const conf::Config> current_;
};

}  // namespace waypost::mta
