#include "oci/location.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "oci/pack.h"
#include "oci/push.h"
#include "oci/unpack.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view layout_prefix = "oci:", archive_prefix = "oci-archive:",
                           docker_prefix = "docker://";

// The files of an image layout as an archive.
class ArchiveWriter {
 public:
  ArchiveWriter(int fd, const std::string& name)
      : tar_([fd, name](Bytes bytes) { write_fd(fd, as_text(bytes), name); }, 0) {}

  void add(const std::string& path, const std::string& source) {
    Fd fd = open_file(source, O_RDONLY);
    struct stat info;
    check(fstat(fd.get(), &info), "cannot stat '{}'", source);
    uint64_t size = static_cast<uint64_t>(info.st_size), written = 0;
    header(Change::Kind::file, path, 0644, info.st_size);
    copy(read_from(fd.get(), source), [&](Bytes bytes) {
      written += bytes.size();
      tar_.content(bytes);
    });
    if (written != size) throw Error("cannot read '{}': it changed meanwhile", source);
    tar_.padding(size);
  }
  void add_directory(const std::string& path) { header(Change::Kind::directory, path, 0755, 0); }
  void finish() { tar_.finish(); }

 private:
  void header(Change::Kind kind, const std::string& path, mode_t mode, off_t size) {
    Change change{kind, path};
    change.info.st_mode = mode;
    change.info.st_size = size;
    tar_.header(change);
  }

  TarWriter tar_;
};

void require_layout(const std::string& path) {
  if (!exists(join(path, "oci-layout")) || !exists(join(path, "index.json")))
    throw Error("cannot read '{}': it is no OCI image layout (no oci-layout or index.json)", printable(path));
}

void write_archive(const std::string& path, const std::string& directory) {
  std::string temporary = path + ".tmp-rayctl";
  Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0644);
  try {
    ArchiveWriter tar(fd.get(), path);
    tar.add_directory("blobs");
    for (const std::string& algorithm : list_directory(join(directory, "blobs"))) {
      tar.add_directory("blobs/" + algorithm);
      for (const std::string& name : list_directory(join(directory, "blobs/" + algorithm)))
        tar.add("blobs/" + algorithm + "/" + name, join(directory, "blobs/" + algorithm + "/" + name));
    }
    tar.add("index.json", join(directory, "index.json"));
    tar.add("oci-layout", join(directory, "oci-layout"));
    tar.finish();
    check(fsync(fd.get()), "cannot sync '{}'", temporary);
    check(rename(temporary.c_str(), path.c_str()), "cannot rename '{}' to '{}'", temporary, path);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
}

}  // namespace

bool is_layout_location(std::string_view text) {
  return text.starts_with(layout_prefix) || text.starts_with(archive_prefix);
}

Location parse_location(std::string_view text) {
  Location location;
  if (text.starts_with(docker_prefix)) text.remove_prefix(docker_prefix.size());
  if (!is_layout_location(text)) {
    location.reference = parse_reference(text);
    return location;
  }
  bool archive = text.starts_with(archive_prefix);
  location.kind = archive ? Location::Kind::archive : Location::Kind::layout;
  text.remove_prefix(archive ? archive_prefix.size() : layout_prefix.size());
  size_t colon = text.find(':');
  location.path = text.substr(0, colon);
  if (colon != std::string_view::npos) location.name = text.substr(colon + 1);
  if (location.path.empty())
    throw Error("cannot read '{}': a path is missing behind the colon", printable(text));
  return location;
}

LayoutReader::LayoutReader(const Location& location, const std::string& work) {
  std::string path = location.path;
  if (location.kind == Location::Kind::archive) {
    Fd file = open_file(location.path, O_RDONLY);
    make_directories(work);
    temporary_ = std::make_unique<TempDir>(work);
    path = temporary_->path();
    TarReader tar(read_from(file.get(), location.path));
    Fd root = open_directory(path);
    unpack(tar, root.get(), {.ownership = Ownership::keep, .whiteouts = Whiteouts::none});
  }
  require_layout(path);
  layout_ = std::make_unique<Store>(path);
}

LayoutReader::~LayoutReader() = default;

void write_layout(const Location& location, const Store& from, const Descriptor& descriptor,
                  const std::string& work) {
  if (location.kind == Location::Kind::layout) {
    if (exists(location.path) && !list_directory(location.path).empty()) require_layout(location.path);
    Store to(location.path);
    copy_image(from, descriptor, to, location.name);
    rmdir(join(location.path, "partial").c_str());  // ours, and of no use to others
    check(chmod(join(location.path, "blobs").c_str(), 0755), "cannot set the mode of '{}'", location.path);
    return;
  }
  make_directories(work);
  TempDir temporary(work);
  Store to(join(temporary.path(), "layout"));
  copy_image(from, descriptor, to, location.name);
  rmdir(join(to.directory(), "partial").c_str());
  write_archive(location.path, to.directory());
}

}  // namespace rayctl::oci
