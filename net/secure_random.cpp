#include "net/secure_random.h"

#include <cstdlib>

#include <openssl/rand.h>

namespace waypost::net {

std::string secure_random(std::size_t octets) {
  std::string out(octets, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1) std::abort();
  return out;
}

}  // namespace waypost::net
