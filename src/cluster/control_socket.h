// How a command talks to the supervisor: synchronous requests on its control socket.
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

class ControlSocket {
 public:
  // Errors: no supervisor runs here (with the line that starts one), or permission denied (root or group
  // rayctl).
  static ControlSocket connect(const std::string& run_dir);
  ControlSocket(ControlSocket&&) noexcept;
  ~ControlSocket();

  // The answer's body, or the supervisor's error thrown as Error.
  Json request(std::string_view name, const nlohmann::json& body,
               std::optional<std::chrono::milliseconds> timeout = std::chrono::seconds(30));
  Json run(std::string_view name, const nlohmann::json& body, const RequestStreams& streams);

 private:
  struct Impl;
  explicit ControlSocket(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rayctl::cluster
