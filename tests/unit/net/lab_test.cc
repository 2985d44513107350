// What only root in namespaces of its own can do. Hidden from a plain run: tests/functional/5*-*.sh call
// these cases by name, with what they need in the environment.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "net/build_network.h"

using namespace rayctl;
using namespace rayctl::net;

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  if (!value) throw Error("LAB needs {}", name);
  return value;
}

// LAB_COMMAND, told of `variables` ("K=V").
int run_command(const std::vector<std::string>& variables) {
  std::vector<std::string> environment = variables;
  for (char** e = environ; *e; ++e) environment.emplace_back(*e);
  Child child = Child::spawn({.argv = {"bash", "-euc", setting("LAB_COMMAND")}, .env = environment});
  return child.wait().code.value_or(128);
}

}  // namespace

TEST_CASE("lab build network", "[.lab]") {
  std::string run_dir = setting("LAB_RUN_DIR");
  int code = 0;
  {
    BuildNetwork network(run_dir);
    replace_file(run_dir + "/resolv.conf", network.resolv_conf());
    replace_file(run_dir + "/hosts", network.hosts("builder"));
    code = run_command({"NETNS=" + network.netns_path()});
  }
  CHECK(code == 0);
}
