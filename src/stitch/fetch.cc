#include "stitch/fetch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <set>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "stitch/import.h"
#include "stitch/stitch.h"

namespace rayctl::stitch {

namespace {

constexpr size_t most_repositories = 100, most_specs = 10'000;

// What git takes for a branch, tag or commit (git-check-ref-format), without its options and expressions.
bool is_ref(std::string_view ref) {
  if (ref.empty() || ref.size() > 200 || ref.front() == '-' || ref.front() == '/' || ref.front() == '.' ||
      ref.back() == '/' || ref.back() == '.' || ref.find("..") != std::string_view::npos ||
      ref.find("//") != std::string_view::npos || ref.ends_with(".lock"))
    return false;
  return std::all_of(ref.begin(), ref.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-' || c == '/' || c == '+';
  });
}

bool is_plain(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-' || c == '~' || c == '+';
  });
}

void need_git() {
  const char* path = std::getenv("PATH");
  for (const std::string& directory : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':'))
    if (!directory.empty() && access(join(directory, "git").c_str(), X_OK) == 0) return;
  throw Error(
      "cannot fetch specs: the program git is not on PATH (install git, or copy the specs into QUILT_PATH)");
}

std::vector<std::string> git_environment() {
  std::vector<std::string> env;
  for (char** entry = environ; *entry; ++entry)
    if (!std::string_view(*entry).starts_with("GIT_")) env.emplace_back(*entry);
  // No question on the terminal, no transport that runs programs.
  for (const char* more : {"GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=https:http:file", "LC_ALL=C.UTF-8"})
    env.emplace_back(more);
  return env;
}

std::string git(std::vector<std::string> arguments, const std::string& doing) {
  std::vector<std::string> argv{"git",
                                "-c",
                                "core.hooksPath=/dev/null",
                                "-c",
                                "core.symlinks=false",
                                "-c",
                                "core.fsmonitor=false",
                                "-c",
                                "submodule.recurse=false",
                                "-c",
                                "advice.detachedHead=false"};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  Output output = run_captured({.argv = argv, .env = git_environment()});
  if (interrupted()) throw Interrupted();
  if (output.exit.success()) return std::string(trim(output.out));
  std::vector<std::string> said;
  for (const std::string& line : split(output.err, '\n'))
    if (!trim(line).empty()) said.push_back(printable(trim(line)));
  if (said.size() > 3) said.erase(said.begin(), said.end() - 3);
  throw Error("cannot {}: git: {}", doing,
              said.empty() ? describe(output.exit) : fmt::format("{}", fmt::join(said, "; ")));
}

// Files named *.spec below a directory, without what git keeps.
void find_specs(const std::string& directory, std::vector<std::string>& found, int depth = 0) {
  if (depth > 20) return;
  for (const std::string& name : list_directory(directory)) {
    if (name == ".git" || found.size() >= most_specs) continue;
    std::string path = join(directory, name);
    auto info = status(path);
    if (!info) continue;
    if (S_ISDIR(info->st_mode))
      find_specs(path, found, depth + 1);
    else if (S_ISREG(info->st_mode) && name.ends_with(".spec"))
      found.push_back(path);
  }
}

class Fetcher {
 public:
  explicit Fetcher(const FetchOptions& options) : options_(options) {
    if (options.path.empty()) throw Error("cannot fetch specs: neither QUILT_PATH nor HOME is set");
  }

  Fetched run(const RepositoryName& first) {
    wanted_.push_back({first, ""});
    while (!wanted_.empty()) {
      auto [name, because] = wanted_.front();
      wanted_.pop_front();
      if (!seen_.insert(name.path).second) continue;
      if (seen_.size() > most_repositories)
        throw Error("cannot fetch specs: they import from more than {} repositories", most_repositories);
      try {
        fetch_one(name);
      } catch (Error& e) {
        if (!because.empty()) e.hint("imported by {}", because);
        throw;
      }
      follow_imports(join(options_.path[0], name.path));
    }
    return std::move(fetched_);
  }

 private:
  void fetch_one(const RepositoryName& name) {
    std::string directory = join(options_.path[0], name.path);
    Activity activity(fmt::format("getting {}", name.path), 0);
    if (exists(directory))
      update(name, directory);
    else
      clone(name, directory);
    fetched_.repositories.push_back(name.path);
  }

  void clone(const RepositoryName& name, const std::string& directory) {
    std::string parent = directory.substr(0, directory.rfind('/'));
    make_directories(parent);
    TempDir temporary(options_.path[0]);
    std::string into = join(temporary.path(), "clone");
    std::string doing = fmt::format("clone '{}'", name.path);
    git({"clone", "--quiet", "--no-recurse-submodules", "--template=", "--", url(name), into}, doing);
    if (!name.ref.empty()) checkout(name, into);
    check(rename(into.c_str(), directory.c_str()), "cannot put the clone at '{}'", directory);
  }

  void update(const RepositoryName& name, const std::string& directory) {
    std::string doing = fmt::format("update '{}'", directory);
    if (!exists(join(directory, ".git")))
      throw Error("cannot {}: it is there but is no clone of git (move it away)", doing);
    if (!name.ref.empty()) return checkout(name, directory);
    git({"-C", directory, "fetch", "--quiet", "--no-recurse-submodules", "origin", "HEAD"}, doing);
    try {
      git({"-C", directory, "merge", "--quiet", "--ff-only", "FETCH_HEAD"}, doing);
    } catch (Error& e) {
      e.hint(
          "the clone has changes or commits of your own that are in the way: commit them to a branch, or "
          "move the "
          "clone away");
      throw;
    }
  }

  void checkout(const RepositoryName& name, const std::string& directory) {
    std::string doing = fmt::format("check out '{}' of '{}'", name.ref, name.path);
    git({"-C", directory, "fetch", "--quiet", "--no-recurse-submodules", "--tags", "origin"}, doing);
    std::string commit;
    for (const std::string& candidate :
         {"refs/remotes/origin/" + name.ref, "refs/tags/" + name.ref, name.ref}) {
      Output output = run_captured({.argv = {"git", "-C", directory, "rev-parse", "--verify", "--quiet",
                                             "--end-of-options", candidate + "^{commit}"},
                                    .env = git_environment()});
      if (output.exit.success()) {
        commit = trim(output.out);
        break;
      }
    }
    if (commit.empty()) throw Error("cannot {}: it has no such branch, tag or commit", doing);
    git({"-C", directory, "checkout", "--quiet", "--detach", commit}, doing);
  }

  std::string url(const RepositoryName& name) const {
    if (options_.endpoint.empty()) return "https://" + name.path;
    return join(options_.endpoint, name.path);
  }

  void follow_imports(const std::string& directory) {
    std::vector<std::string> specs;
    find_specs(directory, specs);
    for (const std::string& spec : specs) {
      std::vector<std::string> imports;
      try {
        imports = imports_of(read_file(spec, 4 << 20), spec);
      } catch (const Error& e) {
        fetched_.remarks.push_back(e.message());
        continue;
      }
      for (const std::string& path : imports) follow(path, spec);
    }
  }

  void follow(const std::string& path, const std::string& spec) {
    std::string own = spec.substr(0, spec.rfind('/'));
    if (is_import_path(path) && find_import(path, options_.path, own)) return;
    bool has_host = is_import_path(path) && path.substr(0, path.find('/')).find('.') != std::string::npos;
    if (!has_host) {
      fetched_.remarks.push_back(
          fmt::format("{} imports '{}', which is in no repository", spec, printable(path)));
      return;
    }
    wanted_.push_back({parse_repository(path), spec});
  }

  struct Wanted {
    RepositoryName name;
    std::string because;  // the spec that imports it
  };

  const FetchOptions& options_;
  std::deque<Wanted> wanted_;
  std::set<std::string> seen_;
  Fetched fetched_;
};

}  // namespace

RepositoryName parse_repository(std::string_view text) {
  RepositoryName name;
  size_t at = text.find('@');
  std::string_view path = text.substr(0, at);
  if (at != std::string_view::npos) {
    name.ref = text.substr(at + 1);
    if (!is_ref(name.ref))
      throw UsageError("cannot get '{}': '{}' is no branch, tag or commit", printable(text),
                       printable(name.ref));
  }
  for (std::string_view scheme : {"https://", "http://"})
    if (path.starts_with(scheme)) path.remove_prefix(scheme.size());
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with(".git")) path.remove_suffix(4);
  std::vector<std::string> names = split(path, '/');
  bool plain = is_import_path(path) && std::all_of(names.begin(), names.end(), is_plain);
  if (!plain || names.size() < 3 || names[0].find('.') == std::string::npos)
    throw UsageError("cannot get '{}': write HOST/OWNER/REPOSITORY, for example github.com/amplab/ray",
                     printable(text));
  name.path = fmt::format("{}/{}/{}", names[0], names[1], names[2]);
  return name;
}

Fetched fetch(const RepositoryName& name, const FetchOptions& options) {
  need_git();
  return Fetcher(options).run(name);
}

}  // namespace rayctl::stitch
