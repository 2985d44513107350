#include "net/checksums.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"
#include "base/fd.h"
#include "net/address_plan.h"

namespace rayctl::net {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds round_limit{300};
constexpr int rounds = 4;
constexpr size_t enough = 2;             // answers to datagrams without a checksum
constexpr uint16_t closed_port = 33434;  // traceroute's: nothing listens there
constexpr size_t payload = 800;          // small ones may be copied and summed in another way

enum class Sum { computed, none };

struct Question {
  size_t peer;
  Sum sum;
  Fd socket = {};
  bool answered = false;
};

void ask(Question& question, const Address& end) {
  question.socket = Fd{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                             "cannot open a socket for datagrams")};
  int none = question.sum == Sum::none;
  check(setsockopt(question.socket.get(), SOL_SOCKET, SO_NO_CHECK, &none, sizeof none),
        "cannot send datagrams without a checksum");
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(closed_port);
  std::memcpy(&to.sin_addr, end.bytes.data(), sizeof to.sin_addr);
  const std::string bytes(payload, 'c');
  // No way there is no answer: neither kind gets one.
  if (connect(question.socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 ||
      send(question.socket.get(), bytes.data(), bytes.size(), 0) < 0)
    question.socket.reset();
}

// The answer is an ICMP error: "port unreachable", or a firewall's own. A datagram whose checksum is wrong
// gets none.
void wait_answers(std::vector<Question>& questions) {
  auto end = Clock::now() + round_limit;
  for (;;) {
    std::vector<pollfd> polled;
    std::vector<Question*> of;
    for (Question& q : questions)
      if (q.socket && !q.answered) {
        polled.push_back({q.socket.get(), 0, 0});
        of.push_back(&q);
      }
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (polled.empty() || left.count() <= 0) return;
    if (poll(polled.data(), polled.size(), static_cast<int>(left.count())) <= 0) continue;
    for (size_t i = 0; i < polled.size(); ++i)
      if (polled[i].revents & POLLERR) of[i]->answered = true;
  }
}

// ETHTOOL_GTXCSUM and ETHTOOL_STXCSUM; false when there is no such link, or it knows none of it.
bool ethtool(const std::string& name, ethtool_value& value) {
  Fd any{check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "cannot open a socket")};
  ifreq request{};
  std::copy_n(name.begin(), std::min<size_t>(name.size(), IFNAMSIZ - 1), request.ifr_name);
  request.ifr_data = reinterpret_cast<char*>(&value);
  return ioctl(any.get(), SIOCETHTOOL, &request) == 0;
}

}  // namespace

std::vector<Checksums> test_checksums(const std::vector<Peer>& peers) {
  struct Answers {
    size_t computed = 0, none = 0;
  };
  std::vector<Answers> answers(peers.size());
  for (int round = 0; round < rounds; ++round) {
    std::vector<Question> questions;
    for (size_t i = 0; i < peers.size(); ++i) {
      if (answers[i].computed > 0) continue;
      questions.push_back({i, Sum::computed});
      // Later, as a kernel answers so many a second: those with a checksum have the first right to be
      // answered.
      if (round > 0) questions.push_back({i, Sum::none});
    }
    if (questions.empty()) break;
    for (Question& q : questions) ask(q, vtep_address(peers[q.peer].subnet));
    wait_answers(questions);
    for (const Question& q : questions)
      if (q.answered) ++(q.sum == Sum::computed ? answers[q.peer].computed : answers[q.peer].none);
  }
  std::vector<Checksums> found;
  for (const Answers& a : answers)
    found.push_back(a.computed > 0     ? Checksums::right
                    : a.none >= enough ? Checksums::wrong
                                       : Checksums::unknown);
  return found;
}

bool leaves_checksums(const std::string& name) {
  ethtool_value value{ETHTOOL_GTXCSUM, 0};
  return ethtool(name, value) && value.data != 0;
}

void compute_checksums(const std::string& name) {
  ethtool_value value{ETHTOOL_STXCSUM, 0};
  if (!ethtool(name, value))
    throw SysError(errno, "cannot make the kernel compute the checksums of link '{}'", name);
}

void ChecksumFinding::take(const std::vector<Peer>& asked, const std::vector<Checksums>& found, bool leaves) {
  auto wrong = std::find(found.begin(), found.end(), Checksums::wrong);
  if (wrong != found.end() || !leaves) compute_ = true;  // an earlier supervisor found it, or the operator
  if (wrong != found.end() && !leaves)
    still_wrong_ = asked[static_cast<size_t>(wrong - found.begin())].name;
  else if (std::find(found.begin(), found.end(), Checksums::right) != found.end())
    still_wrong_.clear();
}

std::string ChecksumFinding::problem() const {
  if (!still_wrong_.empty())
    return fmt::format(
        "datagrams to {} arrive without a checksum and not with one, though this machine's kernel computes "
        "it: "
        "something on the way changes packets (an encrypted overlay would drop those)",
        still_wrong_);
  if (compute_)
    return "this machine's network card computes wrong checksums inside VXLAN, and TCP would hang: the "
           "kernel "
           "computes them instead, which costs speed";
  return "";
}

}  // namespace rayctl::net
