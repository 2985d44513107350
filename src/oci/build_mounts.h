// RUN --mount: bind, cache, tmpfs and secret, from what the Dockerfile says to what the step's runner mounts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "oci/build_step.h"

namespace rayctl::oci {

// The mounts of one step. Cache directories stay locked, as their `sharing` says, as long as the object
// lives.
class StepMounts {
 public:
  StepMounts(const RunAction& action, const BuildRequest& request, const OriginFinder& find_origin,
             std::function<void()> poll);

  // What of them can change the step's result: the files of binds; of caches and secrets only what they are
  // called.
  void add_to(CacheKey& key) const;

  // Binds become copies in `scratch`, so that a writing step changes nothing outside; caches live below
  // `directory`.
  void prepare(RunStep& step, const std::string& directory, const std::string& scratch);

 private:
  StepMount bind(const RunMount& mount, const std::string& place) const;
  StepMount cache(const RunMount& mount, const std::string& directory);
  void secret(const RunMount& mount, RunStep& step) const;

  const RunAction& action_;
  const BuildRequest& request_;
  const OriginFinder& find_origin_;
  std::function<void()> poll_;
  std::vector<FileLock> locks_;
};

}  // namespace rayctl::oci
