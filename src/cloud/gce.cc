#include "cloud/gce.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr auto lag = 2min;  // what a fresh machine may stay invisible for
constexpr size_t calls_at_once = 16;

std::string name_in(const Json& item, const std::string& doing) {
  return typed(FailureKind::transient, "type it again", doing, [&] { return item.at("name").string(); });
}

std::string region_of(const std::string& zone) {
  return zone.substr(0, zone.rfind('-'));
}

}  // namespace

std::unique_ptr<Provider> open_google(const ProviderOptions& options) {
  return std::make_unique<Google>(options);
}

Google::Google(const ProviderOptions& options)
    : prices_(PriceTable::load(options.prices_file)),
      project_(options.project),
      endpoint_(without_slash(!options.endpoint.empty() ? options.endpoint
                                                        : environment("GOOGLE_COMPUTE_ENDPOINT"))),
      network_(options.network.empty() ? "default" : options.network),
      tokens_(options.cancel),
      client_({.cloud = "Google",
               .burst = 50,  // "rate quotas" of the API: 1,500 writes a minute
               .writes_per_second = 20,
               .token = [this] { return tokens_.token(); },
               .renew = [this] { tokens_.renew(); },
               .error = gce_error},
              options.cancel) {
  if (endpoint_.empty()) endpoint_ = "https://compute.googleapis.com";
  if (network_.find('/') == std::string::npos) network_ = "global/networks/" + network_;
}

std::vector<std::string> Google::regions() const {
  return prices_.regions(name());
}

Place Google::place(const std::string& text) const {
  return place_in(regions(), text, name(), "-");
}

std::vector<Size> Google::sizes(const std::string& region) const {
  return prices_.sizes(name(), region);
}

std::string Google::project() {
  std::lock_guard lock(mutex_);
  if (project_.empty()) project_ = tokens_.project();
  if (project_.empty())
    throw ProviderError(FailureKind::invalid, "give --project, or type: gcloud config set project NAME",
                        "cannot tell which of Google's projects to use");
  return project_;
}

std::string Google::url(const std::string& below) {
  return fmt::format("{}/compute/v1/projects/{}/{}", endpoint_, percent_encode(project()), below);
}

std::string Google::account() {
  std::string doing = "cannot ask Google about project '" + printable(project()) + "'";
  Json json = client_.json(
      "GET", fmt::format("{}/compute/v1/projects/{}", endpoint_, percent_encode(project())), "", doing);
  return fmt::format("project {}, {}", printable(json.string_or("name", project())),
                     printable(tokens_.owner()));
}

Size Google::size(const std::string& region, const std::string& wanted) {
  if (auto found = prices_.size(name(), region, wanted)) return *found;
  std::string key = region + " " + wanted;
  {
    std::lock_guard lock(mutex_);
    if (auto it = sizes_.find(key); it != sizes_.end()) return it->second;
  }
  std::string doing = fmt::format("cannot look up size '{}'", printable(wanted));
  for (const std::string& zone : zones(region)) {  // not each zone has each size
    auto json =
        client_.find(url(fmt::format("zones/{}/machineTypes/{}", zone, percent_encode(wanted))), doing);
    if (!json) continue;
    Size found = typed(FailureKind::transient, "", doing, [&] {
      Size size{.name = wanted,
                .cpus = json->at("guestCpus").number(),
                .ram_gib = json->at("memoryMb").number() / 1024,
                .arch = json->string_or("architecture", "X86_64") == "ARM64" ? "aarch64" : "x86_64"};
      if (auto gpus = json->find("accelerators"))
        for (const Json& gpu : gpus->items()) {
          size.gpu = gpu.string_or("guestAcceleratorType", "");
          size.gpus += static_cast<unsigned>(gpu.size_or("guestAcceleratorCount", 0));
        }
      return size;
    });
    std::lock_guard lock(mutex_);
    return sizes_.try_emplace(key, found).first->second;
  }
  std::string near = prices_.nearest_size(name(), wanted);
  throw ProviderError(
      FailureKind::invalid,
      near.empty() ? "type: gcloud compute machine-types list" : fmt::format("did you mean '{}'?", near),
      "unknown size '{}' of Google in {}", printable(wanted), region);
}

std::vector<std::string> Google::zones(const std::string& region) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = zones_.find(region); it != zones_.end()) return it->second;
  }
  std::string doing = fmt::format("cannot look up region '{}' of Google", printable(region));
  Json json = client_.json("GET", url("regions/" + percent_encode(region)), "", doing);
  std::vector<std::string> found = typed(FailureKind::transient, "", doing, [&] {
    std::vector<std::string> names;
    for (const std::string& zone : json.strings_or_empty("zones")) names.push_back(last_part(zone));
    return names;
  });
  std::sort(found.begin(), found.end());
  if (found.empty())
    throw ProviderError(FailureKind::invalid, "choose another region", "{}: it has no zones for this project",
                        doing);
  std::lock_guard lock(mutex_);
  return zones_.try_emplace(region, found).first->second;
}

void Google::wait(const Json& started, const std::string& doing) {
  Json operation = started;
  for (int polls = 0; polls < 600; ++polls) {
    std::string where = typed(FailureKind::transient, "type it again", doing, [&]() -> std::string {
      if (operation.string_or("status", "DONE") == "DONE") {
        if (auto error = gce_operation_error(doing, operation)) throw *error;
        return "";
      }
      std::string zone = operation.string_or("zone", "");
      return fmt::format("{}/operations/{}", zone.empty() ? "global" : "zones/" + last_part(zone),
                         percent_encode(operation.at("name").string()));
    });
    if (where.empty()) return;
    wait_interruptibly(pause_between(1s), client_.cancel());
    operation = client_.json("GET", url(where), "", doing);
  }
  throw RestError(FailureKind::transient, "", 0, "type it again", doing + ": it takes too long");
}

std::vector<Json> Google::pages(const std::string& below, const std::string& filter, const std::string& key,
                                const std::string& doing) {
  constexpr int most_pages = 10000;
  bool aggregated = below.starts_with("aggregated/");
  std::vector<Json> all;
  std::string token;
  for (int i = 0; i < most_pages; ++i) {
    std::string where = add_query(add_query(url(below), "filter", filter), "maxResults", "500");
    if (!token.empty()) where = add_query(where, "pageToken", token);
    Json page = client_.json("GET", where, "", doing);
    typed(FailureKind::transient, "type it again", doing, [&] {
      auto items = page.find("items");
      if (items && aggregated) {
        for (const auto& [scope, part] : items->members())
          if (auto list = part.find(key))
            for (const Json& item : list->items()) all.push_back(item);
      } else if (items) {
        for (const Json& item : items->items()) all.push_back(item);
      }
      token = page.string_or("nextPageToken", "");
      return 0;
    });
    if (token.empty()) return all;
  }
  throw ProviderError(FailureKind::transient, "", "{}: Google's list never ends", doing);
}

std::vector<Machine> Google::list(const std::string& cluster, const std::vector<std::string>& regions) {
  std::string doing = fmt::format("cannot list the machines of '{}'", printable(cluster));
  std::vector<Machine> found;
  std::set<std::string> names;
  for (const Json& item : pages("aggregated/instances", "labels.rayctl-cluster=" + gce_cluster_label(cluster),
                                "instances", doing)) {
    Machine machine = typed(FailureKind::transient, "", doing, [&] { return gce_machine(item); });
    if (machine.cluster != cluster) continue;
    names.insert(machine.id);
    found.push_back(std::move(machine));
  }
  std::lock_guard lock(mutex_);
  for (auto it = fresh_.begin(); it != fresh_.end();) {
    const auto& [machine, time] = it->second;
    if (Clock::now() - time > lag || names.count(machine.id)) {
      it = fresh_.erase(it);
      continue;
    }
    if (machine.cluster == cluster) found.push_back(machine);
    ++it;
  }
  if (!regions.empty())
    std::erase_if(found, [&](const Machine& machine) {
      return std::find(regions.begin(), regions.end(), machine.region) == regions.end();
    });
  return found;
}

void Google::terminate(const std::vector<Machine>& machines) {
  in_parallel(calls_at_once, machines.size(), [&](size_t i) {
    const Machine& machine = machines[i];
    std::string doing = fmt::format("cannot delete machine '{}' in {}", printable(machine.id), machine.zone);
    std::string where = url(fmt::format("zones/{}/instances/{}", machine.zone, percent_encode(machine.id)));
    auto json = client_.find(where, doing);
    if (json) {
      Machine there = typed(FailureKind::transient, "", doing, [&] { return gce_machine(*json); });
      if (there.cluster.empty() || there.cluster != machine.cluster)
        throw ProviderError(FailureKind::invalid, "delete it in Google's console if it is yours",
                            "refusing to delete machine '{}' in {}: it isn't labelled as one of cluster '{}'",
                            printable(machine.id), machine.zone, printable(machine.cluster));
      try {
        client_.send("DELETE", where, "", doing);
      } catch (const RestError& e) {
        if (e.kind() != FailureKind::not_found) throw;
      }
    }
    std::lock_guard lock(mutex_);
    fresh_.erase(machine.id);
  });
}

std::vector<Json> Google::cluster_firewalls(const std::string& cluster) {
  std::string doing = fmt::format("cannot list the firewall rules of '{}'", printable(cluster));
  std::vector<Json> found =
      pages("global/firewalls", fmt::format("name eq {}-.*", cloud_name("rayctl-", cluster, 55)), "", doing);
  std::erase_if(found, [&](const Json& item) {
    return typed(FailureKind::transient, "", doing,
                 [&] { return item.string_or("description", "") != "rayctl:cluster=" + cluster; });
  });
  return found;
}

void Google::prepare(const std::string& cluster, const std::vector<std::string>&, const Firewall& firewall) {
  std::string doing = fmt::format("cannot change the firewall of '{}'", printable(cluster));
  std::vector<GceFirewall> wanted = gce_firewalls(cluster, firewall, network_);
  std::map<std::string, Json> found;  // firewalls are global: one set serves all regions
  for (const Json& item : cluster_firewalls(cluster)) found.emplace(name_in(item, doing), item);
  for (const GceFirewall& rule : wanted) {
    auto it = found.find(rule.name);
    if (it == found.end()) {
      try {
        wait(client_.json("POST", url("global/firewalls"), rule.body, doing), doing);
      } catch (const RestError& e) {
        if (e.status() != 409) throw;  // another one of us was quicker
        wait(client_.json("PUT", url("global/firewalls/" + rule.name), rule.body, doing), doing);
      }
    } else {
      Json body = Json::parse(rule.body, "firewall");
      bool same = true;
      for (const char* key : {"allowed", "sourceRanges", "sourceTags"}) {
        auto a = body.find(key), b = it->second.find(key);  // an object: it has a name
        same = same && (a ? a->raw() : nlohmann::json()) == (b ? b->raw() : nlohmann::json());
      }
      if (!same) wait(client_.json("PUT", url("global/firewalls/" + rule.name), rule.body, doing), doing);
      found.erase(it);
    }
  }
  for (const auto& [rule, json] : found)
    wait(client_.json("DELETE", url("global/firewalls/" + rule), "", doing), doing);
}

std::vector<Leftover> Google::sweep(const std::string& cluster, const std::vector<std::string>&,
                                    std::chrono::seconds patience) {
  auto end = Clock::now() + patience;
  std::vector<Leftover> left;
  for (;;) {  // disks and names are held until machines are gone
    left.clear();
    bool going = false;
    for (const Machine& machine : list(cluster, {})) {
      going = going || machine.state == MachineState::stopping;
      left.push_back({.kind = "machine",
                      .id = machine.id,
                      .region = machine.zone,
                      .reason = std::string(name_of(machine.state))});
    }
    if (left.empty()) break;
    if (!going || Clock::now() > end) return left;
    wait_interruptibly(pause_between(3s), client_.cancel());
  }
  std::string doing = fmt::format("cannot delete what '{}' left", printable(cluster));
  auto remove = [&](const std::string& kind, const std::string& below, const std::string& region) {
    try {
      wait(client_.json("DELETE", url(below), "", doing), doing);
    } catch (const RestError& e) {
      if (e.kind() != FailureKind::not_found)
        left.push_back({.kind = kind, .id = last_part(below), .region = region, .reason = e.message()});
    }
  };
  for (const Json& disk :
       pages("aggregated/disks", "labels.rayctl-cluster=" + gce_cluster_label(cluster), "disks", doing)) {
    std::string zone =
        typed(FailureKind::transient, "", doing, [&] { return last_part(disk.string_or("zone", "")); });
    remove("disk", fmt::format("zones/{}/disks/{}", zone, percent_encode(name_in(disk, doing))),
           region_of(zone));
  }
  for (const Json& rule : cluster_firewalls(cluster))
    remove("firewall rule", "global/firewalls/" + percent_encode(name_in(rule, doing)), "");
  return left;
}

std::optional<std::string> Google::console(const Machine& machine) {
  std::string doing = fmt::format("cannot read the console of '{}'", printable(machine.id));
  auto json = client_.find(
      url(fmt::format("zones/{}/instances/{}/serialPort?port=1", machine.zone, percent_encode(machine.id))),
      doing);
  if (!json) return std::nullopt;
  return typed(FailureKind::transient, "", doing, [&]() -> std::optional<std::string> {
    std::string text = json->string_or("contents", "");
    return text.empty() ? std::nullopt : std::optional(text);
  });
}

}  // namespace rayctl::cloud
