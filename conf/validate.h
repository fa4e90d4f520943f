// conf/validate.h: what is wrong although each key is right: contradictions, doubles, an open relay. No I/O.
#pragma once
#include <vector>

#include "conf/config.h"
#include "conf/reader.h"

namespace waypost::conf {

/// Adds errors for what cannot work or would relay for anyone, warnings for what is probably not meant.
void validate(const Config& config, Reading& reading);

/// True for a network that lets in so much of the Internet that it names no group of clients: /8 or wider (IPv4), /16
/// or wider (IPv6), unless it is private.
bool covers_the_internet(const Network& network);

/// True for IPv4 networks that together have 2^28 public addresses or more: the Internet in pieces.
bool cover_the_internet_together(const std::vector<Network>& networks);

}  // namespace waypost::conf
