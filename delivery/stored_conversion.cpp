#include "delivery/stored_conversion.h"

namespace waypost::delivery {

net::Task<Result<Conversion>> learn_conversion(const queue::Content& content, const queue::OpenBody& open_body) {
  ConversionScan scan;
  scan.feed(content.trace);
  queue::BodyReader body = open_body();
  for (;;) {
    Result<std::string_view> piece = co_await body.next();
    if (!piece) co_return fail(piece.error());
    if (piece->empty()) break;
    scan.feed(*piece);
  }
  co_return scan.finish();
}

}  // namespace waypost::delivery
