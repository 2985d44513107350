// Images on disk: an OCI image layout (image-spec, image-layout.md) that many processes may use at once.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/io.h"
#include "oci/digest.h"
#include "oci/image.h"

namespace rayctl::oci {

class BlobWriter;

// A named image of the store.
struct Tag {
  std::string name;  // a full reference, or what an `oci:` layout of others calls it
  Descriptor descriptor;
};

// Things that are kept although no tag needs them: an unfinished build's layers, a container's image.
struct Hold {
  std::vector<Digest> blobs = {};   // with everything that a manifest among them points to
  std::vector<Digest> chains = {};  // unpacked layers, by chain id
};

// A lock on the store; released by the destructor.
class StoreLock {
 public:
  explicit StoreLock(Fd fd) : fd_(std::move(fd)) {}

 private:
  Fd fd_;
};

// Files appear whole or not at all: each is written aside, synced and renamed.
class Store {
 public:
  explicit Store(std::string directory);  // made when missing
  const std::string& directory() const { return directory_; }

  // Keeps garbage collection away while blobs exist that no tag names yet. Hold it from before the first blob
  // of a pull, build or load until after the tag.
  StoreLock use() const;
  std::optional<StoreLock> try_clean() const;  // empty while another process or thread uses the store

  bool has(const Digest& digest) const;
  bool has(const Descriptor& blob) const;  // of that size
  Fd open(const Descriptor& blob) const;   // a missing blob or a wrong size is an error
  std::string read(const Descriptor& blob, size_t limit = largest_document) const;  // verified
  std::string blob_path(const Digest& digest) const;

  Descriptor put(std::string_view bytes, std::string_view media_type);
  void put(const Descriptor& blob, std::string_view bytes);  // verifies first

  // A blob whose digest is known beforehand. Bytes of an earlier, interrupted try are kept for it. Empty when
  // the blob is there already, also when another process finished it while we waited for its lock.
  std::optional<BlobWriter> write_known(const Descriptor& blob);
  BlobWriter write_new();  // a blob whose digest is found while it is written

  std::vector<Tag> tags() const;                                    // entries without a name too
  std::optional<Descriptor> find(std::string_view name) const;      // by the exact name
  void tag(const std::string& name, const Descriptor& descriptor);  // moves the name when it is taken
  bool untag(const std::string& name);                              // false when there is no such name

  // A name ("debian", "localhost:5000/x:1"), a digest of manifest or config, or a prefix of at least 4 digits
  // of one. An index gives its image for `machine`. Throws with a hint when it isn't there.
  struct Found {
    std::optional<std::string> name;  // empty when it was found by id
    Descriptor descriptor;            // as tagged: a manifest or an index
  };
  Found locate(std::string_view text) const;
  Image resolve(std::string_view text, const Platform& machine = host_platform()) const;
  Image image(const Descriptor& descriptor, const Platform& machine = host_platform()) const;

  // Whether the layout in `directory`, perhaps another user's, has that name; false when it can't be read.
  static bool names_in(const std::string& directory, std::string_view name);

  void hold(const std::string& name, const Hold& hold);
  void release(const std::string& name);
  std::vector<std::string> hold_names() const;
  std::vector<Hold> holds() const;

  std::vector<Digest> blobs() const;
  void remove_blob(const Digest& digest);
  void remove_old_partials();  // those that no process works on and that are a week old

 private:
  friend class BlobWriter;
  std::vector<Tag> read_index() const;
  void write_index(const std::vector<Tag>& tags);
  StoreLock lock_index() const;

  std::string directory_;
};

// Writes one blob; its digest is computed on the way. Without commit() a blob of known digest is kept for a
// later try, and any other is removed.
class BlobWriter {
 public:
  BlobWriter(BlobWriter&&) noexcept = default;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();

  // Passes the bytes of the earlier try on, and counts them in: once, before the first write().
  void replay(const Sink& sink);
  uint64_t size() const { return size_; }  // written or kept so far
  void restart();                          // forgets all bytes
  void write(Bytes bytes);                 // more than the known size is an error

  void commit();  // of known digest: verifies size and digest, and removes the bytes when wrong
  Descriptor commit(std::string_view media_type);  // of new digest
  void verify();  // what commit() verifies, earlier: for a caller that has other things to check before

 private:
  friend class Store;
  BlobWriter(Store& store, Fd fd, std::string path, std::optional<Descriptor> expected, uint64_t kept);
  void store_as(const Digest& digest);

  std::string blobs_directory_, path_;
  Fd fd_;
  std::optional<Descriptor> expected_;
  uint64_t size_ = 0;
  bool replayed_ = true;
  Hasher hasher_;
  std::optional<Digest> found_;
};

}  // namespace rayctl::oci
