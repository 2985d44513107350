#include "oci/build_graph.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/text.h"

namespace rayctl::oci {

namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool is_index(const std::string& text) {
  return text.size() < 6 && all_digits(text);
}

// The latest stage of that name before `limit`.
std::optional<size_t> stage_by_name(const Dockerfile& dockerfile, size_t limit, const std::string& name) {
  for (size_t i = limit; i-- > 0;)
    if (!dockerfile.stages[i].name.empty() && dockerfile.stages[i].name == lower(name)) return i;
  return std::nullopt;
}

std::string expand_at(const Place& place, std::string_view what, const std::string& text,
                      const Lookup& lookup, char escape) {
  try {
    return expand(text, lookup, escape);
  } catch (Error& error) {
    error.prefix("{}:{}: {}", place.file, place.line, what);
    throw;
  }
}

size_t find_target(const Dockerfile& dockerfile, const std::optional<std::string>& target) {
  if (!target) return dockerfile.stages.size() - 1;
  if (auto found = stage_by_name(dockerfile, dockerfile.stages.size(), *target)) return *found;
  if (is_index(*target) && std::stoul(*target) < dockerfile.stages.size()) return std::stoul(*target);
  std::vector<std::string> names;
  for (const Stage& stage : dockerfile.stages)
    if (!stage.name.empty()) names.push_back(stage.name);
  Error error("no stage is called '{}'", printable(*target));
  if (std::string near = nearest(*target, names); !near.empty()) error.hint("did you mean {}?", near);
  throw error;
}

void check_platform(const Stage& stage, const GraphOptions& options, const Lookup& lookup, char escape) {
  if (stage.platform.empty()) return;
  std::string wanted = expand_at(stage.place, "FROM --platform", stage.platform, lookup, escape);
  if (wanted.empty()) return;
  Platform platform;
  try {
    platform = parse_platform(wanted);
  } catch (Error& error) {
    error.prefix("{}:{}: FROM --platform", stage.place.file, stage.place.line);
    throw;
  }
  if (platform.os != options.platform.os || platform.architecture != options.platform.architecture)
    throw error_at(stage.place, "FROM --platform={}: this machine builds {}/{} alone", printable(wanted),
                   options.platform.os, options.platform.architecture);
}

// Names of other stages that the instructions of `stage` copy or mount from.
std::vector<StageBase> sources_of(const Dockerfile& dockerfile, size_t index) {
  std::vector<StageBase> sources;
  for (const Instruction& instruction : dockerfile.stages[index].instructions) {
    if (auto* copy = std::get_if<CopyInstruction>(&instruction.what))
      if (!copy->from.empty())
        sources.push_back(find_source(dockerfile, index, copy->from, instruction.place));
    if (auto* run = std::get_if<RunInstruction>(&instruction.what))
      for (const RunMount& mount : run->mounts)
        if (!mount.from.empty())
          sources.push_back(find_source(dockerfile, index, mount.from, instruction.place));
  }
  return sources;
}

}  // namespace

Variables platform_variables(const Platform& platform) {
  std::string name = platform.os + "/" + platform.architecture;
  std::string variant =
      platform.architecture == "arm" ? platform.variant : "";  // others: only a level of the CPU
  if (!variant.empty()) name += "/" + variant;
  Variables variables;
  for (const char* side : {"TARGET", "BUILD"}) {
    std::string prefix = side;
    variables[prefix + "PLATFORM"] = name;
    variables[prefix + "OS"] = platform.os;
    variables[prefix + "ARCH"] = platform.architecture;
    variables[prefix + "VARIANT"] = variant;
  }
  return variables;
}

bool is_proxy_variable(const std::string& name) {
  static const std::set<std::string> names = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
                                              "all_proxy"};
  bool one_case = name == lower(name) ||
                  std::none_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  return one_case && names.contains(lower(name));
}

StageBase find_source(const Dockerfile& dockerfile, size_t current, const std::string& name,
                      const Place& place) {
  if (name.find('$') != std::string::npos)
    throw error_at(place, "--from='{}' can't hold a variable: name a stage with FROM … AS", printable(name));
  if (auto found = stage_by_name(dockerfile, current, name)) return {StageBase::Kind::stage, *found};
  if (is_index(name)) {
    if (size_t index = std::stoul(name); index < current) return {StageBase::Kind::stage, index};
    throw error_at(place, "--from={}: there are {} stages before this one, counted from 0", name, current);
  }
  if (stage_by_name(dockerfile, dockerfile.stages.size(), name))
    throw error_at(place, "--from={}: that stage is not an earlier one", printable(name));
  if (name == "scratch") throw error_at(place, "--from=scratch: it is empty");
  return {StageBase::Kind::image, 0, name};
}

BuildGraph plan_stages(const Dockerfile& dockerfile, const GraphOptions& options) {
  BuildGraph graph;
  graph.global_args = platform_variables(options.platform);
  Lookup lookup = [&](const std::string& name) -> std::optional<std::string> {
    auto found = graph.global_args.find(name);
    if (found == graph.global_args.end()) return std::nullopt;
    return found->second;
  };
  for (const auto& [place, arg] : dockerfile.global_args)
    for (const Declaration& declaration : arg.declarations) {
      auto given = options.build_args.find(declaration.name);
      if (given != options.build_args.end())
        graph.global_args[declaration.name] = given->second;
      else if (declaration.value)
        graph.global_args[declaration.name] =
            expand_at(place, "ARG " + declaration.name, *declaration.value, lookup, dockerfile.escape);
    }

  graph.target = find_target(dockerfile, options.target);
  for (size_t i = 0; i < dockerfile.stages.size(); ++i) {
    const Stage& stage = dockerfile.stages[i];
    std::string name;
    if (i <= graph.target) name = expand_at(stage.place, "FROM", stage.base, lookup, dockerfile.escape);
    if (name == "scratch")
      graph.bases.push_back({});
    else if (auto earlier = stage_by_name(dockerfile, i, name))
      graph.bases.push_back({StageBase::Kind::stage, *earlier});
    else
      graph.bases.push_back({StageBase::Kind::image, 0, name});
  }

  std::vector<bool> reached(dockerfile.stages.size());
  std::vector<size_t> pending = {graph.target};
  while (!pending.empty()) {
    size_t index = pending.back();
    pending.pop_back();
    if (reached[index]) continue;
    reached[index] = true;
    const Stage& stage = dockerfile.stages[index];
    if (graph.bases[index].kind == StageBase::Kind::image && graph.bases[index].image.empty())
      throw error_at(stage.place, "FROM {}: the name of the image is empty", printable(stage.base));
    check_platform(stage, options, lookup, dockerfile.escape);
    std::vector<StageBase> sources = sources_of(dockerfile, index);
    sources.push_back(graph.bases[index]);
    for (const StageBase& source : sources)
      if (source.kind == StageBase::Kind::stage) pending.push_back(source.stage);
  }
  for (size_t i = 0; i < reached.size(); ++i)
    if (reached[i]) graph.needed.push_back(i);
  return graph;
}

}  // namespace rayctl::oci
