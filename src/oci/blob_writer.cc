#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "oci/store.h"

namespace rayctl::oci {

BlobWriter::BlobWriter(Store& store, Fd fd, std::string path, std::optional<Descriptor> expected,
                       uint64_t kept)
    : blobs_directory_(join(store.directory(), "blobs")),
      path_(std::move(path)),
      fd_(std::move(fd)),
      expected_(std::move(expected)),
      size_(kept),
      replayed_(kept == 0),
      hasher_(expected_ ? expected_->digest.algorithm() : Algorithm::sha256) {}

BlobWriter::~BlobWriter() {
  if (fd_ && (!expected_ || size_ == 0)) unlink(path_.c_str());
}

void BlobWriter::replay(const Sink& sink) {
  if (replayed_) return;
  check(lseek(fd_.get(), 0, SEEK_SET), "cannot read '{}'", path_);
  uint64_t seen = 0;
  copy(read_from(fd_.get(), path_), [&](Bytes bytes) {
    seen += bytes.size();
    hasher_.add(bytes);
    sink(bytes);
  });
  if (seen != size_) throw Error("cannot read '{}': it changed meanwhile", path_);
  replayed_ = true;
}

void BlobWriter::restart() {
  check(ftruncate(fd_.get(), 0), "cannot empty '{}'", path_);
  check(lseek(fd_.get(), 0, SEEK_SET), "cannot empty '{}'", path_);
  size_ = 0;
  replayed_ = true;
  hasher_ = Hasher(expected_ ? expected_->digest.algorithm() : Algorithm::sha256);
  found_.reset();
}

void BlobWriter::write(Bytes bytes) {
  replay([](Bytes) {});
  if (expected_ && bytes.size() > expected_->size - size_)
    throw Error("blob {} is longer than the {} bytes that its manifest says", expected_->digest.string(),
                expected_->size);
  hasher_.add(bytes);
  write_fd(fd_.get(), as_text(bytes), path_);
  size_ += bytes.size();
}

void BlobWriter::verify() {
  replay([](Bytes) {});
  if (!found_) found_ = hasher_.finish();
  if (!expected_) return;
  if (size_ == expected_->size && *found_ == expected_->digest) return;
  uint64_t size = size_;
  Digest found = *found_;
  restart();
  if (size != expected_->size)
    throw Error("blob {} ends after {} of {} bytes", expected_->digest.string(), size, expected_->size);
  throw Error("blob {} is damaged: its digest is {}", expected_->digest.string(), found.string());
}

void BlobWriter::commit() {
  verify();
  store_as(expected_->digest);
}

Descriptor BlobWriter::commit(std::string_view media_type) {
  verify();
  store_as(*found_);
  return {.media_type = std::string(media_type), .digest = *found_, .size = size_};
}

void BlobWriter::store_as(const Digest& digest) {
  std::string directory = join(blobs_directory_, digest.algorithm_name());
  std::string path = join(directory, digest.hex());
  check(fchmod(fd_.get(), 0644), "cannot set the mode of '{}'", path_);
  check(fdatasync(fd_.get()), "cannot sync '{}'", path_);
  make_directories(directory);
  check(rename(path_.c_str(), path.c_str()), "cannot rename '{}' to '{}'", path_, path);
  fd_.reset();
  sync_directory(directory);
}

}  // namespace rayctl::oci
