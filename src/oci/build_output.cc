#include "oci/build_output.h"

#include <fcntl.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/pack.h"
#include "oci/reference.h"

namespace rayctl::oci {

namespace {

constexpr std::string_view layout_file = R"({"imageLayoutVersion":"1.0.0"})";

// Everything that the image consists of, each once, by digest.
std::vector<Descriptor> blobs_of(const Image& image) {
  std::vector<Descriptor> blobs = image.manifest.layers;
  blobs.push_back(image.manifest.config);
  blobs.push_back(image.descriptor);
  std::sort(blobs.begin(), blobs.end(), [](const auto& a, const auto& b) { return a.digest < b.digest; });
  auto same = [](const auto& a, const auto& b) { return a.digest == b.digest; };
  blobs.erase(std::unique(blobs.begin(), blobs.end(), same), blobs.end());
  return blobs;
}

// What other tools look an image of a layout up by: the tag, as skopeo and buildah write it.
std::vector<std::string> layout_names(const std::vector<std::string>& names, const BuildOutput& output) {
  if (!output.name.empty()) return {output.name};
  std::vector<std::string> tags;
  for (const std::string& name : names) {
    Reference reference = parse_reference(name);
    tags.push_back(reference.tag.value_or("latest"));
  }
  std::sort(tags.begin(), tags.end());
  tags.erase(std::unique(tags.begin(), tags.end()), tags.end());
  if (tags.empty()) tags.push_back("latest");
  return tags;
}

void write_directory(const Store& store, const Image& image, const std::vector<std::string>& names,
                     const BuildOutput& output) {
  Store out(output.path);
  StoreLock in_use = out.use();
  for (const Descriptor& blob : blobs_of(image)) {
    auto writer = out.write_known(blob);
    if (!writer) continue;
    writer->restart();
    Fd fd = store.open(blob);
    copy(
        read_from(fd.get(), blob.digest.string()), [&](Bytes bytes) { writer->write(bytes); }, 1 << 20);
    writer->commit();
  }
  for (const std::string& name : layout_names(names, output)) out.tag(name, image.descriptor);
}

void add_entry(TarWriter& tar, const std::string& path, mode_t mode, uint64_t size) {
  Change change{S_ISDIR(mode) ? Change::Kind::directory : Change::Kind::file, path};
  change.info.st_mode = mode;
  change.info.st_size = static_cast<off_t>(size);
  tar.header(change);
}

void add_text(TarWriter& tar, const std::string& path, std::string_view text) {
  add_entry(tar, path, S_IFREG | 0644, text.size());
  tar.content(as_bytes(text));
  tar.padding(text.size());
}

void write_archive(const Store& store, const Image& image, const std::vector<std::string>& names,
                   const BuildOutput& output) {
  const std::string& path = output.path;
  Index index;
  for (const std::string& name : layout_names(names, output)) {
    Descriptor entry = image.descriptor;
    entry.annotations[std::string(ref_name_annotation)] = name;
    index.manifests.push_back(entry);
  }
  std::string temporary = path + ".part";
  Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  try {
    TarWriter tar(write_to(fd.get(), temporary), std::nullopt);
    add_entry(tar, "blobs", S_IFDIR | 0755, 0);
    add_entry(tar, "blobs/sha256", S_IFDIR | 0755, 0);
    for (const Descriptor& blob : blobs_of(image)) {
      add_entry(tar, "blobs/" + blob.digest.path(), S_IFREG | 0644, blob.size);
      Fd source = store.open(blob);
      copy(
          read_from(source.get(), blob.digest.string()), [&](Bytes bytes) { tar.content(bytes); }, 1 << 20);
      tar.padding(blob.size);
    }
    add_text(tar, "index.json", to_json(index));
    add_text(tar, "oci-layout", layout_file);
    tar.finish();
    check(fsync(fd.get()), "cannot sync '{}'", temporary);
    check(rename(temporary.c_str(), path.c_str()), "cannot replace '{}'", path);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
}

}  // namespace

BuildOutput parse_output(std::string_view text) {
  std::vector<std::string> parts = split(text, ':');
  bool known = parts[0] == "oci" || parts[0] == "oci-archive";
  if (!known || parts.size() < 2 || parts[1].empty())
    throw UsageError("unknown output '{}': it must be oci:DIR or oci-archive:FILE", printable(text));
  BuildOutput output{parts[0] == "oci" ? BuildOutput::Kind::directory : BuildOutput::Kind::archive, parts[1]};
  if (parts.size() > 2) output.name = text.substr(parts[0].size() + parts[1].size() + 2);
  return output;
}

void write_output(const Store& store, const Image& image, const std::vector<std::string>& names,
                  const BuildOutput& output) {
  try {
    if (output.kind == BuildOutput::Kind::directory)
      write_directory(store, image, names, output);
    else
      write_archive(store, image, names, output);
  } catch (Error& error) {
    error.prefix("writing '{}'", output.path);
    throw;
  }
}

}  // namespace rayctl::oci
