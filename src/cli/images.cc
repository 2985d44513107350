#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/image_options.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string output = "table", filter = {};
  bool quiet = false, no_trunc = false;
};

struct Row {
  std::string repository, tag;
  oci::Digest id, digest;
  std::string created, platform;
  uint64_t size = 0;      // of its blobs
  uint64_t unpacked = 0;  // 0 = not unpacked
};

Row row_of(const oci::Store& store, const std::optional<oci::Layers>& layers, const oci::Tag& tag) {
  Row row{.repository = tag.name, .tag = "<none>", .digest = tag.descriptor.digest};
  try {
    oci::Reference name = oci::parse_reference(tag.name);
    row.repository = oci::familiar_repository(name);
    if (name.tag) row.tag = *name.tag;
  } catch (const Error&) {  // a name that isn't ours stays as it is
    if (tag.name.empty()) row.repository = "<none>";
  }
  try {
    oci::Image image = store.image(tag.descriptor);
    row.id = image.id();
    row.created = image.config.created;
    row.platform = oci::to_string(image.config.platform);
    for (const oci::Descriptor& layer : image.manifest.layers) row.size += layer.size;
    if (layers) {
      uint64_t total = 0;
      bool whole = true;
      for (const oci::Digest& chain : oci::chain_ids(image.config))
        if (auto layer = layers->find(chain))
          total += layer->size;
        else
          whole = false;
      if (whole) row.unpacked = total;
    }
  } catch (const Error&) {  // of another platform, or damaged: listed all the same, so that rmi can name it
    row.id = row.digest;
  }
  return row;
}

void print_json(const std::vector<Row>& rows) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Row& row : rows)
    list.push_back({{"repository", row.repository},
                    {"tag", row.tag},
                    {"id", row.id.string()},
                    {"digest", row.digest.string()},
                    {"created", row.created},
                    {"platform", row.platform},
                    {"size", row.size},
                    {"unpacked", row.unpacked}});
  fmt::print("{}\n", list.dump(2));
}

void print_table(const std::vector<Row>& rows, const Options& options) {
  size_t name = 10, tag = 3;
  for (const Row& row : rows) {
    name = std::max(name, row.repository.size());
    tag = std::max(tag, row.tag.size());
  }
  size_t id = options.no_trunc ? 71 : 12;
  fmt::print("{:<{}}  {:<{}}  {:<{}}  {:<14}  {:<9}  {}\n", "REPOSITORY", name, "TAG", tag, "IMAGE ID", id,
             "CREATED", "SIZE", "UNPACKED");
  for (const Row& row : rows)
    fmt::print("{:<{}}  {:<{}}  {:<{}}  {:<14}  {:<9}  {}\n", printable(row.repository), name,
               printable(row.tag), tag, options.no_trunc ? row.id.string() : row.id.short_hex(), id,
               how_long_ago(row.created), human_size(row.size),
               row.unpacked ? human_size(row.unpacked) : "-");
}

int run(const Globals& globals, const Options& options) {
  oci::Store store = open_store(globals);
  std::optional<oci::Layers> layers;
  if (running_as_root()) layers.emplace(globals.paths.state_dir);
  std::vector<Row> rows;
  for (const oci::Tag& tag : store.tags()) {
    Row row = row_of(store, layers, tag);
    std::string name = row.repository + ":" + row.tag;
    if (options.filter.empty() || row.repository == options.filter || name == options.filter)
      rows.push_back(row);
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.repository, a.tag) < std::tie(b.repository, b.tag);
  });
  if (options.quiet) {
    std::set<std::string> seen;
    for (const Row& row : rows)
      if (seen.insert(row.id.hex()).second)
        fmt::print("{}\n", options.no_trunc ? row.id.string() : row.id.short_hex());
  } else if (options.output == "json") {
    print_json(rows);
  } else {
    print_table(rows, options);
  }
  return 0;
}

}  // namespace

Command images_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "images",
      .group = Group::images,
      .summary = "List the images of the store",
      .arguments = {positional("REPOSITORY[:TAG]", &options->filter, "only these"),
                    flag("-q,--quiet", options->quiet, "print the image ids alone"),
                    flag("--no-trunc", options->no_trunc, "print whole ids"),
                    choice("-o,--output", {"table", "json"}, &options->output, "the form of the list")},
      .examples = {{"rayctl images", "names, ids, ages and sizes"}, {"rayctl images -o json", "for scripts"}},
      .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
