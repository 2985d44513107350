// From an image and a node's place in the cluster to the container's specification. Pure.
#pragma once

#include <string>
#include <vector>

#include "oci/config.h"
#include "ray/start.h"
#include "run/defaults.h"

namespace rayctl::ray {

// Host paths of the files that a container is given; all below its own directory.
struct ContainerFiles {
  std::string hosts, resolv_conf, hostname, ray_token;
};

// A container that isn't Ray's: any image, any command.
struct PlainContainer {
  std::vector<std::string> command;  // in place of the image's CMD; empty: that one
  std::vector<std::string> env;      // K=V
};

struct ContainerInputs {
  oci::ImageConfig image;
  std::vector<std::string> lowerdirs;  // bottom first, with the mount points' layer
  std::string upper, work;
  bool image_has_run = false;             // `run` is on the image's own PATH
  std::optional<std::string> entrypoint;  // replaces the image's; "" drops it
  RayNode ray;
  std::optional<PlainContainer> plain = {};  // then of `ray` only the address and resources count
  std::string id;                            // 64 hex digits; the first 12 are the host name
  run::User user;                            // the image's, as its own passwd resolves it
  std::string home;
  ContainerFiles files;
  std::string init_binary;  // the sealed copy, on the host
  std::string netns;        // empty: the machine's own
  std::string cgroups_path;
};

constexpr const char* run_path = "/.rayctl/run";  // rayctl's own `run`, for images without one

// argv of the container's process, below init: ENTRYPOINT, then `run head|worker`; of a plain one its
// command. Throws when there is none.
std::vector<std::string> container_argv(const ContainerInputs& inputs);

// The image's variables, then ours, then HOME and PATH when neither set them; a later value replaces an
// earlier one.
std::vector<std::string> container_environment(const ContainerInputs& inputs);

std::vector<run::Bind> container_binds(const ContainerInputs& inputs);
run::Defaults container_defaults(const ContainerInputs& inputs);

// "K=V" entries with each K once: the last value at the first place.
std::vector<std::string> merge_environment(const std::vector<std::vector<std::string>>& lists);

}  // namespace rayctl::ray
