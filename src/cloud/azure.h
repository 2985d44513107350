// Microsoft Azure ("Azure REST API": Microsoft.Compute, Microsoft.Network, Microsoft.Resources).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cloud/azure_credentials.h"
#include "cloud/firewall.h"
#include "cloud/prices.h"
#include "cloud/provider.h"
#include "cloud/rest_client.h"

namespace rayctl::cloud {

std::unique_ptr<Provider> open_azure(const ProviderOptions& options);

// --- pure parts (azure_documents.cc) ---

// Names within a cluster's resource group, and what bodies refer to by id.
struct AzureIds {
  std::string group = {};  // path of the resource group: "/subscriptions/…/resourceGroups/rayctl-…"
  std::string firewall = {}, network = {}, subnet = {};    // paths, of one region
  std::string machine = {}, interface = {}, address = {};  // paths, of one machine
};
AzureIds azure_ids(const std::string& subscription, const std::string& cluster, const std::string& region,
                   const std::string& key);
std::string azure_machine_name(const std::string& cluster, const std::string& key);

std::string azure_group_body(const std::string& cluster, const std::string& region);
std::string azure_firewall_body(const std::string& cluster, const std::string& region,
                                const Firewall& firewall);
std::string azure_network_body(const std::string& cluster, const std::string& region);
std::string azure_address_body(const MachineWant& want);
std::string azure_interface_body(const MachineWant& want, const AzureIds& ids);
// `ssh_key`: Azure wants one; the user's first, or one that nobody has.
std::string azure_machine_body(const MachineWant& want, const Size& size, const AzureIds& ids,
                               const std::string& ssh_key);
Machine azure_machine(const Json& machine);
std::string azure_arch(const std::string& size);  // by the name: "Standard_D2ps_v5" is aarch64
std::string unowned_ssh_key();                    // the public half of a key that is thrown away

RestError azure_error(const std::string& doing, const HttpResponse& response);
RestError azure_error(const std::string& doing, const Json& error, int status);  // {"code", "message", …}

class Azure : public Provider {
 public:
  explicit Azure(const ProviderOptions& options);

  std::string name() const override { return "Azure"; }
  size_t user_data_limit() const override { return 65535; }
  size_t parallel_calls() const override { return 16; }
  std::string default_size() const override { return "Standard_D2s_v5"; }
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
  struct Attempt;  // one machine on its way (azure_boot.cc)

  std::string subscription();
  std::string url(const std::string& path, const char* version);
  // Where a long operation tells its end; empty when the answer is the end.
  std::string operation_of(const HttpResponse& response) const;
  // Whether it has ended; throws its error.
  bool ended(const std::string& operation, const std::string& doing);
  void put(const std::string& path, const char* version, const std::string& body, const std::string& doing);
  std::vector<Json> pages(const std::string& first, const std::string& doing);
  bool owns_group(const std::string& group, const std::string& cluster, const std::string& doing);

  // azure_boot.cc
  void start(Attempt& attempt);
  void look(Attempt& attempt);
  void failed(Attempt& attempt, const ProviderError& error);
  void remove_pieces(const Attempt& attempt);

  PriceTable prices_;
  std::string subscription_, endpoint_, spare_key_;
  AzureTokens tokens_;
  RestClient client_;
  HttpPool plain_;                          // for URLs that carry their own signature
  std::mutex mutex_;                        // guards what follows, and subscription_ and spare_key_
  std::map<std::string, Size> sizes_ = {};  // that no table has, by region and name
};

}  // namespace rayctl::cloud
