// `rayctl get`: clones repositories of specs into QUILT_PATH with the git program, and what their specs
// import.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rayctl::stitch {

struct FetchOptions {
  std::vector<std::string> path = {};  // of imports; clones go to the first directory
  std::string endpoint = {};           // in place of "https://": "file:///mirror/" + "github.com/amplab/ray"
};

// A repository's import path, HOST/OWNER/NAME, and a branch, tag or commit of it (empty = its default
// branch).
struct RepositoryName {
  std::string path = {}, ref = {};
};

// Reads "github.com/amplab/ray/quilt@v1": what follows the third name is a place in the repository and is
// dropped. A path or ref that git could take for an option or that leaves the directory is a UsageError.
RepositoryName parse_repository(std::string_view text);

struct Fetched {
  std::vector<std::string> repositories = {};  // those cloned or brought up to date, in that order
  std::vector<std::string> remarks = {};       // specs that don't parse, imports that aren't in a repository
};

// Clones the repository, or brings a clone up to date (only forward: local commits and changes are kept, or
// it is an error); then all repositories that its specs import and that aren't on the path yet, and so on. No
// hook, submodule or symbolic link of a repository takes effect.
Fetched fetch(const RepositoryName& name, const FetchOptions& options);

}  // namespace rayctl::stitch
