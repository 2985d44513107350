// Lists of EC2 that come in pages.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "cloud/aws_client.h"
#include "cloud/ec2_answers.h"

namespace rayctl::cloud {

// All pages of a Describe action; `parse` makes a Page<T> of an answer.
template <class T, class Parse>
std::vector<T> all_pages(AwsClient& client, const std::string& region, const std::string& action,
                         AwsParameters parameters, const std::string& doing, Parse parse) {
  constexpr int most_pages = 10000;
  std::vector<T> all;
  for (int i = 0; i < most_pages; ++i) {
    Page<T> page = parse(client.query("ec2", region, action, parameters, doing));
    std::move(page.items.begin(), page.items.end(), std::back_inserter(all));
    if (page.next.empty()) return all;
    std::erase_if(parameters, [](const auto& p) { return p.first == "NextToken"; });
    parameters.emplace_back("NextToken", page.next);
  }
  throw ProviderError(FailureKind::transient, "", "{}: Amazon's list never ends", doing);
}

}  // namespace rayctl::cloud
