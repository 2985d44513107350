// The part of EC2 that is around machines: subnets, the cluster's security group, what is left at the end.
#include <algorithm>

#include "base/encoding.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud/ec2.h"
#include "cloud/ec2_pages.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr size_t regions_at_once = 8;
constexpr auto between_deletes = 5s;

AwsParameters cluster_filter(const std::string& cluster) {
  return {{"Filter.1.Name", std::string("tag:") + tag_cluster}, {"Filter.1.Value.1", cluster}};
}

std::string group_name(const std::string& cluster) {
  return "rayctl-" + cluster;
}

}  // namespace

std::vector<Subnet> subnets_in_order(std::vector<Subnet> subnets, const std::string& cluster,
                                     const std::string& zone) {
  std::sort(subnets.begin(), subnets.end(),
            [](const Subnet& a, const Subnet& b) { return std::tie(a.zone, a.id) < std::tie(b.zone, b.id); });
  if (!zone.empty()) {
    std::erase_if(subnets, [&](const Subnet& s) { return s.zone != zone; });
    return subnets;
  }
  if (subnets.empty()) return subnets;
  // Clusters spread over the zones, each begins in one.
  size_t first = static_cast<unsigned char>(sha256(cluster)[0]) % subnets.size();
  std::rotate(subnets.begin(), subnets.begin() + static_cast<ptrdiff_t>(first), subnets.end());
  return subnets;
}

std::vector<Subnet> Amazon::subnets(const std::string& region) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = subnets_.find(region); it != subnets_.end()) return it->second;
  }
  AwsParameters parameters{{"Filter.1.Name", "default-for-az"}, {"Filter.1.Value.1", "true"}};
  if (network_.starts_with("vpc-"))
    parameters = {{"Filter.1.Name", "vpc-id"}, {"Filter.1.Value.1", network_}};
  if (network_.starts_with("subnet-")) parameters = {{"SubnetId.1", network_}};
  auto found = all_pages<Subnet>(client_, region, "DescribeSubnets", parameters,
                                 fmt::format("cannot list the subnets in {}", region), parse_subnets);
  if (found.empty() && network_.empty())
    throw ProviderError(FailureKind::invalid,
                        "type: aws ec2 create-default-vpc, or name one with --network vpc-…",
                        "cannot use {}: the account has no default network there", region);
  if (found.empty())
    throw ProviderError(FailureKind::invalid, "check its id and region", "cannot find a subnet of '{}' in {}",
                        network_, region);
  std::lock_guard lock(mutex_);
  return subnets_.try_emplace(region, found).first->second;
}

std::optional<Group> Amazon::find_group(const std::string& cluster, const std::string& region,
                                        const std::string& vpc) {
  std::string doing =
      fmt::format("cannot look up the security group of '{}' in {}", printable(cluster), region);
  auto found = all_pages<Group>(client_, region, "DescribeSecurityGroups",
                                {{"Filter.1.Name", "group-name"},
                                 {"Filter.1.Value.1", group_name(cluster)},
                                 {"Filter.2.Name", "vpc-id"},
                                 {"Filter.2.Value.1", vpc}},
                                doing, parse_groups);
  if (found.empty()) return std::nullopt;
  if (found[0].cluster != cluster)
    throw ProviderError(FailureKind::invalid, "rename it, or choose another namespace",
                        "{}: '{}' ({}) isn't rayctl's: it has no tag {}={}", doing, printable(found[0].name),
                        found[0].id, tag_cluster, printable(cluster));
  return found[0];
}

Group Amazon::make_group(const std::string& cluster, const std::string& region, const std::string& vpc) {
  AwsParameters parameters{{"GroupName", group_name(cluster)},
                           {"GroupDescription", "machines of the rayctl cluster " + cluster},
                           {"VpcId", vpc},
                           {"TagSpecification.1.ResourceType", "security-group"},
                           {"TagSpecification.1.Tag.1.Key", tag_cluster},
                           {"TagSpecification.1.Tag.1.Value", cluster}};
  Group group{.name = group_name(cluster), .vpc = vpc, .cluster = cluster};
  try {
    group.id = parse_text(client_.query("ec2", region, "CreateSecurityGroup", parameters,
                                        fmt::format("cannot make a security group in {}", region)),
                          "groupId");
    return group;
  } catch (const Ec2Error& e) {
    if (e.code() != "InvalidGroup.Duplicate") throw;  // another one of us was quicker, or an answer was lost
  }
  for (Tries tries(client_.cancel());;) {
    if (auto found = find_group(cluster, region, vpc)) return *found;
    if (!tries.again())
      throw ProviderError(FailureKind::transient, "type it again",
                          "cannot find security group '{}' in {} again", printable(group.name), region);
  }
}

AwsParameters rule_parameters(const std::string& group, const std::vector<FirewallRule>& rules) {
  AwsParameters parameters{{"GroupId", group}};
  size_t n = 0;
  for (const FirewallRule& rule : rules) {
    std::string at = fmt::format("IpPermissions.{}.", ++n);
    parameters.emplace_back(at + "IpProtocol", rule.protocol == "all" ? "-1" : rule.protocol);
    if (rule.protocol != "all") {
      parameters.emplace_back(at + "FromPort", std::to_string(rule.first));
      parameters.emplace_back(at + "ToPort", std::to_string(rule.last));
    }
    if (rule.source == "self")
      parameters.emplace_back(at + "Groups.1.GroupId", group);
    else if (rule.source.starts_with("sg-"))
      parameters.emplace_back(at + "Groups.1.GroupId", rule.source);
    else if (is_ipv6_cidr(rule.source))
      parameters.emplace_back(at + "Ipv6Ranges.1.CidrIpv6", rule.source);
    else
      parameters.emplace_back(at + "IpRanges.1.CidrIp", rule.source);
  }
  return parameters;
}

void Amazon::change_rules(const std::string& region, const std::string& group, const std::string& action,
                          const std::vector<FirewallRule>& rules) {
  std::string doing = fmt::format("cannot change the firewall in {}", region);
  auto change = [&](const std::vector<FirewallRule>& some) {
    for (Tries tries(client_.cancel());;) {
      try {
        client_.query("ec2", region, action, rule_parameters(group, some), doing);
        return true;
      } catch (const Ec2Error& e) {
        if (e.code() == "InvalidPermission.Duplicate" || e.code() == "InvalidPermission.NotFound")
          return false;
        if (e.code() != "InvalidGroup.NotFound" || !tries.again()) throw;  // it was made a moment ago
      }
    }
  };
  if (rules.empty() || change(rules)) return;
  // One of them is there (or gone) already and fails them all: one by one.
  for (const FirewallRule& rule : rules) change({rule});
}

void Amazon::prepare_region(const std::string& cluster, const std::string& region,
                            const std::vector<FirewallRule>& rules) {
  std::string vpc = subnets(region).at(0).vpc;
  auto found = find_group(cluster, region, vpc);
  Group group = found ? *found : make_group(cluster, region, vpc);
  FirewallChange change = firewall_change(rules, group.rules);
  change_rules(region, group.id, "AuthorizeSecurityGroupIngress", change.add);
  change_rules(region, group.id, "RevokeSecurityGroupIngress", change.remove);
  debug("Amazon {}: security group {}: {} rules added, {} removed", region, group.id, change.add.size(),
        change.remove.size());
  std::lock_guard lock(mutex_);
  groups_[region + " " + vpc + " " + cluster] = group.id;
}

void Amazon::prepare(const std::string& cluster, const std::vector<std::string>& regions,
                     const Firewall& firewall) {
  std::vector<FirewallRule> rules = firewall_rules(firewall);
  in_parallel(regions_at_once, regions.size(), [&](size_t i) { prepare_region(cluster, regions[i], rules); });
}

std::string Amazon::group_id(const std::string& cluster, const std::string& region, const std::string& vpc) {
  std::string key = region + " " + vpc + " " + cluster;
  {
    std::lock_guard lock(mutex_);
    if (auto it = groups_.find(key); it != groups_.end()) return it->second;
  }
  auto group = find_group(cluster, region, vpc);
  if (!group)
    throw ProviderError(FailureKind::not_found, "type it again: it is made first",
                        "cannot boot machines in {}: '{}' has no security group there", region,
                        printable(cluster));
  std::lock_guard lock(mutex_);
  return groups_.try_emplace(key, group->id).first->second;
}

void Amazon::delete_group(const Group& group, const std::string& region, Clock::time_point end,
                          std::vector<Leftover>& left) {
  std::string doing = fmt::format("cannot delete security group '{}'", group.id);
  for (;;) {
    try {
      client_.query("ec2", region, "DeleteSecurityGroup", {{"GroupId", group.id}}, doing);
      return;
    } catch (const Ec2Error& e) {
      if (e.kind() == FailureKind::not_found) return;
      // The network interfaces of terminated machines hold it for a while.
      bool held = e.code() == "DependencyViolation" || e.code() == "InvalidGroup.InUse";
      if (!held) throw;
      if (Clock::now() + between_deletes > end) {
        left.push_back({.kind = "security group", .id = group.id, .region = region, .reason = e.message()});
        return;
      }
      wait_interruptibly(cloud_retry_policy().first < 1s ? cloud_retry_policy().first : between_deletes,
                         client_.cancel());
    }
  }
}

void Amazon::sweep_region(const std::string& cluster, const std::string& region, Clock::time_point end,
                          std::vector<Leftover>& left) {
  for (const Machine& machine : list_region(cluster, region))
    if (machine.state != MachineState::terminated && machine.state != MachineState::stopping)
      left.push_back({.kind = "machine",
                      .id = machine.id,
                      .region = region,
                      .reason = std::string(name_of(machine.state))});
  if (!left.empty()) return;  // everything else is in use

  AwsParameters filter = cluster_filter(cluster);
  std::string doing = fmt::format("cannot list what '{}' left in {}", printable(cluster), region);
  struct Kind {
    const char *name, *describe, *set, *id, *remove, *parameter, *filter, *value;
  };
  for (const Kind& kind :
       {Kind{"spot request", "DescribeSpotInstanceRequests", "spotInstanceRequestSet",
             "spotInstanceRequestId", "CancelSpotInstanceRequests", "SpotInstanceRequestId.1", "state",
             "open"},
        Kind{"network interface", "DescribeNetworkInterfaces", "networkInterfaceSet", "networkInterfaceId",
             "DeleteNetworkInterface", "NetworkInterfaceId", "status", "available"},
        Kind{"volume", "DescribeVolumes", "volumeSet", "volumeId", "DeleteVolume", "VolumeId", "status",
             "available"}}) {
    AwsParameters parameters = filter;
    parameters.insert(parameters.end(), {{"Filter.2.Name", kind.filter}, {"Filter.2.Value.1", kind.value}});
    auto ids =
        all_pages<std::string>(client_, region, kind.describe, parameters, doing,
                               [&](std::string_view xml) { return parse_ids(xml, kind.set, kind.id); });
    for (const std::string& id : ids) try {
        client_.query("ec2", region, kind.remove, {{kind.parameter, id}},
                      fmt::format("cannot delete {} '{}'", kind.name, id));
      } catch (const Ec2Error& e) {
        if (e.kind() != FailureKind::not_found)
          left.push_back({.kind = kind.name, .id = id, .region = region, .reason = e.message()});
      }
  }
  for (const Group& group :
       all_pages<Group>(client_, region, "DescribeSecurityGroups", filter, doing, parse_groups))
    delete_group(group, region, end, left);
}

std::vector<Leftover> Amazon::sweep(const std::string& cluster, const std::vector<std::string>& regions,
                                    std::chrono::seconds patience) {
  std::vector<std::string> where = regions.empty() ? enabled_regions() : regions;
  Clock::time_point end = Clock::now() + patience;
  std::vector<std::vector<Leftover>> left(where.size());
  in_parallel(regions_at_once, where.size(),
              [&](size_t i) { sweep_region(cluster, where[i], end, left[i]); });
  std::lock_guard lock(mutex_);
  std::erase_if(groups_, [&](const auto& entry) { return entry.first.ends_with(" " + cluster); });
  std::vector<Leftover> all;
  for (auto& part : left) std::move(part.begin(), part.end(), std::back_inserter(all));
  return all;
}

}  // namespace rayctl::cloud
