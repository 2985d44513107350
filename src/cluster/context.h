// What an operator's machine keeps of a cluster elsewhere: where its head is, and the key to it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/ca.h"
#include "cluster/control_address.h"
#include "cluster/root.h"

namespace rayctl::cluster {

// One cluster under a name of the user's choice: contexts/NAME/{context.json, cert, key (0600), root}.
struct Context {
  std::string name;
  std::string head;     // "HOST:PORT"
  std::string cluster;  // its id
  X509Ptr certificate;  // an operator's or admin's
  KeyPtr key;
  X509Ptr root;  // what the head's certificate must lead to

  Credentials credentials() const;
  CertificateInfo identity() const { return certificate_info(certificate); }
};

// $XDG_CONFIG_HOME/rayctl (~/.config/rayctl); /root's own for root.
std::string configuration_directory();

class Contexts {
 public:
  explicit Contexts(std::string directory = configuration_directory());

  std::vector<std::string> names() const;  // sorted
  bool has(std::string_view name) const;
  Context load(std::string_view name) const;  // an Error that names those that there are, the nearest first
  void save(const Context& context) const;
  void remove(std::string_view name);  // also as the current one

  std::optional<std::string> current() const;  // empty: none was chosen
  void use(std::string_view name);             // throws for one that doesn't exist

 private:
  std::string path(std::string_view name) const;
  std::string directory_;
};

// One file with all of it, the key too, for another machine or a colleague: JSON.
std::string export_context(const Context& context);
Context import_context(std::string_view text, std::string_view file);  // `file` is for errors

// --- how a user comes to one ---

// With an operator's or admin's token ("rayctl token create --role operator"); blocks; Unreachable while
// nothing answers.
Context join_as_operator(const std::string& name, const HostPort& head, const Token& token);
// The cluster's maker: a certificate by its own root. `head` as claimed.
Context context_of_root(const std::string& name, const HostPort& head, const Root& root,
                        std::string_view operator_name);

// --- renewal: a named operator's certificate lasts 30 days and is renewed while it is used ---

// By the root, where this machine has it and the certificate is nearly over; writes it back.
void renew_locally(Context& context);
std::string renewal_request(const Context& context);                    // a CSR when it is due, else empty
void take_renewal(Context& context, std::string_view certificate_pem);  // checks, takes and writes it back

}  // namespace rayctl::cluster
