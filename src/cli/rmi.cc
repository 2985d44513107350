#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/build.h"
#include "oci/collect.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::vector<std::string> images = {};
  bool force = false;
};

std::string shown(const std::string& name) {
  try {
    return oci::familiar(oci::parse_reference(name));
  } catch (const Error&) {  // not a name of ours
    return printable(name);
  }
}

// A name loses that name alone; an id loses all of its names, if there is one or the user insists.
void untag(oci::Store& store, const std::string& image, bool force) {
  oci::Store::Found found = store.locate(image);
  std::vector<std::string> names;
  if (found.name) {
    names = {*found.name};
  } else {
    for (const oci::Tag& tag : store.tags())
      if (tag.descriptor.digest == found.descriptor.digest) names.push_back(tag.name);
    if (names.size() > 1 && !force) {
      std::string all;
      for (const std::string& name : names) all += (all.empty() ? "" : ", ") + shown(name);
      throw Error("cannot remove '{}': it has {} names: {} (name one, or add --force)", printable(image),
                  names.size(), all);
    }
  }
  for (const std::string& name : names) {
    store.untag(name);
    store.release(oci::build_hold(name));
    fmt::print("untagged {}\n", shown(name));
  }
}

int run(const Globals& globals, const Options& options) {
  oci::Store store = open_store(globals);
  std::optional<oci::Layers> layers;
  if (running_as_root()) layers.emplace(globals.paths.state_dir);
  for (const std::string& image : options.images) {
    try {
      untag(store, image, options.force);
    } catch (const Error& e) {
      if (!options.force || e.message().find("cannot find image") == std::string::npos) throw;
      warn("{}", e.message());
    }
  }
  auto collected = oci::collect_garbage(store, layers ? &*layers : nullptr);
  if (!collected)
    info("another command uses the store: the space is freed by the next rayctl rmi");
  else if (collected->blobs + collected->layers > 0)
    info("freed {}", human_size(collected->bytes));
  return 0;
}

}  // namespace

Command rmi_command() {
  auto options = std::make_shared<Options>();
  return {.name = "rmi",
          .group = Group::images,
          .summary = "Remove images and what only they need",
          .description = "What a container or the build cache uses stays until they are gone.",
          .arguments = {required(positional("IMAGE", &options->images, "names or ids")),
                        flag("-f,--force", options->force,
                             "remove all names of an id, and take an image that isn't there as removed")},
          .examples = {{"rayctl rmi ray:1", "the name, and the image if it was the last one"}},
          .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
