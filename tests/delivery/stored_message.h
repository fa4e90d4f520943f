// tests/delivery/stored_message.h: a message as the queue hands it to an attempt, without a queue.
#pragma once
#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "queue/body.h"
#include "queue/files.h"
#include "queue/message.h"
#include "smtp/address.h"

namespace waypost::tests {

/// Files in memory, to be read.
class MemoryFiles : public queue::Files {
 public:
  std::map<std::string, std::string> files;

  Result<std::unique_ptr<queue::File>> create(const std::string&) override { return no(); }
  Result<std::unique_ptr<queue::File>> open(const std::string& path) override {
    auto found = files.find(path);
    if (found == files.end()) return fail(Errc::not_found, "opening " + path);
    return std::make_unique<Open>(found->second);
  }
  Result<> rename(const std::string&, const std::string&) override { return no(); }
  Result<> remove(const std::string&) override { return no(); }
  Result<> make_folder(const std::string&) override { return no(); }
  Result<> sync_folder(const std::string&) override { return no(); }
  Result<std::vector<std::string>> list(const std::string&) override { return no(); }

 private:
  static tl::unexpected<Error> no() { return fail(Errc::unsupported, "not in this test"); }
  struct Open : queue::File {
    explicit Open(const std::string& text) : octets(text) {}
    const std::string& octets;
    Result<> append(std::string_view) override { return no(); }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
      std::string_view rest = std::string_view(octets).substr(std::min<std::size_t>(offset, octets.size()));
      rest = rest.substr(0, into.size());
      std::memcpy(into.data(), rest.data(), rest.size());
      return rest.size();
    }
    Result<> sync() override { return no(); }
  };
};

struct StoredMessage {
  queue::MessageInfo info;
  std::vector<queue::DueRecipient> recipients;
  std::shared_ptr<queue::Content> content = std::make_shared<queue::Content>();
  MemoryFiles files;

  StoredMessage() {
    info.id = content->id = queue::Id{1234567};
    set_sender("s@a.example");
    add_recipient("r1@b.example");
    content->trace = "Received: by relay.example; now\r\n";
    set_body("Subject: hello\r\n\r\ntext\r\n");
  }

  void set_sender(const std::string& address) {
    info.reverse_path = {};
    if (!address.empty()) info.reverse_path.mailbox = *smtp::parse_mailbox(address, true);
  }
  void add_recipient(const std::string& address) {
    queue::DueRecipient recipient;
    recipient.index = static_cast<std::uint32_t>(recipients.size());
    recipient.forward_path.mailbox = *smtp::parse_mailbox(address, true);
    recipients.push_back(std::move(recipient));
  }
  void set_body(std::string body) {
    info.size = content->trace.size() + body.size();
    content->body_size = body.size();
    content->checksum = queue::checksum_of(body);
    content->octets = std::move(body);
    content->in_file = false;
  }
  void set_body_in_file(std::string body) {
    set_body(std::move(body));
    files.files[queue::body_path(content->id.text())] = std::exchange(content->octets, {});
    content->in_file = true;
  }
  void damage() { content->checksum[3] ^= 1; }
  queue::OpenBody opener(net::Runtime& runtime) {
    return [this, &runtime] { return queue::BodyReader(runtime, files, content); };
  }
};

}  // namespace waypost::tests
