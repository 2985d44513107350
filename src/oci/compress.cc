#include "oci/compress.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "oci/image.h"

namespace rayctl::oci {

namespace {

constexpr int zstd_level = 3;
// Level 3 would save another 3 %, but its bytes depend on the processor's vector unit; 0 to 2 are the same on
// every x86-64 with SSE 4.2.
constexpr uint32_t gzip_level = 2;

std::string zstd_frame(std::string_view block) {
  static thread_local std::unique_ptr<ZSTD_CCtx, decltype([](ZSTD_CCtx* c) { ZSTD_freeCCtx(c); })> context{
      ZSTD_createCCtx()};
  if (!context) throw Error("cannot compress: out of memory");
  std::string out(ZSTD_compressBound(block.size()), '\0');
  size_t size =
      ZSTD_compressCCtx(context.get(), out.data(), out.size(), block.data(), block.size(), zstd_level);
  if (ZSTD_isError(size)) throw Error("cannot compress: {}", ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

std::string gzip_member(std::string_view block) {
  static thread_local std::string level_buffer(ISAL_DEF_LVL2_DEFAULT, '\0');
  isal_zstream stream;
  isal_deflate_stateless_init(&stream);
  stream.gzip_flag = IGZIP_GZIP;
  stream.level = gzip_level;
  stream.level_buf = reinterpret_cast<uint8_t*>(level_buffer.data());
  stream.level_buf_size = static_cast<uint32_t>(level_buffer.size());
  stream.end_of_stream = 1;
  stream.flush = NO_FLUSH;
  stream.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(block.data()));
  stream.avail_in = static_cast<uint32_t>(block.size());
  std::string out(block.size() + block.size() / 1000 + (64 << 10), '\0');
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uint32_t>(out.size());
  if (int code = isal_deflate_stateless(&stream); code != COMP_OK)
    throw Error("cannot compress: igzip failed with {}", code);
  out.resize(stream.total_out);
  return out;
}

}  // namespace

Compression parse_compression(std::string_view text) {
  if (text == "zstd") return Compression::zstd;
  if (text == "gzip") return Compression::gzip;
  throw UsageError("unknown compression '{}': it must be zstd or gzip", text);
}

std::string_view layer_type(Compression compression) {
  if (compression == Compression::none) return media::oci_layer;
  return compression == Compression::zstd ? media::oci_layer_zstd : media::oci_layer_gzip;
}

// Blocks wait in `blocks_`, in the order of the stream; workers take the first that nobody has.
struct Compressor::Pool {
  struct Block {
    std::string data;
    enum class State { waiting, taken, done } state = State::waiting;
  };

  Pool(Compression how, Sink out, unsigned threads) : compression(how), sink(std::move(out)) {
    if (threads == 0) threads = std::max(1u, std::thread::hardware_concurrency());
    limit = threads + 2;
    for (unsigned i = 0; i < threads; ++i) workers.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      Block* mine = nullptr;
      changed.wait(lock, [&] {
        if (stopping) return true;
        for (Block& block : blocks)
          if (block.state == Block::State::waiting) {
            mine = &block;
            return true;
          }
        return false;
      });
      if (stopping) return;
      mine->state = Block::State::taken;
      lock.unlock();
      std::string result;
      std::exception_ptr failure;
      try {
        result = compress(mine->data);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      mine->data = std::move(result);
      mine->state = Block::State::done;
      if (failure) error = failure;
      changed.notify_all();
    }
  }

  std::string compress(std::string& block) const {
    if (compression == Compression::zstd) return zstd_frame(block);
    if (compression == Compression::none) return std::move(block);
    return gzip_member(block);
  }

  void submit() {
    drain(limit - 1);
    {
      std::lock_guard lock(mutex);
      blocks.push_back({std::move(filling)});
    }
    changed.notify_all();
    filling.clear();
    any = true;
  }

  // Passes finished blocks on until at most `most` are left, and those that are ready anyway.
  void drain(size_t most) {
    std::unique_lock lock(mutex);
    while (!blocks.empty()) {
      if (error) std::rethrow_exception(error);
      if (blocks.front().state != Block::State::done) {
        if (blocks.size() <= most) return;
        changed.wait(lock);
        continue;
      }
      std::string data = std::move(blocks.front().data);
      blocks.pop_front();
      lock.unlock();
      sink(as_bytes(data));
      lock.lock();
    }
  }

  Compression compression;
  Sink sink;
  size_t limit = 0;
  std::string filling;
  bool any = false;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Block> blocks;  // a deque: the addresses of the others stay when the front goes
  std::exception_ptr error;
  bool stopping = false;
  std::vector<std::thread> workers;
};

Compressor::Compressor(Compression compression, Sink sink, unsigned threads)
    : pool_(std::make_unique<Pool>(compression, std::move(sink), threads)) {}

Compressor::~Compressor() = default;

void Compressor::write(Bytes bytes) {
  std::string_view rest = as_text(bytes);
  while (!rest.empty()) {
    if (pool_->filling.empty()) pool_->filling.reserve(block_size);
    size_t take = std::min(rest.size(), block_size - pool_->filling.size());
    pool_->filling.append(rest.substr(0, take));
    rest.remove_prefix(take);
    if (pool_->filling.size() == block_size) pool_->submit();
  }
}

void Compressor::finish() {
  if (!pool_->filling.empty() || !pool_->any) pool_->submit();
  pool_->drain(0);
}

}  // namespace rayctl::oci
