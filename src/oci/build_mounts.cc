#include "oci/build_mounts.h"

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

uint32_t number(const std::string& text, std::string_view key, uint32_t fallback, int base = 10) {
  if (text.empty()) return fallback;
  uint32_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (code != std::errc() || end != text.data() + text.size() || value == UINT32_MAX ||
      (base == 8 && value > 07777))
    throw Error("--mount: {}={} is no {}", key, printable(text), base == 8 ? "mode up to 7777" : "number");
  return value;
}

Owner owner_of(const RunMount& mount) {
  return {number(mount.uid, "uid", 0), number(mount.gid, "gid", 0)};
}

// A bind is a COPY of its source.
CopyAction as_copy(const RunMount& mount) {
  CopyAction copy{.sources = {{mount.source.empty() ? "." : mount.source}}, .destination = "/content"};
  copy.from = mount.from;
  return copy;
}

std::string cache_id(const RunMount& mount) {
  return mount.id.empty() ? mount.target : mount.id;
}

std::string secret_id(const RunMount& mount) {
  return mount.id.empty() ? mount.target.substr(mount.target.rfind('/') + 1) : mount.id;
}

}  // namespace

StepMounts::StepMounts(const RunAction& action, const BuildRequest& request, const OriginFinder& find_origin,
                       std::function<void()> poll)
    : action_(action), request_(request), find_origin_(find_origin), poll_(std::move(poll)) {
  for (const RunMount& mount : action.mounts) {
    owner_of(mount);
    number(mount.mode, "mode", 0, 8);
    if (mount.type == "cache" && (!mount.from.empty() || !mount.source.empty()))
      throw Error("--mount=type=cache: from= and source= are not supported by this version of rayctl");
  }
}

void StepMounts::add_to(CacheKey& key) const {
  for (const RunMount& mount : action_.mounts) {
    key.add("mount", mount.type).add("target", mount.target);
    if (mount.type == "bind")
      find_origin_(mount.from, [&](CopyOrigin& origin, const Digest& chain) {
        std::string content =
            chain ? chain.string()
                  : content_digest(select_parts(as_copy(mount), origin), origin, poll_).string();
        key.add("source", mount.source).add("content", content);
      });
    if (mount.type == "cache") key.add("id", cache_id(mount));
    if (mount.type == "tmpfs") key.add("size", mount.size);
    if (mount.type == "secret")
      key.add("id", secret_id(mount))
          .add("env", mount.env)
          .add("mode", mount.mode)
          .add("uid", mount.uid)
          .add("gid", mount.gid);
  }
}

void StepMounts::prepare(RunStep& step, const std::string& directory, const std::string& scratch) {
  size_t count = 0;
  for (const RunMount& mount : action_.mounts) {
    if (mount.type == "bind")
      step.mounts.push_back(bind(mount, join(scratch, fmt::format("bind-{}", count++))));
    if (mount.type == "cache") step.mounts.push_back(cache(mount, join(directory, "mounts")));
    if (mount.type == "tmpfs")
      step.mounts.push_back({.kind = StepMount::Kind::tmpfs,
                             .target = mount.target,
                             .size = mount.size.empty() ? 0 : parse_size(mount.size)});
    if (mount.type == "secret") secret(mount, step);
  }
}

StepMount StepMounts::bind(const RunMount& mount, const std::string& place) const {
  rayctl::make_directories(place, 0755);
  find_origin_(mount.from, [&](CopyOrigin& origin, const Digest&) {
    CopyAction copy = as_copy(mount);
    LayerTree tree({}, place, {});
    copy_parts(copy, select_parts(copy, origin), origin, tree, {.now = {}, .poll = poll_});
  });
  // read-only unless said otherwise
  bool writes = !mount.readonly.value_or(true);
  return {.target = mount.target,
          .source = join(place, "content"),
          .access = writes ? StepMount::Access::write : StepMount::Access::read};
}

StepMount StepMounts::cache(const RunMount& mount, const std::string& directory) {
  rayctl::make_directories(directory, 0700);
  std::string base = join(directory, Digest::of(cache_id(mount)).hex()), path = base;
  if (mount.sharing == "locked") {
    for (;;) {
      if (auto lock = FileLock::try_lock(base + ".lock", LockKind::exclusive)) {
        locks_.push_back(std::move(*lock));
        break;
      }
      if (poll_) poll_();  // Ctrl-C ends the waiting
      usleep(100'000);
    }
  } else if (mount.sharing == "private") {
    for (int number = 0;; ++number) {
      path = number == 0 ? base : fmt::format("{}-{}", base, number);
      auto lock = FileLock::try_lock(path + ".lock", LockKind::exclusive);
      if (!lock) continue;
      locks_.push_back(std::move(*lock));
      break;
    }
  } else {
    locks_.emplace_back(base + ".lock", LockKind::shared);
  }
  Owner owner = owner_of(mount);
  if (mkdir(path.c_str(), 0700) == 0) {
    check(chown(path.c_str(), owner.uid, owner.gid), "cannot set the owner of '{}'", path);
    check(chmod(path.c_str(), number(mount.mode, "mode", 0755, 8)), "cannot set the mode of '{}'", path);
  } else if (errno != EEXIST) {
    throw SysError(errno, "cannot make directory '{}'", path);
  }
  bool reads = mount.readonly.value_or(false);
  return {.target = mount.target,
          .source = path,
          .access = reads ? StepMount::Access::read : StepMount::Access::write};
}

void StepMounts::secret(const RunMount& mount, RunStep& step) const {
  std::string id = secret_id(mount);
  auto found = request_.secrets.find(id);
  if (found == request_.secrets.end()) {
    if (!mount.required) return;
    Error error("--mount=type=secret: there is no secret '{}'", printable(id));
    error.hint("give it with --secret id={},src=FILE", printable(id));
    throw error;
  }
  if (!mount.env.empty()) step.env.push_back(mount.env + "=" + found->second);
  if (!mount.env.empty() && mount.target.empty()) return;
  step.mounts.push_back({.kind = StepMount::Kind::file,
                         .target = mount.target.empty() ? "/run/secrets/" + id : mount.target,
                         .content = found->second,
                         .mode = number(mount.mode, "mode", 0400, 8),
                         .owner = owner_of(mount)});
}

}  // namespace rayctl::oci
