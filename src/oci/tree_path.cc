#include "oci/tree_path.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr int most_symlinks = 40;   // as the kernel
constexpr size_t most_parts = 400;  // a walk holds a descriptor for each

}  // namespace

std::vector<std::string> path_parts(std::string_view path) {
  if (path.size() >= PATH_MAX)
    throw Error("path '{}…' is longer than {} bytes", printable(path.substr(0, 60)), PATH_MAX - 1);
  std::vector<std::string> parts;
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find('/', at), path.size());
    std::string_view part = path.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    if (part.size() > NAME_MAX)
      throw Error("path '{}…' has a part longer than {} bytes", printable(path.substr(0, 60)), NAME_MAX);
    parts.emplace_back(part);
  }
  if (parts.size() > most_parts)
    throw Error("path '{}…' has more than {} parts", printable(path.substr(0, 60)), most_parts);
  return parts;
}

std::string path_of(const std::vector<std::string>& parts) {
  std::string path;
  for (const std::string& part : parts) path += (path.empty() ? "" : "/") + part;
  return path;
}

std::string proc_path(int directory, const std::string& name) {
  return fmt::format("/proc/self/fd/{}{}{}", directory, name.empty() ? "" : "/", name);
}

TreePlace walk(int root, const std::vector<std::string>& parts, const MakeDirectory& make) {
  auto open_root = [&] {
    return Fd{check(openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), "cannot open the root")};
  };
  std::vector<Fd> stack;  // one per part of `at`
  std::vector<std::string> at;
  Fd top = open_root();
  auto here = [&] { return stack.empty() ? top.get() : stack.back().get(); };
  std::deque<std::string> left(parts.begin(), parts.end());
  int symlinks = 0;

  while (!left.empty()) {
    std::string part = std::move(left.front());
    left.pop_front();
    if (part == "..") {
      if (!stack.empty()) {
        stack.pop_back();
        at.pop_back();
      }
      continue;
    }
    struct stat found {};
    bool there = fstatat(here(), part.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT)
      throw SysError(errno, "cannot stat '{}/{}'", printable(path_of(at)), printable(part));
    if (there && S_ISLNK(found.st_mode)) {
      if (++symlinks > most_symlinks) throw SysError(ELOOP, "cannot resolve '{}'", printable(path_of(parts)));
      char target[PATH_MAX];
      ssize_t n = check(readlinkat(here(), part.c_str(), target, sizeof target), "cannot read link '{}'",
                        printable(part));
      std::string_view text(target, static_cast<size_t>(n));
      if (text.starts_with('/')) {
        stack.clear();
        at.clear();
      }
      // its own ".." count from where it is, so they are kept
      std::vector<std::string> steps;
      for (const std::string& step : split(text, '/'))
        if (!step.empty() && step != ".") steps.push_back(step);
      if (left.size() + steps.size() > most_parts)
        throw SysError(ENAMETOOLONG, "cannot resolve '{}'", printable(path_of(parts)));
      left.insert(left.begin(), steps.begin(), steps.end());
      continue;
    }
    if (!there || !S_ISDIR(found.st_mode)) make(here(), part, there ? found.st_mode : 0, at);
    Fd next{check(openat(here(), part.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                  "cannot open directory '{}/{}'", printable(path_of(at)), printable(part))};
    stack.push_back(std::move(next));
    at.push_back(std::move(part));
  }
  return {stack.empty() ? std::move(top) : std::move(stack.back()), std::move(at)};
}

}  // namespace rayctl::oci
