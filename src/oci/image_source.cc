#include "oci/image_source.h"

#include <unistd.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/text.h"
#include "oci/piecewise.h"

namespace rayctl::oci {

namespace {

class RegistrySource : public ImageSource {
 public:
  RegistrySource(Registry& registry, std::string repository)
      : registry_(registry), repository_(std::move(repository)) {}
  Registry::Fetched manifest(const std::string& version) override {
    return registry_.manifest(repository_, version);
  }
  void blob(const Descriptor& blob, uint64_t offset, unsigned streams, const Sink& take) override {
    if (streams > 1 && offset < blob.size) {
      PiecewisePlan plan = default_piecewise_plan();
      plan.streams = streams;
      auto fetch = [&](uint64_t first, uint64_t size, const Sink& part) {
        return registry_.blob_piece(repository_, blob, first, size, part);
      };
      offset = fetch_piecewise(offset, blob.size, plan, fetch, take);
      if (offset == blob.size) return;
    }
    registry_.blob(repository_, blob, offset, take);
  }

 private:
  Registry& registry_;
  std::string repository_;
};

class LayoutSource : public ImageSource {
 public:
  explicit LayoutSource(const Store& layout) : layout_(layout) {}

  Registry::Fetched manifest(const std::string& version) override {
    Descriptor found = find(version);
    return {layout_.read(found), found};
  }

  void blob(const Descriptor& blob, uint64_t offset, unsigned, const Sink& take) override {
    Fd fd = layout_.open(blob);
    check(lseek(fd.get(), static_cast<off_t>(offset), SEEK_SET), "cannot seek in blob {}",
          blob.digest.string());
    copy(
        read_from(fd.get(), blob.digest.string()),
        [&](Bytes bytes) {
          throw_if_interrupted();
          take(bytes);
        },
        1 << 20);
  }

 private:
  Descriptor find(const std::string& version) {
    std::vector<Tag> tags = layout_.tags();
    if (version.empty()) {
      if (tags.size() == 1) return tags[0].descriptor;
      throw Error("'{}' holds {} images: name one, as oci:DIR:NAME", layout_.directory(), tags.size());
    }
    for (const Tag& tag : tags)
      if (tag.name == version || tag.descriptor.digest.string() == version) return tag.descriptor;
    if (Digest::is_digest(version)) {  // an entry of an index
      Digest digest = Digest::parse(version);
      for (const Tag& tag : tags)
        if (media::is_index(tag.descriptor.media_type))
          for (const Descriptor& d :
               parse_index(layout_.read(tag.descriptor), tag.descriptor.media_type).manifests)
            if (d.digest == digest) return d;
    }
    std::string names;
    for (const Tag& tag : tags)
      names += (names.empty() ? "" : ", ") + printable(tag.name.empty() ? "an unnamed one" : tag.name);
    Error error("cannot find '{}' in '{}'", printable(version), layout_.directory());
    error.hint("it holds: {}", names.empty() ? "nothing" : names);
    throw error;
  }

  const Store& layout_;
};

}  // namespace

std::unique_ptr<ImageSource> source_from(Registry& registry, std::string repository) {
  return std::make_unique<RegistrySource>(registry, std::move(repository));
}

std::unique_ptr<ImageSource> source_from(const Store& layout) {
  return std::make_unique<LayoutSource>(layout);
}

}  // namespace rayctl::oci
