#include "stitch/stitch.h"

#include <cstdlib>

#include "base/file.h"
#include "base/text.h"
#include "stitch/evaluator.h"

namespace rayctl::stitch {

namespace {

std::string directory_of(const std::string& file) {
  size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash + 1);
}

bool looks_like_json(const std::string& path, std::string_view text) {
  return path.ends_with(".json") || trim(text).starts_with("{");
}

}  // namespace

std::vector<std::string> quilt_path() {
  std::vector<std::string> directories;
  if (const char* value = std::getenv("QUILT_PATH"))
    for (std::string& directory : split(value, ':')) {
      if (directory.starts_with("~/"))
        if (const char* home = std::getenv("HOME")) directory = join(home, directory.substr(2));
      if (!directory.empty()) directories.push_back(std::move(directory));
    }
  if (directories.empty())
    if (const char* home = std::getenv("HOME"); home && *home) directories.push_back(join(home, ".quilt"));
  return directories;
}

Options default_options() {
  Options options;
  options.path = quilt_path();
  return options;
}

Deployment evaluate(std::string text, const std::string& file, const Options& options) {
  Evaluator evaluator(options);
  return evaluator.run({file, directory_of(file), std::move(text)});
}

Deployment load_deployment(const std::string& path, const Options& options) {
  std::string text;
  try {
    text = read_file(path, options.limits.file_size * 16);
  } catch (Error& e) {
    if (!path.ends_with(".spec") && !path.ends_with(".json") && !exists(path) && exists(path + ".spec"))
      e.hint("did you mean '{}.spec'?", path);
    throw;
  }
  bool json = looks_like_json(path, text);
  if (!json && text.size() > options.limits.file_size)
    throw Error("cannot read '{}': a spec has at most {}", path, human_size(options.limits.file_size));
  Deployment deployment = json ? deployment_from_json(text, path) : evaluate(std::move(text), path, options);
  for (const std::string& remark : remarks(deployment))
    options.log(Level::warn, fmt::format("{}: {}", path, remark));
  return deployment;
}

std::vector<std::string> imports_of(std::string text, const std::string& file) {
  Symbols symbols;
  Parsed parsed = parse({file, "", std::move(text)}, symbols);
  std::vector<std::string> found;
  for (const Node* form : parsed.forms) {
    bool imports = form->kind == Node::Kind::form && form->children.size() == 2 &&
                   form->children[0]->kind == Node::Kind::name &&
                   symbols.name(form->children[0]->symbol) == "import" &&
                   form->children[1]->kind == Node::Kind::string;
    if (!imports) break;  // imports stand at the top
    found.push_back(form->children[1]->text);
  }
  return found;
}

}  // namespace rayctl::stitch
