// Image names as docker writes them: [registry/]repository[:tag][@digest].
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "oci/digest.h"

namespace rayctl::oci {

// A full name: every default is filled in, every part matches the grammar of distribution/reference.
struct Reference {
  std::string registry;    // "docker.io", "localhost:5000", "[::1]:5000"
  std::string repository;  // "library/debian"
  std::optional<std::string> tag = {};
  std::optional<Digest> digest = {};

  bool operator==(const Reference&) const = default;
};

// "debian" is docker.io/library/debian:latest; a tag is added only when there is no digest either.
Reference parse_reference(std::string_view text);

// Whether a name says where its image is: "localhost:5000/ray" does, "ray:1" and "me/ray" don't.
bool names_registry(std::string_view text);

std::string to_string(const Reference& reference);            // the full form: "docker.io/library/debian:12"
std::string familiar(const Reference& reference);             // as docker prints it: "debian:12"
std::string familiar_repository(const Reference& reference);  // without tag and digest: "debian"

// What follows /v2/NAME/manifests/: the digest when there is one, else the tag.
std::string version_of(const Reference& reference);

bool is_tag(std::string_view text);
bool is_repository(std::string_view text);
bool is_registry(std::string_view text);  // host[:port]

}  // namespace rayctl::oci
