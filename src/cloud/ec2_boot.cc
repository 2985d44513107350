// Booting on EC2: the machine image, shared calls, and the way through sizes and zones.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/encoding.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud/ec2.h"
#include "cloud/machine_keys.h"

namespace rayctl::cloud {

namespace {

constexpr size_t most_per_call = 50;
constexpr size_t batches_at_once = 8;
constexpr const char* canonical = "099720109477";
constexpr const char* debian = "136693071363";

std::string debian_arch(const std::string& arch) {
  return arch == "aarch64" ? "arm64" : "amd64";
}

// What is booted when nobody names an image, best first: owner and name.
std::vector<std::pair<std::string, std::string>> usual_images(const std::string& arch) {
  std::string a = debian_arch(arch);
  return {{canonical, fmt::format("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-*", a)},
          {debian, fmt::format("debian-12-{}-*", a)},
          {canonical, fmt::format("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-{}-server-*", a)}};
}

bool same_but_key(const MachineWant& a, const MachineWant& b) {
  auto tie = [](const MachineWant& w) {
    return std::tie(w.cluster, w.role, w.region, w.zone, w.sizes, w.image, w.disk_gb, w.spot, w.max_price,
                    w.user_data, w.labels);
  };
  return tie(a) == tie(b);
}

std::string where(const MachineWant& want) {
  return want.zone.empty() ? want.region : want.zone;
}

ProviderError gave_up(const MachineWant& want, const Ec2Error& last, size_t zones) {
  std::string tried = fmt::format("{}", fmt::join(want.sizes, ", "));
  return {last.kind(),           "",         "{}; tried {} in {} zone{} of {}", last.message(), tried, zones,
          zones == 1 ? "" : "s", want.region};
}

}  // namespace

std::vector<std::vector<size_t>> batches(const std::vector<MachineWant>& wants) {
  std::vector<std::vector<size_t>> parts;
  std::vector<std::vector<std::string>> keys;
  for (size_t i = 0; i < wants.size(); ++i) {
    bool joined = false;
    for (size_t p = parts.size(); p-- > 0 && !joined;) {  // the newest one is the likely one
      if (parts[p].size() >= most_per_call || !same_but_key(wants[parts[p][0]], wants[i])) continue;
      keys[p].push_back(wants[i].key);
      if (pack_keys(keys[p]).size() > longest_tag) {
        keys[p].pop_back();
        continue;
      }
      parts[p].push_back(i);
      joined = true;
    }
    if (joined) continue;
    parts.push_back({i});
    keys.push_back({wants[i].key});
  }
  return parts;
}

AwsParameters run_parameters(const RunPlan& plan) {
  const MachineWant& want = plan.want;
  std::string keys = pack_keys(plan.keys);
  bool all = plan.count == RunPlan::Count::all;
  std::string token =
      hex(sha256(fmt::format("{}\n{}\n{}\n{}\n{}", want.cluster, keys, plan.size, plan.subnet.id, all)));
  std::string count = std::to_string(plan.keys.size());
  AwsParameters p{
      {"ImageId", plan.image.id},
      {"InstanceType", plan.size},
      {"MinCount", all ? count : "1"},
      {"MaxCount", count},
      {"ClientToken", token},
      {"InstanceInitiatedShutdownBehavior", "terminate"},
      {"NetworkInterface.1.DeviceIndex", "0"},
      {"NetworkInterface.1.SubnetId", plan.subnet.id},
      {"NetworkInterface.1.AssociatePublicIpAddress", "true"},
      {"NetworkInterface.1.DeleteOnTermination", "true"},
      {"BlockDeviceMapping.1.DeviceName",
       plan.image.root_device.empty() ? "/dev/sda1" : plan.image.root_device},
      {"BlockDeviceMapping.1.Ebs.VolumeSize", std::to_string(std::max(want.disk_gb, plan.image.disk_gb))},
      {"BlockDeviceMapping.1.Ebs.VolumeType", "gp3"},
      {"BlockDeviceMapping.1.Ebs.Encrypted", "true"},
      {"BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"},
      {"MetadataOptions.HttpTokens", "required"},
      {"MetadataOptions.HttpPutResponseHopLimit", "1"},
      {"MetadataOptions.HttpEndpoint", "enabled"}};
  if (!plan.group.empty()) p.emplace_back("NetworkInterface.1.SecurityGroupId.1", plan.group);
  if (!want.user_data.empty()) p.emplace_back("UserData", to_base64(want.user_data));
  if (want.spot) {
    p.insert(p.end(), {{"InstanceMarketOptions.MarketType", "spot"},
                       {"InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"},
                       {"InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"}});
    if (want.max_price)
      p.emplace_back("InstanceMarketOptions.SpotOptions.MaxPrice", fmt::format("{}", *want.max_price));
  }
  std::map<std::string, std::string> tags = want.labels;
  tags.emplace("Name", fmt::format("{} {}", want.cluster, want.role));
  tags[tag_cluster] = want.cluster;
  tags[tag_role] = want.role;
  tags[tag_keys] = keys;
  std::vector<std::string> kinds{"instance", "volume", "network-interface"};
  if (want.spot) kinds.emplace_back("spot-instances-request");
  for (size_t k = 0; k < kinds.size(); ++k) {
    std::string at = fmt::format("TagSpecification.{}.", k + 1);
    p.emplace_back(at + "ResourceType", kinds[k]);
    size_t n = 0;
    for (const auto& [key, value] : tags) {
      std::string tag = fmt::format("{}Tag.{}.", at, ++n);
      p.emplace_back(tag + "Key", key);
      p.emplace_back(tag + "Value", value);
    }
  }
  return p;
}

Image Amazon::find_image(const std::string& region, const std::string& wanted, const std::string& arch) {
  std::string doing = fmt::format("cannot look up machine image '{}' in {}",
                                  wanted.empty() ? "Ubuntu or Debian" : printable(wanted), region);
  auto describe = [&](const AwsParameters& parameters) {
    return parse_images(client_.query("ec2", region, "DescribeImages", parameters, doing));
  };
  std::string id = wanted;
  std::string parameter = wanted.starts_with("ssm:") ? wanted.substr(4)
                          : wanted.starts_with('/')  ? wanted
                                                     : "";
  if (!parameter.empty()) {
    nlohmann::json body{{"Name", parameter}};
    std::string answer =
        client_.json("ssm", region, "AmazonSSM.GetParameter",
                     body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), doing);
    id = typed(FailureKind::transient, "", doing,
               [&] { return Json::parse(answer, "GetParameter").at("Parameter").at("Value").string(); });
  }
  std::vector<Image> found;
  if (id.starts_with("ami-")) {
    found = describe({{"ImageId.1", id}});
    if (!found.empty() && !found[0].arch.empty() && found[0].arch != arch)
      throw ProviderError(FailureKind::invalid, "choose another image or size",
                          "cannot boot machine image '{}' on this size: it is for {}, the size is {}",
                          printable(id), found[0].arch, arch);
  } else {
    auto searches = usual_images(arch);
    if (!wanted.empty()) {
      size_t slash = wanted.find('/');
      if (slash == std::string::npos || slash == 0 || slash + 1 == wanted.size())
        throw ProviderError(FailureKind::invalid,
                            "write ami-…, OWNER/NAME with * in the name, or ssm:PARAMETER",
                            "cannot use machine image '{}' of Amazon", printable(wanted));
      searches = {{wanted.substr(0, slash), wanted.substr(slash + 1)}};
    }
    for (size_t i = 0; i < searches.size() && found.empty(); ++i)
      found = describe({{"Owner.1", searches[i].first},
                        {"Filter.1.Name", "name"},
                        {"Filter.1.Value.1", searches[i].second},
                        {"Filter.2.Name", "architecture"},
                        {"Filter.2.Value.1", arch == "aarch64" ? "arm64" : arch},
                        {"Filter.3.Name", "state"},
                        {"Filter.3.Value.1", "available"}});
  }
  if (found.empty())
    throw ProviderError(FailureKind::invalid,
                        "give another one: ami-…, OWNER/NAME with * in the name, or ssm:PARAMETER",
                        "{}: there is none for {}", doing, arch);
  return *std::max_element(found.begin(), found.end(),
                           [](const Image& a, const Image& b) { return a.created < b.created; });
}

Image Amazon::image(const std::string& region, const std::string& wanted, const std::string& arch) {
  std::string key = region + " " + arch + " " + wanted;
  {
    std::lock_guard lock(mutex_);
    if (auto it = images_.find(key); it != images_.end()) return it->second;
  }
  Image found = find_image(region, wanted, arch);
  debug("Amazon {}: machine image {} ({})", region, found.id, printable(found.name));
  std::lock_guard lock(mutex_);
  return images_.try_emplace(key, std::move(found)).first->second;
}

// What the cluster has in this region, by key: looked up once, then kept up to date by what we boot and end.
std::map<std::string, Machine> Amazon::known(const std::string& cluster, const std::string& region) {
  std::string place = region + " " + cluster;
  {
    std::lock_guard lock(mutex_);
    if (auto it = known_.find(place); it != known_.end()) return it->second;
  }
  std::map<std::string, Machine> found;
  for (Machine& machine : list_region(cluster, region))
    if (!machine.key.empty() && machine.state < MachineState::stopping)
      found[machine.key] = std::move(machine);
  std::lock_guard lock(mutex_);
  known_[place].merge(found);
  return known_[place];
}

void Amazon::remember(const std::vector<Machine>& machines) {
  std::lock_guard lock(mutex_);
  for (const Machine& machine : machines) {
    fresh_[machine.id] = {machine, Clock::now()};
    known_[machine.region + " " + machine.cluster][machine.key] = machine;
  }
}

std::vector<Machine> Amazon::run(const RunPlan& plan) {
  const MachineWant& want = plan.want;
  std::string doing = plan.keys.size() == 1
                          ? fmt::format("cannot boot a machine in {}", where(want))
                          : fmt::format("cannot boot {} machines in {}", plan.keys.size(), where(want));
  std::vector<Machine> machines;
  for (Tries tries(client_.cancel());;) {
    try {
      machines =
          parse_instances(client_.query("ec2", want.region, "RunInstances", run_parameters(plan), doing),
                          want.region)
              .items;
      break;
    } catch (const Ec2Error& e) {
      if (e.code() == "InvalidGroup.NotFound" && tries.again()) continue;  // it was made a moment ago
      if (e.code() != "IdempotentParameterMismatch") throw;
      // These very machines were asked for before, with other user-data: what that call booted counts.
      for (Machine& machine : list_region(want.cluster, want.region))
        if (std::find(plan.keys.begin(), plan.keys.end(), machine.key) != plan.keys.end() &&
            machine.state < MachineState::stopping)
          machines.push_back(std::move(machine));
      if (machines.empty()) throw;
      break;
    }
  }
  if (machines.empty())
    throw Ec2Error(FailureKind::transient, "", "type it again", doing + ": Amazon's answer names no machine");
  for (size_t i = 0; i < machines.size(); ++i) {
    Machine& machine = machines[i];
    if (machine.key.empty() && i < plan.keys.size()) machine.key = plan.keys[i];
    if (machine.zone.empty()) machine.zone = plan.subnet.zone;
    machine.cluster = want.cluster;
    machine.role = want.role;
    machine.spot = want.spot;
    machine.disk_gb = std::max(want.disk_gb, plan.image.disk_gb);
  }
  remember(machines);
  return machines;
}

// What was booted before an error is in `booted` all the same.
void Amazon::boot_batch(const MachineWant& want, std::vector<std::string> keys, std::vector<Booted>& booted) {
  std::optional<Ec2Error> last;
  std::vector<Subnet> places = subnets_in_order(subnets(want.region), want.cluster, want.zone);
  if (places.empty())
    throw ProviderError(FailureKind::invalid, "name another zone, or none",
                        "cannot boot machines in zone '{}': the network has no subnet there",
                        printable(want.zone));
  std::string group = group_id(want.cluster, want.region, places[0].vpc);
  for (const std::string& size_name : want.sizes) {
    std::string arch = size(want.region, size_name).arch;
    RunPlan plan{
        .want = want, .size = size_name, .group = group, .image = image(want.region, want.image, arch)};
    for (const Subnet& place : places) {
      plan.subnet = place;
      plan.count = RunPlan::Count::all;
      while (!keys.empty()) {
        plan.keys = keys;
        try {
          for (Machine& machine : run(plan)) {
            std::erase(keys, machine.key);
            Booted& one = booted.emplace_back();
            one.key = machine.key;
            one.machine = std::move(machine);
          }
          if (keys.size() == plan.keys.size())
            throw Ec2Error(FailureKind::transient, "", "look at Amazon's console",
                           "cannot tell what Amazon booted: its answer has other tags than were asked for");
          plan.count = RunPlan::Count::some;  // had it been all, none would be left
        } catch (const Ec2Error& e) {
          if (!another_size_may_do(e)) throw;
          debug("{}", e.message());
          last = e;
          if (plan.count == RunPlan::Count::some || keys.size() == 1) break;
          plan.count = RunPlan::Count::some;
        }
      }
      if (keys.empty() || !another_zone_may_do(*last)) break;
    }
    if (keys.empty()) break;
  }
  for (const std::string& key : keys)
    booted.push_back({.key = key, .error = gave_up(want, *last, places.size())});
}

void Amazon::rehearse(const MachineWant& wanted) {
  MachineWant want = wanted;
  if (want.sizes.empty()) want.sizes = {default_size()};
  std::vector<Subnet> places = subnets_in_order(subnets(want.region), want.cluster, want.zone);
  RunPlan plan{.want = want, .keys = {want.key}, .size = want.sizes[0]};
  if (!places.empty()) plan.subnet = places[0];
  plan.image = image(want.region, want.image, size(want.region, plan.size).arch);
  AwsParameters parameters = run_parameters(plan);
  parameters.emplace_back("DryRun", "true");
  try {
    client_.query("ec2", want.region, "RunInstances", parameters,
                  fmt::format("cannot boot machines in {}", where(want)));
  } catch (const Ec2Error& e) {
    if (e.code() != "DryRunOperation") throw;  // the one that says yes
  }
}

std::vector<Booted> Amazon::boot(const std::vector<MachineWant>& all) {
  std::vector<Booted> result(all.size());
  std::map<std::pair<std::string, std::string>, std::map<std::string, Machine>>
      there;  // by cluster and region
  for (const MachineWant& want : all)
    if (!there.count({want.cluster, want.region}))
      there[{want.cluster, want.region}] = known(want.cluster, want.region);

  std::vector<MachineWant> wants;
  std::vector<size_t> place_of;  // in `result`
  for (size_t i = 0; i < all.size(); ++i) {
    const MachineWant& want = all[i];
    result[i].key = want.key;
    const auto& machines = there[{want.cluster, want.region}];
    if (auto it = machines.find(want.key); it != machines.end()) {
      result[i].machine = it->second;
    } else if (want.user_data.size() > user_data_limit()) {
      result[i].error = too_large(want);
    } else {
      wants.push_back(want);
      if (want.sizes.empty()) wants.back().sizes = {default_size()};
      place_of.push_back(i);
    }
  }
  auto parts = batches(wants);
  in_parallel(batches_at_once, parts.size(), [&](size_t p) {
    std::map<std::string, size_t> index;
    std::vector<std::string> keys;
    for (size_t i : parts[p]) {
      index[wants[i].key] = place_of[i];
      keys.push_back(wants[i].key);
    }
    std::vector<Booted> booted;
    std::optional<ProviderError> error;
    try {
      boot_batch(wants[parts[p][0]], keys, booted);
    } catch (const ProviderError& e) {
      if (e.kind() == FailureKind::no_credentials) throw;
      error = e;
    }
    for (Booted& one : booted)
      if (auto it = index.find(one.key); it != index.end()) result[it->second] = std::move(one);
    for (const auto& [key, i] : index)
      if (error && !result[i].machine && !result[i].error) result[i].error = error;
  });
  return result;
}

}  // namespace rayctl::cloud
