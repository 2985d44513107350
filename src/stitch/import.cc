#include "stitch/import.h"

#include <sys/stat.h>

#include "base/file.h"
#include "stitch/stitch.h"

namespace rayctl::stitch {

namespace {

// The built-in spec that an import means. The standard library is known by its place in 2016's repository and
// by its bare names; ray.spec by its bare name and its place there.
const BuiltinSpec* find_builtin(std::string_view import_path) {
  constexpr std::string_view library = "github.com/NetSys/quilt/specs/stdlib/";
  constexpr std::string_view ray = "github.com/amplab/ray/quilt/";
  std::string_view name = import_path;
  bool of_library = name.starts_with(library), of_ray = name.starts_with(ray);
  if (of_library) name.remove_prefix(library.size());
  if (of_ray) name.remove_prefix(ray.size());
  if (name.find('/') != std::string_view::npos) return nullptr;
  for (const BuiltinSpec& spec : builtin_specs()) {
    if (!of_ray && spec.path == fmt::format("specs/stdlib/{}.spec", name)) return &spec;
    if (!of_library && name == "ray" && spec.path == "specs/ray.spec") return &spec;
  }
  return nullptr;
}

bool is_file(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

std::optional<Imported> find_import(const std::string& import_path, const std::vector<std::string>& path,
                                    const std::string& directory) {
  std::vector<std::string> places = path;
  if (!directory.empty()) places.push_back(directory);
  for (const std::string& place : places) {
    std::string file = join(place, import_path + ".spec");
    if (is_file(file)) return Imported{.key = absolute(file), .file = file};
  }
  if (const BuiltinSpec* spec = find_builtin(import_path))
    return Imported{.key = fmt::format("built-in {}", spec->path), .text = spec->text};
  return std::nullopt;
}

Source read_import(const Imported& imported, size_t most_bytes) {
  if (imported.file.empty()) return {imported.key, "", std::string(imported.text)};
  std::string directory = imported.file.substr(0, imported.file.rfind('/') + 1);
  return {imported.file, directory.empty() ? "." : directory, read_file(imported.file, most_bytes)};
}

std::string import_key(const Source& source) {
  return source.directory.empty() ? source.name : absolute(source.name);
}

bool is_import_path(std::string_view path) {
  if (path.empty() || path.size() > 1000 || path.ends_with(".spec")) return false;
  while (true) {
    size_t slash = path.find('/');
    std::string_view name = path.substr(0, slash);
    if (name.empty() || name.size() > 200 || name[0] == '.' || name[0] == '-') return false;
    for (unsigned char c : name)
      if (c <= ' ' || c == 0x7f || c == '\\' || c == ':') return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace rayctl::stitch
