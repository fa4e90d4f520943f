// mta/privileges.h: becoming the unprivileged user, and what the process may use. Start-up only.
#pragma once
#include <cstddef>
#include <string>

#include "base/result.h"

namespace waypost::mta {

/// Raises the limit of descriptors to what the system allows; returns it.
std::size_t raise_descriptor_limit();

/// Makes `path` (one level) with this mode where it is missing, and gives it to `user` if we are root and `user` is not
/// "", and to `group` where there is one of this name, else to the user's. Errors: denied, not_found (no such user, or
/// the folder above is missing), io.
Result<> make_folder_for(const std::string& path, unsigned mode, const std::string& user,
                         const std::string& group = "");

/// Root becomes `user` for good, with its groups; "" or not being root changes nothing. Then no new privileges are to
/// be had. Errors: not_found (no such user), denied.
Result<> become(const std::string& user);

/// The name of the user that this process is, or the number where there is no name.
std::string user_name();

/// What no program that this one ran could ever have: nothing. Root may say so; for who is not root, and gets no new
/// privileges, it goes without saying. Errors: denied, io.
Result<> drop_bounding_set();

/// All that this thread has, and what it could pass on. Errors: denied, io.
Result<> drop_capabilities();

}  // namespace waypost::mta
