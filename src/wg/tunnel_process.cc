#include "wg/tunnel_process.h"

#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "wg/tun.h"

namespace rayctl::wg {

namespace {

constexpr std::chrono::milliseconds poll_pause{2};

std::map<std::string, uint64_t> counts(const Json& object) {
  std::map<std::string, uint64_t> result;
  for (const auto& [name, value] : object.members()) result[name] = value.size();
  return result;
}

}  // namespace

TunnelStatus parse_tunnel_status(const Json& document) {
  TunnelStatus status;
  status.pid = static_cast<pid_t>(document.at("pid").integer());
  status.version = document.at("version").string();
  status.table = document.at("table").size();
  status.interface = document.at("interface").string();
  status.public_key = document.at("public_key").string();
  status.listen_port = static_cast<uint16_t>(document.at("listen_port").size());
  for (const auto& [name, value] : document.at("features").members()) status.features[name] = value.boolean();
  status.links_made = document.at("links_made").size();
  status.errors = document.at("errors").string_map();
  status.drops = counts(document.at("drops"));
  for (const auto& [key, item] : document.at("peers").members()) {
    PeerStatus& peer = status.peers[key];
    peer.endpoint = item.at("endpoint").string();
    peer.last_handshake = item.at("last_handshake").size();
    peer.handshakes = item.at("handshakes").size();
    peer.received_bytes = item.at("received").size();
    peer.sent_bytes = item.at("sent").size();
    peer.drops = counts(item.at("drops"));
  }
  return status;
}

TunnelProcess::TunnelProcess(const std::string& run_dir, std::string binary)
    : daemon_(join(run_dir, "tunnel"), std::move(binary), "tunnel", "tunnel") {}

void TunnelProcess::write_table(const TunnelTable& table) {
  std::string text = tunnel_table_text(table);
  daemon_.write_table(text, 0600);
  wipe(text.data(), text.size());
}

std::string TunnelProcess::ensure() {
  return daemon_.ensure();
}

std::optional<TunnelStatus> TunnelProcess::status() const {
  auto document = daemon_.status();
  if (!document) return std::nullopt;
  return parse_tunnel_status(*document);
}

void TunnelProcess::wait_table(uint64_t version, std::chrono::milliseconds limit) const {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto found = daemon_.brief();
    if (found && found->at("table").size() >= version) return;
    if (std::chrono::steady_clock::now() > end) {
      if (!found) throw Error("cannot use the tunnel: it isn't running");
      std::string late = fmt::format("no answer within {} ms", limit.count());
      throw Error("cannot use the tunnel: {}", found->at("errors").string_or("table", late));
    }
    std::this_thread::sleep_for(poll_pause);
  }
}

void TunnelProcess::stop() {
  // A process that lives takes its link along; one that was killed left it.
  std::string path = daemon_files(daemon_.directory()).table;
  std::optional<TunnelTable> table;
  if (auto text = read_file_if_exists(path)) {
    try {
      table = parse_tunnel_table(*text, path);
    } catch (const Error&) {  // a table that nobody could use made no link
    }
    wipe(text->data(), text->size());
  }
  daemon_.stop();
  if (table) remove_tun(table->interface, table->netns);
}

}  // namespace rayctl::wg
