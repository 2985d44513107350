#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "oci/build_state.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

std::string list(const std::vector<std::string>& words) {
  std::string text = "[";
  for (const std::string& word : words) text += (text.size() > 1 ? ", '" : "'") + word + "'";
  return text + "]";
}

std::string show(const RunAction& run) {
  std::string text = fmt::format("  run {}\n    in {} as '{}', network {}\n    env {}\n", list(run.argv),
                                 run.cwd, run.user, run.network, list(run.env));
  if (!run.script.empty()) text += "    script " + run.script_name + ":\n" + run.script;
  for (const RunMount& m : run.mounts)
    text += fmt::format(
        "    mount {} at '{}' source '{}' from '{}' id '{}' env '{}' sharing '{}' uid '{}' gid '{}'\n",
        m.type, m.target, m.source, m.from, m.id, m.env, m.sharing, m.uid, m.gid);
  return text;
}

std::string show(const CopyAction& copy) {
  std::string text = fmt::format("  copy to {} from '{}' chown '{}' chmod '{}'{}\n", copy.destination,
                                 copy.from, copy.chown, copy.chmod, copy.unpack ? " unpack" : "");
  for (const CopySource& source : copy.sources)
    text += source.content ? fmt::format("    file {}: {}", source.path, *source.content)
                           : "    " + source.path + "\n";
  return text;
}

// What the builder would do, one line after the other.
std::string plan_of(const std::string& file) {
  Dockerfile dockerfile = parse_dockerfile(read_file(file), file.substr(file.rfind('/') + 1));
  Variables args = {{"UID", "1000"}};
  Platform platform{.os = "linux", .architecture = "amd64"};
  BuildGraph graph = plan_stages(dockerfile, {.build_args = args, .platform = platform});
  std::string text;
  for (const std::string& note : dockerfile.notes) text += "note " + note + "\n";
  std::map<size_t, std::pair<ImageConfig, Declared>> built;
  for (size_t index : graph.needed) {
    const StageBase& base = graph.bases[index];
    bool on_stage = base.kind == StageBase::Kind::stage;
    text += fmt::format("stage {} on {}\n", index,
                        on_stage                              ? fmt::format("stage {}", base.stage)
                        : base.kind == StageBase::Kind::image ? base.image
                                                              : "scratch");
    StageState state(on_stage ? built[base.stage].first : ImageConfig{}, args, graph.global_args,
                     dockerfile.escape, on_stage ? built[base.stage].second : Declared{});
    for (const Instruction& instruction : dockerfile.stages[index].instructions) {
      reject_unsupported(instruction);
      Effect effect = state.apply(instruction);
      text += fmt::format(" {}: {}\n", instruction.place.line, effect.created_by);
      if (auto* run = std::get_if<RunAction>(&effect.action)) text += show(*run);
      if (auto* copy = std::get_if<CopyAction>(&effect.action)) text += show(*copy);
    }
    text += " config " + to_json(state.config()) + "\n";
    built[index] = {state.config(), state.args()};
  }
  return text;
}

}  // namespace

TEST_CASE("Dockerfiles of the wild become the steps that they mean") {
  for (const char* name : {"ci", "user"}) {
    std::string golden = std::string("tests/golden/oci/") + name + ".steps";
    std::string text = plan_of(std::string("tests/golden/oci/") + name + ".Dockerfile");
    if (std::getenv("RAYCTL_ACCEPT")) replace_file(golden, text);
    CHECK(text == read_file(golden));
  }
}
