#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/image_source.h"
#include "oci/location.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::vector<std::string> images = {};
  bool raw = false, config = false, remote = false;
  std::string platform = {};
  RegistryFlags registry = {};
};

struct Inspected {
  std::string name;
  std::string top;     // the document that the name stands for: a manifest or an index
  std::string config;  // as it is, byte for byte
  oci::Image image;
};

Inspected read_from_store(const Globals& globals, const std::string& name, const oci::Platform& platform) {
  oci::Store store = open_store(globals);
  oci::Descriptor at = store.locate(name).descriptor;
  oci::Image image = store.image(at, platform);
  return {name, store.read(at), store.read(image.manifest.config), image};
}

Inspected read_from_source(oci::ImageSource& source, const std::string& name, const std::string& version,
                           const oci::Platform& platform) {
  oci::Registry::Fetched fetched = source.manifest(version);
  Inspected inspected{.name = name, .top = fetched.bytes};
  oci::Document document = oci::parse_document(fetched.bytes, fetched.descriptor.media_type);
  if (auto* index = std::get_if<oci::Index>(&document)) {
    fetched = source.manifest(oci::choose(*index, platform).digest.string());
    document = oci::parse_document(fetched.bytes, fetched.descriptor.media_type);
  }
  if (!std::holds_alternative<oci::Manifest>(document)) throw Error("the index is nested");
  inspected.image.descriptor = fetched.descriptor;
  inspected.image.manifest = std::get<oci::Manifest>(document);
  const oci::Descriptor& config = inspected.image.manifest.config;
  if (config.size > oci::largest_document) throw Error("the config has {} bytes", config.size);
  source.blob(config, 0, 1, [&](Bytes bytes) { inspected.config += as_text(bytes); });
  if (oci::Digest::of(as_bytes(inspected.config), config.digest.algorithm()) != config.digest)
    throw Error("config {} is damaged", config.digest.string());
  inspected.image.config = oci::parse_config(inspected.config);
  return inspected;
}

Inspected inspect(const Globals& globals, const Options& options, const std::string& name) {
  oci::Platform platform =
      options.platform.empty() ? oci::host_platform() : oci::parse_platform(options.platform);
  bool layout = oci::is_layout_location(name);
  if (!layout && !options.remote && !name.starts_with("docker://"))
    return read_from_store(globals, name, platform);
  oci::Location location = oci::parse_location(name);
  if (layout) {
    oci::LayoutReader reader(location, join(globals.paths.state_dir, "tmp"));
    return read_from_source(*oci::source_from(reader.layout()), name, location.name, platform);
  }
  oci::Registry registry(location.reference.registry, options.registry.options());
  auto source = oci::source_from(registry, location.reference.repository);
  return read_from_source(*source, name, oci::version_of(location.reference), platform);
}

// The shape of `docker image inspect`, as far as it has a meaning here.
nlohmann::ordered_json to_json(const Globals& globals, const Inspected& inspected) {
  const oci::Image& image = inspected.image;
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(inspected.config);
  nlohmann::ordered_json json;
  json["Id"] = image.id().string();
  json["Digest"] = image.digest().string();
  json["MediaType"] = image.manifest.media_type;
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  if (exists(store_directory(globals)))
    for (const oci::Tag& tag : open_store(globals).tags())
      if (tag.descriptor.digest == image.digest() && !tag.name.empty()) names.push_back(tag.name);
  json["RepoTags"] = names;
  json["Created"] = image.config.created;
  json["Author"] = image.config.author;
  json["Architecture"] = image.config.platform.architecture;
  json["Variant"] = image.config.platform.variant;
  json["Os"] = image.config.platform.os;
  json["Config"] = config.contains("config") ? config["config"] : nlohmann::ordered_json::object();
  uint64_t size = 0;
  nlohmann::ordered_json layers = nlohmann::ordered_json::array(), diff_ids = nlohmann::ordered_json::array();
  for (const oci::Descriptor& layer : image.manifest.layers) {
    size += layer.size;
    layers.push_back(
        {{"MediaType", layer.media_type}, {"Digest", layer.digest.string()}, {"Size", layer.size}});
  }
  for (const oci::Digest& diff_id : image.config.diff_ids) diff_ids.push_back(diff_id.string());
  json["Size"] = size;
  json["Layers"] = layers;
  json["RootFS"] = {{"Type", "layers"}, {"Layers", diff_ids}};
  if (config.contains("history")) json["History"] = config["history"];
  return json;
}

int run(const Globals& globals, const Options& options) {
  catch_interrupts();
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const std::string& name : options.images) {
    Inspected inspected = inspect(globals, options, name);
    if (options.raw || options.config) {
      fmt::print("{}", options.raw ? inspected.top : inspected.config);
      continue;
    }
    list.push_back(to_json(globals, inspected));
  }
  if (!options.raw && !options.config) fmt::print("{}\n", list.dump(2));
  return 0;
}

}  // namespace

Command inspect_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "inspect",
      .group = Group::images,
      .summary = "Print everything about an image as JSON",
      .description =
          "IMAGE is a name or an id in the store; docker://NAME asks the registry without pulling, and "
          "oci:DIR[:NAME] and oci-archive:FILE[:NAME] read a layout.",
      .arguments =
          std::vector<Argument>{required(positional("IMAGE", &options->images, "what to print")),
                                flag("--raw", options->raw, "print the manifest or index as it is"),
                                flag("--config", options->config, "print the config as it is"),
                                flag("--remote", options->remote, "ask the registry instead of the store"),
                                option("--platform", "OS/ARCH[/VARIANT]", &options->platform,
                                       "another platform than this machine's")} +
          registry_arguments(options->registry),
      .examples = {{"rayctl inspect ray:1", "of the store"},
                   {"rayctl inspect --raw docker://rayproject/ray:2.40.0", "the registry's own words"}},
      .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
