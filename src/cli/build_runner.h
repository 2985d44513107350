// Runs the RUN steps of `rayctl build` in containers: src/run and src/net behind oci::StepRunner.
#pragma once

#include <memory>
#include <string>

#include "oci/build.h"

namespace rayctl::net {
class BuildNetwork;
}

namespace rayctl::cli {

// One build's runner; its network is made with the first step that wants one.
class BuildRunner {
 public:
  explicit BuildRunner(std::string run_dir);
  ~BuildRunner();
  Exit run(const oci::RunStep& step);

 private:
  std::string run_dir_;
  std::unique_ptr<net::BuildNetwork> network_;
};

}  // namespace rayctl::cli
