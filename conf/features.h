// conf/features.h: what the configuration may name and this version cannot do yet. Empty once everything is there.
#pragma once
#include "conf/config.h"
#include "conf/reader.h"

namespace waypost::conf {

/// A warning for each setting whose feature comes later, saying what happens instead.
void warn_of_missing_features(const Config& config, Reading& reading);

}  // namespace waypost::conf
