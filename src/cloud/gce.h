// Google Compute Engine ("Compute Engine API", v1).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cloud/firewall.h"
#include "cloud/google_credentials.h"
#include "cloud/prices.h"
#include "cloud/provider.h"
#include "cloud/rest_client.h"

namespace rayctl::cloud {

std::unique_ptr<Provider> open_google(const ProviderOptions& options);

// --- pure parts (gce_documents.cc) ---

// The body of instances.insert for one machine.
std::string gce_instance_body(const MachineWant& want, const std::string& size, const std::string& zone,
                              const std::string& image, const std::string& network);
std::string gce_instance_name(const std::string& cluster, const std::string& key);
std::string gce_cluster_label(const std::string& cluster);  // the value of label rayctl-cluster
// "" = Ubuntu for this architecture; PROJECT/FAMILY; NAME of an image of one's own; or a whole path.
std::string gce_image(const std::string& wanted, const std::string& arch, const std::string& project);
Machine gce_machine(const Json& instance);
std::string last_part(const std::string& url);  // the name in the path of an object, which Google refers by
// An error answer, or the `error` of an operation that is done.
RestError gce_error(const std::string& doing, const HttpResponse& response);
std::optional<RestError> gce_operation_error(const std::string& doing, const Json& operation);
bool gce_another_zone_may_do(const RestError& error);

struct GceFirewall {
  std::string name = {}, body = {};
};
std::vector<GceFirewall> gce_firewalls(const std::string& cluster, const Firewall& firewall,
                                       const std::string& network);

class Google : public Provider {
 public:
  explicit Google(const ProviderOptions& options);

  std::string name() const override { return "Google"; }
  size_t user_data_limit() const override { return 262144; }
  size_t parallel_calls() const override { return 16; }
  std::string default_size() const override { return "n2-standard-2"; }
  std::vector<std::string> regions() const override;
  Place place(const std::string& text) const override;
  std::vector<Size> sizes(const std::string& region) const override;

  Size size(const std::string& region, const std::string& name) override;
  std::string account() override;
  void prepare(const std::string& cluster, const std::vector<std::string>& regions,
               const Firewall& firewall) override;
  std::vector<Booted> boot(const std::vector<MachineWant>& wants) override;
  std::vector<Machine> list(const std::string& cluster, const std::vector<std::string>& regions) override;
  void terminate(const std::vector<Machine>& machines) override;
  std::vector<Leftover> sweep(const std::string& cluster, const std::vector<std::string>& regions,
                              std::chrono::seconds patience) override;
  std::optional<std::string> console(const Machine& machine) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Attempt;  // one machine on its way through sizes and zones (gce_boot.cc)

  std::string project();
  std::string url(const std::string& below);  // of the project
  std::vector<std::string> zones(const std::string& region);
  void wait(const Json& operation, const std::string& doing);  // until it is done; throws its error
  // The elements of all pages of a list; `key`: within each scope of an aggregated one.
  std::vector<Json> pages(const std::string& below, const std::string& filter, const std::string& key,
                          const std::string& doing);
  std::vector<Json> cluster_firewalls(const std::string& cluster);

  // gce_boot.cc
  void start(Attempt& attempt);
  void look(Attempt& attempt);
  void failed(Attempt& attempt, const RestError& error);

  PriceTable prices_;
  std::string project_, endpoint_, network_;
  GoogleTokens tokens_;
  RestClient client_;
  std::mutex mutex_;                                            // guards what follows
  std::map<std::string, std::vector<std::string>> zones_ = {};  // by region
  std::map<std::string, Size> sizes_ = {};                      // that no table has, by region and name
  std::map<std::string, std::pair<Machine, Clock::time_point>> fresh_ = {};  // booted by us, by name
};

}  // namespace rayctl::cloud
