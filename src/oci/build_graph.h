// Which stages a build needs, and what each begins from.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "oci/dockerfile.h"
#include "oci/expand.h"
#include "oci/platform.h"

namespace rayctl::oci {

using Variables = std::map<std::string, std::string>;

// Where a stage's files come from, or those of COPY --from.
struct StageBase {
  enum class Kind { scratch, stage, image };
  Kind kind = Kind::scratch;
  size_t stage = 0;        // its index
  std::string image = {};  // its name
  bool operator==(const StageBase&) const = default;
};

struct GraphOptions {
  Variables build_args = {};
  std::optional<std::string> target = {};  // a stage's name or index; the last stage when empty
  Platform platform = {};
};

struct BuildGraph {
  std::vector<StageBase> bases;  // of every stage
  std::vector<size_t> needed;    // stages to build, in order; the target is the last
  size_t target = 0;
  Variables global_args;  // ARGs before the first FROM, with the platform's
};

// Pure. Errors begin with "FILE:LINE: ".
BuildGraph plan_stages(const Dockerfile& dockerfile, const GraphOptions& options);

// What `--from=NAME` in stage `current` means: an earlier stage by name (any case) or index, else an image.
StageBase find_source(const Dockerfile& dockerfile, size_t current, const std::string& name,
                      const Place& place);

// TARGETPLATFORM, BUILDARCH and their kin.
Variables platform_variables(const Platform& platform);

// The variables that name proxies. They reach RUN without being declared, and no layer, history or key.
bool is_proxy_variable(const std::string& name);

}  // namespace rayctl::oci
