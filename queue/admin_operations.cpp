// queue/admin_operations.cpp
#include "queue/admin_operations.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waypost::queue {

ContentOperation::ContentOperation(Id id) : Operation(Kind::read), id_(id) {}

Result<> ContentOperation::apply(Database& db) {
  Result<std::shared_ptr<const Content>> found = read_content(db, id_);
  if (!found) return fail(found.error());
  content = *std::move(found);
  return {};
}

ListOperation::ListOperation(const Filter& filter, const Conditions& conditions, Id after, std::size_t limit)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after), limit_(limit) {}

Result<> ListOperation::apply(Database& db) {
  messages.clear();
  slice.upto = after_;
  do {
    Result<Slice> next = next_slice(db, filter_, slice.upto);
    if (!next) return fail(next.error());
    slice = *next;
    Result<std::vector<MessageRow>> found = list_slice(db, conditions_, slice, limit_ - messages.size());
    if (!found) return fail(found.error());
    std::move(found->begin(), found->end(), std::back_inserter(messages));
  } while (messages.size() < limit_ && !slice.last && !turn_is_over());
  return {};
}

MatchOperation::MatchOperation(const Filter& filter, const Conditions& conditions, Id after)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after) {}

Result<> MatchOperation::apply(Database& db) {
  matches = {};
  Result<Slice> slice = next_slice(db, filter_, after_);
  if (!slice) return fail(slice.error());
  if (!slice->last) matches.resume = slice->upto;
  Result<std::vector<Match>> found = match_slice(db, conditions_, *slice);
  if (!found) return fail(found.error());
  for (const Match& match : *found) {
    if (matches.messages.empty() || matches.messages.back().id != match.message)
      matches.messages.push_back({match.message, {}});
    matches.messages.back().recipients.push_back(static_cast<std::uint32_t>(match.index));
  }
  return {};
}

CountOperation::CountOperation(const Filter& filter, const Conditions& conditions, Id after, WallTime now, Counts& into)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after), now_(now), into_(into) {}

Result<> CountOperation::apply(Database& db) {
  slice.upto = after_;
  do {
    Result<Slice> next = next_slice(db, filter_, slice.upto, kSliceToCount);
    if (!next) return fail(next.error());
    slice = *next;
    Result<> done = count_slice(db, conditions_, slice, now_, into_);
    if (!done) return done;
  } while (!slice.last && !turn_is_over());
  return {};
}

GroupOperation::GroupOperation(const Filter& filter, const Conditions& conditions, Id after, Grouping& into)
    : Operation(Kind::read), filter_(filter), conditions_(conditions), after_(after), into_(into) {}

Result<> GroupOperation::apply(Database& db) {
  slice.upto = after_;
  do {
    Result<Slice> next = next_slice(db, filter_, slice.upto, kSliceToCount);
    if (!next) return fail(next.error());
    slice = *next;
    Result<> done = group_slice(db, conditions_, slice, into_);
    if (!done) return done;
  } while (!slice.last && !turn_is_over());
  return {};
}

}  // namespace waypost::queue
