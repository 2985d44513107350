// What a browser, or whoever else finds the local port, sends first: Ray's token goes out only with a request
// that has the key, and only to one that a browser makes.
#include "cli/dashboard_gate.h"

#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rayctl;
  static const cli::DashboardGate gate{.key = "0123456789abcdef", .token = "TOKEN-OF-RAY", .port = 8265};
  std::string_view text(reinterpret_cast<const char*>(data), size);
  cluster::GateVerdict verdict = gate.judge(text);
  bool shows = verdict.bytes.find(gate.token) != std::string::npos && text.find(gate.token) == text.npos;
  if (shows && verdict.kind != cluster::GateVerdict::Kind::pass) __builtin_trap();
  if (shows && text.find(gate.key) == text.npos) __builtin_trap();
  if (verdict.kind == cluster::GateVerdict::Kind::more && text.find("\r\n\r\n") != text.npos)
    __builtin_trap();
  return 0;
}
