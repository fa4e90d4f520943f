#include "mta/control_api.h"

#include <doctest/doctest.h>

#include "mta/control_json.h"
#include "tests/mta/fake_backend.h"

using namespace waypost;
using namespace waypost::mta;
using waypost::tests::FakeBackend;

namespace {

struct Api {
  FakeBackend backend;
  ControlApi api{backend};
  ControlAnswer get(const std::string& path, std::map<std::string, std::string> query = {}) {
    ControlRequest request;
    request.path = path;
    request.query = std::move(query);
    return api.handle(request);
  }
  ControlAnswer post(const std::string& path, const std::string& body = "") {
    ControlRequest request;
    request.method = "POST";
    request.path = path;
    request.body = body;
    request.uid = 1000;
    return api.handle(request);
  }
};

using tests::kFirst;
using tests::kSecond;

Json json_of(const ControlAnswer& answer) {
  const Json json = Json::parse(answer.body, nullptr, false);
  REQUIRE(json.is_object());
  return json;
}

}  // namespace

TEST_SUITE("mta/control_api") {
  TEST_CASE("requests that make no sense are answered with why") {
    struct Case {
      const char* method;
      const char* path;
      int want;
    };
    Api a;
    for (const Case& c :
         {Case{"GET", "/", 404}, Case{"GET", "", 404}, Case{"GET", "/v2/queue", 404}, Case{"POST", "/v1/queue", 405},
          Case{"GET", "/v1/queue/change", 405}, Case{"POST", "/v1/rates", 405}, Case{"GET", "/v1/reload", 405},
          Case{"DELETE", "/v1/status", 405}, Case{"GET", "/v1/queue/nonsense!", 400}, Case{"GET", "/v1/queue/", 400},
          Case{"GET", "/v1/queue/0000000000ZZ/x", 404}, Case{"POST", "/v1/queue/0000000000ZZ", 405},
          Case{"GET", "/v1/trace", 400}, Case{"POST", "/v1/queue/change", 400}, Case{"GET", "/v1/store/check", 405},
          Case{"GET", "/v1/store/backup", 405}, Case{"POST", "/v1/store/backup", 400},
          Case{"POST", "/v1/store/burn", 404}}) {
      CAPTURE(c.method);
      CAPTURE(c.path);
      ControlRequest request;
      request.method = c.method;
      request.path = c.path;
      const ControlAnswer answer = a.api.handle(request);
      CHECK(answer.status == c.want);
      CHECK(!json_of(answer)["error"].get<std::string>().empty());
    }
  }

  TEST_CASE("an order to change names its change, and which messages, in one way") {
    Api a;
    for (const char* body : {"",
                             "[]",
                             "{",
                             "null",
                             "{\"change\":\"burn\",\"all\":true}",
                             "{\"change\":\"hold\"}",
                             "{\"change\":\"hold\",\"all\":false}",
                             "{\"change\":\"hold\",\"all\":true,\"filter\":\"to:x\"}",
                             "{\"change\":\"hold\",\"ids\":[]}",
                             "{\"change\":\"hold\",\"ids\":\"x\"}",
                             "{\"change\":\"hold\",\"ids\":[1]}",
                             "{\"change\":\"hold\",\"ids\":[\"x\"]}",
                             "{\"change\":\"hold\",\"filter\":\"colour:red\"}",
                             "{\"change\":\"delete\",\"filter\":\" \"}",
                             "{\"change\":1,\"all\":true}",
                             "{\"change\":\"reroute\",\"all\":true}",
                             "{\"change\":\"hold\",\"all\":true,\"to\":\"x@b.example\"}",
                             "{\"change\":\"reroute\",\"all\":true,\"to\":\"maildir:/x\"}",
                             "{\"change\":\"reroute\",\"all\":true,\"to\":\"b.example\"}",
                             "{\"change\":\"redirect\",\"all\":true,\"to\":\"x\"}"}) {
      CAPTURE(body);
      CHECK(a.post("/v1/queue/change", body).status == 400);
    }
    CHECK(a.backend.changed.empty());
  }

  TEST_CASE("lists nested as deep as a body is long overrun no stack") {
    Api a;
    const std::string deep = std::string(400'000, '[') + std::string(400'000, ']');
    CHECK(a.post("/v1/queue/change", "{\"change\":\"hold\",\"ids\":[" + deep + "]}").status == 400);
    CHECK(a.post("/v1/queue/change", deep).status == 400);
    CHECK(a.backend.changed.empty());
  }

  TEST_CASE("errors of the store have their status") {
    struct Case {
      Errc code;
      int want;
    };
    for (const Case c :
         {Case{Errc::timed_out, 503}, Case{Errc::cancelled, 503}, Case{Errc::busy, 503}, Case{Errc::full, 507},
          Case{Errc::io, 500}, Case{Errc::damaged, 500}, Case{Errc::not_found, 404}, Case{Errc::invalid, 400}}) {
      Api a;
      a.backend.failure = Error(c.code, "why");
      CHECK(a.get("/v1/queue/count").status == c.want);
      CHECK(json_of(a.get("/v1/queue"))["error"] == "why");
    }
  }

  TEST_CASE("the keys of a message stay as they are: scripts read them") {
    Api a;
    const Json message = json_of(a.get("/v1/queue/" + kFirst));
    std::string keys;
    for (const auto& [key, value] : message.items()) keys += key + " ";
    CHECK(keys ==
          "id from size arrival expires message_id client helo protocol listener user body smtputf8 require_tls ret "
          "envid recipients ");
    keys.clear();
    for (const auto& [key, value] : message["recipients"][0].items()) keys += key + " ";
    CHECK(keys == "address state tries next_attempt status reply host destination notify orcpt ");
    CHECK(message["arrival"] == "2026-11-22T07:00:00.000Z");
    CHECK(message["recipients"][1]["address"] == "c@c.example");
    CHECK(a.get("/v1/queue/0000000000ZZ").status == 404);
  }

  TEST_CASE("a count has the keys that scripts read") {
    Api a;
    const Json counts = json_of(a.get("/v1/queue/count"));
    CHECK(to_line(counts) ==
          "{\"messages\":2,\"recipients\":3,\"active\":0,\"deferred\":3,\"held\":0,\"octets\":4286,"
          "\"oldest\":\"2026-11-22T07:00:00.000Z\"}");
    a.backend.messages.clear();
    CHECK(json_of(a.get("/v1/queue/count"))["oldest"].is_null());
  }

  TEST_CASE("a recipient that is due shows as active, as the filter calls it") {
    queue::RecipientRow recipient;
    recipient.next_attempt = tests::kNow;
    CHECK(shown_state(recipient, tests::kNow) == "active");
    CHECK(shown_state(recipient, tests::kNow - std::chrono::seconds(1)) == "deferred");
    recipient.state = queue::State::held;
    CHECK(shown_state(recipient, tests::kNow) == "held");
  }

  TEST_CASE("the queue is listed in pages, of which no request makes a large one") {
    Api a;
    a.backend.messages.clear();
    for (std::uint64_t i = 1; i <= 500; ++i) a.backend.add(queue::Id{i}, "a@example.org", {"b@b.example"});
    std::size_t seen = 0;
    std::string after;
    for (int pages = 1;; ++pages) {
      const Json page = json_of(a.get("/v1/queue", {{"after", after}, {"limit", "100000"}}));
      CHECK(page["messages"].size() <= ControlApi::kMaxPage);
      seen += page["messages"].size();
      if (page["resume"].is_null()) {
        CHECK(pages == 3);
        break;
      }
      after = page["resume"];
    }
    CHECK(seen == 500);
    CHECK(a.backend.largest_page <= 25);
    CHECK(a.get("/v1/queue", {{"limit", "many"}}).status == 400);
    CHECK(a.get("/v1/queue", {{"after", "!"}}).status == 400);
    CHECK(a.get("/v1/queue", {{"filter", "age:2h"}}).status == 400);
    CHECK(json_of(a.get("/v1/queue", {{"limit", "7"}}))["messages"].size() == 7);
  }

  TEST_CASE("a page ends early where messages have very many recipients") {
    Api a;
    a.backend.messages.clear();
    const std::vector<std::string> many(1000, "b@b.example");
    for (std::uint64_t i = 1; i <= 60; ++i) a.backend.add(queue::Id{i}, "a@example.org", many);
    const Json page = json_of(a.get("/v1/queue"));
    CHECK(page["messages"].size() == 25);
    CHECK(page["resume"] == queue::Id{25}.text());
  }

  TEST_CASE("content comes in pieces, trace lines first, from memory or a spool file") {
    for (const bool in_file : {false, true}) {
      CAPTURE(in_file);
      Api a;
      a.backend.in_file = in_file;
      a.backend.body = "Subject: x\r\n\r\n" + std::string(ControlApi::kMaxContent * 2, 'x');
      if (in_file) {
        auto file = a.backend.memory.create(queue::body_path(kFirst));
        REQUIRE(file);
        REQUIRE((*file)->append(a.backend.body));
      }
      std::string all;
      while (true) {
        const ControlAnswer piece = a.get("/v1/queue/" + kFirst + "/content", {{"offset", std::to_string(all.size())}});
        REQUIRE(piece.status == 200);
        CHECK(piece.type == "application/octet-stream");
        CHECK(piece.body.size() <= ControlApi::kMaxContent);
        if (piece.body.empty()) break;
        all += piece.body;
      }
      CHECK((all == "Received: from x\r\n" + a.backend.body));
    }
    Api a;
    CHECK(a.get("/v1/queue/" + kFirst + "/content", {{"offset", "18446744073709551615"}}).body.empty());
    CHECK(a.get("/v1/queue/" + kFirst + "/content", {{"offset", "-1"}}).status == 400);
    CHECK(a.get("/v1/queue/0000000000ZZ/content").status == 404);
    a.backend.in_file = true;
    CHECK(a.get("/v1/queue/" + kFirst + "/content").status == 404);  // it was delivered meanwhile
  }

  TEST_CASE("a change by ids says which of them are not in the queue") {
    Api a;
    const Json done = json_of(a.post("/v1/queue/change", "{\"change\":\"delete\",\"ids\":[\"" + kSecond + "\",\"" +
                                                             kSecond + "\",\"0000000000ZZ\"],\"reason\":\"spam\"}"));
    CHECK(done["messages"] == 1);
    CHECK(done["recipients"] == 1);
    CHECK(done["missing"] == Json::array({"0000000000ZZ"}));
    CHECK(done["change"] == 77);
    CHECK(a.backend.changed.size() == 1);
    CHECK(a.backend.reason == "spam");
    CHECK_FALSE(a.backend.for_good);
    a.post("/v1/queue/change", "{\"change\":\"delete\",\"ids\":[\"" + kSecond + "\"],\"for_good\":true}");
    CHECK(a.backend.for_good);
  }

  TEST_CASE("undo: by the number of a change") {
    Api a;
    const Json undone = json_of(a.post("/v1/undo", "{\"change\":77}"));
    CHECK(undone["messages"] == 2);
    CHECK(undone["recipients"] == 3);
    CHECK(undone["change"] == 78);
    CHECK(a.post("/v1/undo", "{\"change\":76}").status == 404);
    for (const char* bad : {"", "{}", "[]", "{\"change\":-1}", "{\"change\":\"77\"}", "{\"change\":1.5}"})
      CHECK(a.post("/v1/undo", bad).status == 400);
    CHECK(a.get("/v1/undo").status == 405);
  }

  TEST_CASE("long work is watched and stopped by its name, and known no longer than it lasts") {
    Api a;
    Json seen, stopped;
    a.backend.watched = [&](const queue::Watched& progress) {
      REQUIRE(progress);
      progress->add(1);
      seen = json_of(a.get("/v1/progress", {{"of", "mine"}}));
      stopped = json_of(a.post("/v1/progress/stop", "{\"of\":\"mine\"}"));
      CHECK(progress->is_stopped());
    };
    const auto named = [&a](const char* path, const std::string& body, const char* name) {
      ControlRequest request;
      request.method = "POST";
      request.path = path;
      request.body = body;
      if (name != nullptr) request.query["progress"] = name;
      return json_of(a.api.handle(request));
    };
    const std::string all = "\"all\":true}";
    for (const char* change : {"{\"change\":\"hold\",", "{\"change\":\"bounce\","}) {
      CHECK(named("/v1/queue/change", change + all, "mine")["stopped"] == true);
      CHECK(seen == Json::parse(R"({"unit":"messages","done":1,"total":2})"));
      CHECK(stopped["done"] == 1);
    }
    CHECK(named("/v1/undo", "{\"change\":77}", "mine")["stopped"] == true);
    CHECK(seen == Json::parse(R"({"unit":"messages","done":1,"total":null})"));
    named("/v1/store/check", "", "mine");
    CHECK(a.get("/v1/progress", {{"of", "mine"}}).status == 404);
    CHECK(a.post("/v1/progress/stop", "{\"of\":\"mine\"}").status == 404);
    CHECK(a.post("/v1/progress/stop", "{}").status == 400);
    CHECK(a.post("/v1/progress").status == 405);
    CHECK(a.get("/v1/progress/stop").status == 405);
    a.backend.watched = [](const queue::Watched& progress) { CHECK(!progress); };
    CHECK(!named("/v1/queue/change", "{\"change\":\"hold\"," + all, nullptr).contains("stopped"));
    named("/v1/queue/change", "{\"change\":\"hold\"," + all, std::string(65, 'x').c_str());
  }

  TEST_CASE("audit: what was done, by whom, page by page") {
    Api a;
    for (const char* name : {"b.example", "c.example"})
      a.post("/v1/dest/change", std::string("{\"change\":\"resume\",\"name\":\"") + name + "\"}");
    a.post("/v1/reload", "");
    const Json all = json_of(a.get("/v1/audit"))["changes"];
    REQUIRE(all.size() == 3);
    CHECK(all[0]["what"] == "reload");
    CHECK(all[1]["what"] == "dest resume");
    CHECK(all[1]["meant"] == "c.example");
    CHECK(all[2]["meant"] == "b.example");
    CHECK(all[2]["who"] == who_asks(1000));
    CHECK(all[2]["undone_by"].is_null());
    CHECK(json_of(a.get("/v1/audit", {{"limit", "1"}}))["changes"].size() == 1);
    CHECK(json_of(a.get("/v1/audit", {{"before", "2"}}))["changes"].at(0)["change"] == 1);
    CHECK(a.get("/v1/audit", {{"before", "x"}}).status == 400);
  }

  TEST_CASE("who asks is told by name where the machine has one") {
    CHECK(who_asks(0) == "root");
    CHECK(who_asks(4'000'000'001) == "uid=4000000001");
  }

  TEST_CASE("a dry run counts, shows a sample, and changes nothing") {
    Api a;
    const Json preview = json_of(a.post("/v1/queue/change", "{\"change\":\"hold\",\"all\":true,\"dry_run\":true}"));
    CHECK(preview["messages"] == 2);
    CHECK(preview["octets"] == 4286);
    CHECK(preview["oldest"] == "2026-11-22T07:00:00.000Z");
    CHECK(preview["sample"] == Json::array({kFirst, kSecond}));
    CHECK(preview["words"] == "all messages");
    CHECK(a.backend.changed.empty());
  }

  TEST_CASE("a change leaves out recipients to whom it does nothing, so that the preview counts what will happen") {
    struct Case {
      const char* change;
      std::string want;
    };
    for (const Case& c : {Case{"hold", "held delivered relayed bounced expired removed "},
                          Case{"release", "deferred delivered relayed bounced expired removed "},
                          Case{"retry", "held delivered relayed bounced expired removed "},
                          Case{"delete", "delivered relayed bounced expired removed "},
                          Case{"bounce", "delivered relayed bounced expired removed "},
                          Case{"reroute\",\"to\":\"usual", "delivered relayed bounced expired removed "},
                          Case{"redirect\",\"to\":\"x@d.example", "delivered relayed bounced expired removed "}}) {
      Api a;
      CHECK(a.post("/v1/queue/change", std::string("{\"change\":\"") + c.change + "\",\"all\":true}").status == 200);
      std::string left_out;
      for (const queue::Term& term : a.backend.changed.at(0).terms) {
        CHECK(term.negated);
        left_out += term.text + " ";
      }
      CHECK(left_out == c.want);
    }
  }

  TEST_CASE("bounce, reroute and redirect say where to and why, and the audit says so too") {
    Api a;
    a.backend.busy = 1;
    const Json bounced =
        json_of(a.post("/v1/queue/change", "{\"change\":\"bounce\",\"all\":true,\"reason\":\"gone\"}"));
    CHECK(bounced["messages"] == 2);
    CHECK(bounced["busy"] == 1);
    CHECK(a.backend.orders.at(0).reason == "gone");
    REQUIRE(a.backend.records.size() == 1);
    CHECK(a.backend.records[0].what == "bounce");
    CHECK(a.backend.records[0].recipients == 3);
    const auto order = [&a](const std::string& change, const std::string& which, const std::string& to) {
      return a.post("/v1/queue/change", "{\"change\":\"" + change + "\"," + which + ",\"to\":\"" + to + "\"}").status;
    };
    CHECK(order("reroute", "\"all\":true", "smtp:[192.0.2.7]:26") == 200);
    CHECK(a.backend.orders.at(1).next_hop == "smtp:[192.0.2.7]:26");
    CHECK(a.backend.records.at(1).meant == "all, to smtp:[192.0.2.7]:26");
    CHECK(order("redirect", "\"ids\":[\"" + kFirst + "\"]", "x@d.example") == 200);
    CHECK(a.backend.orders.at(2).to.text() == "x@d.example");
    a.backend.cut_short = Error(Errc::cancelled, "the daemon is stopping");
    CHECK(order("reroute", "\"all\":true", "usual") == 503);
    CHECK(a.backend.records.size() == 4);
  }

  TEST_CASE("a trace joins the history and what still waits") {
    Api a;
    queue::HistoryEvent event;
    event.message = queue::Id{1000};
    event.time = tests::kNow - std::chrono::hours(3);
    event.from = "a@example.org";
    event.message_id = "<" + kFirst + "@example.org>";
    a.backend.history.push_back(event);
    event.message = queue::Id{500};  // left the queue
    event.message_id.clear();
    event.kind = queue::HistoryEvent::Kind::relayed;
    event.recipient = "b@b.example";
    event.text = "250 ok \xff";
    a.backend.history.push_back(event);

    // The recipient is in the queue alone, for want of an attempt, and in the history of the other message.
    const Json found = json_of(a.get("/v1/trace", {{"to", "b@b.example"}}));
    REQUIRE(found["messages"].size() == 2);
    CHECK(found["messages"][0]["message"].is_null());
    CHECK(found["messages"][0]["events"][0]["event"] == "relayed");
    const Json& events = found["messages"][1]["events"];
    REQUIRE(events.size() == 3);
    CHECK(events[0]["event"] == "accepted");
    CHECK(events[1]["event"] == "waiting");
    CHECK(events[1]["recipient"] == "b@b.example");
    CHECK(events[1]["next_attempt"] == "2026-11-22T10:10:00.000Z");

    const Json by_id = json_of(a.get("/v1/trace", {{"message_id", "<" + kFirst + "@example.org>"}}));
    REQUIRE(by_id["messages"].size() == 1);
    CHECK(by_id["messages"][0]["message"]["id"] == kFirst);
    CHECK(json_of(a.get("/v1/trace", {{"id", "0000000000ZZ"}}))["messages"].empty());
    CHECK(a.get("/v1/trace", {{"id", "x"}}).status == 400);
    CHECK(a.get("/v1/trace", {{"since", "yesterday"}}).status == 400);
    CHECK(a.get("/v1/trace", {{"id", kFirst}, {"limit", "x"}}).status == 400);
    CHECK(a.get("/v1/trace", {{"from", "*"}, {"limit", "0"}}).status == 200);
    CHECK(json_of(a.get("/v1/trace", {{"since", "2026-11-22T11:00:00Z"}, {"to", "d@d.example"}}))["messages"].empty());
  }

  TEST_CASE("a reload of a file with errors is 422, with every finding") {
    Api a;
    a.backend.report.file = "waypost.toml";
    a.backend.report.restart = {"threads"};
    CHECK(json_of(a.post("/v1/reload"))["restart"] == Json::array({"threads"}));
    a.backend.report.errors.push_back(conf::Finding{"waypost.toml", 3, 1, "x", "unknown key", ""});
    const ControlAnswer answer = a.post("/v1/reload");
    CHECK(answer.status == 422);
    CHECK(json_of(answer)["findings"][0]["line"] == 3);
  }

  TEST_CASE("a trace since any year that can be written") {
    Api a;
    CHECK(a.get("/v1/trace", {{"since", "9999-12-31T23:59:59Z"}}).status == 200);
    CHECK(a.get("/v1/trace", {{"since", "0000-01-01T00:00:00Z"}}).status == 200);
    CHECK(a.get("/v1/trace", {{"since", std::string("2026-11-22T09:00:00Z\0x", 22)}}).status == 400);
  }

  TEST_CASE("status has what the daemon knows") {
    Api a;
    const Json status = json_of(a.get("/v1/status"));
    CHECK(status["hostname"] == "relay.example");
    CHECK(status["version"] == WAYPOST_VERSION);
    CHECK(status["in"]["connections"] == 12);
    CHECK(status["out"]["relayed"] == 1203772);
    CHECK(status["queue"]["messages"] == 2);
    CHECK(status["disk"]["free"].is_number_unsigned());
  }

  TEST_CASE("a check and a backup are answered as they were made") {
    Api a;
    Json json = json_of(a.post("/v1/store/check"));
    CHECK(json["clean"] == true);
    CHECK(json["findings"].empty());
    a.backend.checked.messages = 7;
    a.backend.checked.add(queue::Finding::Kind::body, queue::Id{1000}, "its checksum does not hold");
    a.backend.checked.add(queue::Finding::Kind::database, queue::Id{}, "a page is missing");
    json = json_of(a.post("/v1/store/check"));
    CHECK(json["clean"] == false);
    CHECK(json["messages"] == 7);
    CHECK(json["found"] == 2);
    CHECK(json["findings"][0]["kind"] == "body");
    CHECK(json["findings"][0]["id"] == kFirst);
    CHECK(json["findings"][1]["id"].is_null());

    for (const char* body : {"", "[]", "{}", "{\"folder\":1}"}) CHECK(a.post("/v1/store/backup", body).status == 400);
    json = json_of(a.post("/v1/store/backup", "{\"folder\":\"/srv/b\"}"));
    CHECK(json["folder"] == "/srv/b");
    CHECK(json["messages"] == 2);
    for (auto [code, want] : {std::pair{Errc::exists, 409}, std::pair{Errc::denied, 403}, std::pair{Errc::busy, 503},
                              std::pair{Errc::full, 507}, std::pair{Errc::damaged, 500}}) {
      a.backend.failure = Error(code, "why");
      CHECK(a.post("/v1/store/backup", "{\"folder\":\"/srv/b\"}").status == want);
    }
  }
}
