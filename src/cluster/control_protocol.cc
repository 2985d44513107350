#include "cluster/control_protocol.h"

#include "base/error.h"
#include "base/text.h"
#include "cluster/ca.h"

namespace rayctl::cluster {

void check_clock(int64_t theirs, std::string_view doing) {
  WallTime ours = wall_now();
  std::chrono::seconds ahead = WallTime(std::chrono::seconds(theirs)) - ours;
  if (ahead > max_clock_skew || ahead < -max_clock_skew)
    throw Error(
        "cannot {}: this machine's clock is {} {} the head's (set it, for example: timedatectl set-ntp "
        "true)",
        doing, human_duration(ahead < ahead.zero() ? -ahead : ahead),
        ahead < ahead.zero() ? "behind" : "ahead of");
}

}  // namespace rayctl::cluster
