// queue/sqlite_store.cpp: the Store of one loop: each of its awaits is an operation on the storage thread.
#include "queue/sqlite_store.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "base/event_log.h"
#include "queue/admin_operations.h"
#include "queue/change_operations.h"
#include "queue/destination_operations.h"
#include "queue/due_operations.h"
#include "queue/forwarding.h"
#include "queue/sqlite_queue.h"
#include "queue/write_operations.h"

namespace waypost::queue {
namespace {

/// Recipients in that state as a change left them.
Filter left_by(std::uint64_t change, State state) {
  Filter filter;
  Term of_change, in_state;
  of_change.field = Term::Field::change;
  of_change.number = change;
  in_state.field = Term::Field::state;
  in_state.text = to_text(state);
  filter.terms = {of_change, in_state};
  return filter;
}

class SqliteStore : public Store {
 public:
  SqliteStore(StoreCore& core, StorageThread& storage, net::Runtime& runtime)
      : core_(core), storage_(storage), runtime_(runtime) {}

  Draft draft() override {
    Id id = core_.ids().next(runtime_.wall_now());
    return Draft(runtime_, core_.files(), id, core_.options().inline_limit);
  }

  net::Task<Result<>> commit(NewMessage message, Draft draft, BodyNotes notes,
                             std::optional<Notification> notification) override;
  net::Task<Result<bool>> settle(Settlement settlement) override;
  net::Task<Result<>> settle_destination(DestinationState state) override;
  net::Task<Result<std::vector<DestinationRow>>> destinations(std::string name, bool count, WallTime now) override;
  net::Task<Result<>> change_destination(DestinationChange change) override;
  net::Task<Result<>> join_site(std::string destination, std::string site, WallTime until) override;
  net::Task<Result<bool>> compare_routes(std::uint64_t routes, WallTime now) override;
  net::Task<Result<WaitingPage>> waiting(Id after) override;
  net::Task<Result<>> redirect(std::vector<Due> due, WallTime now) override;
  net::Task<Result<std::shared_ptr<const Content>>> content(Id id) override;
  BodyReader read_body(std::shared_ptr<const Content> content) override {
    return BodyReader(runtime_, core_.files(), std::move(content));
  }
  net::Task<Result<DuePage>> due(DueQuery query) override;
  net::Task<Result<std::vector<Overdue>>> overdue(WallTime now, std::size_t limit) override;
  net::Task<Result<Overdue>> unsettled(Id id) override;
  net::Task<Result<std::optional<WallTime>>> note_time(std::optional<WallTime> now) override;
  net::Task<Result<Undelivered>> undelivered() override;
  net::Task<Result<>> commit_digest(Notification digest, Undelivered told) override;
  net::Task<Result<Listing>> list(Filter filter, std::optional<Id> after, std::size_t limit, WallTime now) override;
  net::Task<Result<Counts>> count(Filter filter, WallTime now) override;
  net::Task<Result<Groups>> group(Filter filter, GroupBy by, std::size_t limit, WallTime now) override;
  net::Task<Result<std::size_t>> forward(ForwardRequest request) override;
  net::Task<Result<Matches>> match(Filter filter, Id after, WallTime now) override;
  net::Task<Result<Changed>> change(ChangeRequest request) override;
  net::Task<Result<Changed>> undo(std::uint64_t number, std::string who, WallTime now, Watched progress) override;
  net::Task<Result<>> record(ChangeRecord change) override;
  net::Task<Result<std::vector<ChangeRecord>>> changes(std::uint64_t before, std::size_t limit) override;
  net::Task<Result<>> forget_removed(WallTime now, std::stop_token stop) override;

 private:
  net::Task<Result<>> run(Operation& operation);
  net::Task<> drop_file(std::string path);
  net::Task<> hold_damaged(std::vector<Id> messages, WallTime now);
  net::Task<Result<Changed>> carry_out(ChangePlan& plan, ChangeRecord record, std::uint64_t undoes);
  net::Task<Result<>> change_slices(const ChangePlan& plan, Changed& changed);

  StoreCore& core_;
  StorageThread& storage_;
  net::Runtime& runtime_;
};

net::Task<Result<>> SqliteStore::run(Operation& operation) {
  Submit end(storage_, runtime_, operation);
  co_return co_await end;
}

net::Task<Result<>> SqliteStore::commit(NewMessage message, Draft draft, BodyNotes notes,
                                        std::optional<Notification> notification) {
  Result<> finished = co_await draft.finish();
  if (!finished && finished.error().code == Errc::io) {
    FailOperation failure(finished.error());
    Result<> told = co_await run(failure);
    (void)told;
  }
  if (!finished) co_return finished;
  message.id = draft.id();
  Draft::Finished body = draft.take();
  std::string path = body.in_file ? body_path(message.id.text()) : std::string();

  const Id id = message.id;
  Result<Prepared> prepared = prepare(core_, std::move(message), std::move(body), notes);
  std::optional<Prepared> report;
  if (prepared && notification) {
    Result<Prepared> with = prepare(core_, *std::move(notification), id);
    if (!with) prepared = fail(with.error());
    if (with) report = *std::move(with);
  }
  Result<> done;
  if (prepared) {
    AcceptOperation accept(core_, *std::move(prepared), std::move(report));
    Submit end(storage_, runtime_, accept);
    done = co_await end;
  } else {
    done = fail(prepared.error());
  }
  // After an error of the disk the row may be there after all: then the file must be too. The next start knows.
  if (!done && !path.empty() && done.error().code != Errc::io) co_await drop_file(std::move(path));
  co_return done;
}

net::Task<> SqliteStore::drop_file(std::string path) {
  Files* files = &core_.files();
  std::function<void()> work = [files, &path] {
    Result<> removed = files->remove(path);
    (void)removed;  // an orphan is removed at the next start
  };
  co_await runtime_.offload(std::move(work));
}

net::Task<Result<bool>> SqliteStore::settle(Settlement settlement) {
  std::vector<Prepared> notifications;
  for (Notification& notification : settlement.notifications) {
    Result<Prepared> prepared = prepare(core_, std::move(notification), settlement.message);
    if (!prepared) co_return fail(prepared.error());
    notifications.push_back(*std::move(prepared));
  }
  settlement.notifications.clear();
  const Id message = settlement.message;
  SettleOperation operation(core_, std::move(settlement), std::move(notifications), runtime_.wall_now());
  Result<> done = co_await run(operation);
  if (!done && done.error().code == Errc::damaged) {
    operation.keep_rows();
    done = co_await run(operation);
  }
  if (!done && done.error().code == Errc::damaged) {
    log::failure(message.text() + ": what is noted for the postmaster cannot be read: " + done.error().what);
    operation.without_note();
    done = co_await run(operation);
  }
  if (!done) co_return fail(done.error());
  co_return operation.left();
}

net::Task<Result<>> SqliteStore::settle_destination(DestinationState state) {
  SettleDestinationOperation operation(std::move(state));
  Submit end(storage_, runtime_, operation);
  co_return co_await end;
}

net::Task<Result<std::vector<DestinationRow>>> SqliteStore::destinations(std::string name, bool count, WallTime now) {
  if (!name.empty()) {
    DestinationOperation operation(std::move(name));
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    co_return std::move(operation.rows);
  }
  std::map<std::string, DestinationRow> all;
  for (std::int64_t after = 0;;) {
    DestinationsOperation operation(after, count, now);
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    gather(all, std::move(operation.rows));
    if (operation.last) break;
    after = operation.upto;
  }
  co_return by_name(std::move(all));
}

net::Task<Result<>> SqliteStore::join_site(std::string destination, std::string site, WallTime until) {
  JoinSiteOperation operation(std::move(destination), std::move(site), until);
  co_return co_await run(operation);
}

net::Task<Result<>> SqliteStore::change_destination(DestinationChange change) {
  ChangeDestinationOperation operation(core_, std::move(change));
  co_return co_await run(operation);
}

net::Task<Result<WaitingPage>> SqliteStore::waiting(Id after) {
  WaitingOperation operation(after);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.page);
}

net::Task<Result<>> SqliteStore::redirect(std::vector<Due> due, WallTime now) {
  RedirectOperation operation(core_, std::move(due), now);
  co_return co_await run(operation);
}

net::Task<Result<bool>> SqliteStore::compare_routes(std::uint64_t routes, WallTime now) {
  CompareRoutesOperation operation(routes, now);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return operation.differ;
}

net::Task<Result<std::shared_ptr<const Content>>> SqliteStore::content(Id id) {
  ContentOperation operation(id);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.content);
}

net::Task<Result<DuePage>> SqliteStore::due(DueQuery query) {
  DueOperation operation(query, DueOperation::SetAside::find);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  if (operation.set_aside.empty() && operation.damaged.empty()) co_return std::move(operation.page);

  // What was read before these awaits may have ended during them: a page that names it would have it attempted again.
  if (!operation.set_aside.empty()) {
    TakeOutOperation out(std::move(operation.set_aside));
    done = co_await run(out);
    if (done && out.any) co_return std::move(operation.page);  // which is empty
  } else {
    co_await hold_damaged(std::move(operation.damaged), query.now);
  }
  DueOperation again(std::move(query), DueOperation::SetAside::pass);
  done = co_await run(again);
  if (!done) co_return fail(done.error());
  co_return std::move(again.page);
}

net::Task<> SqliteStore::hold_damaged(std::vector<Id> messages, WallTime now) {
  HoldDamagedOperation operation(core_, std::move(messages), now);
  Result<> done = co_await run(operation);
  (void)done;  // they are found again the next time
}

net::Task<Result<std::vector<Overdue>>> SqliteStore::overdue(WallTime now, std::size_t limit) {
  // Pages on which everything is held or cannot be read are looked past; not for ever.
  OverduePlace after;
  for (int pages = 0; pages < 100; ++pages) {
    OverdueOperation operation(now, limit, after);
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    after = operation.place;
    if (!operation.later.empty()) {
      LookAgainOperation move(std::move(operation.later), now);
      done = co_await run(move);
      if (!done && done.error().code != Errc::damaged) co_return fail(done.error());
    }
    if (!operation.damaged.empty()) co_await hold_damaged(std::move(operation.damaged), now);
    if (operation.last || !operation.overdue.empty()) co_return std::move(operation.overdue);
  }
  co_return std::vector<Overdue>();
}

net::Task<Result<Overdue>> SqliteStore::unsettled(Id id) {
  UnsettledOperation operation(id);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.found);
}

net::Task<Result<std::optional<WallTime>>> SqliteStore::note_time(std::optional<WallTime> now) {
  NoteTimeOperation operation(now);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return operation.noted;
}

net::Task<Result<Undelivered>> SqliteStore::undelivered() {
  UndeliveredOperation operation;
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.undelivered);
}

net::Task<Result<>> SqliteStore::commit_digest(Notification digest, Undelivered told) {
  Result<Prepared> prepared = prepare(core_, std::move(digest), std::nullopt);
  if (!prepared) co_return fail(prepared.error());
  DigestOperation operation(core_, *std::move(prepared), told.upto, told.more);
  co_return co_await run(operation);
}

net::Task<Result<Listing>> SqliteStore::list(Filter filter, std::optional<Id> after, std::size_t limit, WallTime now) {
  Conditions conditions = conditions_of(filter, now);
  Listing listing;
  Id from = after.value_or(Id{});
  while (listing.messages.size() < limit) {
    ListOperation operation(filter, conditions, from, limit - listing.messages.size());
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    for (MessageRow& message : operation.messages) listing.messages.push_back(std::move(message));
    if (listing.messages.size() >= limit) break;
    if (operation.slice.last) co_return listing;
    from = operation.slice.upto;
  }
  if (!listing.messages.empty()) listing.resume = listing.messages.back().info.id;
  co_return listing;
}

net::Task<Result<Counts>> SqliteStore::count(Filter filter, WallTime now) {
  Conditions conditions = conditions_of(filter, now);
  Counts counts;
  Id from;
  while (true) {
    CountOperation operation(filter, conditions, from, now, counts);
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    if (operation.slice.last) co_return counts;
    from = operation.slice.upto;
  }
}

net::Task<Result<std::size_t>> SqliteStore::forward(ForwardRequest request) {
  ForwardOperation operation(core_, request);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return operation.forwarded;
}

net::Task<Result<Matches>> SqliteStore::match(Filter filter, Id after, WallTime now) {
  Conditions conditions = conditions_of(filter, now);
  MatchOperation operation(filter, conditions, after);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.matches);
}

net::Task<Result<Groups>> SqliteStore::group(Filter filter, GroupBy by, std::size_t limit, WallTime now) {
  Conditions conditions = conditions_of(filter, now);
  Grouping grouping(by, now);
  Id from;
  while (true) {
    GroupOperation operation(filter, conditions, from, grouping);
    Result<> done = co_await run(operation);
    if (!done) co_return fail(done.error());
    if (operation.slice.last) co_return grouping.largest(limit);
    from = operation.slice.upto;
  }
}

net::Task<Result<Changed>> SqliteStore::change(ChangeRequest request) {
  ChangePlan plan{request.change};
  plan.conditions = conditions_of(request.filter, request.now);
  plan.filter = std::move(request.filter);
  plan.reason = request.reason;
  // What is not recorded cannot be undone.
  plan.for_good = request.for_good || request.who.empty();
  plan.dry_run = request.dry_run;
  plan.now = request.now;
  plan.progress = std::move(request.progress);
  if (plan.dry_run) {
    Changed would;
    Result<> done = co_await change_slices(plan, would);
    if (!done) co_return fail(done.error());
    co_return would;
  }
  ChangeRecord record;
  record.time = request.now;
  record.what = to_text(request.change);
  record.who = std::move(request.who);
  record.meant = std::move(request.meant);
  record.reason = std::move(request.reason);
  co_return co_await carry_out(plan, std::move(record), 0);
}

net::Task<Result<Changed>> SqliteStore::undo(std::uint64_t number, std::string who, WallTime now, Watched progress) {
  UndoableOperation found(number, now);
  Result<> done = co_await run(found);
  if (!done) co_return fail(done.error());
  constexpr State kLeftIn[] = {State::held, State::deferred, State::deferred, State::removed};
  ChangePlan plan{found.change, true};
  plan.filter = left_by(number, kLeftIn[static_cast<std::size_t>(found.change)]);
  plan.conditions = conditions_of(plan.filter, now);
  plan.reason = "change " + std::to_string(number) + " undone";
  plan.progress = std::move(progress);
  plan.now = now;
  ChangeRecord record;
  record.time = now;
  record.what = "undo";
  record.who = std::move(who);
  record.meant = "change " + std::to_string(number);
  co_return co_await carry_out(plan, std::move(record), number);
}

net::Task<Result<Changed>> SqliteStore::carry_out(ChangePlan& plan, ChangeRecord record, std::uint64_t undoes) {
  Result<> done;
  if (!record.who.empty()) {
    RecordOperation begin(record);
    done = co_await run(begin);
  }
  if (!done) co_return fail(done.error());
  plan.number = record.number;
  plan.newest = core_.ids().last();
  Changed changed;
  Result<> sliced = co_await change_slices(plan, changed);
  const bool is_nothing = plan.number == 0 && changed.recipients == 0;
  if (sliced && is_nothing) co_return changed;
  // Also after an error: the slices before it stand.
  ChangedOperation end(core_, plan.number, sliced && !changed.stopped ? undoes : 0, changed.recipients > 0);
  done = co_await run(end);
  if (!sliced) co_return fail(sliced.error());
  if (!done) co_return fail(done.error());
  changed.number = changed.recipients > 0 ? plan.number : 0;
  co_return changed;
}

net::Task<Result<>> SqliteStore::change_slices(const ChangePlan& plan, Changed& changed) {
  Id from;
  while (true) {
    ChangeOperation operation(core_, plan, from);
    Result<> done = co_await run(operation);
    if (!done) co_return done;
    changed.messages += operation.changed.messages;
    changed.recipients += operation.changed.recipients;
    if (operation.slice.last) co_return Result<>();
    if (plan.progress) plan.progress->add(operation.changed.messages);
    changed.stopped = plan.progress && plan.progress->is_stopped();
    if (changed.stopped) co_return Result<>();
    from = operation.slice.upto;
  }
}

net::Task<Result<>> SqliteStore::record(ChangeRecord change) {
  RecordOperation operation(change);
  co_return co_await run(operation);
}

net::Task<Result<std::vector<ChangeRecord>>> SqliteStore::changes(std::uint64_t before, std::size_t limit) {
  ChangesOperation operation(before, limit);
  Result<> done = co_await run(operation);
  if (!done) co_return fail(done.error());
  co_return std::move(operation.changes);
}

net::Task<Result<>> SqliteStore::forget_removed(WallTime now, std::stop_token stop) {
  ForgettableOperation look(now);
  Result<> done = co_await run(look);
  if (!done || !look.any) co_return done;
  ForgetOperation::Place after;
  while (!stop.stop_requested()) {
    ForgetOperation slice(core_, after, now);
    done = co_await run(slice);
    if (!done || slice.last) co_return done;
    after = slice.place;
  }
  co_return Result<>();
}

}  // namespace

std::unique_ptr<Store> make_store(StoreCore& core, StorageThread& storage, net::Runtime& runtime) {
  return std::make_unique<SqliteStore>(core, storage, runtime);
}

}  // namespace waypost::queue
