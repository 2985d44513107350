#include "oci/build_step.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <ctime>
#include <deque>

#include "base/error.h"
#include "base/escapes.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/build_ca.h"
#include "oci/build_mounts.h"
#include "oci/pack.h"

namespace rayctl::oci {

namespace {

constexpr size_t kept_lines = 10;
constexpr size_t longest_line = 4096;

// A step's output: line by line into the log, the last ones kept for the error.
class OutputLines {
 public:
  void add(Bytes bytes) {
    for (char c : as_text(bytes)) {
      if (c == '\n' || line_.size() == longest_line)
        flush();
      else if (returned_ && c != '\r')
        line_.clear();  // a progress bar of the step's own draws its line anew
      returned_ = c == '\r';
      if (c != '\n' && c != '\r') line_ += c;
    }
  }
  void flush() {
    std::string shown = printable(without_escapes(line_));
    line_.clear();
    log_output("    ", shown);
    last_.push_back(std::move(shown));
    if (last_.size() > kept_lines) last_.pop_front();
  }
  std::string finish() {
    if (!line_.empty()) flush();
    std::string text;
    for (const std::string& line : last_) text += "\n    " + line;
    return text;
  }

 private:
  std::string line_;
  bool returned_ = false;  // the last byte was a carriage return
  std::deque<std::string> last_;
};

}  // namespace

// A layer's directory while its step works on it.
class StepExecutor::Draft {
 public:
  explicit Draft(Layers& layers)
      : draft_(layers.draft()), work_(draft_.path().substr(0, draft_.path().rfind('/')) + "/work") {}
  std::string upper() const { return draft_.path(); }
  const std::string& make_work() {
    check(mkdir(work_.c_str(), 0700), "cannot make directory '{}'", work_);
    return work_;
  }
  void commit(const LayerInfo& info) {
    remove_tree(work_);
    draft_.commit(info);
  }

 private:
  LayerDraft draft_;
  std::string work_;
};

StepExecutor::StepExecutor(const BuildRequest& request, const BuildServices& services)
    : request_(request), services_(services), cache_(services.state_dir) {
  if (clock_gettime(CLOCK_REALTIME, &now_) < 0) throw SysError(errno, "cannot read the clock");
  now_.tv_nsec = 0;
  if (request.epoch) now_.tv_sec = *request.epoch;
  created_ = rfc3339(now_.tv_sec);
}

StepExecutor::~StepExecutor() = default;

CacheKey StepExecutor::key(std::string_view kind, const Digest& chain) const {
  CacheKey key(kind);
  key.add("chain", chain.string());
  key.add("platform", to_string(host_platform()));
  key.add("epoch", request_.epoch ? std::to_string(*request_.epoch) : "");
  return key;
}

void StepExecutor::add(BuildRoot& root, const Digest& diff_id, const Descriptor& blob) {
  root.chain = chain_id(root.chain, diff_id);
  root.diff_ids.push_back(diff_id);
  root.blobs.push_back(blob);
  root.lowerdirs.push_back(services_.layers.path(root.chain));
}

std::optional<StepResult> StepExecutor::reuse(const Digest& key, BuildRoot& root,
                                              std::string_view compression) {
  if (request_.reuse == Reuse::nothing) return std::nullopt;
  auto record = cache_.find(key, root.chain, services_.store, services_.layers);
  if (!record) return std::nullopt;
  StepResult result{.origin = StepResult::Origin::cache, .created = record->created};
  if (!record->diff_id) return result;
  auto blob = record->blobs.find(std::string(compression));
  if (blob == record->blobs.end()) {
    Descriptor other =
        recompress(services_.store, record->blobs.begin()->second, record->diff_id, request_.compression);
    blob = record->blobs.emplace(compression, other).first;
    cache_.put(key, *record);
  }
  add(root, record->diff_id, blob->second);
  result.layer = true;
  return result;
}

StepResult StepExecutor::finish(const Digest& key, Draft& draft, BuildRoot& root, MergedView& below,
                                const std::function<void(const std::string&, Bytes, bool)>& inspect) {
  StepResult result{.created = created_};
  CacheRecord record{.created = created_};
  Fd upper = open_directory(draft.upper());
  std::optional<Activity> bar;
  auto packed = pack_layer(services_.store, upper.get(), below,
                           {.compression = request_.compression,
                            .latest_mtime = request_.epoch,
                            .inspect = inspect,
                            .begin = [&](uint64_t total) { bar.emplace("packing the layer", total); },
                            .progress = [&](uint64_t bytes) { bar->advance(bytes); },
                            .poll = services_.poll});
  bar.reset();
  if (packed) {
    services_.poll();
    draft.commit({.chain = chain_id(root.chain, packed->diff_id),
                  .diff_id = packed->diff_id,
                  .size = packed->file_bytes,
                  .entries = packed->entries});
    record.diff_id = packed->diff_id;
    record.blobs[std::string(to_string(request_.compression))] = packed->blob;
    add(root, packed->diff_id, packed->blob);
    result.layer = true;
    result.size = packed->file_bytes;
  }
  cache_.put(key, record);
  return result;
}

StepResult StepExecutor::run(const RunAction& action, const OriginFinder& find_origin, BuildRoot& root,
                             const std::function<void()>& announce) {
  std::string network = action.network == "default" ? request_.network : action.network;
  StepMounts mounts(action, request_, find_origin, services_.poll);
  CacheKey cache_key = key("run", root.chain);
  cache_key.add("argv", action.argv)
      .add("env", action.env)
      .add("cwd", action.cwd)
      .add("user", action.user)
      .add("network", network)
      .add("script-name", action.script_name)
      .add("script", action.script);
  mounts.add_to(cache_key);
  Digest id = cache_key.finish();
  if (auto cached = reuse(id, root, to_string(request_.compression))) return *cached;

  announce();
  Draft draft(services_.layers);
  {
    LayerTree layer(root.lowerdirs, draft.upper(), now_);
    make_workdir(layer, action.cwd, "");  // docker makes a missing one as root, too
  }
  RunStep step{.lowerdirs = root.lowerdirs,
               .extra_lower = {},
               .upper = draft.upper(),
               .work = draft.make_work(),
               .argv = action.argv,
               .env = action.env,
               .cwd = action.cwd,
               .user = action.user,
               .network = network};
  for (const std::string& proxy : request_.proxy_env) {  // an ENV of the image wins
    std::string name = proxy.substr(0, proxy.find('=') + 1);
    bool set = std::any_of(step.env.begin(), step.env.end(),
                           [&](const std::string& entry) { return entry.starts_with(name); });
    if (!set) step.env.push_back(proxy);
  }
  TempDir scratch(cache_.directory());
  if (!action.script_name.empty())
    step.mounts.push_back(
        {.kind = StepMount::Kind::file, .target = action.argv[0], .content = action.script, .mode = 0555});
  mounts.prepare(step, cache_.directory(), scratch.path());
  if (!request_.ca_bundle.empty()) {
    std::string ca = join(scratch.path(), "ca");
    rayctl::make_directories(ca, 0755);
    make_ca_layer(ca, root.lowerdirs, request_.ca_bundle, now_);
    step.extra_lower.push_back(ca);
    for (const std::string& variable : ca_environment()) {
      std::string name = variable.substr(0, variable.find('=') + 1);
      std::erase_if(step.env, [&](const std::string& entry) { return entry.starts_with(name); });
      step.env.push_back(variable);
    }
  }
  OutputLines lines;
  step.output = [&](Bytes bytes) { lines.add(bytes); };
  Exit exit = services_.run(step);
  std::string last = lines.finish();
  services_.poll();
  if (!exit.success())
    throw Error("{}{}", describe(exit), last.empty() ? "; it printed nothing" : "; its last lines:" + last);

  MergedView below(root.lowerdirs);
  if (request_.ca_bundle.empty()) return finish(id, draft, root, below);
  std::vector<std::string> all = root.lowerdirs;
  all.push_back(draft.upper());
  MergedView result(all);
  CaGuard guard(request_.ca_bundle, result);
  return finish(id, draft, root, below,
                [&](const std::string& path, Bytes piece, bool end) { guard.inspect(path, piece, end); });
}

StepResult StepExecutor::copy(const CopyAction& action, CopyOrigin& origin, const Digest& origin_chain,
                              BuildRoot& root) {
  std::vector<CopyPart> parts = select_parts(action, origin);
  CacheKey cache_key =
      key(action.kind == CopyInstruction::Kind::add ? "add" : "copy", action.link ? Digest{} : root.chain);
  cache_key.add("destination", action.destination)
      .add("chown", action.chown)
      .add("chmod", action.chmod)
      .add("options", fmt::format("{}{}{}", action.link ? 'l' : '-', action.parents ? 'p' : '-',
                                  action.unpack ? 'u' : '-'))
      .add("exclude", action.excludes);
  bool texts_only =
      std::all_of(parts.begin(), parts.end(), [](const CopyPart& p) { return p.content.has_value(); });
  if (origin.kind == CopyOrigin::Kind::root && !texts_only) {
    cache_key.add("from", origin_chain.string());
    for (const CopySource& source : action.sources) cache_key.add("source", source.path);
  } else {
    cache_key.add("content", content_digest(parts, origin, services_.poll).string());
  }
  Digest id = cache_key.finish();
  if (auto cached = reuse(id, root, to_string(request_.compression))) return *cached;

  Draft draft(services_.layers);
  std::vector<std::string> lowerdirs = action.link ? std::vector<std::string>{} : root.lowerdirs;
  {
    LayerTree layer(lowerdirs, draft.upper(), now_);
    copy_parts(action, parts, origin, layer, {.now = now_, .poll = services_.poll});
  }
  MergedView below(lowerdirs);
  return finish(id, draft, root, below);
}

StepResult StepExecutor::workdir(const DirectoryAction& action, BuildRoot& root) {
  Digest id = key("workdir", root.chain).add("path", action.path).add("user", action.user).finish();
  if (auto cached = reuse(id, root, to_string(request_.compression))) return *cached;
  Draft draft(services_.layers);
  LayerTree layer(root.lowerdirs, draft.upper(), now_);
  make_workdir(layer, action.path, action.user);
  MergedView below(root.lowerdirs);
  return finish(id, draft, root, below);
}

}  // namespace rayctl::oci
