#include "oci/build_ca.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/build_tree.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view begin_line = "-----BEGIN CERTIFICATE-----";
constexpr std::string_view end_line = "-----END CERTIFICATE-----";
constexpr size_t needle_size = 48;  // within one line of 64
constexpr size_t largest_bundle = 16 << 20;

// Where distributions keep the bundle: Debian, Fedora, Alpine, SUSE.
constexpr const char* bundle_paths[] = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"};
// Where packages, not administrators, put certificates.
constexpr const char* public_directory = "/usr/share/ca-certificates";

std::set<std::string> public_certificates(MergedView& tree) {
  std::set<std::string> found;
  std::vector<std::string> pending = {public_directory};
  while (!pending.empty()) {
    std::string directory = std::move(pending.back());
    pending.pop_back();
    auto entry = tree.find(directory);
    if (!entry || !entry->is_directory()) continue;
    for (const std::string& name : tree.list(directory)) {
      std::string path = directory + "/" + name;
      auto file = tree.find(path);
      if (!file) continue;
      if (file->is_directory()) pending.push_back(path);
      if (!S_ISREG(file->info.st_mode) || file->info.st_size > static_cast<off_t>(largest_bundle)) continue;
      std::string text = read_fd(tree.open(path).get(), path, largest_bundle);
      if (text.find(begin_line) == std::string::npos) continue;
      for (std::string& certificate : certificates(text, path)) found.insert(std::move(certificate));
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> ca_environment() {
  std::vector<std::string> env;
  for (const char* name :
       {"SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"})
    env.push_back(fmt::format("{}={}", name, ca_bundle_path));
  return env;
}

std::vector<std::string> certificates(std::string_view pem, const std::string& name) {
  std::vector<std::string> found;
  for (size_t start = pem.find(begin_line); start != std::string_view::npos;
       start = pem.find(begin_line, start)) {
    start += begin_line.size();
    size_t end = pem.find(end_line, start);
    if (end == std::string_view::npos) throw Error("cannot read '{}': a certificate has no END line", name);
    std::string body;
    for (char c : pem.substr(start, end - start))
      if (c > ' ') body += c;
    found.push_back(std::move(body));
    start = end;
  }
  if (found.empty()) throw Error("cannot use '{}' as a CA bundle: it holds no certificate in PEM form", name);
  return found;
}

void make_ca_layer(const std::string& directory, const std::vector<std::string>& lowerdirs,
                   std::string_view bundle, timespec now) {
  LayerTree layer(lowerdirs, directory, now);
  auto put = [&](const std::string& path) {
    layer.put_file(path, {.mode = 0644, .mtime = now}, [&](int fd) { write_fd(fd, bundle, path); });
  };
  for (const char* path : bundle_paths) {
    std::string real = layer.resolve(path);
    auto found = layer.view().find(real);
    if (found && S_ISREG(found->info.st_mode)) put(real);
  }
  std::string debian = layer.resolve(bundle_paths[0]);
  if (!layer.view().find(debian)) put(debian);
  put(layer.resolve(ca_bundle_path));
  layer.finish();
}

CaGuard::CaGuard(std::string_view bundle, MergedView& result) {
  std::set<std::string> known = public_certificates(result);
  if (exists(public_directory)) {
    MergedView host({"/"});
    known.merge(public_certificates(host));
  }
  if (known.empty()) rule_ = Rule::all;  // nothing tells public ones apart: the whole bundle it must be
  for (const std::string& certificate : certificates(bundle, "the CA bundle")) {
    if (known.contains(certificate)) continue;
    size_t line = certificate.size() / 2 / 64 * 64;
    std::string url = certificate;
    std::replace(url.begin(), url.end(), '+', '-');
    std::replace(url.begin(), url.end(), '/', '_');
    std::erase(url, '=');
    std::string binary = decode_base64url(url).value_or("");
    needles_.push_back({certificate.substr(line, needle_size),
                        binary.substr(binary.size() / 2, std::min(needle_size, binary.size() / 2))});
  }
}

CaGuard::~CaGuard() = default;

bool CaGuard::found(const Needle& needle, std::string_view data) const {
  auto holds = [&](std::string_view part) {
    return !part.empty() && memmem(data.data(), data.size(), part.data(), part.size()) != nullptr;
  };
  return holds(needle.text) || holds(needle.binary);
}

void CaGuard::inspect(const std::string& path, Bytes piece, bool last) {
  if (needles_.empty()) return;
  if (seen_.empty()) seen_.assign(needles_.size(), false);
  std::string joined;
  std::string_view data = as_text(piece);
  if (!tail_.empty()) {
    joined = tail_ + std::string(data);
    data = joined;
  }
  // with "all", the first that is missing decides while the file has shown none
  for (size_t i = 0; i < needles_.size(); ++i) {
    if (!seen_[i] && found(needles_[i], data)) seen_[i] = true;
    if (rule_ == Rule::all && i == 0 && !seen_[0]) break;
  }
  bool leak = rule_ == Rule::any ? std::find(seen_.begin(), seen_.end(), true) != seen_.end()
                                 : std::find(seen_.begin(), seen_.end(), false) == seen_.end();
  if (last || leak) {
    tail_.clear();
    seen_.assign(needles_.size(), false);
  } else {
    tail_ = std::string(data.substr(data.size() - std::min(data.size(), needle_size * 2)));
  }
  if (!leak) return;
  Error error("cannot keep '/{}': the step put a certificate of --ca-bundle into it", printable(path));
  error.hint("the bundle is for the build alone; COPY the certificate if the image shall have it");
  throw error;
}

}  // namespace rayctl::oci
