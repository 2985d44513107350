// How a command talks to a cluster: synchronous requests, on the control socket of this machine's supervisor
// or over mutual TLS to a head elsewhere. The same requests on both.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/io.h"
#include "base/json.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::cluster {

// What flows beside a request.
struct RequestStreams {
  int in = -1;              // this fd is read, sent, and half-closed at its end (-1: half-closed at once)
  Sink out = {}, err = {};  // take what comes (write_to(1, "stdout")); empty: dropped
  enum class Terminal { none, raw };
  Terminal terminal = Terminal::none;  // raw: `in` is a terminal; raw mode meanwhile, its size is sent first
                                       // and at each change as the event {"resize": [rows, columns]}
  enum class Signals { interrupt, forward };
  // SIGINT and SIGTERM cancel the request and throw Interrupted, or are sent as {"signal": "INT"}; the third
  // one ends the command all the same.
  Signals signals = Signals::interrupt;
};

class Connection;
struct Context;

class OperatorClient {
 public:
  // The supervisor on this machine. Errors: none runs here (with the line that starts one), or permission
  // denied (root or group rayctl).
  static OperatorClient local(const std::string& run_dir);
  // The head that a context names, with the context's certificate, which is renewed when it is due (and
  // written back). Unreachable while nothing answers there; any other Error won't go away by itself.
  static OperatorClient dial(Context& context, std::chrono::milliseconds timeout = std::chrono::seconds(15));

  OperatorClient(OperatorClient&&) noexcept;
  OperatorClient& operator=(OperatorClient&&) noexcept;
  ~OperatorClient();

  // The answer's body, or the supervisor's error thrown as Error.
  Json request(std::string_view name, const nlohmann::json& body,
               std::optional<std::chrono::milliseconds> timeout = std::chrono::seconds(30));
  Json run(std::string_view name, const nlohmann::json& body, const RequestStreams& streams);

  // For those that hold many requests at once: the loop that they run in, and the connection.
  boost::asio::io_context& io();
  const std::shared_ptr<Connection>& connection() const;

 private:
  struct Impl;
  explicit OperatorClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
