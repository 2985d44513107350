// Reads a document back: with libyaml and the JSON parser, so that what a cloud's tools will see is what was
// meant.
#include <yaml.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cloud/units.h"
#include "cloud/user_data.h"

namespace rayctl::cloud {

namespace {

unsigned octal(const std::string& text) {
  if (text.empty() || text.size() > 5 || text.find_first_not_of("01234567") != std::string::npos)
    throw Error("cannot read user-data: '{}' isn't a mode", printable(text));
  return static_cast<unsigned>(std::stoul(text, nullptr, 8));
}

// The lines between `put PATH MODE <<'E'` and E.
std::vector<NodeFile> read_boothook(const std::string& text) {
  std::vector<std::string> lines = split(text, '\n');
  if (lines.size() < 2 || lines[0] != "#cloud-boothook" || lines[1] != "#!/bin/sh")
    throw Error("cannot read user-data: it doesn't begin as a boothook");
  std::vector<NodeFile> files;
  for (size_t i = 2; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    NodeFile file;
    if (size_t bars = line.find("|| put /"); bars != std::string_view::npos) {
      file.write = NodeFile::Write::until_member;
      line.remove_prefix(bars + 3);
    }
    if (!line.starts_with("put /")) continue;
    std::vector<std::string> words = split(line, ' ');
    if (words.size() != 4 || !words[3].starts_with("<<'"))
      throw Error("cannot read user-data: line {} writes no file", i + 1);
    file.path = words[1];
    file.mode = octal(words[2]);
    std::string end = words[3].substr(3, words[3].size() - 4);
    for (++i; i < lines.size() && lines[i] != end; ++i) file.text += lines[i] + "\n";
    if (i == lines.size()) throw Error("cannot read user-data: the text of '{}' has no end", file.path);
    files.push_back(std::move(file));
  }
  return files;
}

// A YAML document in memory.
class Yaml {
 public:
  explicit Yaml(const std::string& text) {
    if (!yaml_parser_initialize(&parser_)) throw Error("cannot read user-data: no memory");
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    if (!yaml_parser_load(&parser_, &document_)) {
      std::string problem = fmt::format("{} in line {}", parser_.problem ? parser_.problem : "bad YAML",
                                        parser_.problem_mark.line + 1);
      yaml_parser_delete(&parser_);
      throw Error("cannot read user-data: {}", problem);
    }
  }
  ~Yaml() {
    yaml_document_delete(&document_);
    yaml_parser_delete(&parser_);
  }
  Yaml(const Yaml&) = delete;
  Yaml& operator=(const Yaml&) = delete;

  const yaml_node_t& root() {
    if (const yaml_node_t* node = yaml_document_get_root_node(&document_)) return *node;
    throw Error("cannot read user-data: it is empty");
  }
  std::vector<const yaml_node_t*> items(const yaml_node_t& node) {
    if (node.type != YAML_SEQUENCE_NODE) throw Error("cannot read user-data: a list is missing");
    std::vector<const yaml_node_t*> found;
    for (const int* i = node.data.sequence.items.start; i < node.data.sequence.items.top; ++i)
      found.push_back(yaml_document_get_node(&document_, *i));
    return found;
  }
  std::vector<std::pair<std::string, const yaml_node_t*>> members(const yaml_node_t& node) {
    if (node.type != YAML_MAPPING_NODE) throw Error("cannot read user-data: a mapping is missing");
    std::vector<std::pair<std::string, const yaml_node_t*>> found;
    for (const yaml_node_pair_t* p = node.data.mapping.pairs.start; p < node.data.mapping.pairs.top; ++p)
      found.emplace_back(scalar(*yaml_document_get_node(&document_, p->key)),
                         yaml_document_get_node(&document_, p->value));
    return found;
  }
  static std::string scalar(const yaml_node_t& node) {
    if (node.type != YAML_SCALAR_NODE) throw Error("cannot read user-data: a text is missing");
    return {reinterpret_cast<const char*>(node.data.scalar.value), node.data.scalar.length};
  }

 private:
  yaml_parser_t parser_;
  yaml_document_t document_;
};

// cloud-init passes over a key that it doesn't know, and takes a mode that isn't quoted for decimal.
std::vector<NodeFile> read_cloud_config(const std::string& text) {
  if (!text.starts_with("#cloud-config\n")) throw Error("cannot read user-data: it isn't a cloud-config");
  Yaml yaml(text);
  std::vector<NodeFile> files;
  for (const auto& [key, value] : yaml.members(yaml.root())) {
    if (key == "runcmd") {
      for (const yaml_node_t* command : yaml.items(*value))
        for (const yaml_node_t* word : yaml.items(*command)) Yaml::scalar(*word);
      continue;
    }
    if (key != "write_files") throw Error("cannot read user-data: '{}' is no key of a cloud-config", key);
    for (const yaml_node_t* entry : yaml.items(*value)) {
      NodeFile& file = files.emplace_back();
      for (const auto& [name, node] : yaml.members(*entry)) {
        if (name == "path") {
          file.path = Yaml::scalar(*node);
        } else if (name == "content") {
          file.text = Yaml::scalar(*node);
        } else if (name == "permissions" && node->type == YAML_SCALAR_NODE &&
                   node->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE) {
          file.mode = octal(Yaml::scalar(*node));
        } else {
          throw Error("cannot read user-data: '{}' of a file isn't as cloud-init wants it", name);
        }
      }
    }
  }
  return files;
}

std::string percent_decode(std::string_view text) {
  std::string plain;
  auto digit = [&](size_t at) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    size_t value = at < text.size() ? digits.find(text[at]) : std::string_view::npos;
    if (value == std::string_view::npos) throw Error("cannot read user-data: a data URL has a bad '%'");
    return value;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    plain += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
    i += 2;
  }
  return plain;
}

std::vector<NodeFile> read_ignition(const std::string& text) {
  Json document = Json::parse(text, "user-data");
  document.only({"ignition", "passwd", "storage", "systemd"});
  std::vector<NodeFile> files;
  for (const Json& file : document.at("storage").at("files").items()) {
    file.only({"path", "mode", "overwrite", "contents"});
    std::string source = file.at("contents").at("source").string();
    if (!source.starts_with("data:,")) throw Error("{}: no data URL", file.path());
    files.push_back({file.at("path").string(), static_cast<unsigned>(file.at("mode").size()),
                     percent_decode(std::string_view(source).substr(6))});
  }
  for (const Json& unit : document.at("systemd").at("units").items()) {
    unit.only({"name", "enabled", "contents"});
    files.push_back(
        {fmt::format("{}/{}", unit_directory, unit.at("name").string()), 0644, unit.at("contents").string()});
  }
  return files;
}

}  // namespace

std::vector<NodeFile> read_user_data(const std::string& text, UserDataFormat format) {
  switch (format) {
    case UserDataFormat::boothook:
      return read_boothook(text);
    case UserDataFormat::cloud_config:
      return read_cloud_config(text);
    case UserDataFormat::ignition:
      return read_ignition(text);
  }
  throw Error("cannot read user-data: the format is unknown");
}

}  // namespace rayctl::cloud
