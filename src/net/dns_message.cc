#include "net/dns_message.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::net {

namespace {

constexpr uint16_t flag_answer = 0x8000, flag_authoritative = 0x0400, flag_truncated = 0x0200,
                   flag_recursion_desired = 0x0100, flag_recursion_available = 0x0080,
                   flag_checking_disabled = 0x0010;
constexpr size_t label_limit = 63, name_limit = 255;
constexpr uint16_t class_in = 1;
constexpr size_t opt_size = 11;

// Reads forward within the bytes; a read past the end sets `failed` and gives zeros.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  uint8_t u8() {
    if (at_ >= bytes_.size()) return failed_ = true, 0;
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  uint16_t u16() {
    uint16_t high = u8();
    return static_cast<uint16_t>(high << 8 | u8());
  }
  uint32_t u32() {
    uint32_t high = u16();
    return high << 16 | u16();
  }
  std::string_view take(size_t size) {
    if (size > bytes_.size() - at_) {
      failed_ = true;
      return {};
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  size_t at() const { return at_; }
  bool failed() const { return failed_; }
  void fail() { failed_ = true; }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  bool failed_ = false;
};

void append_label(std::string& name, std::string_view label) {
  if (!name.empty()) name += '.';
  for (char c : label) {
    if (c >= 'A' && c <= 'Z') {
      name += static_cast<char>(c - 'A' + 'a');
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_') {
      name += c;
    } else {  // a '.' within a label must not look like the end of one
      name += fmt::format("\\{:03}", static_cast<uint8_t>(c));
    }
  }
}

// The name in a question, where nothing precedes it that a pointer could lead to.
std::string read_question_name(Reader& reader) {
  std::string name;
  size_t total = 1;
  for (;;) {
    uint8_t length = reader.u8();
    if (length == 0 || reader.failed()) return name;
    total += length + size_t{1};
    if (length > label_limit || total > name_limit) {
      reader.fail();
      return name;
    }
    append_label(name, reader.take(length));
  }
}

// Past a name; a pointer ends it, so no loop can be followed.
void skip_name(Reader& reader) {
  for (;;) {
    uint8_t length = reader.u8();
    if (length == 0 || reader.failed()) return;
    if (length >= 0xc0) {
      reader.u8();
      return;
    }
    if (length > label_limit) return reader.fail();
    reader.take(length);
  }
}

void put16(std::string& out, uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value & 0xff);
}

void put32(std::string& out, uint32_t value) {
  put16(out, static_cast<uint16_t>(value >> 16));
  put16(out, static_cast<uint16_t>(value & 0xffff));
}

void set16(std::string& out, size_t at, uint16_t value) {
  out[at] = static_cast<char>(value >> 8);
  out[at + 1] = static_cast<char>(value & 0xff);
}

uint16_t u16_at(std::string_view bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]));
}

std::string encode_record(const DnsRecord& record) {
  std::string out;
  if (record.owner.empty())
    put16(out, 0xc000 | dns_header_size);  // the question's name
  else
    out += encode_dns_name(record.owner);
  put16(out, static_cast<uint16_t>(record.type));
  put16(out, class_in);
  put32(out, record.ttl);
  put16(out, static_cast<uint16_t>(record.data.size()));
  return out + record.data;
}

void put_opt(std::string& out, DnsCode code) {
  out += '\0';
  put16(out, static_cast<uint16_t>(DnsType::opt));
  put16(out, dns_edns_udp_size);
  out += static_cast<char>(static_cast<uint16_t>(code) >> 4);  // the code's upper bits
  out += '\0';                                                 // version
  put16(out, 0);
  put16(out, 0);
}

}  // namespace

DnsIncoming parse_dns_query(Bytes message) {
  DnsIncoming incoming;
  if (message.size() < dns_header_size) return incoming;
  std::string_view text = as_text(message);
  Reader reader(text);
  DnsQuery& query = incoming.query;
  query.id = reader.u16();
  uint16_t flags = reader.u16();
  if (flags & flag_answer) return incoming;
  query.opcode = flags >> 11 & 0xf;
  query.recursion_desired = flags & flag_recursion_desired;
  query.checking_disabled = flags & flag_checking_disabled;
  uint16_t questions = reader.u16(), answers = reader.u16(), authority = reader.u16(),
           additional = reader.u16();
  incoming.kind = DnsIncoming::Kind::problem;
  if (query.opcode != 0) {
    incoming.problem = DnsCode::not_implemented;
    return incoming;
  }
  incoming.problem = DnsCode::format_error;
  if (questions != 1) return incoming;
  query.name = read_question_name(reader);
  query.type = reader.u16();
  query.klass = reader.u16();
  if (reader.failed()) return incoming;
  query.question = text.substr(dns_header_size, reader.at() - dns_header_size);
  uint8_t version = 0;
  uint32_t records = uint32_t{answers} + authority + additional;
  for (uint32_t i = 0; i < records; ++i) {
    size_t begin = reader.at();
    skip_name(reader);
    bool root = reader.at() == begin + 1;
    uint16_t type = reader.u16(), klass = reader.u16();
    uint32_t ttl = reader.u32();
    reader.take(reader.u16());
    if (reader.failed()) return incoming;
    if (type != static_cast<uint16_t>(DnsType::opt)) continue;
    if (query.edns || !root || i < uint32_t{answers} + authority) return incoming;  // RFC 6891, 6.1.1
    query.edns = true;
    query.udp_size = std::clamp<size_t>(klass, dns_plain_udp_size, dns_edns_udp_size);
    version = static_cast<uint8_t>(ttl >> 16 & 0xff);
  }
  if (version > 0) {
    incoming.problem = DnsCode::bad_version;
    return incoming;
  }
  incoming.kind = DnsIncoming::Kind::query;
  incoming.problem = DnsCode::ok;
  return incoming;
}

std::string write_dns_reply(const DnsQuery& query, const DnsReply& reply, size_t limit) {
  std::string out;
  uint16_t flags = flag_answer | flag_recursion_available;
  flags |= static_cast<uint16_t>(query.opcode << 11);
  if (reply.authoritative) flags |= flag_authoritative;
  if (query.recursion_desired) flags |= flag_recursion_desired;
  if (query.checking_disabled) flags |= flag_checking_disabled;
  flags |= static_cast<uint16_t>(reply.code) & 0xf;
  put16(out, query.id);
  put16(out, flags);
  put16(out, query.question.empty() ? 0 : 1);
  out.append(6, '\0');
  out += query.question;
  size_t reserved = query.edns ? opt_size : 0;
  // Appends a section's records; false when one didn't fit.
  auto append = [&](const std::vector<DnsRecord>& records, uint16_t& count) {
    for (const DnsRecord& record : records) {
      std::string bytes = encode_record(record);
      if (out.size() + bytes.size() + reserved > limit) return false;
      out += bytes;
      ++count;
    }
    return true;
  };
  uint16_t answers = 0, authority = 0;
  if (!append(reply.answers, answers) || !append(reply.authority, authority)) flags |= flag_truncated;
  if (query.edns) put_opt(out, reply.code);
  set16(out, 2, flags);
  set16(out, 6, answers);
  set16(out, 8, authority);
  set16(out, 10, query.edns ? 1 : 0);
  return out;
}

std::string encode_dns_name(std::string_view name) {
  std::string out;
  if (!name.empty())
    for (const std::string& label : split(name, '.')) {
      if (label.empty() || label.size() > label_limit)
        throw Error("cannot use name '{}': each part has 1 to {} characters", printable(name), label_limit);
      out += static_cast<char>(label.size());
      out += label;
    }
  out += '\0';
  if (out.size() > name_limit)
    throw Error("cannot use name '{}': it is longer than {} bytes", printable(name), name_limit - 2);
  return out;
}

DnsRecord address_record(const Address& address, uint32_t ttl) {
  DnsRecord record;
  record.type = address.is_v4() ? DnsType::a : DnsType::aaaa;
  record.ttl = ttl;
  record.data.assign(reinterpret_cast<const char*>(address.bytes.data()), address.size());
  return record;
}

void set_dns_id(std::string& message, uint16_t id) {
  set16(message, 0, id);
}

uint16_t dns_id(std::string_view message) {
  return u16_at(message, 0);
}

DnsCode dns_code(std::string_view message) {
  return static_cast<DnsCode>(u16_at(message, 2) & 0xf);
}

bool dns_truncated(std::string_view message) {
  return u16_at(message, 2) & flag_truncated;
}

bool answers_query(std::string_view answer, uint16_t id, std::string_view question) {
  if (answer.size() < dns_header_size + question.size()) return false;
  if (dns_id(answer) != id || !(u16_at(answer, 2) & flag_answer) || u16_at(answer, 4) != 1) return false;
  std::string_view echoed = answer.substr(dns_header_size, question.size());
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(echoed.begin(), echoed.end(), question.begin(),
                    [&](char a, char b) { return lower(a) == lower(b); });
}

std::string truncate_dns_answer(std::string_view answer, std::string_view question) {
  std::string out(answer.substr(0, dns_header_size));
  set16(out, 2, u16_at(answer, 2) | flag_truncated);
  set16(out, 4, 1);
  for (size_t at : {6, 8, 10}) set16(out, at, 0);
  return out + std::string(question);
}

}  // namespace rayctl::net
