// Executes the steps of a build that make layers, or finds their results in the cache.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "oci/build.h"
#include "oci/build_copy.h"
#include "oci/build_state.h"

namespace rayctl::oci {

// A root filesystem that steps are stacked on: what a stage has so far.
struct BuildRoot {
  std::vector<std::string> lowerdirs = {};  // bottom first
  std::vector<Descriptor> blobs = {};       // of the layers
  std::vector<Digest> diff_ids = {};
  Digest chain = {};  // of all of them; none for an empty root
};

// Calls `use` with the files that `from` names: a stage, an image, or with "" the build context; and with the
// chain id of its layers, if it has any.
using OriginFinder =
    std::function<void(const std::string& from, const std::function<void(CopyOrigin&, const Digest&)>& use)>;

struct StepResult {
  enum class Origin { cache, made };
  Origin origin = Origin::made;
  bool layer = false;        // one was added to the root
  std::string created = {};  // RFC 3339
  uint64_t size = 0;         // of the files, when it was made
};

class StepExecutor {
 public:
  StepExecutor(const BuildRequest& request, const BuildServices& services);
  ~StepExecutor();

  // Each adds its layer, if any, to `root`. `announce` is called before a RUN that isn't cached starts.
  StepResult run(const RunAction& action, const OriginFinder& find_origin, BuildRoot& root,
                 const std::function<void()>& announce);
  StepResult copy(const CopyAction& action, CopyOrigin& origin, const Digest& origin_chain, BuildRoot& root);
  StepResult workdir(const DirectoryAction& action, BuildRoot& root);

  const BuildCache& cache() const { return cache_; }
  BuildCache& cache() { return cache_; }
  timespec now() const { return now_; }
  std::string created() const { return created_; }

 private:
  class Draft;
  std::optional<StepResult> reuse(const Digest& key, BuildRoot& root, std::string_view compression);
  StepResult finish(const Digest& key, Draft& draft, BuildRoot& root, MergedView& below,
                    const std::function<void(const std::string&, Bytes, bool)>& inspect = {});
  void add(BuildRoot& root, const Digest& diff_id, const Descriptor& blob);
  // Reproducible builds want the same bytes from every processor.
  CacheKey key(std::string_view kind, const Digest& chain) const;

  const BuildRequest& request_;
  const BuildServices& services_;
  BuildCache cache_;
  timespec now_ = {};
  std::string created_;
};

}  // namespace rayctl::oci
