// Tells systemd how the service is (sd_notify(3)), without its library.
#pragma once

#include <string_view>

namespace rayctl::ray {

// Sends e.g. "READY=1\nSTATUS=healthy" to $NOTIFY_SOCKET; does nothing when systemd didn't start us.
void sd_notify(std::string_view state);

}  // namespace rayctl::ray
