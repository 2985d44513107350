#include "base/error.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/reference.h"

namespace rayctl::cli {

namespace {

struct Options {
  std::string source = {}, target = {};
};

int run(const Globals& globals, const Options& options) {
  oci::Store store = open_store(globals);
  oci::StoreLock lock = store.use();
  oci::Reference target = oci::parse_reference(options.target);
  if (target.digest)
    throw UsageError("cannot tag as '{}': a digest is not given, it is found", options.target);
  oci::Descriptor descriptor = store.locate(options.source).descriptor;
  store.tag(oci::to_string(target), descriptor);
  return 0;
}

}  // namespace

Command tag_command() {
  auto options = std::make_shared<Options>();
  return {.name = "tag",
          .group = Group::images,
          .summary = "Give an image a further name",
          .arguments = {required(positional("IMAGE", &options->source, "a name or an id")),
                        required(positional("NAME", &options->target, "the further name"))},
          .examples = {{"rayctl tag ray:1 registry.local:5000/ray:1", "so that push knows where to"}},
          .run = [options](const Globals& globals) { return run(globals, *options); }};
}

}  // namespace rayctl::cli
