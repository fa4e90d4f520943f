// conf/suggest.h: what somebody meant who mistyped a word. Pure.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace waypost::conf {

/// Single characters inserted, left out, replaced, or swapped with their neighbour, to make one word of the other.
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate that is nearest to the word, case aside, or "" where none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace waypost::conf
