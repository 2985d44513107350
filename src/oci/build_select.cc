#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/build_copy.h"

namespace rayctl::oci {

namespace {

class Selection {
 public:
  Selection(const CopyAction& action, CopyOrigin& origin)
      : action_(action), origin_(origin), exclude_(IgnoreList::of(action.excludes)) {}

  std::vector<CopyPart> run() {
    for (const CopySource& source : action_.sources) {
      if (source.content) {
        parts_.push_back({.name = source.path, .content = source.content});
        continue;
      }
      std::string written = source.path;
      pivot_ = 0;
      if (action_.parents)
        if (size_t dot = written.find("/./"); dot != std::string::npos) {
          std::string kept = clean_path("/" + written.substr(0, dot));
          pivot_ = kept == "/" ? 0 : kept.size();
        }
      std::string path = clean_path(written);
      if (origin_.kind == CopyOrigin::Kind::context && (path == ".." || path.substr(0, 3) == "../"))
        throw Error("cannot copy '{}': it leads out of {}", printable(written), origin_.name);
      path = clean_path("/" + path);
      size_t before = parts_.size();
      if (has_wildcard(path)) {
        match("", path.substr(1));
        if (parts_.size() == before && !any_excluded_)
          throw Error("cannot copy '{}': nothing in {} fits the pattern", printable(written), origin_.name);
      } else {
        take(unescape_pattern(path), written);
      }
    }
    if (parts_.empty() && any_excluded_) return {};
    return std::move(parts_);
  }

 private:
  bool ignored(const std::string& path) const {
    return origin_.kind == CopyOrigin::Kind::context && path != "/" && origin_.ignore.ignores(path.substr(1));
  }

  std::string resolve(const std::string& path) {
    if (origin_.kind == CopyOrigin::Kind::root) return origin_.tree.resolve(path, MergedView::Last::follow);
    try {
      return origin_.tree.resolve(path, MergedView::Last::follow, MergedView::Leaving::refuse);
    } catch (Error& error) {
      error.prefix("cannot copy '{}' from {}", printable(path.substr(1)), origin_.name);
      throw;
    }
  }

  // Walks the segments of a pattern; `base` is what they matched so far ("" = the root).
  void match(const std::string& base, std::string_view rest) {
    size_t slash = rest.find('/');
    std::string_view segment = rest.substr(0, slash);
    bool last = slash == std::string_view::npos;
    if (!has_wildcard(segment)) {
      std::string path = base + "/" + unescape_pattern(segment);
      if (!origin_.tree.find(resolve(path))) return;
      last ? take(path, path.substr(1)) : match(path, rest.substr(slash + 1));
      return;
    }
    Pattern pattern(segment, Pattern::Kind::path);
    std::string directory = resolve(base.empty() ? "/" : base);
    auto found = origin_.tree.find(directory);
    if (!found || !found->is_directory()) return;
    for (const std::string& name : origin_.tree.list(directory)) {
      if (!pattern.matches(name)) continue;
      std::string path = base + "/" + name;
      if (!last) {
        match(path, rest.substr(slash + 1));
        continue;
      }
      if (ignored(path)) {
        auto entry = origin_.tree.find(directory == "/" ? "/" + name : directory + "/" + name);
        if (!entry || !entry->is_directory() || !origin_.ignore.may_hold_exceptions(path.substr(1))) continue;
      }
      take(path, path.substr(1));
    }
  }

  // One source, `path` absolute in the origin's tree and perhaps through symlinks.
  void take(const std::string& path, const std::string& written) {
    std::string real = resolve(path);
    auto found = origin_.tree.find(real);
    bool hidden = found && ignored(real);
    if (!found || (hidden && !found->is_directory()) ||
        (hidden && !origin_.ignore.may_hold_exceptions(real.substr(1)))) {
      Error error("cannot copy '{}': it is not in {}", printable(written), origin_.name);
      if (found) error.hint("the ignore file leaves it out");
      throw error;
    }
    CopyPart part;
    part.name =
        action_.parents ? path.substr(std::min(path.size(), pivot_ + 1)) : path.substr(path.rfind('/') + 1);
    if (!found->is_directory() && excluded(action_.parents ? part.name : real.substr(real.rfind('/') + 1))) {
      any_excluded_ = true;
      return;
    }
    part.entries.push_back({real, "", found->info});
    if (found->is_directory()) walk(real, "", part);
    parts_.push_back(std::move(part));
  }

  bool excluded(const std::string& relative) const { return !exclude_.empty() && exclude_.ignores(relative); }

  void walk(const std::string& directory, const std::string& relative, CopyPart& part) {
    if (++depth_ > 1000) throw Error("cannot copy '{}': directories nest too deep", printable(directory));
    for (const std::string& name : origin_.tree.list(directory)) {
      CopyEntry entry{directory == "/" ? "/" + name : directory + "/" + name,
                      relative.empty() ? name : relative + "/" + name,
                      {}};
      auto found = origin_.tree.find(entry.source);
      if (!found) continue;  // gone in the meantime
      entry.info = found->info;
      std::string below =
          action_.parents && !part.name.empty() ? part.name + "/" + entry.relative : entry.relative;
      bool out = ignored(entry.source), dropped = excluded(below);
      if (!found->is_directory()) {
        if (!out && !dropped) part.entries.push_back(std::move(entry));
        continue;
      }
      if (out && !origin_.ignore.may_hold_exceptions(entry.source.substr(1))) continue;
      if (dropped && !exclude_.may_hold_exceptions(below)) continue;
      size_t place = part.entries.size();
      std::string source = entry.source, deeper = entry.relative;
      part.entries.push_back(std::move(entry));
      walk(source, deeper, part);
      if ((out || dropped) && part.entries.size() == place + 1) part.entries.pop_back();
    }
    --depth_;
  }

  const CopyAction& action_;
  CopyOrigin& origin_;
  IgnoreList exclude_;
  std::vector<CopyPart> parts_;
  size_t pivot_ = 0;
  int depth_ = 0;
  bool any_excluded_ = false;
};

// A field of the hashed form: its length first, so that no two trees look alike.
void add_field(Hasher& hasher, std::string_view text) {
  hasher.add(fmt::format("{}:", text.size()));
  hasher.add(text);
}

void add_file(Hasher& hasher, CopyOrigin& origin, const CopyEntry& entry, std::string& buffer,
              const std::function<void()>& poll) {
  Fd fd = origin.tree.open(entry.source);
  hasher.add(fmt::format("{}:", entry.info.st_size));
  for (;;) {
    ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    check(n, "cannot read '{}'", entry.source);
    if (n == 0) return;
    hasher.add(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
    if (poll) poll();
  }
}

}  // namespace

std::vector<CopyPart> select_parts(const CopyAction& action, CopyOrigin& origin) {
  std::vector<CopyPart> parts = Selection(action, origin).run();
  if (parts.size() > 1 && action.destination.back() != '/')
    throw Error("cannot copy {} sources to '{}': end the destination with '/' to make it a directory",
                parts.size(), printable(action.destination));
  return parts;
}

Digest content_digest(const std::vector<CopyPart>& parts, CopyOrigin& origin,
                      const std::function<void()>& poll) {
  Hasher hasher;
  std::string buffer(1 << 20, '\0');
  for (const CopyPart& part : parts) {
    add_field(hasher, part.name);
    if (part.content) {
      hasher.add("text ");
      add_field(hasher, *part.content);
      continue;
    }
    hasher.add(fmt::format("part {} ", part.entries.size()));
    for (const CopyEntry& entry : part.entries) {
      add_field(hasher, entry.relative);
      hasher.add(fmt::format("{:o} ", entry.info.st_mode));
      if (origin.kind == CopyOrigin::Kind::root) {
        hasher.add(fmt::format("{}:{} ", entry.info.st_uid, entry.info.st_gid));
        for (const auto& [key, value] : origin.tree.attributes(entry.source)) {
          add_field(hasher, key);
          add_field(hasher, value);
        }
      }
      if (S_ISREG(entry.info.st_mode)) add_file(hasher, origin, entry, buffer, poll);
      if (S_ISLNK(entry.info.st_mode)) add_field(hasher, origin.tree.read_link(entry.source));
      if (S_ISCHR(entry.info.st_mode) || S_ISBLK(entry.info.st_mode))
        hasher.add(fmt::format("{} ", entry.info.st_rdev));
    }
  }
  return hasher.finish();
}

}  // namespace rayctl::oci
