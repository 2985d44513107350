// Any credentials file of Amazon (INI, JSON), Google and Azure, and the tags that hold keys.
#include <cstdint>

#include "cloud/aws_credentials.h"
#include "cloud/azure_credentials.h"
#include "cloud/google_credentials.h"
#include "cloud/machine_keys.h"

using namespace rayctl::cloud;

namespace {

template <class F>
void any(F&& parse) {
  try {
    parse();
  } catch (const rayctl::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  any([&] {
    AwsProfile profile = aws_profile(text, text, "default");
    unsupported_profile(profile);
    profile_keys(profile);
  });
  any([&] { split_command(text); });
  for (auto kind : {CredentialDocument::process, CredentialDocument::container, CredentialDocument::imds})
    any([&] { parse_aws_credentials(text, kind, "document"); });
  any([&] { google_assertion(parse_google_key(text, "file"), {}); });
  any([&] { parse_azure_key(text, "file"); });
  if (std::vector<std::string> keys = unpack_keys(text); keys.size() > 1001) __builtin_trap();
  return 0;
}
