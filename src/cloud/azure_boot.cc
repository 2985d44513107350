// Booting on Azure: address, interface and machine of each are made side by side with the others', and
// watched together.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "cloud/azure.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr const char* compute = "2024-03-01";
constexpr const char* network = "2023-09-01";
constexpr size_t calls_at_once = 16;
constexpr auto patience = 30min;  // with one machine

}  // namespace

struct Azure::Attempt {
  MachineWant want;
  AzureIds ids;
  size_t size = 0;             // where it is being tried, an index
  std::string operation = {};  // that is under way
  Clock::time_point started = {};
  Booted result = {};
  bool done() const { return result.machine || result.error; }
};

// A machine that failed is a resource all the same, and would keep its size.
void Azure::remove_pieces(const Attempt& attempt) {
  std::string doing = fmt::format("cannot delete what is left of machine '{}'", printable(attempt.want.key));
  bool last = attempt.size >= attempt.want.sizes.size();
  std::vector<std::pair<std::string, const char*>> pieces{{attempt.ids.machine, compute}};
  if (last) pieces.insert(pieces.end(), {{attempt.ids.interface, network}, {attempt.ids.address, network}});
  for (const auto& [path, version] : pieces) try {
      std::string where = url(path, version);
      client_.send("DELETE", where, "", doing);
      for (int polls = 0; polls < 120 && client_.find(where, doing); ++polls)
        wait_interruptibly(std::min<std::chrono::milliseconds>(2s, cloud_retry_policy().first * 2),
                           client_.cancel());
    } catch (const RestError& e) {  // sweep deletes the whole group in the end
      if (e.kind() != FailureKind::not_found) debug("{}", e.message());
    }
}

void Azure::failed(Attempt& attempt, const ProviderError& error) {
  attempt.operation.clear();
  bool another_size_may_do = error.kind() == FailureKind::capacity || error.kind() == FailureKind::quota ||
                             error.kind() == FailureKind::price;
  attempt.size = another_size_may_do ? attempt.size + 1 : attempt.want.sizes.size();
  remove_pieces(attempt);
  if (attempt.size < attempt.want.sizes.size()) return;
  std::string tried;
  if (another_size_may_do && attempt.want.sizes.size() > 1)
    tried = fmt::format("; tried {}", fmt::join(attempt.want.sizes, ", "));
  attempt.result.error = ProviderError(error.kind(), "", "{}{}", error.message(), tried);
}

void Azure::start(Attempt& attempt) {
  const MachineWant& want = attempt.want;
  std::string doing = fmt::format("cannot boot a machine in {}", want.region);
  std::string spare;
  if (want.ssh_keys.empty()) {
    std::lock_guard lock(mutex_);
    if (spare_key_.empty()) spare_key_ = unowned_ssh_key();
    spare = spare_key_;
  }
  try {
    std::string body =
        azure_machine_body(want, size(want.region, want.sizes[attempt.size]), attempt.ids, spare);
    // Also for the second size: the machine that failed has taken both along.
    put(attempt.ids.address, network, azure_address_body(want), doing);
    put(attempt.ids.interface, network, azure_interface_body(want, attempt.ids), doing);
    attempt.started = Clock::now();
    attempt.operation = operation_of(client_.send("PUT", url(attempt.ids.machine, compute), body, doing));
    if (attempt.operation.empty()) attempt.operation = url(attempt.ids.machine, compute);
  } catch (const ProviderError& e) {
    if (e.kind() == FailureKind::no_credentials) throw;
    failed(attempt, e);
  }
}

void Azure::look(Attempt& attempt) {
  const MachineWant& want = attempt.want;
  std::string doing = fmt::format("cannot boot a machine in {}", want.region);
  try {
    if (!ended(attempt.operation, doing)) {
      if (Clock::now() - attempt.started < patience) return;
      throw ProviderError(FailureKind::transient, "type it again", "{}: Azure hasn't made it in {}", doing,
                          human_duration(patience));
    }
  } catch (const ProviderError& e) {
    return failed(attempt, e);
  }
  attempt.result.machine = Machine{.id = azure_machine_name(want.cluster, want.key),
                                   .key = want.key,
                                   .cluster = want.cluster,
                                   .role = want.role,
                                   .provider = "Azure",
                                   .region = want.region,
                                   .zone = want.zone,
                                   .size = want.sizes[attempt.size],
                                   .state = MachineState::running,
                                   .spot = want.spot,
                                   .launched = std::chrono::system_clock::now(),
                                   .disk_gb = std::max(want.disk_gb, 30U)};
}

std::vector<Booted> Azure::boot(const std::vector<MachineWant>& wants) {
  std::map<std::string, std::map<std::string, Machine>> there;  // by cluster and key
  std::vector<Attempt> attempts;
  for (const MachineWant& want : wants) {
    Attempt attempt{.want = want,
                    .ids = azure_ids(subscription(), want.cluster, want.region, want.key),
                    .result = {.key = want.key}};
    if (attempt.want.sizes.empty()) attempt.want.sizes = {default_size()};
    if (!there.count(want.cluster)) {
      auto& machines = there[want.cluster];
      for (Machine& machine : list(want.cluster, {}))
        if (machine.state < MachineState::stopping) machines[machine.key] = std::move(machine);
    }
    auto& known = there[want.cluster];
    if (auto it = known.find(want.key); it != known.end())
      attempt.result.machine = it->second;
    else if (want.user_data.size() > user_data_limit())
      attempt.result.error = too_large(want);
    attempts.push_back(std::move(attempt));
  }
  for (;;) {
    std::vector<Attempt*> open;
    for (Attempt& attempt : attempts)
      if (!attempt.done()) open.push_back(&attempt);
    if (open.empty()) break;
    in_parallel(calls_at_once, open.size(), [&](size_t i) {
      if (open[i]->operation.empty()) start(*open[i]);
    });
    wait_interruptibly(std::min<std::chrono::milliseconds>(3s, cloud_retry_policy().first * 2),
                       client_.cancel());
    in_parallel(calls_at_once, open.size(), [&](size_t i) {
      if (!open[i]->operation.empty() && !open[i]->done()) look(*open[i]);
    });
  }
  std::vector<Booted> results;
  for (Attempt& attempt : attempts) results.push_back(std::move(attempt.result));
  return results;
}

}  // namespace rayctl::cloud
