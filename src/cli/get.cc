#include <cstdlib>

#include "base/interrupt.h"
#include "base/log.h"
#include "cli/commands.h"
#include "stitch/fetch.h"
#include "stitch/stitch.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::vector<std::string> paths = {};
  std::string endpoint = {};
};

int run(const Options& options) {
  catch_interrupts();
  stitch::FetchOptions fetch{.path = stitch::quilt_path(), .endpoint = options.endpoint};
  if (fetch.endpoint.empty())
    if (const char* endpoint = std::getenv("RAYCTL_GET_ENDPOINT")) fetch.endpoint = endpoint;
  std::vector<stitch::RepositoryName> names;
  for (const std::string& path : options.paths) names.push_back(stitch::parse_repository(path));
  for (const stitch::RepositoryName& name : names) {
    stitch::Fetched fetched = stitch::fetch(name, fetch);
    for (const std::string& remark : fetched.remarks) warn("{}", remark);
    for (const std::string& repository : fetched.repositories)
      fmt::print("{}/{}\n", fetch.path[0], repository);
  }
  return 0;
}

}  // namespace

Command get_command() {
  auto options = std::make_shared<Options>();
  return {.name = "get",
          .group = Group::cluster,
          .summary = "Fetch specs into QUILT_PATH, with what they import",
          .description =
              "Clones the repository with git into the first directory of $QUILT_PATH (~/.quilt), where "
              "`import` finds "
              "it, or brings its clone up to date; then the repositories that its specs import. Prints where "
              "each is.",
          .arguments = {required(positional("PATH[@REF]", &options->paths,
                                            "HOST/OWNER/REPOSITORY, and a branch, tag or commit")),
                        option("--endpoint", "URL", &options->endpoint,
                               "clone from URL/PATH in place of https://PATH (RAYCTL_GET_ENDPOINT)")},
          .examples = {{"rayctl get github.com/amplab/ray", "into ~/.quilt/github.com/amplab/ray"},
                       {"rayctl get github.com/amplab/ray@v1.0", "a tag of it"}},
          .run = [options](const Globals&) { return run(*options); }};
}

}  // namespace rayctl::cli
