#include "cloud/azure.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/text.h"
#include "base/url.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr const char* compute = "2024-03-01";
constexpr const char* network = "2023-09-01";
constexpr const char* resources = "2021-04-01";
constexpr size_t calls_at_once = 16;

}  // namespace

std::unique_ptr<Provider> open_azure(const ProviderOptions& options) {
  return std::make_unique<Azure>(options);
}

Azure::Azure(const ProviderOptions& options)
    : prices_(PriceTable::load(options.prices_file)),
      subscription_(options.project),
      endpoint_(without_slash(!options.endpoint.empty() ? options.endpoint
                                                        : environment("AZURE_RESOURCE_MANAGER_ENDPOINT"))),
      tokens_(options.cancel),
      client_(
          {.cloud = "Azure",
           .burst = 200,  // "request limits and throttling": a bucket of 200 writes, 10 a second
           .writes_per_second = 10,
           .token = [this] { return tokens_.token(); },
           .renew = [this] { tokens_.renew(); },
           .error = [](const std::string& doing, const HttpResponse& r) { return azure_error(doing, r); }},
          options.cancel),
      plain_({.cancel = options.cancel}) {
  if (endpoint_.empty()) endpoint_ = "https://management.azure.com";
}

std::vector<std::string> Azure::regions() const {
  return prices_.regions(name());
}

Place Azure::place(const std::string& text) const {
  // "eastus-2" is zone 2 of eastus, whose zones have no names of their own
  size_t dash = text.rfind('-');
  if (dash != std::string::npos && dash + 2 == text.size() && text[dash + 1] >= '1' &&
      text[dash + 1] <= '9') {
    Place place = place_in(regions(), text.substr(0, dash), name(), "-");
    place.zone = text.substr(dash + 1);
    return place;
  }
  return place_in(regions(), text, name(), "-");
}

std::vector<Size> Azure::sizes(const std::string& region) const {
  return prices_.sizes(name(), region);
}

std::string Azure::subscription() {
  std::lock_guard lock(mutex_);
  if (subscription_.empty()) subscription_ = tokens_.subscription();
  if (subscription_.empty())
    throw ProviderError(FailureKind::invalid, "set AZURE_SUBSCRIPTION_ID, or give --project",
                        "cannot tell which of Azure's subscriptions to use");
  return subscription_;
}

std::string Azure::url(const std::string& path, const char* version) {
  return add_query(endpoint_ + path, "api-version", version);
}

std::string Azure::account() {
  std::string path = "/subscriptions/" + percent_encode(subscription());
  Json json = client_.json("GET", url(path, resources), "", "cannot ask Azure about the subscription");
  return fmt::format("subscription {}, {}", printable(json.string_or("displayName", subscription())),
                     printable(tokens_.owner()));
}

Size Azure::size(const std::string& region, const std::string& wanted) {
  if (auto found = prices_.size(name(), region, wanted)) return *found;
  std::string key = region + " " + wanted;
  {
    std::lock_guard lock(mutex_);
    if (auto it = sizes_.find(key); it != sizes_.end()) return it->second;
  }
  std::string doing = fmt::format("cannot look up size '{}'", printable(wanted));
  std::string path = fmt::format("/subscriptions/{}/providers/Microsoft.Compute/locations/{}/vmSizes",
                                 percent_encode(subscription()), percent_encode(region));
  std::vector<std::string> names;
  for (const Json& item : pages(url(path, compute), doing)) {
    Size found = typed(FailureKind::transient, "", doing, [&] {
      std::string size = item.at("name").string();
      return Size{.name = size,
                  .cpus = item.at("numberOfCores").number(),
                  .ram_gib = item.at("memoryInMB").number() / 1024,
                  .arch = azure_arch(size)};
    });
    if (lower_case(found.name) == lower_case(wanted)) {
      std::lock_guard lock(mutex_);
      return sizes_.try_emplace(key, found).first->second;
    }
    names.push_back(found.name);
  }
  std::string near = prices_.nearest_size(name(), wanted);
  if (near.empty()) near = nearest(wanted, names);
  throw ProviderError(
      FailureKind::invalid,
      near.empty() ? "type: az vm list-sizes --location " + region : fmt::format("did you mean '{}'?", near),
      "unknown size '{}' of Azure in {}", printable(wanted), region);
}

std::string Azure::operation_of(const HttpResponse& response) const {
  auto where = response.header("Azure-AsyncOperation");
  if (!where && response.status == 202) where = response.header("Location");
  if (!where) return "";
  // The token goes there: only to where it came from.
  if (!same_origin(parse_url(*where), parse_url(endpoint_)))
    throw ProviderError(FailureKind::transient, "is that address Azure's?",
                        "cannot follow Azure's answer to '{}'", show_url(*where));
  return *where;
}

bool Azure::ended(const std::string& operation, const std::string& doing) {
  HttpResponse response = client_.send("GET", operation, "", doing);
  if (response.status == 202) return false;
  return typed(FailureKind::transient, "type it again", doing, [&] {
    Json json = Json::parse(trim(response.body).empty() ? "{}" : response.body, "Azure's answer");
    std::string status = lower_case(json.string_or("status", ""));
    if (auto properties = json.find("properties"); status.empty() && properties)  // the object itself
      status = lower_case(properties->string_or("provisioningState", ""));
    if (status.empty()) status = "succeeded";
    if (status == "failed" || status == "canceled") {
      auto error = json.find("error");
      throw azure_error(doing, error ? *error : json, 0);
    }
    return status == "succeeded";
  });
}

void Azure::put(const std::string& path, const char* version, const std::string& body,
                const std::string& doing) {
  std::string operation = operation_of(client_.send("PUT", url(path, version), body, doing));
  if (operation.empty()) return;
  for (int polls = 0; !ended(operation, doing); ++polls) {
    if (polls == 600)
      throw RestError(FailureKind::transient, "", 0, "type it again", doing + ": it takes too long");
    wait_interruptibly(pause_between(2s), client_.cancel());
  }
}

std::vector<Json> Azure::pages(const std::string& first, const std::string& doing) {
  constexpr int most_pages = 10000;
  std::vector<Json> all;
  std::string where = first;
  for (int i = 0; i < most_pages; ++i) {
    Json page = client_.json("GET", where, "", doing);
    typed(FailureKind::transient, "type it again", doing, [&] {
      if (auto value = page.find("value"))
        for (const Json& item : value->items()) all.push_back(item);
      where = page.string_or("nextLink", "");
      if (!where.empty() && !same_origin(parse_url(where), parse_url(endpoint_)))
        throw Error("its next page is elsewhere");
      return 0;
    });
    if (where.empty()) return all;
  }
  throw ProviderError(FailureKind::transient, "", "{}: Azure's list never ends", doing);
}

// Whether the resource group is there; one that somebody else made is never touched.
bool Azure::owns_group(const std::string& group, const std::string& cluster, const std::string& doing) {
  auto json = client_.find(url(group, resources), doing);
  if (!json) return false;
  bool ours = typed(FailureKind::transient, "", doing, [&] {
    auto tags = json->find("tags");
    return tags && tags->string_or("rayctl:cluster", "") == cluster;
  });
  if (!ours)
    throw ProviderError(FailureKind::invalid, "rename it, or choose another namespace",
                        "{}: resource group '{}' isn't rayctl's: it has no tag rayctl:cluster={}", doing,
                        group.substr(group.rfind('/') + 1), printable(cluster));
  return true;
}

void Azure::prepare(const std::string& cluster, const std::vector<std::string>& regions,
                    const Firewall& firewall) {
  if (regions.empty()) return;
  std::string doing = fmt::format("cannot prepare '{}' on Azure", printable(cluster));
  std::string group = azure_ids(subscription(), cluster, "", "").group;
  if (!owns_group(group, cluster, doing)) put(group, resources, azure_group_body(cluster, regions[0]), doing);
  // firewall and network of each region at the same time: neither names the other
  in_parallel(calls_at_once, regions.size() * 2, [&](size_t i) {
    const std::string& region = regions[i / 2];
    AzureIds ids = azure_ids(subscription(), cluster, region, "");
    if (i % 2 == 0)
      put(ids.firewall, network, azure_firewall_body(cluster, region, firewall), doing);
    else if (!client_.find(url(ids.network, network),
                           doing))  // writing it again would drop subnets made by others
      put(ids.network, network, azure_network_body(cluster, region), doing);
  });
}

std::vector<Machine> Azure::list(const std::string& cluster, const std::vector<std::string>& regions) {
  std::string doing = fmt::format("cannot list the machines of '{}'", printable(cluster));
  AzureIds ids = azure_ids(subscription(), cluster, "", "");
  std::string first = ids.group + "/providers/Microsoft.";
  std::vector<Json> machines, interfaces, addresses;
  try {
    machines = pages(url(first + "Compute/virtualMachines", compute), doing);
    if (machines.empty()) return {};
    interfaces = pages(url(first + "Network/networkInterfaces", network), doing);
    addresses = pages(url(first + "Network/publicIPAddresses", network), doing);
  } catch (const RestError& e) {
    if (e.kind() != FailureKind::not_found) throw;
    return {};  // no resource group, no machines
  }
  return typed(FailureKind::transient, "type it again", doing, [&] {
    // Ids differ in case from answer to answer.
    std::map<std::string, std::string> private_of, public_of;
    auto machine_of = [](const Json& interface) {
      auto machine = interface.at("properties").find("virtualMachine");
      return machine ? lower_case(machine->at("id").string()) : std::string();
    };
    std::map<std::string, std::string> address_text;
    for (const Json& address : addresses)
      address_text[lower_case(address.at("id").string())] =
          address.at("properties").string_or("ipAddress", "");
    for (const Json& interface : interfaces)
      if (auto configurations = interface.at("properties").find("ipConfigurations"))
        for (const Json& configuration : configurations->items()) {
          auto properties = configuration.at("properties");
          private_of[machine_of(interface)] = properties.string_or("privateIPAddress", "");
          if (auto address = properties.find("publicIPAddress"))
            public_of[machine_of(interface)] = address_text[lower_case(address->at("id").string())];
        }
    std::vector<Machine> found;
    for (const Json& item : machines) {
      Machine machine = azure_machine(item);
      if (machine.cluster != cluster) continue;
      std::string id = lower_case(item.at("id").string());
      machine.private_address = private_of[id];
      machine.public_address = public_of[id];
      if (regions.empty() || std::find(regions.begin(), regions.end(), machine.region) != regions.end())
        found.push_back(std::move(machine));
    }
    return found;
  });
}

void Azure::terminate(const std::vector<Machine>& machines) {
  in_parallel(calls_at_once, machines.size(), [&](size_t i) {
    const Machine& machine = machines[i];
    std::string doing =
        fmt::format("cannot delete machine '{}' in {}", printable(machine.id), machine.region);
    std::string group = azure_ids(subscription(), machine.cluster, "", "").group;
    std::string path = group + "/providers/Microsoft.Compute/virtualMachines/" + percent_encode(machine.id);
    auto json = client_.find(url(path, compute), doing);
    if (!json) return;
    Machine there = typed(FailureKind::transient, "", doing, [&] { return azure_machine(*json); });
    if (there.cluster.empty() || there.cluster != machine.cluster)
      throw ProviderError(FailureKind::invalid, "delete it in Azure's portal if it is yours",
                          "refusing to delete machine '{}': it has no tag rayctl:cluster={}",
                          printable(machine.id), printable(machine.cluster));
    try {
      client_.send("DELETE", add_query(url(path, compute), "forceDeletion", "true"), "", doing);
    } catch (const RestError& e) {
      if (e.kind() != FailureKind::not_found) throw;
    }
  });
}

std::vector<Leftover> Azure::sweep(const std::string& cluster, const std::vector<std::string>&,
                                   std::chrono::seconds patience) {
  std::string doing = fmt::format("cannot delete what '{}' left", printable(cluster));
  std::string group = azure_ids(subscription(), cluster, "", "").group;
  std::string group_name = group.substr(group.rfind('/') + 1);
  auto end = Clock::now() + patience;
  if (!owns_group(group, cluster, doing)) return {};
  std::vector<Leftover> left;
  for (const Machine& machine : list(cluster, {}))
    if (machine.state != MachineState::stopping)
      left.push_back({.kind = "machine",
                      .id = machine.id,
                      .region = machine.region,
                      .reason = std::string(name_of(machine.state))});
  // Deleting the group deletes all that is in it: nothing that somebody else put there.
  for (const Json& item : pages(url(group + "/resources", resources), doing))
    typed(FailureKind::transient, "", doing, [&] {
      auto tags = item.find("tags");
      bool ours = tags && tags->string_or("rayctl:cluster", "") == cluster;
      // A machine's disk may come without its machine's tags.
      std::string name = item.string_or("name", "");
      bool disk = lower_case(item.string_or("type", "")) == "microsoft.compute/disks" &&
                  name.starts_with("ray-") && name.ends_with("-disk");
      if (!ours && !disk)
        left.push_back({.kind = item.string_or("type", "resource"),
                        .id = item.at("name").string(),
                        .region = item.string_or("location", ""),
                        .reason = "it isn't rayctl's"});
      return 0;
    });
  if (!left.empty()) return left;
  client_.send("DELETE", url(group, resources), "", doing);
  for (;;) {
    if (!client_.find(url(group, resources), doing)) return {};
    if (Clock::now() > end)
      return {
          {.kind = "resource group", .id = group_name, .region = "", .reason = "Azure is still deleting it"}};
    wait_interruptibly(pause_between(5s), client_.cancel());
  }
}

std::optional<std::string> Azure::console(const Machine& machine) {
  std::string doing = fmt::format("cannot read the console of '{}'", printable(machine.id));
  std::string group = azure_ids(subscription(), machine.cluster, "", "").group;
  std::string path =
      fmt::format("{}/providers/Microsoft.Compute/virtualMachines/{}/retrieveBootDiagnosticsData", group,
                  percent_encode(machine.id));
  std::string where;
  try {
    Json json = client_.json("POST", url(path, compute), "", doing);
    where = typed(FailureKind::transient, "", doing,
                  [&] { return json.string_or("serialConsoleLogBlobUri", ""); });
  } catch (const RestError& e) {
    if (e.kind() == FailureKind::not_found || e.status() == 409)
      return std::nullopt;  // gone, or nothing written yet
    throw;
  }
  if (where.empty()) return std::nullopt;
  HttpResponse response = typed(FailureKind::transient, "type it again", doing,
                                [&] { return plain_.send({.url = where, .limit = 4 << 20}); });
  if (response.status != 200 || response.body.empty()) return std::nullopt;
  return response.body;
}

}  // namespace rayctl::cloud
