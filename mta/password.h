// mta/password.h: passwords and what is stored of them. Slow by intent: tens of milliseconds and megabytes each, so
// never on a loop. Any thread.
#pragma once
#include <string_view>

#include "base/result.h"
#include "mta/users.h"

namespace waypost::mta {

/// Is it the user's? By the hash, or by the verifier where there is no hash. Takes as long whatever the password is.
bool matches(const Credentials& credentials, std::string_view password);

/// A hash of yescrypt and a verifier, both with new salts. Errors: invalid (is_prepared() of mta/sasl.h says no),
/// internal.
Result<Credentials> make_credentials(std::string_view password);

}  // namespace waypost::mta
