// Amazon EC2 ("Amazon EC2 API reference", version 2016-11-15).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cloud/aws_client.h"
#include "cloud/ec2_answers.h"
#include "cloud/ec2_errors.h"
#include "cloud/prices.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

std::unique_ptr<Provider> open_amazon(const ProviderOptions& options);

// One RunInstances call, decided.
struct RunPlan {
  enum class Count { all, some };  // all or nothing, or as many as there is capacity for
  MachineWant want = {};           // what they have in common; its key is one of `keys`
  std::vector<std::string> keys = {};
  std::string size = {};
  Subnet subnet = {};
  std::string group = {};  // security group
  Image image = {};
  Count count = Count::all;
};
// Its parameters; the client token is the same for the same keys in the same place, so that a lost answer
// boots nothing twice.
AwsParameters run_parameters(const RunPlan& plan);

// Wants that can share a call, by index; a batch's keys fit into one tag.
std::vector<std::vector<size_t>> batches(const std::vector<MachineWant>& wants);

// Subnets in the order in which a cluster's machines try them: always the same one first, so that they are
// neighbours.
std::vector<Subnet> subnets_in_order(std::vector<Subnet> subnets, const std::string& cluster,
                                     const std::string& zone);

AwsParameters rule_parameters(const std::string& group, const std::vector<FirewallRule>& rules);

class Amazon : public Provider {
 public:
  explicit Amazon(const ProviderOptions& options);

  std::string name() const override { return "Amazon"; }
  size_t user_data_limit() const override { return 16384; }
  size_t parallel_calls() const override { return 16; }
  std::string default_size() const override { return "m6i.large"; }
  std::vector<std::string> regions() const override;
  Place place(const std::string& text) const override;
  std::vector<Size> sizes(const std::string& region) const override;

  Size size(const std::string& region, const std::string& name) override;
  std::string account() override;
  void prepare(const std::string& cluster, const std::vector<std::string>& regions,
               const Firewall& firewall) override;
  void rehearse(const MachineWant& want) override;
  std::vector<Booted> boot(const std::vector<MachineWant>& wants) override;
  std::vector<Machine> list(const std::string& cluster, const std::vector<std::string>& regions) override;
  void terminate(const std::vector<Machine>& machines) override;
  std::vector<Leftover> sweep(const std::string& cluster, const std::vector<std::string>& regions,
                              std::chrono::seconds patience) override;
  std::optional<std::string> console(const Machine& machine) override;

 private:
  using Clock = std::chrono::steady_clock;

  std::vector<std::string> enabled_regions();
  std::vector<Machine> list_region(const std::string& cluster, const std::string& region);
  std::vector<Machine> describe(const std::string& region, const std::vector<std::string>& ids);
  void terminate_some(const std::string& region, const std::vector<std::string>& ids,
                      const std::map<std::string, std::string>& cluster_of);
  bool is_fresh(const std::string& id);

  // ec2_network.cc
  std::vector<Subnet> subnets(const std::string& region);
  std::optional<Group> find_group(const std::string& cluster, const std::string& region,
                                  const std::string& vpc);
  Group make_group(const std::string& cluster, const std::string& region, const std::string& vpc);
  std::string group_id(const std::string& cluster, const std::string& region, const std::string& vpc);
  void prepare_region(const std::string& cluster, const std::string& region,
                      const std::vector<FirewallRule>& rules);
  void change_rules(const std::string& region, const std::string& group, const std::string& action,
                    const std::vector<FirewallRule>& rules);
  void sweep_region(const std::string& cluster, const std::string& region, Clock::time_point end,
                    std::vector<Leftover>& left);
  void delete_group(const Group& group, const std::string& region, Clock::time_point end,
                    std::vector<Leftover>& left);

  // ec2_boot.cc
  Image image(const std::string& region, const std::string& wanted, const std::string& arch);
  Image find_image(const std::string& region, const std::string& wanted, const std::string& arch);
  void boot_batch(const MachineWant& want, std::vector<std::string> keys, std::vector<Booted>& booted);
  std::vector<Machine> run(const RunPlan& plan);
  std::map<std::string, Machine> known(const std::string& cluster, const std::string& region);
  void remember(const std::vector<Machine>& machines);

  PriceTable prices_;
  std::string network_;
  AwsClient client_;
  std::mutex mutex_;                                         // guards what follows
  std::map<std::string, std::vector<Subnet>> subnets_ = {};  // by region
  std::map<std::string, std::string> groups_ = {};           // by region, VPC and cluster
  std::map<std::string, Image> images_ = {};                 // by region, wish and arch
  std::map<std::string, Size> sizes_ = {};                   // of sizes that no table has, by region and name
  std::map<std::string, std::map<std::string, Machine>> known_ =
      {};  // by region and cluster: what is there, by key
  std::map<std::string, std::pair<Machine, Clock::time_point>> fresh_ = {};  // booted by us, by id
};

}  // namespace rayctl::cloud
