#include "wg/tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "net/link.h"
#include "net/netns.h"

// Since Linux 6.2; the headers of Debian 12 are older.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace rayctl::wg {

namespace {

void inside(const std::string& netns, const std::function<void()>& call) {
  if (netns.empty())
    call();
  else
    net::Netns::open(netns).run(call);
}

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

Fd open_tun(const std::string& name) {
  Fd fd{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
  if (!fd) {
    SysError error(errno, "cannot open '/dev/net/tun'");
    if (error.code() == ENOENT || error.code() == ENODEV || error.code() == ENXIO)
      error.hint("the kernel has no TUN devices: CONFIG_TUN, modprobe tun");
    throw error;
  }
  ifreq request = request_for(name);
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(fd.get(), TUNSETIFF, &request) < 0) {
    SysError error(errno, "cannot make the link '{}'", name);
    if (error.code() == EINVAL) error.hint("a link of another kind has this name");
    if (error.code() == EBUSY) error.hint("another process uses it");
    throw error;
  }
  check(ioctl(fd.get(), TUNSETPERSIST, 1), "cannot keep the link '{}'", name);
  return fd;
}

}  // namespace

Tun Tun::open(const std::string& name, const std::string& netns, uint32_t mtu) {
  Fd fd;
  inside(netns, [&] { fd = open_tun(name); });
  Tun tun(std::move(fd), name, netns);
  tun.set_offloads();
  if (!tun.repair(mtu)) throw Error("cannot use the link '{}': it went away", name);
  return tun;
}

Tun Tun::adopt(Fd fd, const std::string& name, const std::string& netns) {
  Tun tun(std::move(fd), name, netns);
  tun.set_offloads();
  return tun;
}

void Tun::set_offloads() {
  unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  udp_ = ioctl(fd_.get(), TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0;
  tcp_ = udp_ || ioctl(fd_.get(), TUNSETOFFLOAD, tcp) == 0;
}

bool Tun::repair(uint32_t mtu) {
  // The descriptor knows whether its link lives, and under which name.
  ifreq request{};
  if (ioctl(fd_.get(), TUNGETIFF, &request) < 0 || name_ != request.ifr_name) return false;
  bool found = false;
  inside(netns_, [&] {
    net::Netlink netlink(NETLINK_ROUTE);
    auto link = net::find_link(netlink, name_);
    if (!link) return;
    found = true;
    net::LinkSettings settings;
    if (link->mtu != mtu) settings.mtu = mtu;
    if (!link->up) settings.up = true;
    if (settings.mtu || settings.up) net::set_link(netlink, link->index, name_, settings);
  });
  return found;
}

void Tun::remove() {
  ioctl(fd_.get(), TUNSETPERSIST, 0);
}

size_t Tun::read(std::span<uint8_t> buffer) {
  ssize_t n = ::read(fd_.get(), buffer.data(), buffer.size());
  return n > 0 ? static_cast<size_t>(n) : 0;
}

Frame Tun::frame(std::span<const uint8_t> bytes) {
  Frame frame;
  std::memcpy(&frame.virtio, bytes.data(), sizeof frame.virtio);
  frame.packet = bytes.subspan(sizeof frame.virtio);
  return frame;
}

bool Tun::write(std::span<iovec> frame) {
  return writev(fd_.get(), frame.data(), static_cast<int>(frame.size())) > 0;
}

void remove_tun(const std::string& name, const std::string& netns) {
  if (!netns.empty() && !net::Netns::is_namespace(netns)) return;
  inside(netns, [&] {
    net::Netlink netlink(NETLINK_ROUTE);
    auto link = net::find_link(netlink, name);
    if (link && link->kind == "tun") net::delete_link(netlink, name);
  });
}

}  // namespace rayctl::wg
