// Which image of the store a user means.
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/text.h"
#include "oci/reference.h"
#include "oci/store.h"

namespace rayctl::oci {

namespace {

constexpr size_t shortest_prefix = 4;

bool is_hex_prefix(std::string_view text) {
  return text.size() >= shortest_prefix && text.size() <= 64 &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The image ids that an entry answers to: its own digest and, of a manifest, the config's.
std::vector<Digest> ids_of(const Store& store, const Descriptor& entry) {
  std::vector<Digest> ids{entry.digest};
  if (!media::is_manifest(entry.media_type) || !store.has(entry)) return ids;
  ids.push_back(parse_manifest(store.read(entry), entry.media_type).config.digest);
  return ids;
}

std::optional<std::string> full_name(std::string_view text) {
  try {
    return to_string(parse_reference(text));
  } catch (const Error&) {  // an id, or a name that only an `oci:` layout of others knows
    return std::nullopt;
  }
}

[[noreturn]] void miss(const Store& store, std::string_view text, const std::optional<std::string>& name) {
  Error error("cannot find image '{}' in '{}'", printable(text), store.directory());
  std::string system_store = join(system_state_dir, "store");
  std::vector<std::string> names;
  for (const Tag& tag : store.tags())
    if (!tag.name.empty() && full_name(tag.name)) names.push_back(familiar(parse_reference(tag.name)));
  if (name && !running_as_root() && absolute(store.directory()) != system_store && exists(system_store) &&
      Store::names_in(system_store, *name)) {
    error.hint("root's store has it: type sudo rayctl and the rest of the line");
  } else if (std::string near = nearest(text, names); !near.empty()) {
    error.hint("there is '{}'; to fetch it: rayctl pull {}", near, printable(text));
  } else if (name) {
    error.hint("to fetch it: rayctl pull {}", printable(text));
  } else {
    error.hint("rayctl images lists what is there");
  }
  throw error;
}

}  // namespace

Store::Found Store::locate(std::string_view text) const {
  std::vector<Tag> all = tags();
  std::optional<std::string> name = full_name(text);
  for (const Tag& tag : all)
    if (!tag.name.empty() && ((name && tag.name == *name) || tag.name == text))
      return {tag.name, tag.descriptor};

  // by digest, also with a repository in front of it: NAME@sha256:…
  std::optional<Digest> digest;
  std::string_view tail = text.substr(text.find('@') == std::string_view::npos ? 0 : text.find('@') + 1);
  if (Digest::is_digest(tail)) digest = Digest::parse(tail);
  if (!digest && !is_hex_prefix(text)) miss(*this, text, name);

  std::vector<Descriptor> matches;
  for (const Tag& tag : all) {
    for (const Digest& id : ids_of(*this, tag.descriptor)) {
      bool same = digest ? id == *digest : std::string_view(id.hex()).starts_with(text);
      bool known = std::any_of(matches.begin(), matches.end(),
                               [&](const Descriptor& m) { return m.digest == tag.descriptor.digest; });
      if (same && !known) matches.push_back(tag.descriptor);
    }
  }
  if (matches.empty()) miss(*this, text, name);
  if (matches.size() > 1)
    throw Error("cannot tell which image '{}' is: {} begin with it", printable(text), matches.size());
  matches.front().annotations.erase(std::string(ref_name_annotation));
  return {std::nullopt, matches.front()};
}

Image Store::resolve(std::string_view text, const Platform& machine) const {
  Found found = locate(text);
  try {
    return image(found.descriptor, machine);
  } catch (Error& e) {
    e.prefix("reading image '{}'", printable(text));
    throw;
  }
}

bool Store::names_in(const std::string& directory, std::string_view name) {
  try {
    auto index = read_file_if_exists(join(directory, "index.json"));
    if (!index) return false;
    for (const Descriptor& d : parse_index(*index).manifests)
      if (auto it = d.annotations.find(std::string(ref_name_annotation));
          it != d.annotations.end() && it->second == name)
        return true;
  } catch (const Error&) {  // another's store that we can't read: it can't help
  }
  return false;
}

}  // namespace rayctl::oci
