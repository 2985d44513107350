#include "ray/lookup.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/select.h>

#include <memory>

namespace rayctl::ray {

std::optional<std::string> lookup_ipv4(const std::string& name) {
  // A channel a call: resolv.conf is read anew, and the name server's address may have changed.
  ares_options options{};
  options.timeout = 500;  // ms
  options.tries = 2;
  char order[] = "fb";  // hosts file, then DNS
  options.lookups = order;
  ares_channel raw = nullptr;
  if (ares_init_options(&raw, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS) !=
      ARES_SUCCESS)
    return std::nullopt;
  std::unique_ptr<ares_channeldata, decltype([](ares_channel c) { ares_destroy(c); })> channel{raw};
  std::optional<std::string> found;
  auto answered = [](void* context, int status, int, hostent* host) {
    if (status != ARES_SUCCESS || !host || !host->h_addr_list[0]) return;
    char text[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, host->h_addr_list[0], text, sizeof text))
      *static_cast<std::optional<std::string>*>(context) = text;
  };
  ares_gethostbyname(channel.get(), name.c_str(), AF_INET, answered, &found);
  for (;;) {
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    int count = ares_fds(channel.get(), &readable, &writable);
    if (count == 0) return found;
    timeval buffer{};
    timeval* left = ares_timeout(channel.get(), nullptr, &buffer);
    select(count, &readable, &writable, nullptr, left);
    ares_process(channel.get(), &readable, &writable);
  }
}

}  // namespace rayctl::ray
