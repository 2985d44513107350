#include "oci/layer_pipeline.h"

#include <fcntl.h>

#include <thread>

#include "base/byte_queue.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "oci/decompress.h"
#include "oci/registry.h"

namespace rayctl::oci {

namespace {

// The compressed bytes, wherever they are; each is hashed and, unless it is there already, written to the
// store.
class BlobFlow {
 public:
  BlobFlow(Store& store, const LayerJob& job)
      : store_(store), job_(job), writer_(store.write_known(job.blob)) {}

  bool resumes() const { return writer_ && writer_->size() > 0; }
  bool in_store() const { return !writer_; }
  void restart() {
    if (writer_) writer_->restart();
  }

  void run(const Sink& take) {
    if (!writer_) return read_stored(take);
    uint64_t kept = writer_->size();
    writer_->replay(take);
    if (job_.advance) job_.advance(kept);
    if (kept < job_.blob.size || kept == 0)
      job_.fetch(kept, [&](Bytes bytes) {
        writer_->write(bytes);
        take(bytes);
        if (job_.advance) job_.advance(bytes.size());
      });
    writer_->verify();
  }

  void commit() {
    if (writer_) writer_->commit();
  }

 private:
  void read_stored(const Sink& take) {
    Fd fd = store_.open(job_.blob);
    Hasher hasher(job_.blob.digest.algorithm());
    copy(
        read_from(fd.get(), job_.blob.digest.string()),
        [&](Bytes bytes) {
          throw_if_interrupted();
          hasher.add(bytes);
          take(bytes);
          if (job_.advance) job_.advance(bytes.size());
        },
        1 << 20);
    if (Digest found = hasher.finish(); found != job_.blob.digest) {
      store_.remove_blob(job_.blob.digest);
      Error error("blob {} was damaged on this disk: its digest is {}", job_.blob.digest.string(),
                  found.string());
      error.hint("it is removed; pull the image again");
      throw error;
    }
  }

  Store& store_;
  const LayerJob& job_;
  std::optional<BlobWriter> writer_;
};

// Plain bytes with their digest, from one queue to the next.
Digest inflate(ByteQueue& from, ByteQueue& to) {
  Source plain = decompress(from.source());
  Hasher hasher;
  for (;;) {
    ByteQueue::Block block = to.empty_block();
    size_t filled = 0;
    while (filled < block.size()) {
      size_t n = plain(std::span(block).subspan(filled));
      if (n == 0) break;
      filled += n;
    }
    if (filled == 0) break;
    block.resize(filled);
    hasher.add(block);
    to.put(std::move(block));
  }
  to.finish();
  return hasher.finish();
}

// Runs `work` on a thread; an error goes to the reader of `out`.
template <class F>
std::jthread step(ByteQueue& out, F work) {
  return std::jthread([&out, work = std::move(work)] {
    try {
      work();
    } catch (...) {
      out.fail(std::current_exception());
    }
  });
}

Unpacked unpack_from(ByteQueue& plain, int root) {
  ByteQueue::Block block;
  auto next = [&] {
    plain.recycle(std::move(block));
    block = plain.take();
    return Bytes(block);
  };
  TarReader tar(next);
  Unpacked unpacked = unpack(tar, root);
  while (!next().empty()) continue;  // what follows the end mark is part of the digest
  return unpacked;
}

Unpacked run_pipeline(BlobFlow& flow, const LayerJob& job, const std::string& directory) {
  ByteQueue compressed, plain;
  Digest diff_id;
  std::exception_ptr fetch_error, unpack_error;
  Unpacked unpacked;
  {
    std::jthread fetcher([&] {
      try {
        flow.run([&](Bytes bytes) { compressed.write(bytes); });
        compressed.finish();
      } catch (const ByteQueue::Stopped&) {  // the reader's error is the one to tell
      } catch (...) {
        fetch_error = std::current_exception();
        compressed.fail(fetch_error);
      }
    });
    std::jthread inflater = step(plain, [&] {
      try {
        diff_id = inflate(compressed, plain);
      } catch (const Error&) {
        // damaged data: when the whole blob is wrong, its digest is what the user should hear of
        compressed.discard();
        throw;
      } catch (...) {
        compressed.stop();
        throw;
      }
    });
    try {
      Fd root = open_directory(directory);
      unpacked = unpack_from(plain, root.get());
    } catch (const SysError&) {
      unpack_error = std::current_exception();
      plain.stop();
    } catch (...) {
      unpack_error = std::current_exception();
      plain.discard();
    }
  }
  if (fetch_error) std::rethrow_exception(fetch_error);
  if (unpack_error) std::rethrow_exception(unpack_error);
  if (diff_id != job.diff_id)
    throw Error("layer {} unpacks to diff id {} instead of {}", job.blob.digest.string(), diff_id.string(),
                job.diff_id.string());
  return unpacked;
}

// Bytes kept from an earlier try may be no good: then all of it is fetched again, once.
template <class F>
auto with_restart(BlobFlow& flow, const LayerJob& job, const F& attempt) {
  bool resumed = flow.resumes();
  try {
    return attempt();
  } catch (const Error& e) {
    bool of_the_data = !dynamic_cast<const SysError*>(&e) && !dynamic_cast<const Interrupted*>(&e) &&
                       !dynamic_cast<const HttpError*>(&e) && !dynamic_cast<const RegistryError*>(&e);
    if (!resumed || !of_the_data) throw;
    info("blob {}: starting anew, what an earlier try left is no good: {}", job.blob.digest.short_hex(),
         e.message());
  }
  flow.restart();
  return attempt();
}

}  // namespace

void fetch_layer(Store& store, const LayerJob& job) {
  BlobFlow flow(store, job);
  if (flow.in_store()) return;
  with_restart(flow, job, [&] {
    flow.run([](Bytes) {});
    flow.commit();
  });
}

UnpackedLayer fetch_and_unpack_layer(Store& store, Layers& layers, const LayerJob& job) {
  BlobFlow flow(store, job);
  return with_restart(flow, job, [&] {
    LayerDraft draft = layers.draft();
    Unpacked unpacked = run_pipeline(flow, job, draft.path());
    flow.commit();
    return UnpackedLayer{std::move(draft), std::move(unpacked)};
  });
}

}  // namespace rayctl::oci
