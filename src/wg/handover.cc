#include "wg/handover.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace rayctl::wg {

namespace {

constexpr std::string_view greeting = "rayctl tunnel handover 1";
constexpr std::string_view accepted = "taken";
constexpr int answer_limit_ms = 3000;
constexpr size_t state_limit = 256 << 20;
constexpr size_t fd_count = 4;  // state, link, IPv4, IPv6

// A socket's path ends at 107 bytes; by the directory's descriptor it never gets there.
sockaddr_un address_in(const Fd& directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = fmt::format("/proc/self/fd/{}/handover", directory.get());
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

bool receive_text(int fd, std::string_view expected) {
  pollfd readable{fd, POLLIN, 0};
  std::array<char, 64> buffer;
  if (poll(&readable, 1, answer_limit_ms) <= 0) return false;
  ssize_t n = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
  return n > 0 && std::string_view(buffer.data(), static_cast<size_t>(n)) == expected;
}

struct Letter {
  msghdr header = {};
  iovec part = {};
  alignas(cmsghdr) std::array<uint8_t, CMSG_SPACE(sizeof(int) * fd_count)> control = {};
};

}  // namespace

HandoverDoor::HandoverDoor(const std::string& directory)
    : fd_(check(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "cannot open a socket")) {
  Fd parent = open_directory(directory);
  unlinkat(parent.get(), "handover", 0);
  sockaddr_un address = address_in(parent);
  mode_t mask = umask(0177);
  int bound = bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  umask(mask);
  check(bound, "cannot listen in '{}'", directory);
  check(listen(fd_.get(), 1), "cannot listen in '{}'", directory);
}

HandoverDoor::Outcome HandoverDoor::answer(const std::function<Belongings()>& pack) {
  Fd peer{accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  ucred who{};
  socklen_t size = sizeof who;
  if (!peer || getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != geteuid() ||
      !receive_text(peer.get(), greeting))
    return Outcome::refused;
  Belongings belongings = pack();
  Fd state{check(memfd_create("sessions", MFD_CLOEXEC), "cannot keep sessions in memory")};
  write_fd(state.get(), belongings.state, "sessions");
  check(lseek(state.get(), 0, SEEK_SET), "cannot keep sessions in memory");
  wipe(belongings.state.data(), belongings.state.size());
  std::string text = nlohmann::json{
      {"interface", belongings.interface},
      {"netns", belongings.netns},
      {"listen_port", belongings.listen_port},
      {"mark",
       belongings.mark}}.dump();
  Letter letter;
  letter.part = {text.data(), text.size()};
  letter.header.msg_iov = &letter.part;
  letter.header.msg_iovlen = 1;
  std::array<int, fd_count> fds = {state.get(), belongings.tun.get(), belongings.v4.get(),
                                   belongings.v6.get()};
  size_t count = belongings.v6 ? 4 : 3;
  letter.header.msg_control = letter.control.data();
  letter.header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* c = CMSG_FIRSTHDR(&letter.header);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * count);
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * count);
  if (sendmsg(peer.get(), &letter.header, MSG_NOSIGNAL) < 0) return Outcome::refused;
  return receive_text(peer.get(), accepted) ? Outcome::taken : Outcome::unknown;
}

std::optional<Inheritance> Inheritance::ask(const std::string& directory) {
  Fd parent = open_directory(directory);
  sockaddr_un address = address_in(parent);
  Fd fd{check(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "cannot open a socket")};
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0 ||
      send(fd.get(), greeting.data(), greeting.size(), MSG_NOSIGNAL) < 0)
    return std::nullopt;
  pollfd readable{fd.get(), POLLIN, 0};
  if (poll(&readable, 1, answer_limit_ms) <= 0) return std::nullopt;
  std::array<char, 4096> buffer;
  Letter letter;
  letter.part = {buffer.data(), buffer.size()};
  letter.header.msg_iov = &letter.part;
  letter.header.msg_iovlen = 1;
  letter.header.msg_control = letter.control.data();
  letter.header.msg_controllen = letter.control.size();
  ssize_t n = recvmsg(fd.get(), &letter.header, MSG_CMSG_CLOEXEC);
  cmsghdr* c = n > 0 ? CMSG_FIRSTHDR(&letter.header) : nullptr;
  if (!c || c->cmsg_type != SCM_RIGHTS) return std::nullopt;
  size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  std::array<Fd, fd_count> fds;
  for (size_t i = 0; i < count; ++i) {
    int number;
    std::memcpy(&number, CMSG_DATA(c) + i * sizeof number, sizeof number);
    fds[i].reset(number);
  }
  if (count < 3) return std::nullopt;
  Json text = Json::parse({buffer.data(), static_cast<size_t>(n)}, "handover");
  Inheritance inheritance(std::move(fd));
  Belongings& b = inheritance.belongings;
  b.state = read_fd(fds[0].get(), "sessions", state_limit);
  b.tun = std::move(fds[1]);
  b.v4 = std::move(fds[2]);
  b.v6 = std::move(fds[3]);
  b.interface = text.at("interface").string();
  b.netns = text.at("netns").string();
  b.listen_port = static_cast<uint16_t>(text.at("listen_port").size());
  b.mark = static_cast<uint32_t>(text.at("mark").size());
  return inheritance;
}

void Inheritance::confirm() {
  send(connection_.get(), accepted.data(), accepted.size(), MSG_NOSIGNAL);
}

}  // namespace rayctl::wg
