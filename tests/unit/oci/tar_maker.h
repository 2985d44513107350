// Makes tar archives for tests, hostile ones too: nothing is checked.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>

class TarMaker {
 public:
  struct Member {
    std::string path;
    char type = '0';
    std::string data = {};
    std::string link = {};
    unsigned mode = 0644;
    long mtime = 1'000'000'000;
    unsigned major = 0, minor = 0;
    std::map<std::string, std::string> pax = {};
  };

  TarMaker& add(const Member& m) {
    std::map<std::string, std::string> pax = m.pax;
    if (m.path.size() > 99) pax["path"] = m.path;
    if (m.link.size() > 99) pax["linkpath"] = m.link;
    if (!pax.empty()) {
      std::string records;
      for (const auto& [key, value] : pax) records += record(key, value);
      block({.path = "PaxHeader", .type = 'x', .data = records});
    }
    block(m);
    return *this;
  }
  TarMaker& file(const std::string& path, const std::string& data = "x") {
    return add({.path = path, .data = data});
  }
  TarMaker& directory(const std::string& path, unsigned mode = 0755) {
    return add({.path = path, .type = '5', .mode = mode});
  }
  TarMaker& symlink(const std::string& path, const std::string& target) {
    return add({.path = path, .type = '2', .link = target});
  }
  TarMaker& hardlink(const std::string& path, const std::string& target) {
    return add({.path = path, .type = '1', .link = target});
  }
  std::string finish() const { return bytes_ + std::string(1024, '\0'); }

 private:
  static std::string record(const std::string& key, const std::string& value) {
    size_t length = key.size() + value.size() + 3, total = length;
    while (fmt::format("{}", total).size() + length != total)
      total = fmt::format("{}", total).size() + length;
    return fmt::format("{} {}={}\n", total, key, value);
  }
  void block(const Member& m) {
    char h[512] = {};
    auto put = [&](size_t at, size_t room, std::string_view text) {
      std::memcpy(h + at, text.data(), std::min(room, text.size()));
    };
    put(0, 100, m.path);
    put(100, 8, fmt::format("{:07o}", m.mode));
    put(108, 8, "0000000");
    put(116, 8, "0000000");
    put(124, 12, fmt::format("{:011o}", m.data.size()));
    put(136, 12, fmt::format("{:011o}", m.mtime));
    h[156] = m.type;
    put(157, 100, m.link);
    put(257, 8,
        std::string_view("ustar\0"
                         "00",
                         8));
    put(329, 8, fmt::format("{:07o}", m.major));
    put(337, 8, fmt::format("{:07o}", m.minor));
    std::memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : h) sum += static_cast<unsigned char>(c);
    put(148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
    bytes_.append(h, 512).append(m.data).append((512 - m.data.size() % 512) % 512, '\0');
  }

  std::string bytes_;
};
