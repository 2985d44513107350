// Azure's documents: what we send, and what the answers mean.
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/text.h"
#include "base/url.h"
#include "cloud/azure.h"

namespace rayctl::cloud {

using nlohmann::json;

namespace {

constexpr const char* login = "rayctl";
constexpr const char* tag_cluster = "rayctl:cluster";

std::string dump(const json& body) {
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

json cluster_tags(const std::string& cluster) {
  return {{tag_cluster, cluster}};
}

json image_reference(const std::string& wanted, const std::string& arch) {
  if (wanted.empty())
    return {{"publisher", "Canonical"},
            {"offer", "ubuntu-24_04-lts"},
            {"sku", arch == "aarch64" ? "server-arm64" : "server"},
            {"version", "latest"}};
  if (lower_case(wanted).starts_with("/subscriptions/")) return {{"id", wanted}};
  if (lower_case(wanted).starts_with("/communitygalleries/")) return {{"communityGalleryImageId", wanted}};
  std::vector<std::string> parts = split(wanted, ':');
  if (parts.size() != 4 ||
      std::any_of(parts.begin(), parts.end(), [](const std::string& p) { return p.empty(); }))
    throw ProviderError(FailureKind::invalid,
                        "write PUBLISHER:OFFER:SKU:VERSION, or the id of an image: /subscriptions/…",
                        "cannot use machine image '{}' of Azure", printable(wanted));
  return {{"publisher", parts[0]}, {"offer", parts[1]}, {"sku", parts[2]}, {"version", parts[3]}};
}

FailureKind kind_of(const std::string& code, const std::string& message, int status) {
  auto is = [&](std::initializer_list<std::string_view> codes) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  if (is({"SkuNotAvailable", "AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest",
          "OverconstrainedZonalAllocationRequest", "SkuNotAvailableForSubscription",
          "NotAvailableForSubscription"}))
    return FailureKind::capacity;
  if (is({"QuotaExceeded", "PublicIPCountLimitReached", "ResourceQuotaExceeded", "SpotQuotaExceeded",
          "StandardSkuPublicIPCountLimitReached"}) ||
      (code == "OperationNotAllowed" && lower_case(message).find("quota") != std::string::npos))
    return FailureKind::quota;
  if (lower_case(message).find("max price") != std::string::npos ||
      lower_case(message).find("maxprice") != std::string::npos)
    return FailureKind::price;
  if (status == 429 || is({"TooManyRequests", "OperationThrottled", "SubscriptionRequestsThrottled"}))
    return FailureKind::throttled;
  if (status == 401 || status == 403 ||
      is({"AuthorizationFailed", "InvalidAuthenticationToken", "ExpiredAuthenticationToken"}))
    return FailureKind::unauthorized;
  if (status >= 500 || status == 408 ||
      is({"RetryableError", "InternalExecutionError", "InternalServerError", "AnotherOperationInProgress",
          "ResourceGroupBeingDeleted"}))
    return FailureKind::transient;
  if (status == 404 || is({"ResourceNotFound", "ResourceGroupNotFound", "NotFound"}))
    return FailureKind::not_found;
  return FailureKind::invalid;
}

std::string next_of(FailureKind kind, const std::string& code) {
  if (code == "MissingSubscriptionRegistration")
    return "type: az provider register --namespace Microsoft.Compute, and the same for Microsoft.Network";
  switch (kind) {
    case FailureKind::capacity:
      return "try another region or size, or wait";
    case FailureKind::quota:
      return "ask for more under Quotas in Azure's portal, or use fewer or smaller machines";
    case FailureKind::throttled:
      return "too many calls for this subscription: wait, and type it again";
    case FailureKind::price:
      return "raise MaxPrice, or leave it out to pay up to the on-demand price";
    case FailureKind::unauthorized:
      return "give this identity the role Contributor in the subscription";
    case FailureKind::transient:
      return "wait, and type it again";
    default:
      return "";
  }
}

MachineState state_of(const std::string& provisioning) {
  std::string state = lower_case(provisioning);
  if (state == "creating" || state == "updating" || state == "migrating") return MachineState::pending;
  if (state == "succeeded") return MachineState::running;
  if (state == "deleting") return MachineState::stopping;
  if (state == "failed" || state == "canceled") return MachineState::stopped;
  return MachineState::requested;
}

// The power state tells more than that the machine was made, where the answer has it.
std::optional<MachineState> power_of(const Json& properties) {
  auto view = properties.find("instanceView");
  if (!view) return std::nullopt;
  if (auto statuses = view->find("statuses"))
    for (const Json& status : statuses->items()) {
      std::string code = status.string_or("code", "");
      if (code == "PowerState/stopped" || code == "PowerState/deallocated") return MachineState::stopped;
      if (code == "PowerState/stopping" || code == "PowerState/deallocating") return MachineState::stopping;
    }
  return std::nullopt;
}

void append_bytes(std::string& to, const std::string& bytes) {  // RFC 4251: a string
  auto size = static_cast<uint32_t>(bytes.size());
  for (int shift : {24, 16, 8, 0}) to += static_cast<char>((size >> shift) & 0xff);
  to += bytes;
}

}  // namespace

std::string azure_machine_name(const std::string& cluster, const std::string& key) {
  return cloud_name("ray-", cluster + "-" + key, 54);  // its pieces have longer names
}

AzureIds azure_ids(const std::string& subscription, const std::string& cluster, const std::string& region,
                   const std::string& key) {
  AzureIds ids{.group = fmt::format("/subscriptions/{}/resourceGroups/{}", percent_encode(subscription),
                                    cloud_name("rayctl-", cluster))};
  std::string network = ids.group + "/providers/Microsoft.Network/";
  ids.firewall = network + "networkSecurityGroups/firewall-" + region;
  ids.network = network + "virtualNetworks/network-" + region;
  ids.subnet = ids.network + "/subnets/machines";
  std::string name = azure_machine_name(cluster, key);
  ids.machine = ids.group + "/providers/Microsoft.Compute/virtualMachines/" + name;
  ids.interface = network + "networkInterfaces/" + name + "-nic";
  ids.address = network + "publicIPAddresses/" + name + "-ip";
  return ids;
}

std::string azure_group_body(const std::string& cluster, const std::string& region) {
  return dump({{"location", region}, {"tags", cluster_tags(cluster)}});
}

std::string azure_firewall_body(const std::string& cluster, const std::string& region,
                                const Firewall& firewall) {
  json admin = json::array(), ports = json::array();
  for (const FirewallRule& rule : firewall_rules(firewall)) {
    // Machines reach each other by Azure's default rule for the network; they have IPv4 addresses only.
    if (rule.source == "self" || is_ipv6_cidr(rule.source)) continue;
    if (rule.protocol == "all")
      admin.push_back(rule.source);
    else
      ports.push_back(rule.first == rule.last ? std::to_string(rule.first)
                                              : fmt::format("{}-{}", rule.first, rule.last));
  }
  json rules = json::array();
  auto add = [&](const char* name, int priority, const char* protocol, const json& sources,
                 const json& targets) {
    rules.push_back({{"name", name},
                     {"properties",
                      {{"priority", priority},
                       {"direction", "Inbound"},
                       {"access", "Allow"},
                       {"protocol", protocol},
                       {"sourcePortRange", "*"},
                       {"sourceAddressPrefixes", sources},
                       {"destinationAddressPrefix", "*"},
                       {"destinationPortRanges", targets}}}});
  };
  if (!admin.empty()) add("admin", 100, "*", admin, json::array({"0-65535"}));
  if (!ports.empty()) add("public", 110, "Tcp", json::array({"0.0.0.0/0"}), ports);
  return dump(
      {{"location", region}, {"tags", cluster_tags(cluster)}, {"properties", {{"securityRules", rules}}}});
}

std::string azure_network_body(const std::string& cluster, const std::string& region) {
  json subnet{{"name", "machines"}, {"properties", {{"addressPrefix", "10.240.0.0/16"}}}};
  return dump({{"location", region},
               {"tags", cluster_tags(cluster)},
               {"properties",
                {{"addressSpace", {{"addressPrefixes", json::array({"10.240.0.0/16"})}}},
                 {"subnets", json::array({subnet})}}}});
}

std::string azure_address_body(const MachineWant& want) {
  return dump({{"location", want.region},
               {"tags", cluster_tags(want.cluster)},
               {"sku", {{"name", "Standard"}}},
               {"properties", {{"publicIPAllocationMethod", "Static"}, {"publicIPAddressVersion", "IPv4"}}}});
}

std::string azure_interface_body(const MachineWant& want, const AzureIds& ids) {
  json address{{"id", ids.address}, {"properties", {{"deleteOption", "Delete"}}}};
  json configuration{{"name", "primary"},
                     {"properties",
                      {{"subnet", {{"id", ids.subnet}}},
                       {"privateIPAllocationMethod", "Dynamic"},
                       {"publicIPAddress", address}}}};
  return dump({{"location", want.region},
               {"tags", cluster_tags(want.cluster)},
               {"properties",
                {{"networkSecurityGroup", {{"id", ids.firewall}}},
                 {"ipConfigurations", json::array({configuration})}}}});
}

std::string azure_machine_body(const MachineWant& want, const Size& size, const AzureIds& ids,
                               const std::string& ssh_key) {
  json keys = json::array();
  auto add_key = [&](const std::string& key) {
    keys.push_back({{"path", fmt::format("/home/{}/.ssh/authorized_keys", login)}, {"keyData", key}});
  };
  for (const std::string& key : want.ssh_keys) add_key(key);
  if (keys.empty()) add_key(ssh_key);
  std::string name = azure_machine_name(want.cluster, want.key);
  json tags = json::object();
  for (const auto& [key, value] : want.labels) tags[key] = value;
  tags[tag_cluster] = want.cluster;
  tags["rayctl:key"] = want.key;
  tags["rayctl:role"] = want.role;
  json profile{
      {"computerName", name},
      {"adminUsername", login},
      {"linuxConfiguration", {{"disablePasswordAuthentication", true}, {"ssh", {{"publicKeys", keys}}}}}};
  if (!want.user_data.empty()) profile["customData"] = to_base64(want.user_data);
  json properties{{"hardwareProfile", {{"vmSize", size.name}}},
                  {"storageProfile",
                   {{"imageReference", image_reference(want.image, size.arch)},
                    {"osDisk",
                     {{"name", name + "-disk"},
                      {"createOption", "FromImage"},
                      {"diskSizeGB", std::max(want.disk_gb, 30U)},
                      {"deleteOption", "Delete"},
                      {"managedDisk", {{"storageAccountType", "StandardSSD_LRS"}}}}}}},
                  {"osProfile", profile},
                  {"networkProfile",
                   {{"networkInterfaces",
                     json::array({{{"id", ids.interface},
                                   {"properties", {{"primary", true}, {"deleteOption", "Delete"}}}}})}}},
                  {"diagnosticsProfile", {{"bootDiagnostics", {{"enabled", true}}}}}};
  if (want.spot) {
    properties["priority"] = "Spot";
    properties["evictionPolicy"] = "Delete";
    properties["billingProfile"] = {{"maxPrice", want.max_price.value_or(-1)}};
  }
  json body{{"location", want.region}, {"tags", tags}, {"properties", properties}};
  if (!want.zone.empty()) body["zones"] = json::array({want.zone});
  return dump(body);
}

Machine azure_machine(const Json& item) {
  Machine machine{
      .id = item.at("name").string(), .provider = "Azure", .region = item.string_or("location", "")};
  if (auto tags = item.find("tags")) {
    machine.cluster = tags->string_or(tag_cluster, "");
    machine.key = tags->string_or("rayctl:key", "");
    machine.role = tags->string_or("rayctl:role", "");
  }
  for (const std::string& zone : item.strings_or_empty("zones")) machine.zone = zone;
  Json properties = item.at("properties");
  machine.state = state_of(properties.string_or("provisioningState", ""));
  if (auto power = power_of(properties)) machine.state = *power;
  if (auto hardware = properties.find("hardwareProfile")) machine.size = hardware->string_or("vmSize", "");
  machine.spot = properties.string_or("priority", "") == "Spot";
  if (auto storage = properties.find("storageProfile"))
    if (auto disk = storage->find("osDisk"))
      machine.disk_gb = static_cast<unsigned>(disk->size_or("diskSizeGB", 0));
  machine.launched =
      parse_time(properties.string_or("timeCreated", "")).value_or(std::chrono::system_clock::time_point{});
  return machine;
}

std::string azure_arch(const std::string& size) {
  // Standard_ FAMILY CPUS FEATURES _VERSION; "p" among the features is Arm ("Azure VM sizes naming
  // conventions").
  size_t digit = size.find_first_of("0123456789", size.find('_') + 1);
  if (digit == std::string::npos) return "x86_64";
  size_t end = size.find('_', digit);
  return size.substr(digit, end == std::string::npos ? end : end - digit).find('p') == std::string::npos
             ? "x86_64"
             : "aarch64";
}

std::string unowned_ssh_key() {
  std::unique_ptr<EVP_PKEY, decltype([](EVP_PKEY* k) { EVP_PKEY_free(k); })> key(EVP_RSA_gen(2048));
  std::string blob;
  append_bytes(blob, "ssh-rsa");
  for (const char* parameter : {OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_N}) {
    BIGNUM* number = nullptr;
    if (!key || EVP_PKEY_get_bn_param(key.get(), parameter, &number) != 1)
      throw Error("cannot make an SSH key: OpenSSL refuses");
    std::string bytes(static_cast<size_t>(BN_num_bytes(number)), '\0');
    BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
    BN_free(number);
    if (static_cast<unsigned char>(bytes[0]) & 0x80) bytes.insert(0, 1, '\0');  // an mpint has a sign
    append_bytes(blob, bytes);
  }
  return "ssh-rsa " + to_base64(blob) + " nobody";
}

RestError azure_error(const std::string& doing, const Json& error, int status) {
  std::string code = error.string_or("code", ""), message = error.string_or("message", "");
  // The outer code often says no more than that something failed within.
  if (auto details = error.find("details"); details && details->is_array())
    for (const Json& detail : details->items()) {
      std::string inner = detail.is_object() ? detail.string_or("code", "") : "";
      if (inner.empty() || kind_of(code, message, 0) != FailureKind::invalid) break;
      code = inner;
      message = detail.string_or("message", message);
      break;
    }
  FailureKind kind = kind_of(code, message, status);
  message = printable(trim(message.substr(0, message.find_first_of("\r\n"))).substr(0, 600));
  while (message.ends_with('.')) message.pop_back();
  if (message.empty()) message = fmt::format("status {}", status);
  if (!code.empty()) message += " [" + printable(code) + "]";
  return {kind, code, status, next_of(kind, code), fmt::format("{}: {}", doing, message)};
}

RestError azure_error(const std::string& doing, const HttpResponse& response) {
  try {
    return azure_error(doing, Json::parse(response.body, "answer").at("error"), response.status);
  } catch (const Error&) {  // a proxy's own answer: the status is what there is
    return azure_error(doing, Json::parse("{}", "answer"), response.status);
  }
}

}  // namespace rayctl::cloud
