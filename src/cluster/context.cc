#include "cluster/context.h"

#include <fmt/ranges.h>
#include <openssl/crypto.h>
#include <openssl/x509.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cluster/control_protocol.h"
#include "cluster/operator_dial.h"

namespace rayctl::cluster {

namespace {

constexpr size_t max_context_file = 64 << 10;

void check_fits(const Context& context, std::string_view where) {
  Credentials mine = context.credentials();
  if (X509_check_private_key(mine.certificate.get(), mine.key.get()) != 1)
    throw Error("cannot use '{}': its certificate and its key don't belong together", where);
  CertificateInfo info = context.identity();
  if (info.identity.cluster != context.cluster ||
      (info.identity.role != MemberRole::operator_ && info.identity.role != MemberRole::admin))
    throw Error("cannot use '{}': its certificate is none of an operator of this cluster", where);
  parse_host_port(context.head, default_control_port);
}

// Where `up` keeps a cluster's root: under the context's name.
std::optional<Root> own_root(const Context& context) {
  std::string home = cluster_home(context.name);
  if (!Root::exists(home)) return std::nullopt;
  Root root = Root::open(home);
  if (root.cluster_id() != context.cluster) return std::nullopt;
  return root;
}

}  // namespace

Credentials Context::credentials() const {
  return {.key = key, .certificate = certificate, .authority = root, .root = {}};
}

std::string configuration_directory() {
  const char *config = std::getenv("XDG_CONFIG_HOME"), *home = std::getenv("HOME");
  if (config && *config) return join(config, "rayctl");
  if (home && *home) return join(home, ".config/rayctl");
  throw Error("cannot find a directory for contexts: neither HOME nor XDG_CONFIG_HOME is set");
}

Contexts::Contexts(std::string directory) : directory_(std::move(directory)) {}

std::string Contexts::path(std::string_view name) const {
  check_context_name(name);
  return join(join(directory_, "contexts"), name);
}

std::vector<std::string> Contexts::names() const {
  std::vector<std::string> found;
  std::string all = join(directory_, "contexts");
  if (!exists(all)) return found;
  for (const std::string& name : list_directory(all))
    if (exists(join(join(all, name), "context.json"))) found.push_back(name);
  return found;
}

bool Contexts::has(std::string_view name) const {
  return exists(join(path(name), "context.json"));
}

Context Contexts::load(std::string_view name) const {
  if (!has(name)) {
    std::vector<std::string> all = names();
    std::string guess = nearest(name, all);
    throw Error("cannot find context '{}': {}", name,
                !guess.empty() ? fmt::format("did you mean '{}'?", guess)
                : all.empty()  ? "there is none (made by: rayctl up, context add, context import)"
                               : fmt::format("there are {}", fmt::join(all, ", ")));
  }
  std::string home = path(name), file = join(home, "context.json");
  Json json = Json::parse(read_file(file, max_context_file), file);
  Context context;
  context.name = name;
  context.head = json.at("head").string();
  context.cluster = json.at("cluster").string();
  // Not load_or_make_key: a key that is gone must not be replaced by one that fits nothing.
  if (!exists(join(home, "key"))) throw Error("cannot use context '{}': its key is missing", name);
  context.key = load_or_make_key(join(home, "key"));
  context.certificate = parse_certificate(read_file(join(home, "cert")), join(home, "cert"));
  context.root = parse_certificate(read_file(join(home, "root")), join(home, "root"));
  check_fits(context, home);
  return context;
}

void Contexts::save(const Context& context) const {
  std::string home = path(context.name);
  check_fits(context, context.name);
  make_directories(home, 0700);
  std::string key = to_pem(context.key);
  replace_file(join(home, "key"), key, 0600);
  OPENSSL_cleanse(key.data(), key.size());
  replace_file(join(home, "cert"), to_pem(context.certificate), 0644);
  replace_file(join(home, "root"), to_pem(context.root), 0644);
  // The last: without it there is no context.
  nlohmann::json json = {{"head", context.head}, {"cluster", context.cluster}};
  replace_file(join(home, "context.json"), json.dump(2) + "\n", 0644);
}

void Contexts::remove(std::string_view name) {
  if (!has(name)) load(name);  // throws
  if (current() == std::string(name)) replace_file(join(directory_, "current-context"), "");
  remove_tree(path(name));
}

std::optional<std::string> Contexts::current() const {
  auto text = read_file_if_exists(join(directory_, "current-context"), 4096);
  std::string name(trim(text.value_or("")));
  if (name.empty()) return std::nullopt;
  return name;
}

void Contexts::use(std::string_view name) {
  if (!has(name)) load(name);  // throws
  replace_file(join(directory_, "current-context"), std::string(name) + "\n", 0644);
}

std::string export_context(const Context& context) {
  nlohmann::json json = {{"rayctl-context", 1},
                         {"name", context.name},
                         {"head", context.head},
                         {"cluster", context.cluster},
                         {"certificate", to_pem(context.certificate)},
                         {"key", to_pem(context.key)},
                         {"root", to_pem(context.root)}};
  return json.dump(2) + "\n";
}

Context import_context(std::string_view text, std::string_view file) {
  Json json = Json::parse(text, std::string(file));
  if (json.size_or("rayctl-context", 0) != 1)
    throw Error("cannot read '{}': it isn't a context (made by: rayctl context export, operators add)", file);
  Context context;
  context.name = json.at("name").string();
  check_context_name(context.name);
  context.head = json.at("head").string();
  context.cluster = json.at("cluster").string();
  context.certificate = parse_certificate(json.at("certificate").string(), file);
  context.key = parse_key(json.at("key").string(), file);
  context.root = parse_certificate(json.at("root").string(), file);
  check_fits(context, file);
  return context;
}

Context join_as_operator(const std::string& name, const HostPort& head, const Token& token) {
  check_context_name(name);
  if (token.role != MemberRole::operator_ && token.role != MemberRole::admin)
    throw Error("cannot use this token: it is for role {} (rayctl token create --role operator)",
                role_name(token.role));
  boost::asio::io_context io;
  Context context{.name = name,
                  .head = format_host_port(head),
                  .cluster = {},
                  .certificate = {},
                  .key = make_key(),
                  .root = {}};
  TlsContext tls(TlsContext::Side::client, Credentials{}, {.ca_pin = token.ca_pin, .role = MemberRole::head});
  auto greeting = [&](const Connection&) {
    nlohmann::json hello = operator_greeting("join");
    hello["role"] = role_name(token.role);
    hello["token"] = {{"id", token.id}, {"secret", token.secret}};
    hello["csr"] = make_csr(context.key);
    return hello;
  };
  Dialed dialed = dial_head(io, head, tls, greeting, std::chrono::seconds(15));
  X509Ptr authority = dialed.connection->authority(), root = dialed.connection->root();
  context.root = root ? root : authority;
  context.certificate = parse_certificate(dialed.hello.at("certificate").string(), "from the head");
  dialed.connection->close("");
  io.restart();
  io.run_for(std::chrono::milliseconds(100));
  if (std::string reason = verify_chain(context.certificate, {authority}, context.root, wall_now());
      !reason.empty())
    throw Error("the head's answer can't be used: {}", reason);
  context.cluster = context.identity().identity.cluster;
  check_fits(context, "the head's answer");
  return context;
}

Context context_of_root(const std::string& name, const HostPort& head, const Root& root,
                        std::string_view operator_name) {
  KeyPtr key = make_key();
  return {.name = name,
          .head = format_host_port(head),
          .cluster = root.cluster_id(),
          .certificate = root.issue_admin(key, operator_name, wall_now()),
          .key = key,
          .root = root.certificate()};
}

void renew_locally(Context& context) {
  CertificateInfo info = context.identity();
  std::optional<std::string> name = operator_name(info.identity.id);
  // Nearly over: while there is time the head does it, and knows of it.
  if (!name || wall_now() < renewal_time(info, 0.9)) return;
  std::optional<Root> root = own_root(context);
  if (!root) return;
  context.certificate = root->issue_admin(context.key, *name, wall_now());
  Contexts().save(context);
}

std::string renewal_request(const Context& context) {
  CertificateInfo info = context.identity();
  if (!operator_name(info.identity.id) || wall_now() < renewal_time(info, 0)) return "";
  return make_csr(context.key);
}

void take_renewal(Context& context, std::string_view certificate_pem) {
  Context renewed = context;
  renewed.certificate = parse_certificate(certificate_pem, "from the head");
  check_fits(renewed, "the head's answer");
  if (renewed.identity().identity.id != context.identity().identity.id)
    throw Error("the head's answer is for another operator");
  context = renewed;
  Contexts().save(context);
  debug("the certificate of context '{}' was renewed", context.name);
}

}  // namespace rayctl::cluster
