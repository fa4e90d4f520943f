// mta/probe_json.cpp: the JSON of `waypost probe`, `waypost watch` and `waypost log`.
#include <chrono>
#include <string>
#include <utility>

#include "delivery/probe.h"
#include "mta/control_json.h"
#include "smtp/extensions.h"

namespace waypost::mta {
namespace {

std::string voice_text(dialogue::Voice voice) {
  return std::string(1, static_cast<char>(voice));
}

Json clock_json(std::chrono::system_clock::time_point time) {
  return time_json(std::chrono::time_point_cast<net::WallTime::duration>(time));
}

/// `add(line, json)`: what a line has besides its time and text.
template <class Page, class Add>
Json page_json(const Page& page, const Add& add) {
  Json json;
  json["lines"] = Json::array();
  for (const auto& line : page.lines) {
    Json each;
    each["time"] = clock_json(line.time);
    add(line, each);
    each["text"] = line.text;
    json["lines"].push_back(std::move(each));
  }
  json["next"] = page.next;
  json["missed"] = page.missed;
  json["more"] = page.more;
  return json;
}

Json host_json(const delivery::ProbedHost& host) {
  Json json;
  json["preference"] = host.preference;
  json["name"] = host.peer.name;
  json["host"] = host.peer.text();
  json["ready"] = host.ready;
  json["milliseconds"] = std::chrono::duration_cast<std::chrono::milliseconds>(host.took).count();
  if (!host.ready) {
    json["status"] = host.failure.status;
    json["reason"] = host.failure.reason;
  }
  json["tls"] = host.ready ? host.tls.text() : host.failure.tls;
  if (host.tls.certificate) {
    json["certificate"] = certificate_json(*host.tls.certificate);
    json["certificate"]["trouble"] = host.tls.certificate->trouble;
  }
  if (host.ready) json["offers"] = smtp::ehlo_keywords(host.offered);
  if (host.ready && host.peer.as != nullptr && host.peer.as->login) json["login"] = host.peer.as->login->user;
  json["dialogue"] = Json::array();
  for (const dialogue::Line& line : host.dialogue) {
    Json each;
    each["time"] = clock_json(line.time);
    each["voice"] = voice_text(line.voice);
    each["text"] = line.text;
    json["dialogue"].push_back(std::move(each));
  }
  return json;
}

}  // namespace

Json probe_json(const std::string& destination, const delivery::Probe& probe) {
  const delivery::Plan& plan = probe.found.plan;
  Json json;
  json["destination"] = destination;
  json["trouble"] = nullptr;
  if (plan.key.empty()) json["trouble"] = probe.found.trouble.status + " " + probe.found.trouble.reason;
  if (plan.kind == delivery::Plan::Kind::fail) json["trouble"] = plan.status + " " + plan.text;
  if (plan.kind == delivery::Plan::Kind::maildir) json["maildir"] = plan.text;
  if (plan.kind == delivery::Plan::Kind::discard) json["discard"] = true;
  json["hosts"] = Json::array();
  for (const delivery::ProbedHost& host : probe.hosts) json["hosts"].push_back(host_json(host));
  json["left_out"] = probe.left_out;
  return json;
}

Json watch_json(const dialogue::Page& page) {
  return page_json(page, [](const dialogue::Line& line, Json& json) {
    json["connection"] = line.connection;
    json["direction"] = line.inbound ? "in" : "out";
    json["peer"] = line.peer;
    json["voice"] = voice_text(line.voice);
  });
}

Json log_level_json(const log::LevelInForce& level) {
  Json json;
  json["level"] = log::to_text(level.level);
  json["usual"] = log::to_text(level.usual);
  json["until"] = level.until ? clock_json(*level.until) : Json(nullptr);
  return json;
}

Json log_json(const log::LevelInForce& level, const log::Page& page) {
  Json json = page_json(page, [](const log::Line& line, Json& each) {
    each["level"] = log::to_text(line.level);
    each["id"] = line.id;
  });
  json.update(log_level_json(level));
  return json;
}

}  // namespace waypost::mta
