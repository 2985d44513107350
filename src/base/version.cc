#include "base/version.h"

#include <archive.h>
#include <ares.h>
#include <curl/curl.h>
#include <fmt/format.h>
#include <isa-l/igzip_lib.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <seccomp.h>
#include <yaml.h>
#include <zlib.h>
#include <zstd.h>

#include <CLI/Version.hpp>
#include <boost/version.hpp>
#include <nlohmann/detail/abi_macros.hpp>
#include <pugixml.hpp>

// RAYCTL_VERSION and RAYCTL_ISAL_VERSION are the Makefile's: isa-l's headers and archive name no version.

namespace rayctl {

std::string_view version() {
  return RAYCTL_VERSION;
}

std::vector<Library> linked_libraries() {
  const auto* seccomp = seccomp_version();
  return {
      {"Boost",
       fmt::format("{}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100)},
      {"c-ares", ares_version(nullptr)},
      {"CLI11", CLI11_VERSION},
      {"curl", curl_version_info(CURLVERSION_NOW)->version},
      {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"ISA-L", RAYCTL_ISAL_VERSION},
      {"libarchive", std::string(archive_version_string()).substr(std::string_view("libarchive ").size())},
      {"libseccomp", fmt::format("{}.{}.{}", seccomp->major, seccomp->minor, seccomp->micro)},
      {"libyaml", yaml_get_version_string()},
      {"nghttp2", nghttp2_version(0)->version_str},
      {"nlohmann-json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                    NLOHMANN_JSON_VERSION_PATCH)},
      {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
      {"pugixml", fmt::format("{}.{}", PUGIXML_VERSION / 1000, PUGIXML_VERSION % 1000 / 10)},
      {"zlib", zlibVersion()},
      {"zstd", ZSTD_versionString()},
  };
}

}  // namespace rayctl
