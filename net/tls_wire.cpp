#include "net/tls_wire.h"

#include <algorithm>
#include <cassert>

namespace waypost::net {

const BIO_METHOD* TlsWire::method() {
  static const BIO_METHOD* const made = [] {
    BIO_METHOD* fresh = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    BIO_meth_set_read(fresh, read);
    BIO_meth_set_write(fresh, write);
    BIO_meth_set_ctrl(fresh, control);
    return fresh;
  }();
  return made;
}

BIO* TlsWire::make_bio() {
  BIO* bio = BIO_new(method());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  return bio;
}

void TlsWire::filled(std::size_t octets) {
  assert(empty() && octets <= in_.size());
  begin_ = 0;
  end_ = octets;
}

int TlsWire::read(BIO* bio, char* into, int size) {
  auto& self = *static_cast<TlsWire*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (self.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  std::size_t count = std::min(static_cast<std::size_t>(std::max(size, 0)), self.end_ - self.begin_);
  std::copy_n(self.in_.data() + self.begin_, count, into);
  self.begin_ += count;
  return static_cast<int>(count);
}

int TlsWire::write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  static_cast<TlsWire*>(BIO_get_data(bio))->out_.append(from, static_cast<std::size_t>(std::max(size, 0)));
  return size;
}

long TlsWire::control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

}  // namespace waypost::net
