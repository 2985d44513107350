#include "cloud/ec2.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/log.h"
#include "base/text.h"
#include "cloud/ec2_pages.h"

namespace rayctl::cloud {

using namespace std::chrono_literals;

namespace {

constexpr auto lag = 2min;  // what a fresh machine may stay invisible for
constexpr size_t ids_per_call = 100;
constexpr size_t regions_at_once = 8;

std::vector<std::vector<std::string>> chunks(const std::vector<std::string>& ids) {
  std::vector<std::vector<std::string>> parts;
  for (size_t i = 0; i < ids.size(); i += ids_per_call)
    parts.emplace_back(ids.begin() + static_cast<ptrdiff_t>(i),
                       ids.begin() + static_cast<ptrdiff_t>(std::min(ids.size(), i + ids_per_call)));
  return parts;
}

}  // namespace

std::unique_ptr<Provider> open_amazon(const ProviderOptions& options) {
  return std::make_unique<Amazon>(options);
}

Amazon::Amazon(const ProviderOptions& options)
    : prices_(PriceTable::load(options.prices_file)), network_(options.network), client_(options) {
  if (!network_.empty() && !network_.starts_with("vpc-") && !network_.starts_with("subnet-"))
    throw ProviderError(FailureKind::invalid, "give a VPC's or a subnet's id: vpc-… or subnet-…",
                        "cannot use '{}' as a network of Amazon", printable(network_));
}

std::vector<std::string> Amazon::regions() const {
  return prices_.regions(name());
}

Place Amazon::place(const std::string& text) const {
  return place_in(regions(), text, name(), "");
}

std::vector<Size> Amazon::sizes(const std::string& region) const {
  return prices_.sizes(name(), region);
}

Size Amazon::size(const std::string& region, const std::string& wanted) {
  if (auto found = prices_.size(name(), region, wanted)) return *found;
  std::string key = region + " " + wanted;
  {
    std::lock_guard lock(mutex_);
    if (auto it = sizes_.find(key); it != sizes_.end()) return it->second;
  }
  std::optional<Size> found;
  try {
    found = parse_instance_type(client_.query("ec2", region, "DescribeInstanceTypes",
                                              {{"InstanceType.1", wanted}},
                                              fmt::format("cannot look up size '{}'", printable(wanted))));
  } catch (const Ec2Error& e) {
    if (e.kind() != FailureKind::invalid && e.kind() != FailureKind::not_found) throw;
  }
  if (!found) {
    std::string near = prices_.nearest_size(name(), wanted);
    throw ProviderError(
        FailureKind::invalid,
        near.empty() ? "see Amazon's list of instance types" : fmt::format("did you mean '{}'?", near),
        "unknown size '{}' of Amazon in {}", printable(wanted), region);
  }
  std::lock_guard lock(mutex_);
  return sizes_.try_emplace(key, *found).first->second;
}

std::string Amazon::account() {
  std::string region = client_.credentials().region();
  if (region.empty()) region = regions().at(0);
  std::string xml =
      client_.query("sts", region, "GetCallerIdentity", {}, "cannot ask Amazon whose account this is");
  std::string arn = parse_text(xml, "GetCallerIdentityResult/Arn");
  return fmt::format("account {}, {}", printable(parse_text(xml, "GetCallerIdentityResult/Account")),
                     printable(arn.substr(arn.rfind(':') + 1)));
}

std::vector<std::string> Amazon::enabled_regions() {
  std::string first = client_.credentials().region();
  if (first.empty()) first = regions().at(0);
  return parse_regions(client_.query("ec2", first, "DescribeRegions", {}, "cannot list Amazon's regions"));
}

std::vector<Machine> Amazon::list_region(const std::string& cluster, const std::string& region) {
  auto found =
      all_pages<Machine>(client_, region, "DescribeInstances",
                         {{"Filter.1.Name", std::string("tag:") + tag_cluster},
                          {"Filter.1.Value.1", cluster},
                          {"MaxResults", "1000"}},
                         fmt::format("cannot list the machines of '{}' in {}", printable(cluster), region),
                         [&](std::string_view xml) { return parse_instances(xml, region); });
  // What we booted a moment ago may not be in the list yet.
  std::set<std::string> ids;
  for (const Machine& machine : found) ids.insert(machine.id);
  std::lock_guard lock(mutex_);
  for (auto it = fresh_.begin(); it != fresh_.end();) {
    const auto& [machine, time] = it->second;
    if (Clock::now() - time > lag || ids.count(machine.id)) {
      it = fresh_.erase(it);
      continue;
    }
    if (machine.cluster == cluster && machine.region == region) found.push_back(machine);
    ++it;
  }
  return found;
}

std::vector<Machine> Amazon::list(const std::string& cluster, const std::vector<std::string>& regions) {
  std::vector<std::string> where = regions.empty() ? enabled_regions() : regions;
  std::vector<std::vector<Machine>> found(where.size());
  in_parallel(regions_at_once, where.size(), [&](size_t i) { found[i] = list_region(cluster, where[i]); });
  std::vector<Machine> all;
  for (auto& part : found) std::move(part.begin(), part.end(), std::back_inserter(all));
  return all;
}

// By a filter, not by id: one id that isn't there would fail the whole call.
std::vector<Machine> Amazon::describe(const std::string& region, const std::vector<std::string>& ids) {
  AwsParameters parameters{{"Filter.1.Name", "instance-id"}, {"MaxResults", "1000"}};
  for (size_t i = 0; i < ids.size(); ++i)
    parameters.emplace_back(fmt::format("Filter.1.Value.{}", i + 1), ids[i]);
  return all_pages<Machine>(client_, region, "DescribeInstances", parameters,
                            fmt::format("cannot look up {} machines in {}", ids.size(), region),
                            [&](std::string_view xml) { return parse_instances(xml, region); });
}

bool Amazon::is_fresh(const std::string& id) {
  std::lock_guard lock(mutex_);
  return fresh_.count(id) != 0;
}

void Amazon::terminate_some(const std::string& region, const std::vector<std::string>& ids,
                            const std::map<std::string, std::string>& cluster_of) {
  std::map<std::string, Machine> found;
  std::vector<std::string> missing = ids;
  for (Tries tries(client_.cancel());;) {
    for (Machine& machine : describe(region, missing)) found[machine.id] = std::move(machine);
    // Those that Amazon doesn't know are gone, unless we booted them a moment ago.
    std::erase_if(missing, [&](const std::string& id) { return found.count(id) || !is_fresh(id); });
    if (missing.empty() || !tries.again()) break;
  }
  AwsParameters parameters;
  auto add = [&](const std::string& id) {
    parameters.emplace_back(fmt::format("InstanceId.{}", parameters.size() + 1), id);
  };
  for (const auto& [id, machine] : found) {
    if (machine.state == MachineState::terminated) continue;
    const std::string& cluster = cluster_of.at(id);
    if (machine.cluster.empty() || machine.cluster != cluster)
      throw ProviderError(FailureKind::invalid, "end it in Amazon's console if it is yours",
                          "refusing to terminate '{}' in {}: it has no tag {}={}", printable(id), region,
                          tag_cluster, printable(cluster));
    add(id);
  }
  for (const std::string& id : missing) add(id);
  if (parameters.empty()) return;
  std::string doing = fmt::format("cannot terminate {} machines in {}", parameters.size(), region);
  for (Tries tries(client_.cancel());;) {
    try {
      client_.query("ec2", region, "TerminateInstances", parameters, doing);
      return;
    } catch (const Ec2Error& e) {
      if (e.kind() != FailureKind::not_found || !tries.again()) throw;
    }
  }
}

void Amazon::terminate(const std::vector<Machine>& machines) {
  std::map<std::string, std::vector<std::string>> by_region;
  std::map<std::string, std::string> cluster_of;
  for (const Machine& machine : machines)
    if (cluster_of.emplace(machine.id, machine.cluster).second)
      by_region[machine.region].push_back(machine.id);
  std::vector<std::pair<std::string, std::vector<std::string>>> calls;
  for (const auto& [region, ids] : by_region)
    for (const auto& part : chunks(ids)) calls.emplace_back(region, part);
  in_parallel(regions_at_once, calls.size(),
              [&](size_t i) { terminate_some(calls[i].first, calls[i].second, cluster_of); });
  std::lock_guard lock(mutex_);
  for (const auto& [id, cluster] : cluster_of) fresh_.erase(id);
  for (auto& [place, keys] : known_)
    std::erase_if(keys, [&](const auto& entry) { return cluster_of.count(entry.second.id) != 0; });
}

std::optional<std::string> Amazon::console(const Machine& machine) {
  std::string xml;
  try {
    xml = client_.query("ec2", machine.region, "GetConsoleOutput", {{"InstanceId", machine.id}},
                        fmt::format("cannot read the console of '{}'", printable(machine.id)));
  } catch (const Ec2Error& e) {
    // too new, or a cloud that only resembles EC2
    if (e.kind() == FailureKind::not_found || e.code() == "InvalidAction" ||
        e.code() == "UnsupportedOperation")
      return std::nullopt;
    throw;
  }
  std::string text = parse_text(xml, "output");
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  if (text.empty()) return std::nullopt;
  return from_base64(text);
}

}  // namespace rayctl::cloud
