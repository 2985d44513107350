#include "oci/build.h"

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/build_runner.h"
#include "cli/commands.h"
#include "cli/image_options.h"
#include "oci/build_ca.h"
#include "oci/location.h"
#include "oci/pull.h"
#include "oci/push.h"
#include "oci/reference.h"

namespace rayctl::cli {

namespace {

constexpr size_t largest_dockerfile = 8 << 20;
constexpr size_t largest_bundle = 16 << 20;
constexpr size_t largest_secret = 500 << 10;  // as docker's

struct Options {
  std::string file, context, target, ca_bundle, network = "default", compression = "zstd";
  std::vector<std::string> tags, build_args, outputs, secrets;
  bool no_cache = false, pull = false, push = false;
  RegistryFlags registry = {};
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string find_dockerfile(const Options& options) {
  if (!options.file.empty()) return options.file;
  std::string path = join(options.context, "Dockerfile");
  if (exists(path)) return path;
  Error error("cannot build '{}': it has no Dockerfile", options.context);
  error.hint("name one with -f");
  throw error;
}

oci::IgnoreList find_ignore_file(const Options& options, const std::string& dockerfile) {
  for (const std::string& path : {dockerfile + ".dockerignore", join(options.context, ".dockerignore")})
    if (auto text = path == "-.dockerignore" ? std::nullopt : read_file_if_exists(path, largest_dockerfile))
      return oci::IgnoreList::parse(*text, path);
  return {};
}

oci::Variables parse_build_args(const Options& options) {
  oci::Variables args;
  for (const std::string& word : options.build_args) {
    size_t equals = word.find('=');
    if (equals == 0) throw UsageError("--build-arg '{}' has no name", word);
    std::string name = word.substr(0, equals);
    if (equals != std::string::npos)
      args[name] = word.substr(equals + 1);
    else if (const char* value = std::getenv(name.c_str()))
      args[name] = value;  // the value of our own environment, as docker takes it
  }
  return args;
}

std::optional<int64_t> parse_epoch(const oci::Variables& args) {
  auto given = args.find("SOURCE_DATE_EPOCH");
  std::string text = given != args.end() ? given->second : environment("SOURCE_DATE_EPOCH");
  if (text.empty()) return std::nullopt;
  int64_t seconds = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (code != std::errc() || end != text.data() + text.size() || seconds < 0 || seconds > 253402300799)
    throw UsageError("SOURCE_DATE_EPOCH is '{}': it must be a number of seconds since 1970", printable(text));
  return seconds;
}

std::vector<std::string> proxy_environment(const oci::Variables& args) {
  std::vector<std::string> env;
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy",
                           "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"}) {
    auto given = args.find(name);
    std::string value = given != args.end() ? given->second : environment(name);
    if (!value.empty()) env.push_back(fmt::format("{}={}", name, value));
  }
  return env;
}

// The bundle that this machine's programs trust.
std::string host_bundle() {
  if (std::string path = environment("SSL_CERT_FILE"); !path.empty()) return path;
  for (const char* path : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                           "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"})
    if (exists(path)) return path;
  throw Error("cannot use --ca-bundle host: this machine has no CA bundle at a known path");
}

std::string read_bundle(const std::string& option) {
  if (option.empty()) return {};
  std::string path = option == "host" ? host_bundle() : option;
  std::string text = read_file(path, largest_bundle);
  oci::certificates(text, path);
  return text;
}

// "id=ID", "id=ID,src=FILE", "id=ID,env=NAME"; without a source the environment variable or file of that name
std::map<std::string, std::string> read_secrets(const std::vector<std::string>& words) {
  std::map<std::string, std::string> secrets;
  for (const std::string& word : words) {
    std::string id, file, variable;
    for (const std::string& field : split(word, ',')) {
      size_t equals = field.find('=');
      std::string key = field.substr(0, equals),
                  value = equals == std::string::npos ? "" : field.substr(equals + 1);
      if (key == "id")
        id = value;
      else if (key == "src" || key == "source")
        file = value;
      else if (key == "env")
        variable = value;
      else if (key != "type" || (value != "file" && value != "env"))
        throw UsageError("--secret has no key '{}': write id=ID,src=FILE or id=ID,env=NAME",
                         printable(field));
    }
    if (id.empty())
      throw UsageError("--secret '{}' has no id: write id=ID,src=FILE or id=ID,env=NAME", printable(word));
    if (file.empty() && variable.empty()) (std::getenv(id.c_str()) ? variable : file) = id;
    if (!variable.empty() && !std::getenv(variable.c_str()))
      throw UsageError("--secret id={}: the environment has no '{}'", printable(id), printable(variable));
    secrets[id] = variable.empty() ? read_file(file, largest_secret) : environment(variable.c_str());
  }
  return secrets;
}

void check_options(const Options& options) {
  if (options.network != "default" && options.network != "none" && options.network != "host")
    throw UsageError("--network is default, none or host, not '{}'", options.network);
  if (options.context == "-")
    throw UsageError("the build context can't come from stdin: unpack it and name the directory");
  if (options.context.find("://") != std::string::npos || options.context.starts_with("git@"))
    throw UsageError("the build context '{}' is an address: clone or unpack it and name the directory",
                     options.context);
  struct stat info;
  if (stat(options.context.c_str(), &info) < 0)
    throw SysError(errno, "cannot read the build context '{}'", options.context);
  if (!S_ISDIR(info.st_mode))
    throw Error("cannot read the build context '{}': it is not a directory", options.context);
  if (options.push && options.tags.empty()) throw UsageError("--push needs a name: add -t NAME");
  for (const std::string& tag : options.tags)
    if (oci::parse_reference(tag).digest)
      throw UsageError("cannot tag '{}': a name with a digest can't be given", tag);
}

// Base images: from the store, or from their registry.
class BaseImages {
 public:
  BaseImages(const Options& options, oci::Store& store, oci::Layers& layers)
      : options_(options), store_(store), layers_(layers) {}

  oci::Image find(const std::string& name) {
    oci::Reference reference = oci::parse_reference(name);
    auto known = store_.find(oci::to_string(reference));
    if (known && !options_.pull) {
      oci::Image image = store_.image(*known);
      oci::ensure_unpacked(store_, layers_, image);
      return image;
    }
    try {
      std::atomic<bool> cancel = false;
      oci::Registry registry(reference.registry, options_.registry.options(&cancel));
      auto source = oci::source_from(registry, reference.repository);
      oci::Image image =
          oci::pull(*source, oci::version_of(reference), store_, &layers_, {.cancel = &cancel});
      store_.tag(oci::to_string(reference), image.descriptor);
      return image;
    } catch (const Interrupted&) {
      throw;
    } catch (Error& error) {
      error.prefix("pulling {}", oci::familiar(reference));
      throw;
    }
  }

 private:
  const Options& options_;
  oci::Store& store_;
  oci::Layers& layers_;
};

void push(const Options& options, const oci::Store& store, const oci::Descriptor& descriptor) {
  for (const std::string& tag : options.tags) {
    oci::Reference target = oci::parse_reference(tag);
    try {
      std::atomic<bool> cancel = false;
      oci::Registry registry(target.registry, options.registry.options(&cancel));
      oci::push(store, descriptor, registry, target, {.cancel = &cancel});
      info("pushed {}", oci::familiar(target));
    } catch (const Interrupted&) {
      throw;
    } catch (Error& error) {
      error.prefix("pushing {}", oci::familiar(target));
      throw;
    }
  }
}

// What an image in a layout is called when the output names nothing: the tag of its first name.
std::string layout_name(const Options& options) {
  return options.tags.empty() ? "latest" : oci::parse_reference(options.tags[0]).tag.value_or("latest");
}

std::vector<oci::Location> parse_outputs(const Options& options) {
  std::vector<oci::Location> outputs;
  for (const std::string& text : options.outputs) {
    if (!oci::is_layout_location(text))
      throw UsageError("unknown output '{}': it must be oci:DIR or oci-archive:FILE", printable(text));
    outputs.push_back(oci::parse_location(text));
    if (outputs.back().name.empty()) outputs.back().name = layout_name(options);
  }
  return outputs;
}

int build(const Globals& globals, const Options& options) {
  auto started = std::chrono::steady_clock::now();
  check_options(options);
  std::vector<oci::Location> outputs = parse_outputs(options);
  if (!running_as_root()) {
    Error error("cannot build: layers hold files of many users, which only root may make");
    error.hint("type: sudo rayctl build …");
    throw error;
  }
  catch_interrupts();

  std::string dockerfile = find_dockerfile(options);
  oci::BuildRequest request;
  request.dockerfile =
      oci::parse_dockerfile(dockerfile == "-" ? read_fd(0, "standard input", largest_dockerfile)
                                              : read_file(dockerfile, largest_dockerfile),
                            dockerfile == "-" ? "Dockerfile" : dockerfile);
  request.context = options.context;
  request.ignore = find_ignore_file(options, dockerfile);
  request.build_args = parse_build_args(options);
  if (!options.target.empty()) request.target = options.target;
  request.compression = oci::parse_compression(options.compression);
  request.reuse = options.no_cache ? oci::Reuse::nothing : oci::Reuse::cache;
  request.network = options.network;
  request.epoch = parse_epoch(request.build_args);
  if (request.epoch &&
      request.build_args.try_emplace("SOURCE_DATE_EPOCH", std::to_string(*request.epoch)).second)
    request.optional_args.insert("SOURCE_DATE_EPOCH");
  request.proxy_env = proxy_environment(request.build_args);
  request.ca_bundle = read_bundle(options.ca_bundle);
  request.secrets = read_secrets(options.secrets);

  oci::Store store = open_store(globals);
  oci::Layers layers(globals.paths.state_dir);
  oci::StoreLock in_use = store.use();
  BaseImages bases(options, store, layers);
  BuildRunner runner(globals.paths.run_dir);
  oci::BuildServices services{.store = store,
                              .layers = layers,
                              .state_dir = globals.paths.state_dir,
                              .find_image = [&](const std::string& name) { return bases.find(name); },
                              .run = [&](const oci::RunStep& step) { return runner.run(step); },
                              .poll = [] { throw_if_interrupted(); }};
  oci::BuiltImage built = oci::build(request, services);
  throw_if_interrupted();
  layers.sync();
  for (const std::string& tag : options.tags) {
    std::string name = oci::to_string(oci::parse_reference(tag));
    auto known = store.find(name);
    bool same = known && known->digest == built.image.digest();
    if (!same) store.tag(name, built.image.descriptor);
    if (!same || built.cached < built.steps) store.hold(oci::build_hold(name), built.used);
  }
  // nameless, but found by its id and kept until `rmi`, as docker does
  if (options.tags.empty() && outputs.empty()) store.tag("", built.image.descriptor);
  for (const oci::Location& output : outputs)
    oci::write_layout(output, store, built.image.descriptor, join(globals.paths.state_dir, "tmp"));
  if (options.push) push(options, store, built.image.descriptor);

  std::string names;
  for (const std::string& tag : options.tags) names += " " + oci::familiar(oci::parse_reference(tag));
  info("built{} in {} ({} of {} layer steps cached)", names,
       human_duration(std::chrono::steady_clock::now() - started), built.cached, built.steps);
  fmt::print("{}\n", built.image.digest().string());
  return 0;
}

}  // namespace

Command build_command() {
  auto options = std::make_shared<Options>();
  return {
      .name = "build",
      .group = Group::images,
      .summary = "Build an image from a Dockerfile",
      .description =
          "Executes a Dockerfile; RUN steps run in containers with a network of their own. Each step's layer "
          "is "
          "cached by all that can change it. With SOURCE_DATE_EPOCH set, the same input gives the same "
          "digest on "
          "every machine. HTTP_PROXY and its kin, and the --ca-bundle, reach RUN steps and leave no trace in "
          "the "
          "image.",
      .arguments =
          std::vector<Argument>{
              option("-f,--file", "DOCKERFILE", &options->file,
                     "the Dockerfile (default: CONTEXT/Dockerfile; - is stdin)"),
              option("-t,--tag", "NAME[:TAG]", &options->tags, "name the image; may be repeated"),
              option("--build-arg", "NAME=VALUE", &options->build_args,
                     "set an ARG; without a value, from the environment"),
              option("--target", "STAGE", &options->target, "build up to this stage"),
              flag("--no-cache", options->no_cache, "execute every step anew"),
              flag("--pull", options->pull, "ask the registry for base images that are here already"),
              flag("--push", options->push, "send the image to the registries of its names"),
              choice("--compression", {"zstd", "gzip"}, &options->compression, "how layers are compressed"),
              option("-o,--output", "oci:DIR[:NAME]", &options->outputs,
                     "write the image there too, or to oci-archive:FILE[:NAME]"),
              option("--ca-bundle", "FILE|host", &options->ca_bundle,
                     "CA certificates that RUN steps trust, and that no layer keeps"),
              option("--secret", "id=ID,src=FILE", &options->secrets,
                     "a secret for RUN --mount=type=secret (or id=ID,env=NAME)"),
              choice("--network", {"default", "none", "host"}, &options->network, "the network of RUN steps"),
              required(
                  positional("CONTEXT", &options->context, "directory that COPY and ADD take files from"))} +
          registry_arguments(options->registry),
      .examples = {{"rayctl build -t ray -f images/ray/Dockerfile .", "builds the Ray image"},
                   {"rayctl build -t app --ca-bundle host .", "behind a proxy that inspects TLS"}},
      .run = [options](const Globals& globals) { return build(globals, *options); }};
}

}  // namespace rayctl::cli
