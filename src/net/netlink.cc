#include "net/netlink.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace rayctl::net {

namespace {

constexpr size_t receive_size = 256 << 10;    // larger than any datagram the kernel makes for a dump
constexpr size_t messages_per_datagram = 64;  // their ACKs fit into the default receive buffer

Fd open_socket(int protocol) {
  Fd fd{check(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "cannot open a netlink socket")};
  int on = 1;
  // Old kernels lack one or the other: errors are then less precise, dumps are filtered by us.
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on);
  int size = 1 << 20;
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  check(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
        "cannot bind a netlink socket");
  return fd;
}

}  // namespace

// --- building ---

Message::Message(uint16_t type, uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  buffer_.reserve(256);
  raw({reinterpret_cast<const std::byte*>(&header), sizeof header});
}

Message& Message::raw(Bytes bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  buffer_.resize(NLMSG_ALIGN(buffer_.size()));
  return *this;
}

size_t Message::begin_attribute(uint16_t type) {
  size_t at = buffer_.size();
  nlattr header{0, type};
  raw({reinterpret_cast<const std::byte*>(&header), sizeof header});
  return at;
}

void Message::end_attribute(size_t at) {
  size_t length = buffer_.size() - at;
  if (length > UINT16_MAX) throw Error("cannot build a netlink message: an attribute of {} bytes", length);
  uint16_t value = static_cast<uint16_t>(length);
  std::memcpy(&buffer_[at], &value, sizeof value);
  buffer_.resize(NLMSG_ALIGN(buffer_.size()));
}

Message& Message::bytes(uint16_t type, Bytes value) {
  size_t at = begin_attribute(type);
  buffer_.insert(buffer_.end(), value.begin(), value.end());
  end_attribute(at);
  return *this;
}

Message& Message::u8(uint16_t type, uint8_t value) {
  return number(type, value);
}
Message& Message::u16(uint16_t type, uint16_t value) {
  return number(type, value);
}
Message& Message::u32(uint16_t type, uint32_t value) {
  return number(type, value);
}
Message& Message::i32(uint16_t type, int32_t value) {
  return number(type, value);
}
Message& Message::be16(uint16_t type, uint16_t value) {
  return number(type, htobe16(value));
}
Message& Message::be32(uint16_t type, uint32_t value) {
  return number(type, htobe32(value));
}
Message& Message::be64(uint16_t type, uint64_t value) {
  return number(type, htobe64(value));
}
Message& Message::string(uint16_t type, std::string_view text) {
  std::string copy(text);
  return bytes(type, as_bytes({copy.c_str(), copy.size() + 1}));
}
Message& Message::address(uint16_t type, const Address& value) {
  return bytes(type, std::as_bytes(std::span(value.bytes.data(), value.size())));
}
Message& Message::mac(uint16_t type, const Mac& value) {
  return bytes(type, std::as_bytes(std::span(value.bytes)));
}
Message& Message::flag(uint16_t type) {
  return bytes(type, {});
}
Message& Message::nest(uint16_t type, const std::function<void()>& content) {
  return plain_nest(type | NLA_F_NESTED, content);
}
Message& Message::plain_nest(uint16_t type, const std::function<void()>& content) {
  size_t at = begin_attribute(type);
  content();
  end_attribute(at);
  return *this;
}

Bytes Message::finish(uint32_t sequence, uint16_t more_flags) {
  nlmsghdr header;
  std::memcpy(&header, buffer_.data(), sizeof header);
  header.nlmsg_len = static_cast<uint32_t>(buffer_.size());
  header.nlmsg_flags |= more_flags;
  header.nlmsg_seq = sequence;
  std::memcpy(buffer_.data(), &header, sizeof header);
  return buffer_;
}

// --- parsing ---

bool Attributes::next(Attribute& attribute) {
  if (bytes_.size() < sizeof(nlattr)) return false;
  nlattr header;
  std::memcpy(&header, bytes_.data(), sizeof header);
  if (header.nla_len < sizeof header || header.nla_len > bytes_.size()) {
    bytes_ = {};
    return false;
  }
  attribute.type = header.nla_type & NLA_TYPE_MASK;
  attribute.value = bytes_.subspan(sizeof header, header.nla_len - sizeof header);
  bytes_ = bytes_.subspan(std::min<size_t>(bytes_.size(), NLMSG_ALIGN(header.nla_len)));
  return true;
}

std::optional<Bytes> Attributes::find(uint16_t type) const {
  Attributes rest = *this;
  for (Attribute attribute; rest.next(attribute);)
    if (attribute.type == type) return attribute.value;
  return std::nullopt;
}

std::optional<uint16_t> Attributes::be16(uint16_t type) const {
  auto value = u16(type);
  return value ? std::optional(be16toh(*value)) : std::nullopt;
}

std::optional<uint32_t> Attributes::be32(uint16_t type) const {
  auto value = u32(type);
  return value ? std::optional(be32toh(*value)) : std::nullopt;
}

std::optional<std::string> Attributes::string(uint16_t type) const {
  auto value = find(type);
  if (!value) return std::nullopt;
  std::string_view text = as_text(*value);
  return std::string(text.substr(0, text.find('\0')));
}

std::optional<Address> Attributes::address(uint16_t type) const {
  auto value = find(type);
  if (!value || (value->size() != 4 && value->size() != 16)) return std::nullopt;
  Address address;
  address.family = value->size() == 4 ? AF_INET : AF_INET6;
  std::memcpy(address.bytes.data(), value->data(), value->size());
  return address;
}

std::optional<Mac> Attributes::mac(uint16_t type) const {
  auto value = find(type);
  if (!value || value->size() != 6) return std::nullopt;
  Mac mac;
  std::memcpy(mac.bytes.data(), value->data(), 6);
  return mac;
}

Attributes Attributes::nested(uint16_t type) const {
  return Attributes(find(type).value_or(Bytes{}));
}

void for_each_message(Bytes datagram, const std::function<bool(const Answer&)>& each) {
  while (datagram.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size()) return;
    Answer answer{header.nlmsg_type, header.nlmsg_flags, header.nlmsg_seq,
                  datagram.subspan(sizeof header, header.nlmsg_len - sizeof header)};
    if (!each(answer)) return;
    datagram = datagram.subspan(std::min<size_t>(datagram.size(), NLMSG_ALIGN(header.nlmsg_len)));
  }
}

Outcome parse_outcome(const Answer& error) {
  auto fixed = error.fixed<nlmsgerr>();
  if (!fixed) return {EBADMSG, "the kernel's answer is too short"};
  if (fixed->error > 0 || fixed->error < -4095) return {EBADMSG, "the kernel's answer holds no error number"};
  // A kernel without NETLINK_CAP_ACK repeats the whole request in front of the attributes.
  size_t before = sizeof(nlmsgerr);
  if (!(error.flags & NLM_F_CAPPED) && fixed->error) {
    uint32_t repeated = fixed->msg.nlmsg_len;
    if (repeated < sizeof(nlmsghdr) || repeated > error.payload.size()) return {-fixed->error, {}};
    before += NLMSG_ALIGN(repeated) - sizeof(nlmsghdr);
  }
  Outcome outcome{-fixed->error, {}};
  if (error.flags & NLM_F_ACK_TLVS)
    outcome.text = error.attributes(before).string(NLMSGERR_ATTR_MSG).value_or("");
  return outcome;
}

// --- the socket ---

Netlink::Netlink(int protocol) : fd_(open_socket(protocol)), buffer_(receive_size) {}

void Netlink::raise(const Outcome& outcome, const std::string& action) {
  if (outcome.code == 0) return;
  if (outcome.text.empty()) throw SysError(outcome.code, "{}", action);
  SysError error(outcome.code, "{}", action);
  error.hint("{}", outcome.text);
  throw error;
}

void Netlink::send(Bytes bytes) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t n;
  do {
    n = sendto(fd_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  } while (n < 0 && errno == EINTR);
  check(n, "cannot send {} bytes by netlink", bytes.size());
}

Bytes Netlink::receive() {
  for (;;) {
    sockaddr_nl from{};
    iovec part{buffer_.data(), buffer_.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof from;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    ssize_t n = recvmsg(fd_.get(), &header, 0);
    if (n < 0 && errno == EINTR) continue;
    check(n, "cannot receive by netlink");
    if (header.msg_flags & MSG_TRUNC) throw Error("cannot receive by netlink: the answer is too large");
    if (from.nl_pid != 0) continue;  // not the kernel
    return Bytes(buffer_).first(static_cast<size_t>(n));
  }
}

Outcome Netlink::attempt(Message& message) {
  uint32_t sequence = sequence_++;
  send(message.finish(sequence, NLM_F_ACK));
  std::optional<Outcome> outcome;
  while (!outcome) {
    for_each_message(receive(), [&](const Answer& answer) {
      if (answer.sequence == sequence && answer.type == NLMSG_ERROR) outcome = parse_outcome(answer);
      return !outcome;
    });
  }
  return *outcome;
}

// Sends messages begin … end as one datagram, the last of them with `last_flags` too, and shows their
// answers.
void Netlink::converse(std::vector<Message>& messages, size_t begin, size_t end, uint16_t last_flags,
                       const Batch& each) {
  uint32_t first = sequence_;
  std::vector<std::byte> datagram;
  for (size_t i = begin; i < end; ++i) {
    Bytes bytes = messages[i].finish(sequence_++, i + 1 == end ? last_flags : 0);
    datagram.insert(datagram.end(), bytes.begin(), bytes.end());
  }
  send(datagram);
  for (bool more = true; more;)
    for_each_message(receive(), [&](const Answer& answer) {
      uint32_t index = answer.sequence - first;
      if (index < end - begin) more = each(index, answer);
      return more;
    });
}

std::vector<Outcome> Netlink::attempt_all(std::vector<Message>& messages) {
  std::vector<Outcome> outcomes(messages.size());
  for (size_t begin = 0; begin < messages.size(); begin += messages_per_datagram) {
    size_t end = std::min(messages.size(), begin + messages_per_datagram);
    // The kernel works in order and tells of every failure: the last one's ACK says that the others went
    // well.
    converse(messages, begin, end, NLM_F_ACK, [&](uint32_t index, const Answer& answer) {
      if (answer.type != NLMSG_ERROR) return true;
      outcomes[begin + index] = parse_outcome(answer);
      return begin + index + 1 < end;
    });
  }
  return outcomes;
}

void Netlink::query_all(std::vector<Message>& messages,
                        const std::function<void(size_t index, const Answer& answer)>& each) {
  for (size_t begin = 0; begin < messages.size(); begin += messages_per_datagram) {
    size_t end = std::min(messages.size(), begin + messages_per_datagram);
    converse(messages, begin, end, 0, [&](uint32_t index, const Answer& answer) {
      if (answer.type != NLMSG_ERROR) each(begin + index, answer);
      return begin + index + 1 < end;
    });
  }
}

Outcome Netlink::query_once(Message& message, uint16_t flags,
                            const std::function<void(const Answer&)>& each) {
  uint32_t sequence = sequence_++;
  bool dumping = (flags & NLM_F_DUMP) == NLM_F_DUMP;
  send(message.finish(sequence, flags));
  std::optional<Outcome> outcome;
  bool torn = false;
  while (!outcome) {
    for_each_message(receive(), [&](const Answer& answer) {
      if (answer.sequence != sequence) return true;
      if (answer.flags & NLM_F_DUMP_INTR) torn = true;
      if (answer.type == NLMSG_ERROR) {
        outcome = parse_outcome(answer);
      } else if (answer.type == NLMSG_DONE) {
        auto code = answer.fixed<int32_t>();
        outcome = Outcome{code && *code < 0 ? -*code : 0, {}};
      } else {
        each(answer);
        if (!dumping) outcome = Outcome{};
      }
      return !outcome;
    });
  }
  if (torn && outcome->code == 0) return {EINTR, "the list changed while it was read"};
  return *outcome;
}

Outcome Netlink::query(Message& message, const std::function<void(const Answer&)>& each) {
  return query_once(message, 0, each);
}

void Netlink::dump(Message& message, std::string_view what, const std::function<void(const Answer&)>& each) {
  struct Kept {
    uint16_t type, flags;
    size_t offset, size;
  };
  constexpr int tries = 20;
  for (int i = 0;; ++i) {
    std::vector<Kept> kept;
    std::vector<std::byte> bytes;
    Outcome outcome = query_once(message, NLM_F_DUMP, [&](const Answer& answer) {
      kept.push_back({answer.type, answer.flags, bytes.size(), answer.payload.size()});
      bytes.insert(bytes.end(), answer.payload.begin(), answer.payload.end());
    });
    if (outcome.code == EINTR && i < tries) continue;
    raise(outcome, std::string(what));
    for (const Kept& k : kept) each({k.type, k.flags, 0, Bytes(bytes).subspan(k.offset, k.size)});
    return;
  }
}

Outcome Netlink::attempt_batch(std::vector<Message>& messages, size_t* failed) {
  nfgenmsg family{};
  family.version = NFNETLINK_V0;
  family.res_id = htons(NFNL_SUBSYS_NFTABLES);
  Message begin(NFNL_MSG_BATCH_BEGIN, 0), end(NFNL_MSG_BATCH_END, 0);
  begin.fixed(family);
  end.fixed(family);
  uint32_t first = sequence_;
  std::vector<std::byte> datagram;
  auto append = [&](Message& message, uint16_t flags) {
    Bytes bytes = message.finish(sequence_++, flags);
    datagram.insert(datagram.end(), bytes.begin(), bytes.end());
  };
  append(begin, 0);
  // Only the last asks for an ACK: errors come for every message, success once.
  for (size_t i = 0; i < messages.size(); ++i) append(messages[i], i + 1 == messages.size() ? NLM_F_ACK : 0);
  append(end, 0);
  int size = static_cast<int>(datagram.size() + (64 << 10));
  setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  send(datagram);
  std::optional<Outcome> outcome;
  uint32_t last = first + static_cast<uint32_t>(messages.size());
  while (!outcome) {
    for_each_message(receive(), [&](const Answer& answer) {
      if (answer.type != NLMSG_ERROR || answer.sequence - first > last - first) return true;
      Outcome found = parse_outcome(answer);
      if (found.code == 0 && answer.sequence != last) return true;
      outcome = found;
      if (failed) *failed = answer.sequence == first ? 0 : answer.sequence - first - 1;
      return false;
    });
  }
  // Errors of further messages of a refused batch may follow; they must not meet the next request.
  while (recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT) > 0) {
  }
  return *outcome;
}

NetlinkEvents::NetlinkEvents(int protocol, const std::vector<int>& groups)
    : fd_(open_socket(protocol)), buffer_(receive_size) {
  for (int group : groups)
    check(setsockopt(fd_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group),
          "cannot watch the network's changes");
}

bool NetlinkEvents::drain(const std::function<void(const Answer&)>& each) {
  bool complete = true;
  for (;;) {
    ssize_t n = recv(fd_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == ENOBUFS) {
      complete = false;
      continue;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return complete;
    check(n, "cannot read the network's changes");
    for_each_message(Bytes(buffer_).first(std::min<size_t>(static_cast<size_t>(n), buffer_.size())),
                     [&](const Answer& answer) {
                       each(answer);
                       return true;
                     });
  }
}

}  // namespace rayctl::net
