#include "oci/layers.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr size_t short_name = 12;

const std::string& boot_id() {
  static const std::string id{trim(read_file("/proc/sys/kernel/random/boot_id"))};
  return id;
}

std::string random_hex() {
  uint64_t value = 0;
  check(getrandom(&value, sizeof value, 0), "cannot read random bytes");
  return fmt::format("{:016x}", value);
}

std::string name_of(const Digest& chain) {
  return chain.algorithm() == Algorithm::sha256 ? chain.hex() : fmt::format("sha512-{}", chain.hex());
}

std::optional<Digest> chain_of(std::string_view name) {
  std::string text =
      name.starts_with("sha512-") ? "sha512:" + std::string(name.substr(7)) : "sha256:" + std::string(name);
  return Digest::is_digest(text) ? std::optional(Digest::parse(text)) : std::nullopt;
}

bool is_working_name(std::string_view name) {
  return name.starts_with("new-") || name.starts_with("old-");
}

std::string to_text(const LayerInfo& info) {
  return fmt::format(R"({{"boot":"{}","chain":"{}","diffId":"{}","entries":{},"opaqueRoot":{},"size":{}}})",
                     boot_id(), info.chain.string(), info.diff_id.string(), info.entries, info.opaque_root,
                     info.size);
}

}  // namespace

Layers::Layers(const std::string& state_dir) : directory_(join(state_dir, "layers")) {
  make_directories(state_dir);
  make_directories(directory_, 0700);
  make_directories(join(directory_, "l"), 0700);
}

std::string Layers::path(const Digest& chain) const {
  return absolute(join(directory_, name_of(chain) + "/fs"));
}

std::optional<LayerInfo> Layers::find(const Digest& chain) const {
  std::string base = join(directory_, name_of(chain));
  auto text = read_file_if_exists(join(base, "layer.json"));
  if (!text) return std::nullopt;
  Json json = Json::parse(*text, join(base, "layer.json"));
  if (json.at("boot").string() != boot_id() && !exists(join(base, "synced"))) return std::nullopt;
  return LayerInfo{.chain = chain,
                   .diff_id = Digest::parse(json.at("diffId").string()),
                   .size = json.at("size").size(),
                   .entries = json.at("entries").size(),
                   .opaque_root = json.at("opaqueRoot").boolean()};
}

LayerDraft Layers::draft() {
  std::string path = join(directory_, "new-" + random_hex());
  check(mkdir(path.c_str(), 0700), "cannot make directory '{}'", path);
  Fd lock = open_directory(path);
  check(flock(lock.get(), LOCK_EX | LOCK_NB), "cannot lock '{}'", path);
  LayerDraft draft{directory_, path, std::move(lock)};
  check(mkdir(draft.path().c_str(), 0755), "cannot make directory '{}'", draft.path());
  check(chmod(draft.path().c_str(), 0755), "cannot set the mode of '{}'",
        draft.path());  // whatever the umask
  return draft;
}

// Bottom first, without what an opaque root hides.
std::vector<Digest> Layers::visible(const ImageConfig& config) const {
  std::vector<Digest> shown;
  size_t number = 0;
  for (const Digest& chain : chain_ids(config)) {
    ++number;
    auto layer = find(chain);
    if (!layer) {
      Error error("layer {} of {} of the image is not unpacked", number, config.diff_ids.size());
      error.hint("pull the image again as root");
      throw error;
    }
    if (layer->opaque_root) shown.clear();
    shown.push_back(chain);
  }
  return shown;
}

std::vector<std::string> Layers::lowerdirs(const ImageConfig& config) const {
  std::vector<std::string> paths;
  for (const Digest& chain : visible(config)) paths.push_back(path(chain));
  return paths;
}

// layers/l/<first digits> -> ../<chain>/fs; more digits when another chain has the same ones.
std::string Layers::link_name(const Digest& chain) const {
  std::string target = fmt::format("../{}/fs", name_of(chain));
  for (size_t digits = short_name; digits <= chain.hex().size(); ++digits) {
    std::string name = "l/" + chain.hex().substr(0, digits), full = join(directory_, name);
    if (symlink(target.c_str(), full.c_str()) == 0) return name;
    if (errno != EEXIST) throw SysError(errno, "cannot link '{}'", full);
    std::string found(target.size() + 1, '\0');
    ssize_t n = check(readlink(full.c_str(), found.data(), found.size()), "cannot read link '{}'", full);
    if (std::string_view(found).substr(0, static_cast<size_t>(n)) == target) return name;
  }
  throw Error("cannot link layer {}: every short name is taken", chain.string());
}

std::vector<std::string> Layers::short_lowerdirs(const ImageConfig& config) const {
  std::vector<std::string> names;
  for (const Digest& chain : visible(config)) names.push_back(link_name(chain));
  return names;
}

std::vector<Digest> Layers::list() const {
  std::vector<Digest> found;
  for (const std::string& name : list_directory(directory_))
    if (auto chain = chain_of(name)) found.push_back(*chain);
  return found;
}

void Layers::remove(const Digest& chain) {
  std::string path = join(directory_, name_of(chain));
  // out of sight at once, so that no half of it is ever used
  std::string aside = join(directory_, "old-" + random_hex());
  if (rename(path.c_str(), aside.c_str()) < 0) {
    if (errno == ENOENT) return;
    throw SysError(errno, "cannot remove '{}'", path);
  }
  std::string link = link_name(chain), full = join(directory_, link);
  unlink(full.c_str());
  remove_tree(aside);
}

void Layers::remove_stale() {
  for (const std::string& name : list_directory(directory_)) {
    if (!is_working_name(name)) continue;
    std::string path = join(directory_, name);
    Fd fd{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (fd && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) remove_tree(path);
  }
}

void Layers::sync() {
  std::vector<Digest> waiting;
  for (const Digest& chain : list())
    if (!exists(join(directory_, name_of(chain) + "/synced"))) waiting.push_back(chain);
  if (waiting.empty()) return;
  Fd fd = open_directory(directory_);
  check(syncfs(fd.get()), "cannot sync '{}'", directory_);
  for (const Digest& chain : waiting) {
    std::string base = join(directory_, name_of(chain));
    // one that a power failure cut short must not become trusted now
    if (find(chain)) replace_file(join(base, "synced"), "");
  }
}

LayerDraft::~LayerDraft() {
  if (path_.empty() || !lock_) return;
  try {
    remove_tree(path_);
  } catch (const std::exception&) {  // a destructor; remove_stale() finds what is left
  }
}

void LayerDraft::commit(const LayerInfo& info) {
  Fd file = open_file(join(path_, "layer.json"), O_WRONLY | O_CREAT | O_EXCL, 0600);
  write_fd(file.get(), to_text(info), path_);
  std::string target = join(layers_, name_of(info.chain));
  for (;;) {
    if (rename(path_.c_str(), target.c_str()) == 0) break;
    if (errno != EEXIST && errno != ENOTEMPTY)
      throw SysError(errno, "cannot rename '{}' to '{}'", path_, target);
    // the same layer by another process, or one that a power failure cut short
    Layers layers(layers_.substr(0, layers_.rfind('/')));
    if (layers.has(info.chain)) return;
    layers.remove(info.chain);
  }
  lock_.reset();
}

}  // namespace rayctl::oci
