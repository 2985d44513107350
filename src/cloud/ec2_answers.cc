#include "cloud/ec2_answers.h"

#include <cstdlib>
#include <pugixml.hpp>

#include "base/json.h"
#include "base/text.h"
#include "cloud/api.h"
#include "cloud/machine_keys.h"

namespace rayctl::cloud {

namespace {

// Only elements and text are kept: no DOCTYPE, no entities but XML's own five.
constexpr unsigned parse_flags =
    pugi::parse_minimal | pugi::parse_escapes | pugi::parse_cdata | pugi::parse_eol;

class Answer {
 public:
  explicit Answer(std::string_view xml) {
    pugi::xml_parse_result result =
        document_.load_buffer(xml.data(), xml.size(), parse_flags, pugi::encoding_utf8);
    if (!result || !document_.document_element())
      throw ProviderError(FailureKind::transient, "is that address EC2's?",
                          "cannot understand Amazon's answer: {}",
                          result ? "it is empty" : result.description());
  }
  pugi::xml_node root() const { return document_.document_element(); }
  std::string next() const { return root().child_value("nextToken"); }

 private:
  pugi::xml_document document_;
};

unsigned small_number(const char* text) {
  return static_cast<unsigned>(std::min(std::strtoul(text, nullptr, 10), 1000000UL));
}

std::string tag(pugi::xml_node node, std::string_view key) {
  for (pugi::xml_node item : node.child("tagSet").children("item"))
    if (item.child_value("key") == key) return item.child_value("value");
  return "";
}

MachineState state_of(std::string_view name) {
  if (name == "pending") return MachineState::pending;
  if (name == "running") return MachineState::running;
  if (name == "shutting-down" || name == "stopping") return MachineState::stopping;
  if (name == "stopped") return MachineState::stopped;
  if (name == "terminated") return MachineState::terminated;
  return MachineState::requested;
}

Machine machine_of(pugi::xml_node node, const std::string& region) {
  Machine machine{.id = node.child_value("instanceId"),
                  .cluster = tag(node, tag_cluster),
                  .role = tag(node, tag_role),
                  .provider = "Amazon",
                  .region = region,
                  .zone = node.child("placement").child_value("availabilityZone"),
                  .size = node.child_value("instanceType"),
                  .state = state_of(node.child("instanceState").child_value("name")),
                  .public_address = node.child_value("ipAddress"),
                  .private_address = node.child_value("privateIpAddress"),
                  .spot = std::string_view(node.child_value("instanceLifecycle")) == "spot"};
  std::vector<std::string> keys = unpack_keys(tag(node, tag_keys));
  size_t index = small_number(node.child_value("amiLaunchIndex"));
  if (index < keys.size()) machine.key = keys[index];
  machine.reason = node.child("stateReason").child_value("message");
  if (machine.reason.empty()) machine.reason = node.child_value("reason");
  if (machine.state == MachineState::pending || machine.state == MachineState::running)
    machine.reason.clear();
  machine.launched =
      parse_time(node.child_value("launchTime")).value_or(std::chrono::system_clock::time_point{});
  return machine;
}

FirewallRule rule_of(pugi::xml_node permission) {
  std::string protocol = permission.child_value("ipProtocol");
  FirewallRule rule{.protocol = protocol == "-1" ? "all" : protocol == "6" ? "tcp" : protocol};
  if (rule.protocol != "all") {
    rule.first = std::atoi(permission.child_value("fromPort"));
    rule.last = std::atoi(permission.child_value("toPort"));
  }
  return rule;
}

Group group_of(pugi::xml_node node) {
  Group group{.id = node.child_value("groupId"),
              .name = node.child_value("groupName"),
              .vpc = node.child_value("vpcId"),
              .cluster = tag(node, tag_cluster)};
  for (pugi::xml_node permission : node.child("ipPermissions").children("item")) {
    FirewallRule rule = rule_of(permission);
    auto add = [&](const std::string& source) {
      rule.source = source;
      group.rules.push_back(rule);
    };
    for (pugi::xml_node item : permission.child("groups").children("item"))
      add(item.child_value("groupId") == group.id ? "self" : item.child_value("groupId"));
    for (pugi::xml_node item : permission.child("ipRanges").children("item")) add(item.child_value("cidrIp"));
    for (pugi::xml_node item : permission.child("ipv6Ranges").children("item"))
      add(item.child_value("cidrIpv6"));
  }
  return group;
}

}  // namespace

AwsFailure parse_aws_failure(std::string_view body) {
  AwsFailure failure;
  pugi::xml_document document;
  std::string_view start = trim(body);
  if (start.starts_with('{')) {
    try {
      Json json = Json::parse(start, "error");
      failure.code = json.string_or("__type", "");
      if (size_t hash = failure.code.rfind('#'); hash != std::string::npos) failure.code.erase(0, hash + 1);
      failure.message = json.string_or("message", json.string_or("Message", ""));
    } catch (const Error&) {  // a proxy's own JSON: as much as is known is said by the status
      failure = {};
    }
  } else if (document.load_buffer(body.data(), body.size(), parse_flags, pugi::encoding_utf8)) {
    pugi::xml_node root = document.document_element();
    pugi::xml_node error = root.child("Errors").child("Error");
    if (!error) error = root.child("Error");
    failure = {.code = error.child_value("Code"), .message = error.child_value("Message")};
  }
  for (std::string_view noise : {" Encoded authorization failure message:", " User: arn:"})
    failure.message = failure.message.substr(0, failure.message.find(noise));
  failure.code = printable(failure.code.substr(0, 100));
  failure.message = printable(trim(failure.message.substr(0, 600)));
  while (failure.message.ends_with('.')) failure.message.pop_back();
  return failure;
}

Page<Machine> parse_instances(std::string_view xml, const std::string& region) {
  Answer answer(xml);
  Page<Machine> page{.next = answer.next()};
  auto add = [&](pugi::xml_node set) {
    for (pugi::xml_node item : set.children("item"))
      if (*item.child_value("instanceId")) page.items.push_back(machine_of(item, region));
  };
  add(answer.root().child("instancesSet"));
  for (pugi::xml_node item : answer.root().child("reservationSet").children("item"))
    add(item.child("instancesSet"));
  return page;
}

std::vector<Image> parse_images(std::string_view xml) {
  Answer answer(xml);
  std::vector<Image> images;
  for (pugi::xml_node item : answer.root().child("imagesSet").children("item")) {
    Image image{.id = item.child_value("imageId"),
                .name = item.child_value("name"),
                .created = item.child_value("creationDate"),
                .arch = arch_of_amazon(item.child_value("architecture")),
                .root_device = item.child_value("rootDeviceName")};
    for (pugi::xml_node disk : item.child("blockDeviceMapping").children("item"))
      if (disk.child_value("deviceName") == image.root_device)
        image.disk_gb = small_number(disk.child("ebs").child_value("volumeSize"));
    if (!image.id.empty()) images.push_back(std::move(image));
  }
  return images;
}

Page<Subnet> parse_subnets(std::string_view xml) {
  Answer answer(xml);
  Page<Subnet> page{.next = answer.next()};
  for (pugi::xml_node item : answer.root().child("subnetSet").children("item"))
    page.items.push_back({.id = item.child_value("subnetId"),
                          .vpc = item.child_value("vpcId"),
                          .zone = item.child_value("availabilityZone"),
                          .is_default = std::string_view(item.child_value("defaultForAz")) == "true"});
  return page;
}

Page<Group> parse_groups(std::string_view xml) {
  Answer answer(xml);
  Page<Group> page{.next = answer.next()};
  for (pugi::xml_node item : answer.root().child("securityGroupInfo").children("item"))
    page.items.push_back(group_of(item));
  return page;
}

std::vector<std::string> parse_regions(std::string_view xml) {
  return parse_ids(xml, "regionInfo", "regionName").items;
}

Page<std::string> parse_ids(std::string_view xml, const char* set, const char* element) {
  Answer answer(xml);
  Page<std::string> page{.next = answer.next()};
  for (pugi::xml_node item : answer.root().child(set).children("item"))
    if (const char* id = item.child_value(element); *id) page.items.emplace_back(id);
  return page;
}

std::string parse_text(std::string_view xml, const char* path) {
  return Answer(xml).root().first_element_by_path(path).child_value();
}

std::optional<Size> parse_instance_type(std::string_view xml) {
  Answer answer(xml);
  pugi::xml_node item = answer.root().child("instanceTypeSet").child("item");
  if (!item) return std::nullopt;
  Size size{.name = item.child_value("instanceType"),
            .cpus = static_cast<double>(small_number(item.child("vCpuInfo").child_value("defaultVCpus"))),
            .ram_gib = std::strtod(item.child("memoryInfo").child_value("sizeInMiB"), nullptr) / 1024};
  for (pugi::xml_node arch : item.child("processorInfo").child("supportedArchitectures").children("item"))
    if (std::string_view name = arch.child_value(); name == "x86_64" || name == "arm64")
      size.arch = arch_of_amazon(name);
  pugi::xml_node gpu = item.child("gpuInfo").child("gpus").child("item");
  size.gpu = gpu.child_value("name");
  size.gpus = small_number(gpu.child_value("count"));
  return size;
}

std::string arch_of_amazon(std::string_view name) {
  return name == "arm64" ? "aarch64" : std::string(name);
}

}  // namespace rayctl::cloud
