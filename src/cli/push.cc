#include "oci/push.h"

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "cli/commands.h"
#include "cli/connect.h"
#include "cli/image_options.h"
#include "fleet/head_images.h"
#include "oci/image_source.h"
#include "oci/location.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string image = {}, target = {};
  RegistryFlags registry = {};
};

constexpr std::string_view to_head = "head:";

// "push head:NAME" sends the local image NAME, "push NAME head:OTHER" under another name.
int run_to_head(const Globals& globals, const std::string& image, const std::string& name) {
  oci::Store store = open_store(globals);
  oci::StoreLock lock = store.use();
  oci::Descriptor descriptor = store.locate(image).descriptor;
  cluster::OperatorClient head = connect(globals);
  try {
    fleet::push_to_head(head, store, descriptor, name);
  } catch (const Interrupted&) {
    throw;
  } catch (Error& e) {
    e.prefix("pushing head:{}", name);
    throw;
  }
  fmt::print("head:{} {}\n", name, descriptor.digest.string());
  return 0;
}

int run(const Globals& globals, const Options& options) {
  catch_interrupts();
  if (options.target.empty() && options.image.starts_with(to_head)) {
    std::string name = options.image.substr(to_head.size());
    return run_to_head(globals, name, name);
  }
  if (options.target.starts_with(to_head) && !oci::is_layout_location(options.image))
    return run_to_head(globals, options.image, options.target.substr(to_head.size()));
  oci::Location from =
      oci::parse_location(oci::is_layout_location(options.image) ? options.image : "scratch");
  std::string work = join(globals.paths.state_dir, "tmp");
  if (options.target.empty() && oci::is_layout_location(options.image))
    throw UsageError("cannot push '{}': name the target too", options.image);
  oci::Location to = oci::parse_location(options.target.empty() ? options.image : options.target);

  oci::Store own = open_store(globals);
  oci::StoreLock lock = own.use();
  std::optional<oci::LayoutReader> layout;
  const oci::Store* store = &own;
  oci::Descriptor descriptor;
  if (oci::is_layout_location(options.image)) {
    layout.emplace(from, work);
    store = &layout->layout();
    descriptor = oci::source_from(*store)->manifest(from.name).descriptor;
  } else {
    descriptor = own.locate(options.image).descriptor;
  }
  try {
    if (to.kind == oci::Location::Kind::registry) {
      std::atomic<bool> cancel = false;
      oci::Registry registry(to.reference.registry, options.registry.options(&cancel));
      oci::push(*store, descriptor, registry, to.reference, {.cancel = &cancel});
      fmt::print("{} {}\n", oci::familiar(to.reference), descriptor.digest.string());
    } else {
      if (to.name.empty() && layout) to.name = from.name;
      oci::write_layout(to, *store, descriptor, work);
      fmt::print("{} {}\n", options.target, descriptor.digest.string());
    }
  } catch (const Interrupted&) {
    throw;
  } catch (Error& e) {
    e.prefix("pushing {}", options.target.empty() ? options.image : options.target);
    throw;
  }
  return 0;
}

}  // namespace

Command push_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "push",
      .group = Group::images,
      .summary = "Send an image to a registry, or to a cluster's head",
      .description =
          "TARGET is another name than the image's own, oci:DIR[:NAME], oci-archive:FILE[:NAME] or "
          "head:NAME. Blobs that the other side has are not sent again.\n"
          "An image on the head is named head:NAME in 'rayctl node --image' and in specs; workers fetch it "
          "from there.",
      .arguments = std::vector<Argument>{required(positional("IMAGE", &options->image, "what to send")),
                                         positional("TARGET", &options->target, "where to")} +
                   registry_arguments(options->registry),
      .examples = {{"rayctl push registry.local:5000/ray:1", "to the registry that the name begins with"},
                   {"rayctl push ray:1 registry.local:5000/team/ray:1", "under another name"},
                   {"rayctl push ray:1 oci-archive:ray.tar", "into a file"},
                   {"rayctl push head:ray:1", "the image ray:1 to the head: no registry is needed"}},
      .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
