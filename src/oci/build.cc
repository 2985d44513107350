#include "oci/build.h"

#include <chrono>
#include <ctime>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/build_step.h"

namespace rayctl::oci {

namespace {

struct StageResult {
  ImageConfig config = {};
  BuildRoot root = {};
  Declared args = {};
};

// History has an entry for each layer (image-spec asks for it); some tools write none.
void complete_history(ImageConfig& config) {
  size_t layers = 0;
  for (const History& entry : config.history) layers += entry.empty_layer ? 0 : 1;
  if (layers > config.diff_ids.size()) config.history.clear(), layers = 0;
  for (; layers < config.diff_ids.size(); ++layers)
    config.history.push_back({.created_by = "(not recorded)"});
}

// docker's type of a layer is OCI's by another name; an OCI manifest says OCI's.
Descriptor as_oci(Descriptor layer) {
  if (layer.media_type == media::docker_layer_gzip) layer.media_type = media::oci_layer_gzip;
  return layer;
}

std::string first_line(const std::string& text) {
  std::string line = printable(text.substr(0, text.find('\n')));
  if (line.size() <= 120) return line;
  return line.substr(0, 117) + "...";
}

class Builder {
 public:
  Builder(const BuildRequest& request, const BuildServices& services)
      : request_(request),
        services_(services),
        executor_(request, services),
        done_(request.dockerfile.stages.size()) {}

  BuiltImage run() {
    for (const std::string& note : request_.dockerfile.notes) info("{}", note);
    graph_ = plan_stages(
        request_.dockerfile,
        {.build_args = request_.build_args, .target = request_.target, .platform = host_platform()});
    for (size_t index : graph_.needed) {
      const Stage& stage = request_.dockerfile.stages[index];
      for (const Instruction& instruction : stage.instructions) reject_unsupported(instruction);
      total_ += 1 + stage.instructions.size();
    }
    for (size_t index : graph_.needed) stage(index);
    warn_unused();
    return commit(*done_[graph_.target]);
  }

 private:
  std::string position() const { return fmt::format("[{}/{}]", current_, total_); }

  const StageResult& stage(size_t index) {
    if (done_[index]) return *done_[index];
    const Stage& stage = request_.dockerfile.stages[index];
    ++current_;
    info("{} FROM {}{}", position(), shown_base(index), stage.name.empty() ? "" : " AS " + stage.name);
    StageResult result = begin(index);
    std::vector<Instruction> instructions = triggers(result.config, stage);
    total_ += instructions.size();
    instructions.insert(instructions.end(), stage.instructions.begin(), stage.instructions.end());
    StageState state(std::move(result.config), request_.build_args, graph_.global_args,
                     request_.dockerfile.escape, result.args);
    for (const Instruction& instruction : instructions) {
      services_.poll();
      ++current_;
      try {
        execute(index, instruction, state, result.root);
      } catch (Interrupted&) {
        throw;
      } catch (Error& error) {
        std::string place = fmt::format("{}:{}: ", instruction.place.file, instruction.place.line);
        if (error.message().rfind(place, 0) != 0) error.prefix("{}{}", place, first_line(instruction.text));
        throw;
      }
    }
    used_.insert(state.used_args().begin(), state.used_args().end());
    result.config = state.config();
    result.config.diff_ids = result.root.diff_ids;
    result.args = state.args();
    done_[index] = std::make_unique<StageResult>(std::move(result));
    return *done_[index];
  }

  std::string shown_base(size_t index) const {
    const StageBase& base = graph_.bases[index];
    if (base.kind == StageBase::Kind::scratch) return "scratch";
    if (base.kind == StageBase::Kind::image) return printable(base.image);
    const Stage& earlier = request_.dockerfile.stages[base.stage];
    return earlier.name.empty() ? fmt::format("stage {}", base.stage) : earlier.name;
  }

  StageResult begin(size_t index) {
    const StageBase& base = graph_.bases[index];
    if (base.kind == StageBase::Kind::stage) return stage(base.stage);
    StageResult result;
    if (base.kind == StageBase::Kind::scratch) {
      Platform host = host_platform();
      result.config.platform = {.os = host.os, .architecture = host.architecture};
      if (host.architecture == "arm64" || host.architecture == "arm")
        result.config.platform.variant = host.variant;
      return result;
    }
    const Place& place = request_.dockerfile.stages[index].place;
    const Image& found = image(base.image, place);
    result.config = found.config;
    result.root = root_of(found);
    complete_history(result.config);
    return result;
  }

  const Image& image(const std::string& name, const Place& place) {
    auto known = images_.find(name);
    if (known != images_.end()) return known->second;
    try {
      Image found = services_.find_image(name);
      if (found.config.platform.os != "linux" ||
          found.config.platform.architecture != host_platform().architecture)
        throw Error("image '{}' is for {}, and this machine is {}", name, to_string(found.config.platform),
                    to_string(host_platform()));
      return images_.emplace(name, std::move(found)).first->second;
    } catch (Interrupted&) {
      throw;
    } catch (Error& error) {
      error.prefix("{}:{}", place.file, place.line);
      throw;
    }
  }

  BuildRoot root_of(const Image& image) const {
    BuildRoot root;
    root.lowerdirs = services_.layers.lowerdirs(image.config);
    for (const Descriptor& layer : image.manifest.layers) root.blobs.push_back(as_oci(layer));
    root.diff_ids = image.config.diff_ids;
    std::vector<Digest> chains = chain_ids(image.config);
    if (!chains.empty()) root.chain = chains.back();
    return root;
  }

  // ONBUILD of the base: they run first, and once.
  std::vector<Instruction> triggers(ImageConfig& config, const Stage& stage) const {
    std::vector<Instruction> instructions;
    Place place{
        fmt::format("{}:{}: ONBUILD of {}", stage.place.file, stage.place.line, printable(stage.base)), 1};
    for (const std::string& trigger : config.on_build) {
      instructions.push_back(parse_instruction(trigger, request_.dockerfile.escape, place));
      reject_unsupported(instructions.back());
    }
    config.on_build.clear();
    return instructions;
  }

  void execute(size_t index, const Instruction& instruction, StageState& state, BuildRoot& root) {
    Effect effect = state.apply(instruction);
    auto started = std::chrono::steady_clock::now();
    bool layered = !std::holds_alternative<ConfigAction>(effect.action);
    std::string title = position() + " " + first_line(instruction.text);
    StepResult result;
    if (auto* run = std::get_if<RunAction>(&effect.action)) {
      OriginFinder find = [&](const std::string& from, const auto& use) {
        with_origin(index, instruction.place, from, use);
      };
      result = executor_.run(*run, find, root, [&] { info("{}", title); });
      if (result.origin == StepResult::Origin::made) title = position();
    }
    if (auto* copy = std::get_if<CopyAction>(&effect.action))
      with_origin(index, instruction.place, copy->from, [&](CopyOrigin& origin, const Digest& chain) {
        result = executor_.copy(*copy, origin, chain, root);
      });
    if (auto* directory = std::get_if<DirectoryAction>(&effect.action))
      result = executor_.workdir(*directory, root);
    if (layered) {
      ++steps_;
      if (result.origin == StepResult::Origin::cache) {
        ++cached_;
        info("{}: cached", title);
      } else {
        info("{}: done in {}{}", title, human_duration(std::chrono::steady_clock::now() - started),
             result.layer ? ", layer " + human_size(result.size) : "");
      }
      if (!result.created.empty()) stamp_ = result.created;
    } else {
      info("{}", title);
    }
    state.config().history.push_back({.created = stamp_,
                                      .created_by = effect.created_by,
                                      .comment = "rayctl",
                                      .empty_layer = !result.layer});
  }

  void with_origin(size_t index, const Place& place, const std::string& from,
                   const std::function<void(CopyOrigin&, const Digest&)>& use) {
    if (from.empty()) {
      if (!context_) context_ = std::make_unique<MergedView>(std::vector<std::string>{request_.context});
      CopyOrigin origin{CopyOrigin::Kind::context, *context_, request_.ignore,
                        fmt::format("the build context '{}'", request_.context)};
      use(origin, {});
      return;
    }
    StageBase source = find_source(request_.dockerfile, index, from, place);
    bool is_stage = source.kind == StageBase::Kind::stage;
    BuildRoot root = is_stage ? stage(source.stage).root : root_of(image(source.image, place));
    MergedView tree(root.lowerdirs);
    IgnoreList nothing;
    CopyOrigin origin{CopyOrigin::Kind::root, tree, nothing,
                      fmt::format("{} '{}'", is_stage ? "stage" : "image", from)};
    use(origin, root.chain);
  }

  void warn_unused() const {
    for (const auto& [name, value] : request_.build_args) {
      bool global = false;
      for (const auto& [place, arg] : request_.dockerfile.global_args)
        for (const Declaration& declaration : arg.declarations) global = global || declaration.name == name;
      if (!global && !used_.contains(name) && !is_proxy_variable(name) &&
          !request_.optional_args.contains(name))
        warn("--build-arg {} is not used: no ARG of the stages that were built declares it", name);
    }
  }

  BuiltImage commit(const StageResult& target) {
    ImageConfig config = target.config;
    config.created.clear();
    std::vector<History> history = config.history;
    if (!request_.epoch)
      for (History& entry : config.history) entry.created.clear();
    Digest key = CacheKey("image").add("config", to_json(config)).finish();
    config.history = std::move(history);
    config.created = executor_.created();
    if (!request_.epoch && request_.reuse == Reuse::cache) {
      if (auto known = executor_.cache().find_image(key))
        config.created = known->created;  // the same again: the same digest
      else
        executor_.cache().put(key, {.created = config.created});
    }
    for (History& entry : config.history)
      if (entry.created.empty()) entry.created = config.created;

    BuiltImage built{.image = {}, .steps = steps_, .cached = cached_};
    Manifest& manifest = built.image.manifest;
    manifest.config = services_.store.put(to_json(config), media::oci_config);
    manifest.layers = target.root.blobs;
    built.image.config = std::move(config);
    built.image.descriptor = services_.store.put(to_json(manifest), media::oci_manifest);
    validate(built.image);
    for (const auto& stage : done_) {
      if (!stage) continue;
      for (const Descriptor& blob : stage->root.blobs) built.used.blobs.push_back(blob.digest);
      ImageConfig layers;
      layers.diff_ids = stage->root.diff_ids;
      for (const Digest& chain : chain_ids(layers)) built.used.chains.push_back(chain);
    }
    return built;
  }

  const BuildRequest& request_;
  const BuildServices& services_;
  StepExecutor executor_;
  BuildGraph graph_;
  std::vector<std::unique_ptr<StageResult>> done_;
  std::map<std::string, Image> images_;
  std::unique_ptr<MergedView> context_;
  std::set<std::string> used_;
  std::string stamp_;
  size_t current_ = 0, total_ = 0, steps_ = 0, cached_ = 0;
};

}  // namespace

std::string rfc3339(int64_t seconds) {
  time_t time = seconds;
  tm parts{};
  if (!gmtime_r(&time, &parts)) throw Error("cannot write {} seconds as a date", seconds);
  char text[64];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string build_hold(const std::string& name) {
  return "build-" + Digest::of(name).hex();
}

BuiltImage build(const BuildRequest& request, const BuildServices& services) {
  try {
    return Builder(request, services).run();
  } catch (SysError& error) {
    if (error.code() == ENOSPC || error.code() == EDQUOT)
      error.hint("make room below '{}'", services.state_dir);
    throw;
  }
}

}  // namespace rayctl::oci
