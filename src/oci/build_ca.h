// A bundle of CA certificates that RUN steps see and no layer keeps.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/io.h"
#include "oci/build_view.h"

namespace rayctl::oci {

// The variables that point programs to the bundle, and its path in the step's root.
std::vector<std::string> ca_environment();
inline constexpr const char* ca_bundle_path = "/etc/ssl/rayctl-build-ca.pem";

// The certificates of a PEM file, as base64 without line ends. Throws when there are none.
std::vector<std::string> certificates(std::string_view pem, const std::string& name);

// Fills `directory` as an overlay layer that holds the bundle at ca_bundle_path and wherever the image has
// one; its directories look like the image's, so that what a step copies up from them is no change.
void make_ca_layer(const std::string& directory, const std::vector<std::string>& lowerdirs,
                   std::string_view bundle, timespec now);

// Watches what goes into a layer. Certificates that are public anyway may: those that the image's own
// packages, or this machine's, bring to /usr/share/ca-certificates.
class CaGuard {
 public:
  // `result`: the image with the step's changes.
  CaGuard(std::string_view bundle, MergedView& result);
  ~CaGuard();
  // Pieces of one file after the other; throws when a file holds the bundle.
  void inspect(const std::string& path, Bytes piece, bool last);

 private:
  struct Needle {
    std::string text, binary;  // a part of the certificate in base64 and in DER
  };
  bool found(const Needle& needle, std::string_view data) const;

  std::vector<Needle> needles_;
  enum class Rule { any, all } rule_ = Rule::any;
  std::vector<bool> seen_;
  std::string tail_;
};

}  // namespace rayctl::oci
