#include "oci/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>

#include "base/error.h"

using namespace rayctl;
using namespace rayctl::oci;

namespace {

std::string gzip(const std::string& text) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, text.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(const std::string& text, int window_log = 0) {
  ZSTD_CCtx* c = ZSTD_createCCtx();
  if (window_log) {
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
  }
  std::string out(ZSTD_compressBound(text.size()) + 64, '\0');
  ZSTD_outBuffer target{out.data(), out.size(), 0};
  ZSTD_inBuffer source{text.data(), text.size(), 0};
  while (source.pos < source.size) ZSTD_compressStream2(c, &target, &source, ZSTD_e_continue);
  ZSTD_compressStream2(c, &target, &source, ZSTD_e_end);
  out.resize(target.pos);
  ZSTD_freeCCtx(c);
  return out;
}

// Hands out `step` bytes at a time.
Source stepwise(std::string_view text, size_t step) {
  return [text, step](std::span<std::byte> out) mutable {
    size_t n = std::min({step, out.size(), text.size()});
    std::copy_n(as_bytes(text).begin(), n, out.begin());
    text.remove_prefix(n);
    return n;
  };
}

std::string plain(std::string_view bytes, size_t step = 1 << 20, size_t buffer = 1 << 16,
                  const DecompressLimits& limits = {}) {
  std::string out;
  copy(
      decompress(stepwise(bytes, step), limits), [&](Bytes b) { out += as_text(b); }, buffer);
  return out;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 30000; ++i) text += std::to_string(i * 7919 % 10007) + ",";
  return text;
}

}  // namespace

TEST_CASE("every form is read in any steps") {
  std::string text = sample();
  for (const std::string& packed : {text, gzip(text), zstd(text)}) {
    CHECK(plain(packed) == text);
    CHECK(plain(packed, 1) == text);
    CHECK(plain(packed, 3, 7) == text);
  }
}

TEST_CASE("members and frames follow each other, empty ones too") {
  std::string text = sample();
  CHECK(plain(gzip(text) + gzip("") + gzip("tail")) == text + "tail");
  CHECK(plain(gzip(text) + gzip("") + gzip("tail"), 1, 5) == text + "tail");
  CHECK(plain(zstd(text) + zstd("") + zstd("tail")) == text + "tail");
  CHECK(plain(std::string("\x50\x2a\x4d\x18\x03\0\0\0abc", 11) + zstd("x")) == "x");
  CHECK(plain("").empty());
  CHECK(plain(gzip("")).empty());
}

TEST_CASE("a cut, damaged or prolonged stream is an error") {
  std::string text = sample(), gz = gzip(text), zs = zstd(text);
  for (size_t cut : {size_t{5}, size_t{15}, gz.size() / 2, gz.size() - 8, gz.size() - 1})
    CHECK_THROWS_WITH(plain(std::string_view(gz).substr(0, cut)), "gzip: the stream is cut short");
  for (size_t cut : {size_t{5}, zs.size() / 2, zs.size() - 1})
    CHECK_THROWS_WITH(plain(std::string_view(zs).substr(0, cut)), "zstd: the stream is cut short");
  CHECK_THROWS_WITH(plain(gz + "garbage"), "gzip: data after the end of the stream");
  CHECK_THROWS_WITH(plain(gz + std::string(1, '\0')), "gzip: data after the end of the stream");
  CHECK_THROWS_WITH(plain(zs + "garbage"), Catch::Contains("zstd: "));
  std::string wrong = gz;
  wrong[wrong.size() - 6] ^= 1;
  CHECK_THROWS_WITH(plain(wrong), "gzip: wrong checksum");
}

TEST_CASE("bombs are refused") {
  std::string zeros(64 << 20, '\0');
  DecompressLimits strict{.ratio = 100, .free_output = 1 << 20};
  CHECK_THROWS_WITH(plain(gzip(zeros), 1 << 20, 1 << 20, strict), Catch::Contains("decompression bomb"));
  CHECK_THROWS_WITH(plain(zstd(zeros), 1 << 20, 1 << 20, strict), Catch::Contains("decompression bomb"));
  CHECK(plain(gzip(zeros), 1 << 20, 1 << 20).size() == zeros.size());
  CHECK_THROWS_WITH(plain(zstd(std::string(100, 'x'), 31)),
                    "zstd: the stream needs a larger window than is allowed");
}

TEST_CASE("the magic number decides") {
  CHECK(sniff(as_bytes("\x1f\x8b\x08")) == Compression::gzip);
  CHECK(sniff(as_bytes("\x28\xb5\x2f\xfd")) == Compression::zstd);
  CHECK(sniff(as_bytes("\x5a\x2a\x4d\x18")) == Compression::zstd);
  CHECK(sniff(as_bytes("ustar")) == Compression::none);
  CHECK(sniff({}) == Compression::none);
}
