// The journal of a cluster's machines: written, and safe on the disk, before the cloud is asked for anything.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fleet/home.h"
#include "fleet/record.h"

namespace rayctl::fleet {

// What machines.json holds. The whole file is replaced at each commit: readers need no lock.
struct LedgerData {
  std::string name;          // namespace
  std::string uid;           // 8 of [a-z0-9], random: part of every key
  uint32_t next_number = 2;  // 1 is the cluster: "Cluster-1"
  WallTime created{};
  std::vector<MachineRecord> machines;         // in the order of their numbers
  std::map<std::string, uint32_t> containers;  // id -> number; one sequence with the machines', as in 2016
  std::vector<std::string> acl;                // CIDRs that the firewall was given last
  std::vector<std::pair<std::string, std::string>>
      places;  // (provider, region) that were prepared: to be swept
};
std::string to_text(const LedgerData& data);
LedgerData parse_ledger(std::string_view text, const std::string& name);

// Empty when there is no such cluster here.
std::optional<LedgerData> read_ledger(const Home& home);

// The one that may write. Needs Ownership.
class Ledger {
 public:
  // Opens it, or makes an empty one (not on the disk before the first commit).
  Ledger(const Home& home, const std::string& name_space);

  LedgerData& data() { return data_; }
  const LedgerData& data() const { return data_; }
  MachineRecord* find(uint32_t number);
  MachineRecord& add(MachineRecord record);  // gives it its number and key
  uint32_t container_number(const std::string& id);
  void commit();  // durable when it returns

 private:
  Home home_;
  LedgerData data_;
};

}  // namespace rayctl::fleet
