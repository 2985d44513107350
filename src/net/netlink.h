// Netlink messages: built, sent, and their answers parsed within bounds (rtnetlink, nfnetlink, generic).
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "base/fd.h"
#include "base/io.h"
#include "net/address.h"

namespace rayctl::net {

// A request under construction: a fixed header, then attributes, nested as deep as needed.
class Message {
 public:
  Message(uint16_t type, uint16_t flags);

  // The family's fixed header, e.g. ifinfomsg; first.
  template <class T>
  Message& fixed(const T& header) {
    static_assert(std::is_trivially_copyable_v<T>);
    return raw({reinterpret_cast<const std::byte*>(&header), sizeof header});
  }
  Message& raw(Bytes bytes);  // padded to 4

  Message& bytes(uint16_t type, Bytes value);
  Message& u8(uint16_t type, uint8_t value);
  Message& u16(uint16_t type, uint16_t value);
  Message& u32(uint16_t type, uint32_t value);
  Message& i32(uint16_t type, int32_t value);
  Message& be16(uint16_t type, uint16_t value);  // stored in network order
  Message& be32(uint16_t type, uint32_t value);
  Message& be64(uint16_t type, uint64_t value);
  Message& string(uint16_t type, std::string_view text);  // with its NUL
  Message& address(uint16_t type, const Address& value);
  Message& mac(uint16_t type, const Mac& value);
  Message& flag(uint16_t type);                                              // no payload
  Message& nest(uint16_t type, const std::function<void()>& content);        // with NLA_F_NESTED
  Message& plain_nest(uint16_t type, const std::function<void()>& content);  // for families that refuse it

  // The finished message; `sequence` and further flags are put into its header.
  Bytes finish(uint32_t sequence, uint16_t more_flags = 0);
  size_t size() const { return buffer_.size(); }

 private:
  size_t begin_attribute(uint16_t type);
  void end_attribute(size_t at);
  template <class T>
  Message& number(uint16_t type, T value) {
    return bytes(type, {reinterpret_cast<const std::byte*>(&value), sizeof value});
  }
  std::vector<std::byte> buffer_;
};

struct Attribute {
  uint16_t type = 0;  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
  Bytes value = {};
};

// The attributes in a piece of an answer. A length that leads outside ends the list.
class Attributes {
 public:
  explicit Attributes(Bytes bytes) : bytes_(bytes) {}

  bool next(Attribute& attribute);  // consumes one
  std::optional<Bytes> find(uint16_t type) const;
  // Empty when absent or of another size.
  std::optional<uint8_t> u8(uint16_t type) const { return number<uint8_t>(type); }
  std::optional<uint16_t> u16(uint16_t type) const { return number<uint16_t>(type); }
  std::optional<uint32_t> u32(uint16_t type) const { return number<uint32_t>(type); }
  std::optional<uint16_t> be16(uint16_t type) const;
  std::optional<uint32_t> be32(uint16_t type) const;
  std::optional<std::string> string(uint16_t type) const;  // up to its NUL
  std::optional<Address> address(uint16_t type) const;     // 4 or 16 bytes
  std::optional<Mac> mac(uint16_t type) const;
  Attributes nested(uint16_t type) const;  // empty when absent

 private:
  template <class T>
  std::optional<T> number(uint16_t type) const {
    auto value = find(type);
    if (!value || value->size() != sizeof(T)) return std::nullopt;
    T result;
    std::memcpy(&result, value->data(), sizeof result);
    return result;
  }
  Bytes bytes_;
};

// One message of an answer.
struct Answer {
  uint16_t type = 0;
  uint16_t flags = 0;
  uint32_t sequence = 0;
  Bytes payload = {};

  // The family's fixed header; empty when the message is too short for it.
  template <class T>
  std::optional<T> fixed() const {
    static_assert(std::is_trivially_copyable_v<T>);
    if (payload.size() < sizeof(T)) return std::nullopt;
    T header;
    std::memcpy(&header, payload.data(), sizeof header);
    return header;
  }
  // What follows a fixed header of `size` bytes.
  Attributes attributes(size_t size) const {
    size_t aligned = NLMSG_ALIGN(size);
    return Attributes(payload.size() > aligned ? payload.subspan(aligned) : Bytes{});
  }
};

// Calls `each` for the messages of a datagram; a length that leads outside ends it. `each` returns false to
// stop.
void for_each_message(Bytes datagram, const std::function<bool(const Answer&)>& each);

// What NLMSG_ERROR says: 0 or a positive errno, and the kernel's own words (extended ACK) if any.
struct Outcome {
  int code = 0;
  std::string text = {};
};
Outcome parse_outcome(const Answer& error);

// A socket of one netlink family; belongs to the network namespace that it was opened in.
class Netlink {
 public:
  explicit Netlink(int protocol);  // NETLINK_ROUTE, NETLINK_NETFILTER, NETLINK_GENERIC

  // Sends with NLM_F_ACK and returns the kernel's verdict.
  Outcome attempt(Message& message);

  // The same; a refusal is thrown as SysError: `cannot <verb> '<object>': <kernel's words>`.
  template <class... A>
  void request(Message& message, fmt::format_string<A...> format, A&&... args) {
    raise(attempt(message), fmt::format(format, std::forward<A>(args)...));
  }

  // Many requests, sent in large datagrams. One outcome per message, in order.
  std::vector<Outcome> attempt_all(std::vector<Message>& messages);

  // One answer to a request that isn't a dump; `each` sees it. An error code of the kernel is returned.
  Outcome query(Message& message, const std::function<void(const Answer&)>& each);
  // Many of them, sent in large datagrams; `each` is told whose answer it sees. A refused one has none.
  void query_all(std::vector<Message>& messages,
                 const std::function<void(size_t index, const Answer& answer)>& each);

  // A dump, repeated from the start when the kernel says that it was interrupted by a change; `each` sees
  // only the complete one. Throws with `what` ("cannot list routes").
  void dump(Message& message, std::string_view what, const std::function<void(const Answer&)>& each);

  // nfnetlink: all or nothing, between BATCH_BEGIN and BATCH_END. `failed` becomes the index of the refused
  // one.
  Outcome attempt_batch(std::vector<Message>& messages, size_t* failed);

  int fd() const { return fd_.get(); }

 private:
  friend class NetlinkEvents;
  static void raise(const Outcome& outcome, const std::string& action);
  void send(Bytes bytes);
  Bytes receive();  // one datagram; valid until the next call
  using Batch = std::function<bool(uint32_t index, const Answer& answer)>;  // false: that was all
  void converse(std::vector<Message>& messages, size_t begin, size_t end, uint16_t last_flags,
                const Batch& each);
  Outcome query_once(Message& message, uint16_t flags, const std::function<void(const Answer&)>& each);

  Fd fd_;
  uint32_t sequence_ = 1;
  std::vector<std::byte> buffer_;
};

// A socket that is told of changes, made by anyone, in its network namespace.
class NetlinkEvents {
 public:
  NetlinkEvents(int protocol, const std::vector<int>& groups);  // RTNLGRP_LINK, …
  int fd() const { return fd_.get(); }
  // Empties the socket without waiting; `each` sees what came. Returns false when events were lost (the
  // receive buffer was full): then anything may have changed.
  bool drain(const std::function<void(const Answer&)>& each);

 private:
  Fd fd_;
  std::vector<std::byte> buffer_;
};

}  // namespace rayctl::net
