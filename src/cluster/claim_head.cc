// The operator's side of a claim.
#include <boost/asio/io_context.hpp>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "cluster/claim.h"
#include "cluster/operator_dial.h"

namespace rayctl::cluster {

namespace {

// Sends the claim's request and waits for its answer.
void finish_claim(boost::asio::io_context& io, const ConnectionPtr& connection, const nlohmann::json& body,
                  std::chrono::milliseconds timeout) {
  auto reply = std::make_shared<std::optional<Reply>>();
  connection
      ->request(
          "claim", body, [reply](const Reply& answer) { *reply = answer; }, timeout)
      ->end();
  io.restart();
  while (!*reply && io.run_one() > 0) {
  }
  if (!*reply) throw Unreachable("the connection was lost during the claim");
  (*reply)->value();
}

}  // namespace

ClaimResult claim_head(const HostPort& head, const Root& root, const Token& token, const ClaimWish& wish,
                       std::chrono::milliseconds timeout) {
  if (token.role != MemberRole::head || token.ca_pin != root.pin())
    throw Error("cannot claim the head with this token: it is for {}",
                token.role != MemberRole::head ? fmt::format("role {}", role_name(token.role))
                                               : std::string("another root"));
  boost::asio::io_context io;
  WallTime now = wall_now();
  Credentials mine{.key = make_key(), .certificate = {}, .authority = root.certificate(), .root = {}};
  mine.certificate = root.issue_admin(mine.key, wish.operator_name, now);
  TlsContext tls(TlsContext::Side::client, mine,
                 {.role = MemberRole::head, .unclaimed = PeerPolicy::Unclaimed::accepted},
                 TlsContext::Show::chain);
  auto greeting = [&](const Connection& connection) {
    // The root's own certificate already: an earlier claim went through, only its answer was lost.
    if (connection.certificate()) return operator_greeting("operator");
    nlohmann::json hello = operator_greeting("claim");
    hello["token"] = {{"id", token.id}};
    hello["proof"] =
        claim_proof(token, ClaimSide::operator_, connection.exporter(claim_label), std::string_view());
    return hello;
  };
  Dialed dialed = dial_head(io, head, tls, greeting, timeout);
  auto end = [&] {
    dialed.connection->close("");
    io.restart();
    io.run_for(std::chrono::milliseconds(100));
  };
  if (dialed.connection->certificate()) {
    end();
    return ClaimResult::was_ours;
  }
  std::string csr = dialed.hello.at("csr").string();
  std::string proof = claim_proof(token, ClaimSide::head, dialed.connection->exporter(claim_label), csr);
  if (!equal_secrets(dialed.hello.at("proof").string(), proof))
    throw Error(
        "cannot claim the head {}: it doesn't know the claim token's secret (another machine, or someone in "
        "between)",
        format_host_port(head));
  ClaimRecord record{
      .cluster = root.cluster_id(), .operator_name = wish.operator_name, .when = now, .tokens = wish.tokens};
  nlohmann::json body = to_json(record);
  body["certificate"] = to_pem(root.sign_authority(csr, now));
  body["root"] = to_pem(root.certificate());
  finish_claim(io, dialed.connection, body, timeout);
  end();
  return ClaimResult::done;
}

}  // namespace rayctl::cluster
