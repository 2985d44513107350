// Booting on Google: all machines are started first and watched together, so that a thousand take as long as
// one.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/gce.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr size_t calls_at_once = 16;
constexpr auto patience = 30min;  // with one machine

// Clusters spread over a region's zones, each begins in one.
std::vector<std::string> in_order(std::vector<std::string> zones, const std::string& cluster) {
  size_t first = static_cast<unsigned char>(sha256(cluster)[0]) % zones.size();
  std::rotate(zones.begin(), zones.begin() + static_cast<ptrdiff_t>(first), zones.end());
  return zones;
}

}  // namespace

struct Google::Attempt {
  MachineWant want;
  std::vector<std::string> zones;
  std::string nonce;
  size_t size = 0, zone = 0;           // where it is being tried, indices
  std::optional<Json> operation = {};  // that is under way
  Clock::time_point started = {};
  Booted result = {};
  bool done() const { return result.machine || result.error; }
};

void Google::failed(Attempt& attempt, const RestError& error) {
  attempt.operation.reset();
  bool capacity = gce_another_zone_may_do(error);
  if (capacity && ++attempt.zone < attempt.zones.size()) return;
  if ((capacity || error.kind() == FailureKind::quota) && ++attempt.size < attempt.want.sizes.size()) {
    attempt.zone = 0;
    return;
  }
  std::string tried;
  if (capacity && attempt.want.sizes.size() + attempt.zones.size() > 2)
    tried = fmt::format("; tried {} in {} zone{}", fmt::join(attempt.want.sizes, ", "), attempt.zones.size(),
                        attempt.zones.size() == 1 ? "" : "s");
  attempt.result.error = ProviderError(error.kind(), "", "{}{}", error.message(), tried);
}

void Google::start(Attempt& attempt) {
  const MachineWant& want = attempt.want;
  const std::string& size_name = want.sizes[attempt.size];
  const std::string& zone = attempt.zones[attempt.zone];
  std::string doing = fmt::format("cannot boot a machine in {}", zone);
  try {
    std::string image = gce_image(want.image, size(want.region, size_name).arch, project());
    std::string body = gce_instance_body(want, size_name, zone, image, network_);
    // A lost answer is asked for again with the same id. A later boot() has another nonce: Google would
    // answer it with the refusal that it gave before.
    std::string id =
        uuid_of(fmt::format("{}\n{}\n{}\n{}\n{}", attempt.nonce, want.cluster, want.key, size_name, zone));
    attempt.started = Clock::now();
    attempt.operation =
        client_.json("POST", add_query(url("zones/" + zone + "/instances"), "requestId", id), body, doing);
  } catch (const RestError& e) {
    if (e.status() != 409) return failed(attempt, e);
    // It is there: an earlier call booted it.
    auto json = client_.find(
        url(fmt::format("zones/{}/instances/{}", zone, gce_instance_name(want.cluster, want.key))), doing);
    if (!json) return failed(attempt, e);
    attempt.result.machine = typed(FailureKind::transient, "", doing, [&] { return gce_machine(*json); });
  } catch (const ProviderError& e) {
    if (e.kind() == FailureKind::no_credentials) throw;
    attempt.result.error = e;
  }
}

void Google::look(Attempt& attempt) {
  const MachineWant& want = attempt.want;
  const std::string& zone = attempt.zones[attempt.zone];
  std::string doing = fmt::format("cannot boot a machine in {}", zone);
  try {
    Json operation = *attempt.operation;
    if (operation.string_or("status", "") != "DONE")
      operation = client_.json(
          "GET",
          url(fmt::format("zones/{}/operations/{}", zone, percent_encode(operation.at("name").string()))), "",
          doing);
    if (operation.string_or("status", "") != "DONE") {
      if (Clock::now() - attempt.started < patience) return;
      throw RestError(FailureKind::transient, "", 0, "type it again",
                      fmt::format("{}: Google hasn't made it in {}", doing, human_duration(patience)));
    }
    if (auto error = gce_operation_error(doing, operation)) return failed(attempt, *error);
  } catch (const RestError& e) {
    return failed(attempt, e);
  } catch (const ProviderError& e) {
    attempt.result.error = e;
    return;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {  // an answer of another form
    attempt.result.error =
        ProviderError(FailureKind::transient, "type it again", "{}: {}", doing, e.message());
    return;
  }
  Machine machine{.id = gce_instance_name(want.cluster, want.key),
                  .key = want.key,
                  .cluster = want.cluster,
                  .role = want.role,
                  .provider = "Google",
                  .region = want.region,
                  .zone = zone,
                  .size = want.sizes[attempt.size],
                  .state = MachineState::pending,
                  .spot = want.spot,
                  .launched = std::chrono::system_clock::now(),
                  .disk_gb = want.disk_gb};
  {
    std::lock_guard lock(mutex_);
    fresh_[machine.id] = {machine, Clock::now()};
  }
  attempt.result.machine = std::move(machine);
}

std::vector<Booted> Google::boot(const std::vector<MachineWant>& wants) {
  std::map<std::string, std::map<std::string, Machine>> there;  // by cluster and key
  std::vector<Attempt> attempts;
  std::string nonce = random_bytes(16);
  for (const MachineWant& want : wants) {
    Attempt attempt{.want = want, .nonce = nonce, .result = {.key = want.key}};
    if (attempt.want.sizes.empty()) attempt.want.sizes = {default_size()};
    if (!there.count(want.cluster))
      for (Machine& machine : list(want.cluster, {}))
        if (machine.state < MachineState::stopping) there[want.cluster][machine.key] = std::move(machine);
    auto& known = there[want.cluster];
    if (auto it = known.find(want.key); it != known.end())
      attempt.result.machine = it->second;
    else if (want.user_data.size() > user_data_limit())
      attempt.result.error = too_large(want);
    else
      attempt.zones = want.zone.empty() ? in_order(zones(want.region), want.cluster) : std::vector{want.zone};
    attempts.push_back(std::move(attempt));
  }
  for (;;) {
    std::vector<Attempt*> open;
    for (Attempt& attempt : attempts)
      if (!attempt.done()) open.push_back(&attempt);
    if (open.empty()) break;
    in_parallel(calls_at_once, open.size(), [&](size_t i) {
      if (!open[i]->operation) start(*open[i]);
    });
    wait_interruptibly(std::min<std::chrono::milliseconds>(1500ms, cloud_retry_policy().first * 2),
                       client_.cancel());
    in_parallel(calls_at_once, open.size(), [&](size_t i) {
      if (open[i]->operation && !open[i]->done()) look(*open[i]);
    });
  }
  std::vector<Booted> results;
  for (Attempt& attempt : attempts) results.push_back(std::move(attempt.result));
  return results;
}

}  // namespace rayctl::cloud
