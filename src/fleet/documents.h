// The user-data of each machine: which binary, which role, which head, which token. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cloud/user_data.h"
#include "fleet/record.h"
#include "fleet/settings.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

struct DocumentInput {
  Settings settings;
  std::string image;   // of the containers, for nodes without a deployment
  size_t workers = 0;  // that make the cluster whole
  cloud::BinarySource binary;
  std::vector<std::string> ssh_keys;  // besides the record's own: the cluster's
};

// What becomes /etc/rayctl/node.json, without the token's place.
std::string head_config(const DocumentInput& input, const MachineRecord& head);
// `head_address` is one that the worker can reach, without port.
std::string worker_config(const DocumentInput& input, const MachineRecord& worker,
                          const std::string& head_address);

std::string head_document(const DocumentInput& input, const MachineRecord& head,
                          const std::string& claim_token);
// Workers fetch rayctl from the head, unless `input.binary` has URLs for them.
std::string worker_document(const DocumentInput& input, const MachineRecord& worker,
                            const std::string& head_address, const std::string& token);

// The address at which `worker` reaches the head: the private one within a region, else the public one. Empty
// while the head has none.
std::string head_address_for(const MachineRecord& worker, const MachineRecord& head);
// For the operator: the public one when there is one.
std::string operator_address(const MachineRecord& machine);

// Node labels that placement rules and people see: provider, region, size, group and the machine's own.
std::vector<std::pair<std::string, std::string>> node_labels(const MachineRecord& record);

}  // namespace rayctl::fleet
