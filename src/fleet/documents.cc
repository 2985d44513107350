#include "fleet/documents.h"

#include <nlohmann/json.hpp>

#include "cluster/control_address.h"
#include "cluster/control_protocol.h"

namespace rayctl::fleet {

namespace {

nlohmann::json common(const DocumentInput& input, const MachineRecord& record) {
  nlohmann::json config = nlohmann::json::object();
  nlohmann::json labels = nlohmann::json::object();
  for (const auto& [key, value] : node_labels(record)) labels[key] = value;
  config["labels"] = std::move(labels);
  if (!input.settings.insecure_registries.empty())
    config["insecure-registry"] = input.settings.insecure_registries;
  return config;
}

std::string document(const DocumentInput& input, const MachineRecord& record, std::string config,
                     std::string token, cloud::BinarySource binary) {
  cloud::UserData data;
  data.node_config = std::move(config);
  data.token = std::move(token);
  data.binary = std::move(binary);
  data.ssh_keys = record.ssh_keys;
  data.ssh_keys.insert(data.ssh_keys.end(), input.ssh_keys.begin(), input.ssh_keys.end());
  const std::string& format = input.settings.user_data_format;
  return cloud::user_data(data,
                          format.empty() ? cloud::UserDataFormat::boothook : cloud::user_data_format(format));
}

}  // namespace

std::vector<std::pair<std::string, std::string>> node_labels(const MachineRecord& record) {
  std::vector<std::pair<std::string, std::string>> labels = {{"provider", record.provider}};
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) labels.emplace_back(name, value);
  };
  add("region", record.region);
  // The size that was asked for: the document is written before anybody knows which one it gets.
  if (!record.sizes.empty()) add("size", record.sizes.front());
  add("group", record.group);
  if (record.spot) add("spot", "true");
  for (const auto& [key, value] : record.labels) add(key.c_str(), value);
  return labels;
}

std::string head_config(const DocumentInput& input, const MachineRecord& head) {
  nlohmann::json config = common(input, head);
  config["role"] = "head";
  config["image"] = input.image;
  config["workers"] = input.workers;
  if (!input.settings.overlay.empty()) config["overlay"] = input.settings.overlay;
  if (!input.settings.prefix.empty()) config["prefix"] = input.settings.prefix;
  if (input.settings.control_port != cluster::default_control_port)
    config["listen"] = ":" + std::to_string(input.settings.control_port);
  return config.dump();
}

std::string worker_config(const DocumentInput& input, const MachineRecord& worker,
                          const std::string& head_address) {
  nlohmann::json config = common(input, worker);
  config["role"] = "worker";
  config["join"] = cluster::format_host_port({head_address, input.settings.control_port});
  return config.dump();
}

std::string head_document(const DocumentInput& input, const MachineRecord& head,
                          const std::string& claim_token) {
  return document(input, head, head_config(input, head), claim_token, input.binary);
}

std::string worker_document(const DocumentInput& input, const MachineRecord& worker,
                            const std::string& head_address, const std::string& token) {
  cloud::BinarySource binary = input.binary;
  if (input.settings.binary_url.empty())
    binary.urls = {cloud::binary_of_head(head_address, input.settings.control_port)};
  return document(input, worker, worker_config(input, worker, head_address), token, std::move(binary));
}

std::string head_address_for(const MachineRecord& worker, const MachineRecord& head) {
  bool near = worker.provider == head.provider && worker.region == head.region;
  return near && !head.private_address.empty() ? head.private_address : head.public_address;
}

std::string operator_address(const MachineRecord& machine) {
  return machine.public_address.empty() ? machine.private_address : machine.public_address;
}

}  // namespace rayctl::fleet
