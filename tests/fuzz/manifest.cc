// Any document: what is read as a manifest, an index or a config comes back the same through its byte form.
#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "oci/image.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    oci::Document document = oci::parse_document(text, "");
    std::visit(
        [](const auto& d) {
          std::string json = oci::to_json(d);
          if (!(std::get<std::decay_t<decltype(d)>>(oci::parse_document(json, "")) == d)) abort();
        },
        document);
    if (auto* index = std::get_if<oci::Index>(&document))
      oci::choose(*index, oci::parse_platform("linux/amd64"));
  } catch (const Error&) {
  }
  try {
    oci::ImageConfig config = oci::parse_config(text);
    if (!(oci::parse_config(oci::to_json(config)) == config)) abort();
    oci::chain_ids(config);
  } catch (const Error&) {
  }
  return 0;
}
