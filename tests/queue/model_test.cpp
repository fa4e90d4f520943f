// The store on SQLite, put to what every store is put to.
#include <doctest/doctest.h>

#include "tests/queue/queue_fixture.h"
#include "tests/queue/store_suite.h"

namespace {

/// Where many bodies are kept in files.
class SqliteFixture : public waypost::tests::QueueFixture {
 public:
  SqliteFixture() : QueueFixture(options_with_small_bodies()) {}

 private:
  static waypost::queue::StoreOptions options_with_small_bodies() {
    waypost::queue::StoreOptions options;
    options.inline_limit = 2048;
    return options;
  }
};

}  // namespace

TEST_CASE_TEMPLATE_INVOKE(store_suite, SqliteFixture);
