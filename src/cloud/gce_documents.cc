// Google's documents: what we send, and what the answers mean.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/text.h"
#include "cloud/gce.h"

namespace rayctl::cloud {

using nlohmann::json;

namespace {

MachineState state_of(const std::string& status) {
  if (status == "PROVISIONING" || status == "STAGING") return MachineState::pending;
  if (status == "RUNNING" || status == "REPAIRING") return MachineState::running;
  if (status == "STOPPING" || status == "SUSPENDING" || status == "DEPROVISIONING")
    return MachineState::stopping;
  if (status == "TERMINATED" || status == "STOPPED" || status == "SUSPENDED") return MachineState::stopped;
  return MachineState::requested;
}

// Newer families boot from no other kind of disk.
std::string disk_type(const std::string& size) {
  bool hyper =
      size.starts_with("c4") || size.starts_with("n4") || size.starts_with("a4") || size.starts_with("x4");
  return hyper ? "hyperdisk-balanced" : "pd-balanced";
}

bool has_gpu(const std::string& size) {
  return size.starts_with("a2-") || size.starts_with("a3-") || size.starts_with("a4-") ||
         size.starts_with("g2-");
}

std::string label_text(const std::string& text) {  // of labels that users give: Google's characters only
  std::string label = lower_case(text);
  for (char& c : label)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') c = '-';
  return label.substr(0, 63);
}

FailureKind kind_of(const std::string& code, int status) {
  auto is = [&](std::initializer_list<std::string_view> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  if (code.starts_with("ZONE_RESOURCE_POOL_EXHAUSTED") ||
      is({"stockout", "resourcePoolExhausted", "UNSUPPORTED_OPERATION", "resourceExhausted"}))
    return FailureKind::capacity;
  if (is({"QUOTA_EXCEEDED", "quotaExceeded", "LIMIT_EXCEEDED", "limitExceeded", "CPUS_ALL_REGIONS"}))
    return FailureKind::quota;
  if (is({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED", "concurrentLimitExceeded"}) ||
      status == 429)
    return FailureKind::throttled;
  if (is({"backendError", "internalError", "INTERNAL_ERROR", "resourceNotReady", "RESOURCE_NOT_READY"}) ||
      status >= 500)
    return FailureKind::transient;
  if (status == 401 || status == 403 || is({"PERMISSIONS_ERROR"})) return FailureKind::unauthorized;
  if (status == 404 || is({"notFound", "RESOURCE_NOT_FOUND"})) return FailureKind::not_found;
  return FailureKind::invalid;
}

std::string next_of(FailureKind kind, const std::string& code) {
  if (code == "accessNotConfigured") return "type: gcloud services enable compute.googleapis.com";
  switch (kind) {
    case FailureKind::capacity:
      return "try another region or size, or wait";
    case FailureKind::quota:
      return "ask for more on Google's quota page, or use fewer or smaller machines";
    case FailureKind::throttled:
      return "too many calls for this project: wait, and type it again";
    case FailureKind::unauthorized:
      return "give this account the role roles/compute.admin in the project, or log in: gcloud auth "
             "application-default login";
    case FailureKind::transient:
      return "wait, and type it again";
    default:
      return "";
  }
}

RestError error_of(const std::string& doing, const std::string& code, const std::string& message,
                   int status) {
  FailureKind kind = kind_of(code, status);
  std::string what = printable(message.substr(0, 600));
  while (what.ends_with('.')) what.pop_back();
  if (what.empty()) what = fmt::format("status {}", status);
  if (!code.empty()) what += " [" + printable(code) + "]";
  return {kind, code, status, next_of(kind, code), fmt::format("{}: {}", doing, what)};
}

}  // namespace

std::string last_part(const std::string& url) {
  return url.substr(url.rfind('/') + 1);
}

std::string gce_cluster_label(const std::string& cluster) {
  return cloud_name("", cluster);
}

std::string gce_instance_name(const std::string& cluster, const std::string& key) {
  return cloud_name("ray-", cluster + "-" + key);
}

std::string gce_image(const std::string& wanted, const std::string& arch, const std::string& project) {
  if (wanted.empty())
    return fmt::format("projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-{}",
                       arch == "aarch64" ? "arm64" : "amd64");
  if (wanted.find("/global/images/") != std::string::npos) return wanted;
  size_t slash = wanted.find('/');
  if (slash == std::string::npos) return fmt::format("projects/{}/global/images/{}", project, wanted);
  if (slash > 0 && slash + 1 < wanted.size() && wanted.find('/', slash + 1) == std::string::npos)
    return fmt::format("projects/{}/global/images/family/{}", wanted.substr(0, slash),
                       wanted.substr(slash + 1));
  throw ProviderError(FailureKind::invalid, "write PROJECT/FAMILY, the name of an image, or its whole path",
                      "cannot use machine image '{}' of Google", printable(wanted));
}

std::string gce_instance_body(const MachineWant& want, const std::string& size, const std::string& zone,
                              const std::string& image, const std::string& network) {
  std::string label = gce_cluster_label(want.cluster);
  json labels = json::object();
  for (const auto& [key, value] : want.labels) labels[label_text(key)] = label_text(value);
  labels["rayctl-cluster"] = label;
  labels["rayctl-role"] = want.role;
  // What labels can't hold as it is stands in metadata.
  json metadata = json::array({{{"key", "rayctl-cluster"}, {"value", want.cluster}},
                               {{"key", "rayctl-key"}, {"value", want.key}},
                               {{"key", "block-project-ssh-keys"}, {"value", "true"}}});
  if (!want.user_data.empty()) metadata.push_back({{"key", "user-data"}, {"value", want.user_data}});
  if (!want.ssh_keys.empty()) {
    std::string keys;
    for (const std::string& key : want.ssh_keys) keys += (keys.empty() ? "rayctl:" : "\nrayctl:") + key;
    metadata.push_back({{"key", "ssh-keys"}, {"value", keys}});
  }
  json scheduling = json::object();
  if (want.spot)
    scheduling = {
        {"provisioningModel", "SPOT"}, {"instanceTerminationAction", "DELETE"}, {"automaticRestart", false}};
  if (want.spot || has_gpu(size)) scheduling["onHostMaintenance"] = "TERMINATE";
  json disk{{"boot", true},
            {"autoDelete", true},
            {"initializeParams",
             {{"sourceImage", image},
              {"diskSizeGb", std::to_string(want.disk_gb)},
              {"diskType", fmt::format("zones/{}/diskTypes/{}", zone, disk_type(size))},
              {"labels", {{"rayctl-cluster", label}}}}}};
  json body{{"name", gce_instance_name(want.cluster, want.key)},
            {"machineType", fmt::format("zones/{}/machineTypes/{}", zone, size)},
            {"labels", labels},
            {"tags", {{"items", {cloud_name("rayctl-", want.cluster)}}}},
            {"metadata", {{"items", metadata}}},
            {"disks", {disk}},
            {"networkInterfaces",
             {{{"network", network},
               {"accessConfigs", {{{"type", "ONE_TO_ONE_NAT"}, {"name", "External NAT"}}}}}}}};
  if (!scheduling.empty()) body["scheduling"] = scheduling;
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Machine gce_machine(const Json& instance) {
  Machine machine{.id = instance.at("name").string(),
                  .provider = "Google",
                  .zone = last_part(instance.string_or("zone", "")),
                  .size = last_part(instance.string_or("machineType", "")),
                  .state = state_of(instance.string_or("status", "")),
                  .reason = printable(instance.string_or("statusMessage", ""))};
  machine.region = machine.zone.substr(0, machine.zone.rfind('-'));
  if (auto labels = instance.find("labels")) machine.role = labels->string_or("rayctl-role", "");
  if (auto metadata = instance.find("metadata"))
    if (auto items = metadata->find("items"))
      for (const Json& item : items->items()) {
        std::string key = item.string_or("key", "");
        if (key == "rayctl-cluster") machine.cluster = item.string_or("value", "");
        if (key == "rayctl-key") machine.key = item.string_or("value", "");
      }
  if (auto interfaces = instance.find("networkInterfaces"))
    for (const Json& interface : interfaces->items()) {
      machine.private_address = interface.string_or("networkIP", "");
      if (auto configs = interface.find("accessConfigs"))
        for (const Json& config : configs->items()) machine.public_address = config.string_or("natIP", "");
      break;
    }
  if (auto scheduling = instance.find("scheduling"))
    machine.spot = scheduling->string_or("provisioningModel", "") == "SPOT";
  if (auto disks = instance.find("disks"))
    for (const Json& disk : disks->items())
      if (disk.boolean_or("boot", false))
        machine.disk_gb =
            static_cast<unsigned>(std::strtoul(disk.string_or("diskSizeGb", "0").c_str(), nullptr, 10));
  machine.launched = parse_time(instance.string_or("creationTimestamp", ""))
                         .value_or(std::chrono::system_clock::time_point{});
  return machine;
}

RestError gce_error(const std::string& doing, const HttpResponse& response) {
  std::string code, message;
  try {
    Json error = Json::parse(response.body, "answer").at("error");
    message = error.string_or("message", "");
    if (auto errors = error.find("errors"))
      for (const Json& item : errors->items()) {
        code = item.string_or("reason", "");
        break;
      }
    if (code.empty()) code = error.string_or("status", "");
  } catch (const Error&) {  // a proxy's own answer: the status is what there is
    code.clear();
  }
  return error_of(doing, code, message, response.status);
}

std::optional<RestError> gce_operation_error(const std::string& doing, const Json& operation) {
  auto error = operation.find("error");
  if (!error) return std::nullopt;
  for (const Json& item : error->at("errors").items())
    return error_of(doing, item.string_or("code", ""), item.string_or("message", ""), 0);
  return error_of(doing, "", operation.string_or("httpErrorMessage", "it failed"), 0);
}

bool gce_another_zone_may_do(const RestError& error) {
  return error.kind() == FailureKind::capacity;
}

std::vector<GceFirewall> gce_firewalls(const std::string& cluster, const Firewall& firewall,
                                       const std::string& network) {
  std::string tag = cloud_name("rayctl-", cluster);
  std::map<std::string, json> by_name;
  // Machines have IPv4 addresses only; IPv6 sources couldn't reach them whatever was allowed.
  for (const FirewallRule& rule : firewall_rules(firewall)) {
    if (is_ipv6_cidr(rule.source)) continue;
    std::string kind = rule.source == "self" ? "self" : rule.protocol == "all" ? "admin" : "public";
    json& body = by_name[kind];
    if (body.is_null())
      body = {{"name", cloud_name("rayctl-", cluster, 55) + "-" + kind},
              {"network", network},
              {"direction", "INGRESS"},
              {"targetTags", {tag}},
              {"description", "rayctl:cluster=" + cluster},
              {"allowed", json::array()}};
    if (rule.protocol == "all") {
      body["allowed"] = {{{"IPProtocol", "all"}}};
    } else {
      if (body["allowed"].empty()) body["allowed"] = {{{"IPProtocol", "tcp"}, {"ports", json::array()}}};
      body["allowed"][0]["ports"].push_back(
          rule.first == rule.last ? std::to_string(rule.first) : fmt::format("{}-{}", rule.first, rule.last));
    }
    if (rule.source == "self") {
      body["sourceTags"] = {tag};
    } else {
      json& ranges = body["sourceRanges"];
      if (std::find(ranges.begin(), ranges.end(), json(rule.source)) == ranges.end())
        ranges.push_back(rule.source);
    }
  }
  std::vector<GceFirewall> firewalls;
  for (const auto& [kind, body] : by_name)
    firewalls.push_back(
        {body["name"].get<std::string>(), body.dump(-1, ' ', false, json::error_handler_t::replace)});
  return firewalls;
}

}  // namespace rayctl::cloud
