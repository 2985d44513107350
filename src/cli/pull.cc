#include "oci/pull.h"

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/paths.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/location.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string image = {}, platform = {}, name = {};
  bool no_unpack = false, quiet = false;
  RegistryFlags registry = {};
};

// Under which name an image from a layout is kept.
std::string name_for(const Options& options, const oci::Location& location) {
  if (!options.name.empty()) return oci::to_string(oci::parse_reference(options.name));
  if (location.kind == oci::Location::Kind::registry) return oci::to_string(location.reference);
  if (location.name.empty())
    throw UsageError("cannot name the image of '{}': add --name NAME", options.image);
  return oci::to_string(oci::parse_reference(location.name));
}

int run(const Globals& globals, const Options& options) {
  catch_interrupts();
  oci::Location location = oci::parse_location(options.image);
  std::string name = name_for(options, location);
  oci::PullOptions pull_options;
  if (!options.platform.empty()) pull_options.platform = oci::parse_platform(options.platform);
  std::atomic<bool> cancel = false;
  pull_options.cancel = &cancel;

  oci::Store store = open_store(globals);
  std::optional<oci::Layers> layers;
  if (running_as_root() && !options.no_unpack) layers.emplace(globals.paths.state_dir);
  oci::StoreLock lock = store.use();

  std::optional<oci::Registry> registry;
  std::optional<oci::LayoutReader> layout;
  std::unique_ptr<oci::ImageSource> source;
  std::string version = location.name;
  if (location.kind == oci::Location::Kind::registry) {
    registry.emplace(location.reference.registry, options.registry.options(&cancel));
    source = oci::source_from(*registry, location.reference.repository);
    version = oci::version_of(location.reference);
  } else {
    layout.emplace(location, join(globals.paths.state_dir, "tmp"));
    source = oci::source_from(layout->layout());
  }
  oci::Image image;
  try {
    image = oci::pull(*source, version, store, layers ? &*layers : nullptr, pull_options);
  } catch (const Interrupted&) {
    throw;
  } catch (Error& e) {
    e.prefix("pulling {}", options.image);
    throw;
  }
  store.tag(name, image.descriptor);
  if (layers) layers->sync();
  if (!running_as_root())
    info("the layers are not unpacked: containers need root; type: sudo rayctl pull {}", options.image);
  if (options.quiet)
    fmt::print("{}\n", image.id().string());
  else
    fmt::print("{} {}\n", oci::familiar(oci::parse_reference(name)), image.digest().string());
  return 0;
}

}  // namespace

Command pull_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "pull",
      .group = Group::images,
      .summary = "Fetch an image from a registry and unpack it",
      .description =
          "IMAGE is a name as docker knows it, oci:DIR[:NAME] or oci-archive:FILE[:NAME]. Logins come from "
          "docker's config.json and podman's auth.json. A pull that was interrupted goes on where it ended.",
      .arguments =
          std::vector<Argument>{required(positional("IMAGE", &options->image, "what to fetch")),
                                option("--platform", "OS/ARCH[/VARIANT]", &options->platform,
                                       "another platform than this machine's"),
                                option("--name", "NAME[:TAG]", &options->name, "keep it under this name"),
                                flag("--no-unpack", options->no_unpack, "keep the blobs alone"),
                                flag("-q,--quiet", options->quiet, "print the image id alone")} +
          registry_arguments(options->registry),
      .examples = {{"rayctl pull rayproject/ray:2.40.0", "from Docker Hub"},
                   {"rayctl pull --registry-ca ca.pem registry.local:5000/ray:1",
                    "from a registry with its own CA"},
                   {"rayctl pull oci-archive:ray.tar --name ray:1", "from a file"}},
      .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
