#include "tests/power/check.h"

#include <algorithm>
#include <set>

#include "queue/sqlite.h"
#include "tests/power/queue_on_disk.h"

namespace waypost::tests::power {
namespace {

using queue::Id;
using queue::State;

class Check {
 public:
  Check(SimDisk& disk, const Ledger& ledger, Position cut) : disk_(disk), ledger_(ledger), cut_(cut) {}

  std::vector<Broken> run() {
    {
      QueueOnDisk queue(disk_);
      Result<> opened = queue.open();
      if (!opened) return {{Broken::Kind::corrupt, "opening: " + opened.error().what}};
      Result<std::vector<queue::MessageRow>> rows = queue.list();
      if (!rows) return {{Broken::Kind::corrupt, "listing: " + rows.error().what}};
      for (queue::MessageRow& row : *rows) rows_.emplace(row.info.id, std::move(row));
      check_mails();
      for (const auto& [id, row] : rows_) check_row(queue, row);
      check_destinations(queue);
      check_orphans();
      check_deliveries();
      check_next(queue);
    }
    check_database();
    return std::move(broken_);
  }

 private:
  void broken(Broken::Kind kind, std::string text) { broken_.push_back({kind, std::move(text)}); }

  void check_mails() {
    for (const auto& [id, mail] : ledger_.mails) {
      bool there = rows_.contains(id);
      if (!there && mail.accepted.certain(cut_) && !mail.left.possible(cut_))
        broken(Broken::Kind::lost, id.text() + " was accepted at " + std::to_string(mail.accepted.acked));
      if (there && mail.left.certain(cut_))
        broken(Broken::Kind::returned, id.text() + " ended at " + std::to_string(mail.left.acked));
      if (mail.cause && !mail.left.possible(cut_) && mail.accepted.possible(cut_)) check_notification(mail, there);
    }
  }

  /// Both or neither.
  void check_notification(const Mail& mail, bool there) {
    auto found = ledger_.mails.find(mail.cause->message);
    if (found == ledger_.mails.end()) return;
    const Mail& cause = found->second;
    const Move& move = cause.moves[mail.cause->recipient][mail.cause->move];
    auto row = rows_.find(cause.id);
    bool ended = row == rows_.end();
    if (!ended) {
      if (mail.cause->recipient >= row->second.recipients.size()) return;  // told elsewhere
      ended = row->second.recipients[mail.cause->recipient].state == move.state;
    }
    if (ended != there)
      broken(Broken::Kind::split, cause.id.text() + (ended ? " ended without" : " did not end with") +
                                      " its notification " + mail.id.text());
  }

  void check_row(QueueOnDisk& queue, const queue::MessageRow& row) {
    Id id = row.info.id;
    auto found = ledger_.mails.find(id);
    if (found == ledger_.mails.end() || !found->second.accepted.possible(cut_))
      return broken(Broken::Kind::unknown, id.text() + " was sent by nobody");
    const Mail& mail = found->second;
    if (row.recipients.size() != mail.to.size())
      return broken(Broken::Kind::altered, id.text() + " has " + std::to_string(row.recipients.size()) + " recipients");
    for (std::size_t i = 0; i < mail.to.size(); ++i) {
      const queue::RecipientRow& recipient = row.recipients[i];
      if (recipient.forward_path.text() != path_to(mail.to[i]).text())
        broken(Broken::Kind::altered, id.text() + " goes to " + recipient.forward_path.text());
      if (!possible_state(mail.moves[i], recipient))
        broken(Broken::Kind::altered, id.text() + " to " + mail.to[i] + " is " + std::string(to_text(recipient.state)) +
                                          " after " + std::to_string(recipient.attempts) + " attempts");
    }
    if (row.info.reverse_path.text() != path_to(mail.from).text())
      broken(Broken::Kind::altered, id.text() + " is from " + row.info.reverse_path.text());
    Result<std::shared_ptr<const queue::Content>> content = queue.content(id);
    if (!content) return broken(Broken::Kind::altered, id.text() + " has no content: " + content.error().what);
    if ((*content)->in_file) in_file_.insert(id.text());
    Result<std::string> body = queue.body(*content);
    if (!body) return broken(Broken::Kind::altered, id.text() + " has no body: " + body.error().what);
    if (*body != mail.body || (*content)->trace != mail.trace)
      broken(Broken::Kind::altered, id.text() + " has another body");
  }

  /// What was told last, or what was under way then.
  bool possible_state(const std::deque<Move>& moves, const queue::RecipientRow& row) const {
    Move at;
    std::size_t next = 0;
    for (; next < moves.size() && moves[next].span.certain(cut_); ++next) at = moves[next];
    while (true) {
      if (row.state == at.state && row.attempts == at.attempts) return true;
      if (next == moves.size() || !moves[next].span.possible(cut_)) return false;
      at = moves[next++];
    }
  }

  void check_destinations(QueueOnDisk& queue) {
    queue::DueQuery query;
    query.now = queue.runtime().wall_now();
    Result<queue::DuePage> page = queue.run(queue.store().due(query));
    if (!page) return broken(Broken::Kind::corrupt, "what is due: " + page.error().what);
    for (const queue::DestinationState& state : page->destinations) {
      auto known = ledger_.destinations.find(state.name);
      std::set<std::uint32_t> possible;
      if (known != ledger_.destinations.end())
        for (const BackOff& one : known->second) {
          if (one.span.certain(cut_)) possible.clear();
          if (one.span.possible(cut_)) possible.insert(one.failures);
        }
      possible.insert(0);  // a row that nobody needed goes away
      if (!possible.contains(state.failures))
        broken(Broken::Kind::altered, state.name + " has " + std::to_string(state.failures) + " failures");
    }
  }

  void check_orphans() {
    for (const auto& [path, size] : disk_.list()) {
      if (!path.starts_with("/data/body/")) continue;
      std::string name = path.substr(path.rfind('/') + 1);
      if (!in_file_.contains(name)) broken(Broken::Kind::orphan, path);
    }
  }

  void check_deliveries() {
    std::map<std::string, const Delivery*> known;
    for (const Delivery& delivery : ledger_.deliveries) {
      known[delivery.path] = &delivery;
      if (delivery.acked > cut_) continue;
      std::optional<std::string> octets = disk_.octets(delivery.path);
      if (!octets) broken(Broken::Kind::lost, delivery.path + " was delivered at " + std::to_string(delivery.acked));
    }
    for (const auto& [path, size] : disk_.list()) {
      if (!path.starts_with("/mail/") || path.find("/new/") == std::string::npos) continue;
      auto delivery = known.find(path);
      // Moved, and never reported: whoever tried it will deliver it again.
      if (delivery != known.end() && disk_.octets(path) != delivery->second->octets)
        broken(Broken::Kind::altered, path + " is not what was delivered");
    }
  }

  /// Mail goes on, under names that nothing had.
  void check_next(QueueOnDisk& queue) {
    queue::Draft draft = queue.store().draft();
    Id id = draft.id();
    for (const auto& [used, mail] : ledger_.mails)
      if (used >= id && (mail.accepted.certain(cut_) || rows_.contains(used)))
        return broken(Broken::Kind::reused, id.text() + " comes after " + used.text());
    queue::NewMessage message;
    smtp::EnvelopeRecipient recipient;
    recipient.forward_path = path_to("next@d.example");
    message.envelope.recipients.push_back(std::move(recipient));
    message.arrival = queue.runtime().wall_now();
    message.expires = message.arrival + std::chrono::hours(1);
    draft.buffer() = "next\r\n";
    Result<> done =
        queue.run(queue.store().commit(std::move(message), std::move(draft), queue::BodyNotes{}, std::nullopt));
    if (!done) return broken(Broken::Kind::corrupt, "the next mail: " + done.error().what);
    Result<std::shared_ptr<const queue::Content>> content = queue.content(id);
    if (!content) broken(Broken::Kind::lost, "the next mail: " + content.error().what);
  }

  void check_database() {
    std::string found = integrity(disk_);
    if (found != "ok") broken(Broken::Kind::corrupt, std::move(found));
  }

  SimDisk& disk_;
  const Ledger& ledger_;
  const Position cut_;
  std::map<Id, queue::MessageRow> rows_;
  std::set<std::string> in_file_;
  std::vector<Broken> broken_;
};

}  // namespace

const char* name_of(Broken::Kind kind) {
  constexpr const char* kNames[] = {"lost", "returned", "unknown", "altered", "split", "orphan", "reused", "corrupt"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string integrity(SimDisk& disk) {
  using queue::Database;
  Result<Database> db = Database::open(SimDisk::data_dir() + "/queue.db", disk.vfs(), Database::Mode::read_write);
  if (!db) return db.error().what;
  Result<> alone = db->run("PRAGMA locking_mode=EXCLUSIVE");
  queue::Run whole(*db, std::string("PRAGMA integrity_check"));
  Result<bool> row = whole.step();
  if (!alone || !row) return "the database cannot be checked";
  return std::string(whole.text(0));
}

std::vector<Broken> check(SimDisk& disk, const Ledger& ledger, Position cut) {
  return Check(disk, ledger, cut).run();
}

std::vector<Broken> check_nothing_altered(SimDisk& disk, const Ledger& ledger) {
  std::vector<Broken> broken;
  auto altered = [&broken](const Id& id, const char* what) {
    broken.push_back({Broken::Kind::altered, id.text() + " would be sent with another " + what});
  };
  QueueOnDisk queue(disk);
  Result<> opened = queue.open();
  if (!opened) return {};  // refused
  queue::DueQuery query;
  query.now = queue.runtime().wall_now() + std::chrono::hours(1000);
  Result<queue::DuePage> page = queue.run(queue.store().due(query));
  if (!page) return {};
  for (const queue::Due& due : page->due) {
    Id id = due.message->id;
    Result<std::shared_ptr<const queue::Content>> content = queue.content(id);
    if (!content) continue;
    Result<std::string> body = queue.body(*content);
    if (!body) continue;
    auto found = ledger.mails.find(id);
    if (found == ledger.mails.end()) {
      altered(id, "name");
      continue;
    }
    const Mail& mail = found->second;
    if (due.message->reverse_path.text() != path_to(mail.from).text()) altered(id, "reverse-path");
    if (*body != mail.body || (*content)->trace != mail.trace) altered(id, "body");
    for (const queue::DueRecipient& one : due.recipients) {
      bool known = one.index < mail.to.size() && one.forward_path.text() == path_to(mail.to[one.index]).text();
      if (!known || smtp::domain_key(one.forward_path.mailbox.domain) != due.destination) altered(id, "recipient");
    }
  }
  return broken;
}

}  // namespace waypost::tests::power
