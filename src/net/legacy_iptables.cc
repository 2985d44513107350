// legacy_forward_drops() of foreign_firewall.h: a file of its own, as ip_tables.h brings the kernel's in.h,
// which the C library's headers don't go with.
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4/ip_tables.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "base/file.h"
#include "net/foreign_firewall.h"

namespace rayctl::net {

bool legacy_forward_drops() {
  // Asking for a table that isn't there would make it: look first.
  auto names = read_file_if_exists("/proc/thread-self/net/ip_tables_names", 4096).value_or("");
  if (("\n" + names).find("\nfilter\n") == std::string::npos) return false;
  Fd fd{socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)};
  ipt_getinfo info{};
  std::string_view("filter").copy(info.name, sizeof info.name - 1);
  socklen_t size = sizeof info;
  if (!fd || getsockopt(fd.get(), IPPROTO_IP, IPT_SO_GET_INFO, &info, &size) < 0) return false;
  std::vector<std::byte> buffer(sizeof(ipt_get_entries) + info.size);
  ipt_get_entries head{};
  std::string_view("filter").copy(head.name, sizeof head.name - 1);
  head.size = info.size;
  std::memcpy(buffer.data(), &head, sizeof head);
  size = static_cast<socklen_t>(buffer.size());
  if (getsockopt(fd.get(), IPPROTO_IP, IPT_SO_GET_ENTRIES, buffer.data(), &size) < 0) return false;
  // The rule at `underflow` is the chain's policy: an entry, then a standard target with the verdict.
  size_t at = offsetof(ipt_get_entries, entrytable) + info.underflow[NF_INET_FORWARD];
  ipt_entry entry;
  if (at + sizeof entry > buffer.size()) return false;
  std::memcpy(&entry, &buffer[at], sizeof entry);
  xt_standard_target target;
  if (at + entry.target_offset + sizeof target > buffer.size()) return false;
  std::memcpy(&target, &buffer[at + entry.target_offset], sizeof target);
  return target.verdict == -NF_DROP - 1;
}

}  // namespace rayctl::net
