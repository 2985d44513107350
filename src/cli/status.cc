#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/table.h"
#include "cluster/cluster.h"
#include "fleet/cost.h"
#include "fleet/home.h"
#include "fleet/ledger.h"
#include "ray/report.h"

namespace rayctl::cli {

namespace {

std::string indented(const std::string& text) {
  std::string out;
  for (const std::string& line : split(text, '\n'))
    if (!line.empty()) out += "    " + printable(line) + "\n";
  return out;
}

// "auto (encrypted: 2 wireguard, 1 userspace)", "vxlan (not encrypted)"
std::string describe_overlay(const Json& reply) {
  const Json cluster = reply.at("cluster");
  std::string overlay = cluster.at("overlay").string();
  if (overlay == cluster::host_overlay) return overlay + " (no overlay, not encrypted)";
  if (!cluster.boolean_or("encrypted", false)) return overlay + " (not encrypted)";
  std::map<std::string, size_t> modes;
  for (const Json& node : reply.at("nodes").items())
    if (std::string mode = node.string_or("overlay", ""); !mode.empty()) ++modes[mode];
  std::string text = overlay + " (encrypted";
  const char* separator = ": ";
  for (const auto& [mode, count] : modes) {
    text += fmt::format("{}{} {}", separator, count, mode);
    separator = ", ";
  }
  return text + ")";
}

void print_status(const Json& reply, bool boot) {
  const Json cluster = reply.at("cluster");
  if (cluster.at("id").string().empty()) {
    fmt::print("no cluster yet: {}\n", printable(reply.string_or("head", "this node hasn't joined one")));
    return;
  }
  fmt::print(
      "cluster {}: image {}, overlay {}{}\n", cluster.at("id").string(), cluster.at("image").string(),
      describe_overlay(reply),
      cluster.at("overlay").string() == cluster::host_overlay ? "" : ", pool " + cluster.at("pool").string());
  if (auto head = reply.find("head")) fmt::print("head: {}\n", printable(head->string()));
  std::vector<std::vector<std::string>> rows;
  std::string notes, log;
  cluster::WallTime now = cluster::wall_now();
  for (const Json& node : reply.at("nodes").items()) {
    std::string name = node.at("name").string();
    std::vector<std::string> row = {name, node.at("role").string(), node.at("status").string()};
    if (auto json = node.find("report")) {
      ray::NodeReport report = ray::parse_node_report(*json);
      row.push_back(std::string(ray::stage_name(report.stage)) +
                    (report.detail.empty() ? "" : " " + report.detail));
      row.push_back(ray::describe_age((now - report.since).count()));
      row.push_back(fmt::format("{}", report.cpus));
      row.push_back(human_size(report.memory));
      if (boot) log += fmt::format("{}: {}\n", name, ray::describe_boot(report, now));
      if (!report.error.empty()) notes += fmt::format("{}: {}\n", name, printable(report.error));
      notes += indented(report.log_tail);
    } else {
      row.insert(row.end(), {"unknown", "", "", ""});
    }
    row.push_back(node.string_or("address", ""));
    row.push_back(node.string_or("underlay", ""));
    rows.push_back(std::move(row));
  }
  fmt::print("{}",
             render_table({"NODE", "ROLE", "MEMBER", "STAGE", "FOR", "CPUS", "MEMORY", "ADDRESS", "UNDERLAY"},
                          rows));
  for (const std::string& problem : reply.strings_or_empty("network"))
    fmt::print("network: {}\n", printable(problem));
  if (auto missing = reply.find("missing")) fmt::print("{}\n", missing->string());
  if (!log.empty()) fmt::print("\n{}", log);
  if (!notes.empty()) fmt::print("\n{}", notes);
}

// Of a cluster whose machines were booted from this computer.
std::optional<fleet::Cost> known_cost(const Globals& globals) {
  std::optional<cluster::Context> context = chosen_context(globals);
  std::vector<std::string> known = fleet::known_clusters();
  if (!context || std::find(known.begin(), known.end(), context->name) == known.end()) return std::nullopt;
  std::optional<fleet::LedgerData> data = fleet::read_ledger(fleet::home_of(context->name));
  if (!data) return std::nullopt;
  return fleet::cost_of(data->machines, cluster::wall_now());
}

int status(const Globals& globals, const std::string& format, const std::optional<std::string>& wait,
           bool boot) {
  cluster::OperatorClient client = connect(globals);
  if (wait) {
    int64_t seconds = parse_duration(*wait).count();
    client.request("wait", {{"seconds", seconds}}, std::chrono::seconds(seconds + 10));
  }
  Json reply = client.request("status", nlohmann::json::object());
  std::optional<fleet::Cost> cost = known_cost(globals);
  if (format == "json") {
    nlohmann::json json = reply.raw();
    if (cost)
      json["cost"] = {{"machines", cost->machines},
                      {"per_hour", cost->per_hour},
                      {"so_far", cost->so_far},
                      {"unknown", cost->unknown}};
    fmt::print("{}\n", json.dump(2));
  } else {
    print_status(reply, boot);
    if (cost) fmt::print("machines: {}\n", describe(*cost));
  }
  return 0;
}

}  // namespace

Command status_command() {
  auto format = std::make_shared<std::string>("table");
  auto wait = std::make_shared<std::optional<std::string>>();
  auto boot = std::make_shared<bool>(false);
  return {
      .name = "status",
      .group = Group::node,
      .summary = "Show the nodes, how far each is, and what went wrong",
      .arguments = {choice("-o,--output", {"table", "json"}, format.get(), "the form of the answer"),
                    flag("--boot", *boot, "show what each stage on the way to healthy took"),
                    option("--wait", "TIME", wait.get(),
                           "first wait until all nodes are healthy, at most TIME")},
      .examples = {{"rayctl status", "one line a node: member, stage, size, addresses"},
                   {"rayctl status --wait 5m",
                    "returns once Ray is healthy on the head and all its workers"}},
      .run = [format, wait, boot](const Globals& globals) { return status(globals, *format, *wait, *boot); }};
}

}  // namespace rayctl::cli
