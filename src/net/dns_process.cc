#include "net/dns_process.h"

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds poll_pause{2};

}  // namespace

DnsProcess::DnsProcess(const std::string& run_dir, std::string binary)
    : daemon_(join(run_dir, "dns"), std::move(binary), "dns", "name server") {}

std::string DnsProcess::ensure() {
  return daemon_.ensure();
}

void DnsProcess::write_table(const DnsTable& table) {
  daemon_.write_table(dns_table_text(table), 0644);
}

std::optional<DnsStatus> DnsProcess::status() const {
  auto document = daemon_.status();
  if (!document) return std::nullopt;
  DnsStatus status;
  status.pid = static_cast<pid_t>(document->at("pid").integer());
  status.version = document->at("version").string();
  status.table = document->at("table").size();
  status.serving = document->at("serving").strings();
  status.errors = document->at("errors").string_map();
  return status;
}

void DnsProcess::wait_serving(const std::string& container, uint64_t version,
                              std::chrono::milliseconds limit) const {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto found = status();
    if (found && found->table >= version &&
        std::find(found->serving.begin(), found->serving.end(), container) != found->serving.end())
      return;
    if (std::chrono::steady_clock::now() > end) {
      if (!found)
        throw Error("cannot serve names to container '{}': the name server isn't running", container);
      auto error = found->errors.find(container);
      if (error == found->errors.end()) error = found->errors.find("table");
      throw Error("cannot serve names to container '{}': {}", container,
                  error == found->errors.end() ? fmt::format("no answer within {} ms", limit.count())
                                               : error->second);
    }
    std::this_thread::sleep_for(poll_pause);
  }
}

void DnsProcess::stop() {
  daemon_.stop();
}

}  // namespace rayctl::net
