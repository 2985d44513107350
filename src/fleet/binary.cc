#include "fleet/binary.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <memory>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/io.h"
#include "base/version.h"
#include "cloud/local_plan.h"
#include "fleet/delivery.h"

namespace rayctl::fleet {

namespace {

std::string hash_of(const std::string& file) {
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
    throw Error("cannot compute a hash: OpenSSL refuses");
  Fd fd = open_file(file, O_RDONLY);
  copy(read_from(fd.get(), file),
       [&](Bytes bytes) { EVP_DigestUpdate(context.get(), bytes.data(), bytes.size()); });
  std::string digest(32, '\0');
  EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return hex(digest);
}

// Of the program that runs, with a '/' at the end.
std::string own_directory() {
  std::string path(4096, '\0');
  path.resize(static_cast<size_t>(
      check(readlink("/proc/self/exe", path.data(), path.size()), "cannot find out where this program is")));
  return path.substr(0, path.rfind('/') + 1);
}

}  // namespace

std::string binary_file(const Settings& settings) {
  return settings.binary.empty() ? "/proc/self/exe" : settings.binary;
}

std::string binary_arch(const std::string& file) {
  Fd fd = open_file(file, O_RDONLY);
  std::string head(20, '\0');
  size_t got = read_from(fd.get(), file)(std::as_writable_bytes(std::span(head.data(), head.size())));
  // ELF, 64 bits, little-endian; e_machine is at 18.
  if (got < head.size() || head.substr(0, 6) != std::string("\x7f"
                                                            "ELF\x02\x01",
                                                            6))
    throw Error("cannot use '{}' as the machines' rayctl: it is no program for 64-bit Linux", file);
  unsigned machine = static_cast<unsigned char>(head[18]) | static_cast<unsigned char>(head[19]) << 8;
  if (machine == 62) return "x86_64";
  if (machine == 183) return "aarch64";
  throw Error("cannot use '{}' as the machines' rayctl: it is for an unknown processor ({})", file, machine);
}

void choose_binary(Settings& settings, const std::vector<Wish>& machines, Clouds& clouds) {
  if (!settings.binary_url.empty()) return;
  Catalog catalog = clouds.catalog();
  std::string arch, first;
  for (const Wish& machine : machines) {
    if (machine.provider == "Local" && !settings.binary.empty())
      throw UsageError(
          "--binary: machines of the provider Local run this very program (run the other one instead)");
    for (const cloud::Size& size : catalog.sizes(machine.provider, machine.region)) {
      if (machine.sizes.empty() || size.name != machine.sizes.front()) continue;
      if (!arch.empty() && size.arch != arch)
        throw Error(
            "{} has {} processors, and {} has {} (all machines of a cluster must be of one kind: one image "
            "and one rayctl serve them)",
            size.name, size.arch, first, arch);
      arch = size.arch;
      first = size.name;
    }
  }
  if (arch.empty()) return;
  std::string is = binary_arch(binary_file(settings));
  if (is == arch) return;
  if (!settings.binary.empty())
    throw Error("{} has {} processors, and '{}' is for {} (name the one that fits: --binary FILE)", first,
                arch, settings.binary, is);
  std::string beside = fmt::format("rayctl-{}-linux-{}", version(), arch);
  std::string file = own_directory() + beside;
  if (!exists(file))
    throw Error(
        "{} has {} processors, and this rayctl is for {} (put {} beside it, which make dist makes, or "
        "name one: --binary FILE)",
        first, arch, is, beside);
  if (std::string found = binary_arch(file); found != arch)
    throw Error("cannot use '{}': it is for {}", file, found);
  settings.binary = file;
}

cloud::BinarySource binary_source(const Settings& settings) {
  if (!settings.binary_url.empty()) return {.urls = {settings.binary_url}, .sha256 = settings.binary_sha256};
  return {.urls = {}, .sha256 = hash_of(binary_file(settings))};
}

std::string local_binary() {
  return cloud::local_binary_url;
}

std::string delivered_binary() {
  return "http://127.0.0.1:" + std::to_string(delivery_port) + "/rayctl";
}

}  // namespace rayctl::fleet
