// mta/import_envelope.h: the envelope of an exported message, out of what message_json() wrote and anybody may have
// written over. Pure.
#pragma once
#include <optional>

#include "base/result.h"
#include "mta/control_json.h"
#include "smtp/envelope.h"

namespace waypost::mta {

struct ImportRecipient {
  smtp::EnvelopeRecipient recipient;
  bool held = false;
};

/// One of `recipients`; nullopt: it does not wait. Errors: invalid, in one line.
Result<std::optional<ImportRecipient>> import_recipient(const Json& json);

/// Without its recipients. Errors: invalid, in one line.
Result<smtp::Envelope> import_envelope(const Json& json);

}  // namespace waypost::mta
