#include "oci/push.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/crew.h"

namespace rayctl::oci {

namespace {

// What has to go, in this order: blobs in any order, then documents from the leaves up.
struct Freight {
  std::vector<Descriptor> blobs = {};
  std::vector<Descriptor> documents = {};
};

void collect(const Store& store, const Descriptor& at, int depth, std::set<Digest>& seen, Freight& freight) {
  if (depth > 4) throw Error("index {} is nested too deeply", at.digest.string());
  if (!seen.insert(at.digest).second) return;
  Document document = parse_document(store.read(at), at.media_type);
  if (auto* index = std::get_if<Index>(&document)) {
    for (const Descriptor& child : index->manifests) {
      if (!store.has(child)) {
        Error error("index {} needs manifest {}, which is not here", at.digest.string(),
                    child.digest.string());
        error.hint("pull keeps the image of one platform: push that one by its own digest");
        throw error;
      }
      collect(store, child, depth + 1, seen, freight);
    }
  } else {
    const Manifest& manifest = std::get<Manifest>(document);
    for (const Descriptor& blob : manifest.layers)
      if (!media::is_foreign(blob.media_type) && seen.insert(blob.digest).second)
        freight.blobs.push_back(blob);
    if (seen.insert(manifest.config.digest).second) freight.blobs.push_back(manifest.config);
  }
  freight.documents.push_back(at);
}

Freight freight_of(const Store& store, const Descriptor& descriptor) {
  Freight freight;
  std::set<Digest> seen;
  collect(store, descriptor, 0, seen, freight);
  for (const Descriptor& blob : freight.blobs)
    store.open(blob);  // all of it is here, before the first byte goes
  return freight;
}

// Which repository of this registry has a blob already, as far as the store's names tell.
std::map<Digest, std::string> known_places(const Store& store, const Reference& target) {
  std::map<Digest, std::string> places;
  for (const Tag& tag : store.tags()) {
    if (!tag.name.starts_with(target.registry + "/") || !store.has(tag.descriptor)) continue;
    Reference reference = parse_reference(tag.name);
    if (reference.repository == target.repository || !media::is_manifest(tag.descriptor.media_type)) continue;
    Manifest manifest = parse_manifest(store.read(tag.descriptor), tag.descriptor.media_type);
    for (const Descriptor& layer : manifest.layers) places.emplace(layer.digest, reference.repository);
  }
  return places;
}

void push_blob(const Store& store, const Descriptor& blob, Registry& registry, const Reference& target,
               const std::map<Digest, std::string>& places) {
  Activity activity(fmt::format("blob {}", blob.digest.short_hex()), blob.size);
  if (registry.has_blob(target.repository, blob.digest)) return activity.finish("is there already");
  if (auto place = places.find(blob.digest); place != places.end())
    if (registry.mount(target.repository, blob.digest, place->second))
      return activity.finish(fmt::format("mounted from {} in", place->second));
  auto open = [&](uint64_t offset) -> Source {
    auto fd = std::make_shared<Fd>(store.open(blob));
    check(lseek(fd->get(), static_cast<off_t>(offset), SEEK_SET), "cannot seek in blob {}",
          blob.digest.string());
    return [fd, inner = read_from(fd->get(), blob.digest.string())](std::span<std::byte> out) {
      return inner(out);
    };
  };
  registry.upload(target.repository, blob, open, [&](int64_t amount) {
    if (amount > 0) activity.advance(static_cast<uint64_t>(amount));
  });
  activity.finish("pushed in");
}

}  // namespace

void push(const Store& store, const Descriptor& descriptor, Registry& registry, const Reference& target,
          const PushOptions& options) {
  Freight freight = freight_of(store, descriptor);
  std::string version = target.digest ? target.digest->string() : target.tag.value_or("latest");
  if (target.digest && *target.digest != descriptor.digest)
    throw Error("cannot push to '{}': the image has the digest {}", to_string(target),
                descriptor.digest.string());
  auto places = known_places(store, target);

  std::vector<size_t> order(freight.blobs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return freight.blobs[a].size > freight.blobs[b].size; });
  run_crew(options.parallel, order, options.cancel,
           [&](size_t i) { push_blob(store, freight.blobs[i], registry, target, places); });

  for (const Descriptor& document : freight.documents) {
    bool top = document.digest == descriptor.digest;
    std::string bytes = store.read(document);
    // a descriptor may be silent about the type that its document states
    std::string type =
        std::visit([](const auto& d) { return d.media_type; }, parse_document(bytes, document.media_type));
    registry.put_manifest(target.repository, top ? version : document.digest.string(), bytes, type);
  }
}

std::vector<Descriptor> parts_of(const Store& store, const Descriptor& descriptor) {
  Freight freight = freight_of(store, descriptor);
  std::vector<Descriptor> parts = std::move(freight.blobs);
  parts.insert(parts.end(), freight.documents.begin(), freight.documents.end());
  return parts;
}

void copy_image(const Store& from, const Descriptor& descriptor, Store& to, const std::string& name) {
  StoreLock lock = to.use();
  Freight freight = freight_of(from, descriptor);
  for (const Descriptor& blob : freight.blobs) {
    auto writer = to.write_known(blob);
    if (!writer) continue;
    writer->restart();
    Activity activity(fmt::format("blob {}", blob.digest.short_hex()), blob.size);
    Fd fd = from.open(blob);
    copy(
        read_from(fd.get(), blob.digest.string()),
        [&](Bytes bytes) {
          writer->write(bytes);
          activity.advance(bytes.size());
        },
        1 << 20);
    writer->commit();
    activity.finish("copied in");
  }
  for (const Descriptor& document : freight.documents) to.put(document, from.read(document));
  Descriptor named = descriptor;
  named.annotations.erase(std::string(ref_name_annotation));
  to.tag(name, named);
}

}  // namespace rayctl::oci
