// smtp/address_list.h: the addresses in fields such as To and Cc (RFC 5322 §3.4, §4.4). No I/O.
#pragma once
#include <string_view>
#include <vector>

#include "base/result.h"
#include "smtp/address.h"

namespace waypost::smtp {

/// The mailboxes of the list, in their order, without display names, comments, groups' names and source routes; one of
/// a local part alone has no domain. Folds may stand in the text, UTF-8 too. An empty list, and a group without
/// members, have none.
/// Errors: invalid, with the part that is no address.
Result<std::vector<Mailbox>> parse_address_list(std::string_view text);

}  // namespace waypost::smtp
