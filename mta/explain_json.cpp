// mta/explain_json.cpp: the JSON of `waypost explain`.
#include "delivery/tls_policy.h"
#include "mta/control_json.h"
#include "mta/explain.h"

namespace waypost::mta {
namespace {

const char* kind_text(delivery::Plan::Kind kind) {
  switch (kind) {
    case delivery::Plan::Kind::relay:
      return "relay";
    case delivery::Plan::Kind::maildir:
      return "maildir";
    case delivery::Plan::Kind::fail:
      return "fail";
    case delivery::Plan::Kind::discard:
      return "discard";
  }
  return "relay";
}

Json refusal(const std::optional<smtp::Reply>& reply) {
  return reply ? Json(reply->text()) : Json(nullptr);
}

Json host_json(const resolver::Exchanger& host, const delivery::TlsTerms& terms, const std::string& destination) {
  Json json;
  json["preference"] = host.preference;
  json["name"] = host.name;
  json["addresses"] = Json::array();
  for (const net::Address& address : host.addresses) json["addresses"].push_back(address.text());
  if (!host.trouble.empty()) json["trouble"] = host.trouble;
  delivery::TlsQuestion question;
  question.terms = terms;
  question.destination = destination;
  question.host = host.name;
  json["tls"] = delivery::text(delivery::tls_policy(question));
  return json;
}

Json way_json(const Way& way, net::WallTime now) {
  const delivery::Plan& plan = way.found.plan;
  Json json;
  json["to"] = way.to.text();
  json["destination"] = way.destination;
  json["decided_by"] = way.decided_by;
  json["next_hops"] = Json::array();
  for (const conf::NextHop& hop : way.directions.next_hops) json["next_hops"].push_back(hop.text());
  if (way.directions.as) json["login"] = (way.directions.as->login ? way.directions.as->login->user : std::string());
  json["kind"] = kind_text(plan.kind);
  if (plan.key.empty()) json["trouble"] = way.found.trouble.status + " " + way.found.trouble.reason;
  if (plan.kind == delivery::Plan::Kind::fail) json["trouble"] = plan.status + " " + plan.text;
  if (plan.kind == delivery::Plan::Kind::maildir) json["maildir"] = plan.text;
  json["hosts"] = Json::array();
  for (std::size_t i = 0; i < plan.hops.size(); ++i)
    for (const resolver::Exchanger& host : plan.hops[i].hosts)
      json["hosts"].push_back(host_json(host, way.found.tls.at(i), way.destination));
  json["state"] = Json::array();
  for (const queue::DestinationRow& row : way.state) json["state"].push_back(destination_json(row, now));
  return json;
}

}  // namespace

Json explanation_json(const Explanation& explanation, net::WallTime now) {
  const Admission& admission = explanation.admission;
  Json json;
  json["class"] = admission.client_class;
  json["trusted"] = admission.trusted;
  json["may_send"] = admission.may_send;
  json["sender"] = admission.sender.text();
  json["sender_refused"] = refusal(admission.sender_refused);
  json["recipient"] = admission.recipient.text();
  json["recipient_refused"] = refusal(admission.recipient_refused);
  json["goals"] = admission.goals.size();
  json["ways"] = Json::array();
  for (const Way& way : explanation.ways) json["ways"].push_back(way_json(way, now));
  return json;
}

}  // namespace waypost::mta
