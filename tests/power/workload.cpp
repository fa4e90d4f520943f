#include "tests/power/workload.h"

#include <algorithm>
#include <utility>

#include "delivery/local.h"
#include "delivery/maildir.h"
#include "smtp/trace.h"

namespace waypost::tests::power {

using queue::Event;
using queue::Id;
using queue::State;

namespace {

constexpr std::size_t kLive = 12;  // messages, about
constexpr int kTries = 200;        // to start
constexpr std::uint64_t kDestinations = 4;
constexpr std::uint64_t kWalPages = 1950;  // the storage thread moves them from 2000 on

/// What a Maildir has of it.
std::string delivered_octets(const Mail& mail, const smtp::Mailbox& mailbox) {
  std::string wire =
      smtp::return_path_field(path_to(mail.from)) + smtp::delivered_to_field(mailbox) + mail.trace + mail.body;
  std::erase(wire, '\r');
  return wire;
}

}  // namespace

Workload::Workload(SimDisk& disk, std::uint64_t seed, WorkloadOptions options)
    : disk_(disk), options_(options), chance_(seed), queue_(disk) {
  disk_.before = [this](const Call& call) {
    if (call.position >= kill_at_) return Fault::cut;
    return options_.fault ? options_.fault(call) : Fault::none;
  };
  queue_.runtime().advance(std::chrono::milliseconds(below(100'000'000)));
  restart(false);
}

Workload::~Workload() {
  disk_.before = nullptr;
}

void Workload::prepare() {
  while (options_.bulk && queue_.wal_pages() < kWalPages) {
    queue_.spawn(back_off("d0.example"));
    queue_.pump();
  }
}

void Workload::run() {
  for (int i = 0; i < options_.steps && !gave_up_; ++i) step();
}

void Workload::step() {
  queue_.runtime().advance(std::chrono::milliseconds(below(one_in(4) ? 600'000 : 300)));
  if (one_in(15)) return restart(false);
  if (options_.kills && one_in(15)) return restart(true);
  // Somewhere within what comes next.
  if (options_.kills && one_in(10)) kill_at_ = disk_.position() + below(40);

  std::vector<Mail*> idle = live();
  std::uint64_t operations = one_in(3) ? 1 + below(6) : 1;
  for (std::uint64_t i = 0; i < operations; ++i) begin_one(idle);
  queue_.pump();
  if (queue_.failed() || disk_.off()) return restart(true);
  idle = live();
  if (!idle.empty() && one_in(6)) change(*idle[below(idle.size())]);
  if (queue_.failed() || disk_.off()) restart(true);
}

/// A new process. One that cannot read its disk ends, and the next one begins.
void Workload::restart(bool kill) {
  if (kill) disk_.kill();
  queue_.close();
  for (int tries = 0; tries < kTries; ++tries) {
    if (tries > 0 || disk_.off()) {
      kill_at_ = kNever;
      disk_.kill();
    }
    Result<> opened = queue_.open();
    Result<std::vector<queue::MessageRow>> rows;
    if (opened) rows = queue_.list();
    if (opened && rows && !disk_.off()) return reconcile(*rows);
    last_error_ = opened ? (rows ? "" : rows.error().what) : opened.error().what;
    if (disk_.off()) kill_at_ = kNever, disk_.kill();
    queue_.close();
  }
  broken_.push_back({Broken::Kind::corrupt, "cannot start again: " + last_error_});
  gave_up_ = true;
}

/// What became of that which was under way. What is seen was not synced perhaps: it is certain with the next commit.
void Workload::reconcile(const std::vector<queue::MessageRow>& rows) {
  std::map<Id, const queue::MessageRow*> there;
  for (const queue::MessageRow& row : rows) there[row.info.id] = &row;
  for (auto entry = ledger_.mails.begin(); entry != ledger_.mails.end();) {
    Mail& mail = entry->second;
    auto row = there.find(mail.id);
    bool is_there = row != there.end();
    if (mail.accepted.acked == kNever) {
      if (!is_there) {
        entry = ledger_.mails.erase(entry);
        continue;
      }
      in_doubt_.push_back(&mail.accepted);
    } else if (!is_there && mail.left.begun == kNever) {
      broken_.push_back({Broken::Kind::lost, mail.id.text() + " is not there after a restart"});
    }
    for (std::size_t i = 0; i < mail.moves.size(); ++i) {
      if (mail.moves[i].empty() || mail.moves[i].back().span.acked != kNever) continue;
      const Move& move = mail.moves[i].back();
      bool done = !is_there;
      if (is_there && i < row->second->recipients.size()) {
        const queue::RecipientRow& recipient = row->second->recipients[i];
        done = recipient.state == move.state && recipient.attempts == move.attempts;
      }
      if (done)
        in_doubt_.push_back(&mail.moves[i].back().span);
      else
        mail.moves[i].pop_back();
    }
    if (mail.left.begun != kNever && mail.left.acked == kNever) {
      if (is_there)
        mail.left = {};
      else
        in_doubt_.push_back(&mail.left);
    }
    ++entry;
  }
}

void Workload::acked(Span& span, Position position) {
  span.acked = options_.early_ack ? span.begun : position;
  for (Span* one : in_doubt_) one->acked = position;
  in_doubt_.clear();
}

std::vector<Mail*> Workload::live() {
  std::vector<Mail*> out;
  for (auto& [id, mail] : ledger_.mails)
    if (mail.left.begun == kNever && mail.accepted.acked != kNever) out.push_back(&mail);
  return out;
}

std::string Workload::text(std::size_t size) {
  std::string out = "Subject: " + std::to_string(count_++) + "\r\n\r\n";
  while (out.size() < size) {
    out += std::to_string(chance_());
    out += "\r\n";
  }
  return out;
}

Mail* Workload::new_mail(Id id, std::string from, std::vector<std::string> to, std::string body) {
  Mail& mail = ledger_.mails[id];
  mail.id = id;
  mail.from = std::move(from);
  mail.moves.resize(to.size());
  mail.to = std::move(to);
  mail.trace = "Received: from c.example by r.example id " + id.text() + "\r\n";
  mail.body = std::move(body);
  mail.accepted.begun = disk_.position();
  return &mail;
}

queue::NewMessage Workload::message_of(const Mail& mail) const {
  queue::NewMessage out;
  out.id = mail.id;
  out.envelope.reverse_path = path_to(mail.from);
  for (const std::string& address : mail.to) {
    smtp::EnvelopeRecipient recipient;
    recipient.forward_path = path_to(address);
    out.envelope.recipients.push_back(std::move(recipient));
  }
  out.trace = mail.trace;
  out.origin = {"192.0.2.1", "c.example", "ESMTP", "mx", ""};
  out.arrival = queue_.now();
  out.expires = out.arrival + std::chrono::hours(120);
  return out;
}

/// One operation of a batch. Those of one batch are of different messages.
void Workload::begin_one(std::vector<Mail*>& idle) {
  if (one_in(12)) return queue_.spawn(back_off("d" + std::to_string(below(kDestinations)) + ".example"));
  if (idle.empty() || below(kLive) >= idle.size()) {
    std::vector<std::string> to;
    for (std::uint64_t n = 1 + (one_in(3) ? below(4) : 0); n > 0; --n)
      to.push_back("r" + std::to_string(count_++) + "@d" + std::to_string(below(kDestinations)) + ".example");
    std::string body = text(one_in(3) ? QueueOnDisk::kInlineLimit + 1 + below(9000) : below(1500));
    std::string from = one_in(5) ? "" : "s@a.example";
    return queue_.spawn(accept(std::move(from), std::move(to), std::move(body), one_in(10)));
  }
  std::size_t which = below(idle.size());
  Mail& mail = *idle[which];
  idle.erase(idle.begin() + static_cast<std::ptrdiff_t>(which));
  if (one_in(4)) {
    std::size_t recipient = below(mail.to.size());
    if (mail.state(recipient) == State::deferred) queue_.spawn(deliver(mail, recipient));
    return;
  }
  std::vector<queue::RecipientOutcome> outcomes;
  for (std::uint32_t i = 0; i < mail.to.size(); ++i) {
    constexpr Event kEvents[] = {Event::attempt_deferred, Event::attempt_deferred, Event::attempt_relayed,
                                 Event::attempt_relayed,  Event::attempt_failed,   Event::lifetime_over};
    if (one_in(3)) continue;
    queue::RecipientOutcome outcome;
    outcome.index = i;
    outcome.event = kEvents[below(std::size(kEvents))];
    outcomes.push_back(std::move(outcome));
  }
  if (!outcomes.empty()) queue_.spawn(settle(mail, std::move(outcomes)));
}

net::Task<> Workload::accept(std::string from, std::vector<std::string> to, std::string body, bool give_up) {
  queue::Draft draft = queue_.store().draft();
  Mail* mail = new_mail(draft.id(), std::move(from), std::move(to), std::move(body));
  for (std::size_t at = 0; at < mail->body.size(); at += 1000) {
    draft.buffer() += mail->body.substr(at, 1000);
    if (!draft.full()) continue;
    Result<> spilled = co_await draft.spill();
    if (!spilled) give_up = true;
  }
  Id id = mail->id;
  if (give_up) {
    ledger_.mails.erase(id);
    co_return;
  }
  queue::NewMessage message = message_of(*mail);
  queue::BodyNotes notes;
  Result<> done = co_await queue_.store().commit(std::move(message), std::move(draft), notes, std::nullopt);
  if (done) {
    acked(mail->accepted, queue_.runtime().acked_at());
    co_return;
  }
  // Nothing was done, unless what is on disk is in doubt.
  if (done.error().code != Errc::io) ledger_.mails.erase(id);
}

net::Task<> Workload::settle(Mail& mail, std::vector<queue::RecipientOutcome> outcomes) {
  queue::Settlement settlement;
  settlement.message = mail.id;
  const Span begun{disk_.position(), kNever};
  std::vector<std::pair<std::size_t, std::size_t>> moves;
  std::vector<Id> notifications;
  for (queue::RecipientOutcome& outcome : outcomes) {
    std::size_t i = outcome.index;
    std::optional<State> next = next_state(mail.state(i), outcome.event);
    if (!next) continue;
    bool attempt = outcome.event != Event::lifetime_over;
    mail.moves[i].push_back({begun, *next, mail.attempts(i) + (attempt ? 1 : 0)});
    moves.emplace_back(i, mail.moves[i].size() - 1);
    bool failed = outcome.event == Event::attempt_failed || outcome.event == Event::lifetime_over;
    if (failed && !mail.from.empty()) {
      Id id = queue_.store().draft().id();
      Mail* report = new_mail(id, "", {mail.from}, text(300));
      report->cause = Mail::Cause{mail.id, i, mail.moves[i].size() - 1};
      queue::Notification notification;
      notification.message = message_of(*report);
      notification.body = report->body;
      settlement.notifications.push_back(std::move(notification));
      notifications.push_back(id);
    }
    outcome.next_attempt = queue_.runtime().wall_now() + std::chrono::minutes(5);
    outcome.status = "4.2.2";
    outcome.reply = "452 4.2.2 Mailbox full";
    settlement.recipients.push_back(std::move(outcome));
  }
  if (moves.empty()) co_return;
  bool all = true;
  for (std::size_t i = 0; i < mail.to.size(); ++i) all = all && is_end(mail.state(i));
  if (all) mail.left = begun;

  Result<bool> done = co_await queue_.store().settle(std::move(settlement));
  if (done) {
    Position position = queue_.runtime().acked_at();
    for (auto [recipient, move] : moves) acked(mail.moves[recipient][move].span, position);
    for (Id id : notifications) acked(ledger_.mails[id].accepted, position);
    if (all) acked(mail.left, position);
    co_return;
  }
  if (done.error().code == Errc::io) co_return;
  for (auto [recipient, move] : moves) mail.moves[recipient].pop_back();
  for (Id id : notifications) ledger_.mails.erase(id);
  if (all) mail.left = {};
}

net::Task<> Workload::deliver(Mail& mail, std::size_t recipient) {
  queue::MessageInfo info;
  info.id = mail.id;
  info.reverse_path = path_to(mail.from);
  queue::DueRecipient to;
  to.forward_path = path_to(mail.to[recipient]);
  Result<std::shared_ptr<const queue::Content>> content = co_await queue_.store().content(mail.id);
  if (!content) co_return;
  queue::OpenBody open_body = [this, &content] { return queue_.store().read_body(*content); };
  const std::string path_template = QueueOnDisk::kMaildirs, hostname = "relay.example";
  delivery::Outcome outcome = co_await delivery::deliver_to_maildir(
      queue_.runtime(), queue_.folders(), path_template, info, to, **content, std::move(open_body), hostname);
  if (outcome.event != Event::attempt_delivered) co_return;
  // Its name is known to the disk alone, and its octets are no other's: the trace has the id.
  std::string folder = delivery::maildir_path(path_template, to.forward_path.mailbox) + "/new/";
  Delivery delivery;
  delivery.octets = delivered_octets(mail, to.forward_path.mailbox);
  delivery.acked = disk_.position();
  for (const auto& [path, size] : disk_.list())
    if (path.starts_with(folder) && disk_.octets(path) == delivery.octets) delivery.path = path;
  if (delivery.path.empty())
    broken_.push_back({Broken::Kind::altered, mail.id.text() + " was delivered, and is not in " + folder});
  ledger_.deliveries.push_back(std::move(delivery));

  std::vector<queue::RecipientOutcome> outcomes(1);
  outcomes[0].index = static_cast<std::uint32_t>(recipient);
  outcomes[0].event = Event::attempt_delivered;
  co_await settle(mail, std::move(outcomes));
}

net::Task<> Workload::back_off(std::string destination) {
  queue::DestinationState state;
  state.name = destination;
  state.failures = one_in(3) ? 0 : static_cast<std::uint32_t>(1 + below(9));
  state.next_attempt = queue_.runtime().wall_now() + std::chrono::minutes(state.failures);
  state.failing_since = queue_.runtime().wall_now();
  std::vector<BackOff>& all = ledger_.destinations[destination];
  std::size_t at = all.size();
  all.push_back({{disk_.position(), kNever}, state.failures});
  Result<> done = co_await queue_.store().settle_destination(std::move(state));
  if (done) acked(ledger_.destinations[destination][at].span, queue_.runtime().acked_at());
}

/// By an administrator: one recipient, which its address names.
void Workload::change(Mail& mail) {
  constexpr std::pair<queue::Change, Event> kChanges[] = {{queue::Change::hold, Event::hold},
                                                          {queue::Change::hold, Event::hold},
                                                          {queue::Change::release, Event::release},
                                                          {queue::Change::remove, Event::remove}};
  auto [change, event] = kChanges[below(std::size(kChanges))];
  std::size_t i = below(mail.to.size());
  std::optional<State> next = next_state(mail.state(i), event);
  // A notification's recipient is no one's alone.
  if (!next || mail.cause) return;
  const Span begun{disk_.position(), kNever};
  mail.moves[i].push_back({begun, *next, mail.attempts(i)});
  bool all = true;
  for (std::size_t k = 0; k < mail.to.size(); ++k) all = all && is_end(mail.state(k));
  if (all) mail.left = begun;

  queue::ChangeRequest request;
  request.change = change;
  request.filter = *queue::parse_filter("to:" + mail.to[i]);
  request.who = "ann";
  request.for_good = true;
  request.now = queue_.runtime().wall_now();
  Result<queue::Changed> done = queue_.run(queue_.store().change(std::move(request)));
  if (done) {
    acked(mail.moves[i].back().span, queue_.runtime().acked_at());
    if (all) acked(mail.left, queue_.runtime().acked_at());
  } else if (done.error().code != Errc::io) {
    mail.moves[i].pop_back();
    if (all) mail.left = {};
  }
}

}  // namespace waypost::tests::power
