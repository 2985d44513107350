#include "oci/decompress.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.h"

namespace rayctl::oci {

namespace {

constexpr size_t input_size = 256 << 10;

// The compressed side: one buffer, refilled when it is used up.
class Input {
 public:
  explicit Input(Source source) : source_(std::move(source)), buffer_(input_size) {}

  // False at the end.
  bool fill() {
    if (begin_ < end_) return true;
    begin_ = 0;
    end_ = source_(buffer_);
    total_ += end_;
    return end_ > 0;
  }

  // At least `wanted` bytes, unless the stream ends before.
  Bytes peek(size_t wanted) {
    while (end_ < wanted) {
      size_t n = source_(std::span(buffer_).subspan(end_));
      if (n == 0) break;
      end_ += n;
      total_ += n;
    }
    return bytes();
  }

  Bytes bytes() const { return Bytes(buffer_).subspan(begin_, end_ - begin_); }
  void consume(size_t n) { begin_ += n; }
  uint64_t total() const { return total_; }

 private:
  Source source_;
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint64_t total_ = 0;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual size_t read(Input& input, std::span<std::byte> out) = 0;  // 0 = the end
};

class PlainDecoder : public Decoder {
 public:
  size_t read(Input& input, std::span<std::byte> out) override {
    if (!input.fill()) return 0;
    size_t n = std::min(out.size(), input.bytes().size());
    std::memcpy(out.data(), input.bytes().data(), n);
    input.consume(n);
    return n;
  }
};

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() { start_member(); }

  size_t read(Input& input, std::span<std::byte> out) override {
    size_t done = 0;
    while (done == 0) {
      // what is left in the decoder comes out without further input
      bool more = input.fill();
      if (finished_) {
        if (!more) return 0;
        if (input.bytes()[0] != std::byte{0x1f}) throw Error("gzip: data after the end of the stream");
        start_member();
      }
      Bytes in = input.bytes();
      state_->next_in = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(in.data()));
      state_->avail_in = static_cast<uint32_t>(in.size());
      state_->next_out = reinterpret_cast<uint8_t*>(out.data());
      state_->avail_out = static_cast<uint32_t>(std::min<size_t>(out.size(), UINT32_MAX));
      uint32_t room = state_->avail_out;
      int rc = isal_inflate(state_.get());
      if (rc < 0) throw Error("gzip: {}", reason(rc));
      input.consume(in.size() - state_->avail_in);
      done = room - state_->avail_out;
      finished_ = state_->block_state == ISAL_BLOCK_FINISH;
      if (!more && done == 0 && !finished_) throw Error("gzip: the stream is cut short");
    }
    return done;
  }

 private:
  void start_member() {
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_GZIP;  // header and trailer are part of the stream, the checksum is verified
    finished_ = false;
  }

  static const char* reason(int rc) {
    switch (rc) {
      case ISAL_INCORRECT_CHECKSUM:
        return "wrong checksum";
      case ISAL_INVALID_WRAPPER:
        return "not a gzip header";
      case ISAL_UNSUPPORTED_METHOD:
        return "unknown compression method";
      default:
        return "damaged data";
    }
  }

  std::unique_ptr<inflate_state> state_ = std::make_unique<inflate_state>();
  bool finished_ = false;
};

class ZstdDecoder : public Decoder {
 public:
  explicit ZstdDecoder(int window_log) : stream_(ZSTD_createDStream()) {
    if (!stream_) throw Error("zstd: out of memory");
    must(ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, window_log));
  }

  size_t read(Input& input, std::span<std::byte> out) override {
    ZSTD_outBuffer target{out.data(), out.size(), 0};
    while (target.pos == 0) {
      bool more = input.fill();
      // a full output buffer may have left bytes inside: ask for them even at the end of the input
      if (!more && frame_done_) return 0;
      Bytes in = input.bytes();
      ZSTD_inBuffer source{in.data(), in.size(), 0};
      size_t rc = must(ZSTD_decompressStream(stream_.get(), &target, &source));
      input.consume(source.pos);
      frame_done_ = rc == 0;
      if (!more && target.pos == 0 && !frame_done_) throw Error("zstd: the stream is cut short");
    }
    return target.pos;
  }

 private:
  static size_t must(size_t rc) {
    if (!ZSTD_isError(rc)) return rc;
    if (ZSTD_getErrorCode(rc) == ZSTD_error_frameParameter_windowTooLarge)
      throw Error("zstd: the stream needs a larger window than is allowed");
    throw Error("zstd: {}", ZSTD_getErrorName(rc));
  }

  std::unique_ptr<ZSTD_DStream, decltype([](ZSTD_DStream* s) { ZSTD_freeDStream(s); })> stream_;
  bool frame_done_ = true;
};

std::unique_ptr<Decoder> decoder_for(Compression compression, const DecompressLimits& limits) {
  switch (compression) {
    case Compression::gzip:
      return std::make_unique<GzipDecoder>();
    case Compression::zstd:
      return std::make_unique<ZstdDecoder>(limits.zstd_window_log);
    case Compression::none:
      break;
  }
  return std::make_unique<PlainDecoder>();
}

}  // namespace

std::string_view to_string(Compression compression) {
  switch (compression) {
    case Compression::gzip:
      return "gzip";
    case Compression::zstd:
      return "zstd";
    case Compression::none:
      break;
  }
  return "none";
}

Compression sniff(Bytes first) {
  auto byte = [&](size_t i) { return i < first.size() ? std::to_integer<unsigned>(first[i]) : 0u; };
  if (byte(0) == 0x1f && byte(1) == 0x8b) return Compression::gzip;
  if (byte(0) == 0x28 && byte(1) == 0xb5 && byte(2) == 0x2f && byte(3) == 0xfd) return Compression::zstd;
  // a skippable frame, as zstd:chunked begins with
  if ((byte(0) & 0xf0) == 0x50 && byte(1) == 0x2a && byte(2) == 0x4d && byte(3) == 0x18)
    return Compression::zstd;
  return Compression::none;
}

Source decompress(Source compressed, const DecompressLimits& limits) {
  struct State {
    Input input;
    std::unique_ptr<Decoder> decoder = {};
    uint64_t output = 0;
  };
  auto state = std::make_shared<State>(State{.input = Input(std::move(compressed))});
  return [state, limits](std::span<std::byte> out) {
    if (out.empty()) return size_t{0};
    if (!state->decoder) state->decoder = decoder_for(sniff(state->input.peek(4)), limits);
    size_t n = state->decoder->read(state->input, out);
    state->output += n;
    if (state->output > limits.free_output && state->output / limits.ratio > state->input.total())
      throw Error("the layer expands to more than {} times its size: refused as a decompression bomb",
                  limits.ratio);
    return n;
  };
}

}  // namespace rayctl::oci
