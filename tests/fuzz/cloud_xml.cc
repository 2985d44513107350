// Any answer of EC2.
#include <cstdint>

#include "cloud/ec2_answers.h"
#include "cloud/ec2_errors.h"

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
  any([&] { parse_instances(text, "r"); });
  any([&] { parse_images(text); });
  any([&] { parse_subnets(text); });
  any([&] {
    for (const Group& group : parse_groups(text).items) firewall_change(group.rules, firewall_rules({}));
  });
  any([&] { parse_regions(text); });
  any([&] { parse_instance_type(text); });
  any([&] { parse_text(text, "a/b"); });
  any([&] { ec2_error("x", "RunInstances", parse_aws_failure(text), 400); });
  return 0;
}
