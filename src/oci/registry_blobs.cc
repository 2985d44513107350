// Blobs to and from a registry, and manifests to it.
#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/url.h"
#include "oci/registry.h"

namespace rayctl::oci {

namespace {

constexpr uint64_t real_progress = 64 << 10;  // of a try: as many tries again are granted
// A registry of GitHub takes no more than 4 MiB at a time, one of AWS no more than 20 MiB.
constexpr uint64_t large_chunk = 16 << 20, small_chunk = 4 << 20;
constexpr auto commit_time = std::chrono::minutes(15);  // a registry that checks gigabytes before it answers

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "bytes 100-199/200": whether it begins at `first` of a whole of `size`.
bool is_range_from(std::string_view header, uint64_t first, uint64_t size) {
  if (!header.starts_with("bytes ")) return false;
  header.remove_prefix(6);
  size_t dash = header.find('-'), slash = header.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return false;
  std::string_view total = header.substr(slash + 1);
  return number(header.substr(0, dash)) == first && (total == "*" || number(total) == size);
}

// "0-499" or "bytes=0-499" of an upload: how many bytes are there.
std::optional<uint64_t> uploaded(const HttpResponse& response) {
  std::string text = response.header("Range").value_or("");
  size_t dash = text.find('-');
  if (dash == std::string::npos) return std::nullopt;
  auto last = number(std::string_view(text).substr(dash + 1));
  return last ? std::optional(*last + 1) : std::nullopt;
}

}  // namespace

struct Registry::Upload {
  const std::string& repository;
  const Descriptor& blob;
  const OpenAt& open;
  const std::function<void(int64_t)>& advance;
  Scope scope;
  uint64_t told = 0;  // bytes that `advance` heard of

  std::string what(const std::string& host) const {
    return fmt::format("cannot push blob {} to '{}/{}'", blob.digest.short_hex(), host, repository);
  }

  void tell(uint64_t now) {
    if (now != told && advance) advance(static_cast<int64_t>(now) - static_cast<int64_t>(told));
    told = now;
  }

  HttpBody body(uint64_t first, uint64_t size) {
    return {.open =
                [this, first, size] {
                  tell(first);
                  return [this, source = open(first), at = first,
                          end = first + size](std::span<std::byte> out) mutable {
                    size_t n = source(out.first(std::min<uint64_t>(out.size(), end - at)));
                    at += n;
                    tell(at);
                    return n;
                  };
                },
            .size = size};
  }
};

void Registry::blob(const std::string& repository, const Descriptor& blob, uint64_t offset,
                    const Sink& take) {
  fetch_blob(repository, blob, offset, blob.size, Ranges::wanted, take);
}

bool Registry::blob_piece(const std::string& repository, const Descriptor& blob, uint64_t first,
                          uint64_t size, const Sink& take) {
  return fetch_blob(repository, blob, first, first + size, Ranges::required, take);
}

// One try after the other, each from where the last one ended.
bool Registry::fetch_blob(const std::string& repository, const Descriptor& blob, uint64_t at, uint64_t end,
                          Ranges wanted, const Sink& take) {
  Scope scope{repository, Access::pull};
  bool required = wanted == Ranges::required, ranges = true;
  for (int tried = 1;; ++tried) {
    uint64_t before = at;
    std::string reason;
    std::optional<HttpResponse> refused;
    try {
      HttpRequest request{.url = url_of(repository, "blobs", blob.digest.string()),
                          .headers = {{"Accept-Encoding", "identity"}},
                          .limit = 64 << 10};
      if (required)
        request.headers.emplace_back("Range", fmt::format("bytes={}-{}", at, end - 1));
      else if (at > 0 && ranges)
        request.headers.emplace_back("Range", fmt::format("bytes={}-", at));
      uint64_t skip = 0;
      HttpResponse response = call(request, scope, [&](const HttpResponse& head) -> Sink {
        if (head.status == 206 && !is_range_from(head.header("Content-Range").value_or(""), at, blob.size)) {
          ranges = false;
          throw HttpError(HttpError::Kind::broken, "the registry sends another range than the one asked for");
        }
        if (head.status != 200 && head.status != 206) return {};
        if (head.status == 200 && required) {
          ranges = false;
          throw HttpError(HttpError::Kind::broken, "the registry sends no ranges");
        }
        skip = head.status == 200 ? at : 0;
        return [&](Bytes bytes) {
          uint64_t known = std::min<uint64_t>(skip, bytes.size());
          skip -= known;
          bytes = bytes.subspan(known);
          if (bytes.size() > end - at)
            throw Error("blob {} is longer than the {} bytes that its manifest says", blob.digest.string(),
                        blob.size);
          if (bytes.empty()) return;
          take(bytes);
          at += bytes.size();
        };
      });
      if (response.status == 200 || response.status == 206) {
        if (at == end) return true;
        reason = fmt::format("blob {} ended after {} of {} bytes", blob.digest.short_hex(), at, blob.size);
      } else if (response.status == 416) {
        ranges = false;
        reason = "the registry refuses the range";
      } else if (is_transient_status(response.status)) {
        reason = fmt::format("HTTP status {}", response.status);
        refused = std::move(response);
      } else {
        refuse(response, fmt::format("fetch blob {} of '{}/{}'", blob.digest.short_hex(), host_, repository),
               scope);
      }
    } catch (const HttpError& e) {
      if (!e.transient()) throw;
      reason = e.message();
    }
    if (required && !ranges) return false;
    if (at - before >= real_progress) tried = 1;
    wait_before_retry(tried, refused ? &*refused : nullptr, reason);
  }
}

bool Registry::has_blob(const std::string& repository, const Digest& digest) {
  Scope scope{repository, Access::push};
  HttpResponse response =
      call_with_retry({.method = "HEAD", .url = url_of(repository, "blobs", digest.string())}, scope);
  if (response.status == 200) return true;
  if (response.status == 401 || response.status == 403)
    refuse(response, fmt::format("push to '{}/{}'", host_, repository), scope);
  return false;
}

bool Registry::mount(const std::string& repository, const Digest& digest, const std::string& from) {
  Scope scope{repository, Access::push, from};
  std::string url = add_query(url_of(repository, "blobs", "uploads/"), "mount", digest.string());
  url = add_query(url, "from", from);
  HttpResponse response = call_with_retry({.method = "POST", .url = url}, scope);
  if (response.status == 201) return true;
  if (auto location = response.header("Location"); response.status == 202 && location) {
    std::lock_guard lock(mutex_);
    sessions_[repository + "@" + digest.string()] = resolve_url(response.url, *location);
  }
  return false;
}

std::string Registry::start_upload(const Upload& upload) {
  {
    std::lock_guard lock(mutex_);
    auto it = sessions_.find(upload.repository + "@" + upload.blob.digest.string());
    if (it != sessions_.end()) {
      std::string location = std::move(it->second);
      sessions_.erase(it);
      return location;
    }
  }
  HttpResponse response = call_with_retry(
      {.method = "POST", .url = url_of(upload.repository, "blobs", "uploads/")}, upload.scope);
  auto location = response.header("Location");
  if (response.status != 202 || !location)
    refuse(response, fmt::format("push to '{}/{}'", host_, upload.repository), upload.scope);
  return resolve_url(response.url, *location);
}

// False when the registry wants pieces.
bool Registry::try_upload_whole(Upload& upload, std::string& location) {
  HttpResponse response = call({.method = "PUT",
                                .url = add_query(location, "digest", upload.blob.digest.string()),
                                .headers = {{"Content-Type", "application/octet-stream"}},
                                .body = upload.body(0, upload.blob.size),
                                .limit = 64 << 10,
                                .stall_timeout = commit_time},
                               upload.scope);
  if (response.status == 201 || response.status == 204) return true;
  if (is_transient_status(response.status))
    throw HttpError(HttpError::Kind::broken, "{}: {}", upload.what(host_), error_text(response));
  if (response.status == 401 || response.status == 403)
    refuse(response, fmt::format("push to '{}/{}'", host_, upload.repository), upload.scope);
  debug("{}: the whole blob is refused (HTTP status {}): sending it in pieces", host_, response.status);
  return false;
}

bool Registry::try_upload_chunks(Upload& upload, std::string location) {
  uint64_t at = 0, chunk = large_chunk, size = upload.blob.size;
  int stuck = 0;
  while (at < size) {
    uint64_t n = std::min(chunk, size - at);
    HttpResponse response = call({.method = "PATCH",
                                  .url = location,
                                  .headers = {{"Content-Type", "application/octet-stream"},
                                              {"Content-Range", fmt::format("{}-{}", at, at + n - 1)}},
                                  .body = upload.body(at, n),
                                  .limit = 64 << 10,
                                  .stall_timeout = commit_time},
                                 upload.scope);
    if (auto minimum = number(response.header("OCI-Chunk-Min-Length").value_or("")))
      chunk = std::clamp<uint64_t>(*minimum, chunk, 1 << 30);
    if (auto next = response.header("Location")) location = resolve_url(response.url, *next);
    if (response.status == 202 || response.status == 201 || response.status == 204) {
      at += n;  // our own count: the Range of some registries lags behind
      stuck = 0;
      continue;
    }
    if (++stuck > 3)
      refuse(response, fmt::format("push a piece of blob {}", upload.blob.digest.short_hex()), upload.scope);
    if ((response.status == 413 || response.status == 416) && at == 0 && chunk > small_chunk) {
      chunk = small_chunk;
      location = start_upload(upload);
      continue;
    }
    if (response.status == 416) {  // distribution-spec, "Pushing a blob in chunks": ask where it stands
      HttpResponse where = call({.url = location}, upload.scope);
      if (auto next = where.header("Location")) location = resolve_url(where.url, *next);
      auto there = uploaded(where);
      if (there && *there <= size) {
        at = *there;
        continue;
      }
    }
    if (is_transient_status(response.status) || response.status == 404)
      throw HttpError(HttpError::Kind::broken, "{}: {}", upload.what(host_), error_text(response));
    refuse(response, fmt::format("push a piece of blob {}", upload.blob.digest.short_hex()), upload.scope);
  }
  HttpResponse response = call({.method = "PUT",
                                .url = add_query(location, "digest", upload.blob.digest.string()),
                                .limit = 64 << 10,
                                .stall_timeout = commit_time},
                               upload.scope);
  if (response.status == 201 || response.status == 204) return true;
  if (is_transient_status(response.status))
    throw HttpError(HttpError::Kind::broken, "{}: {}", upload.what(host_), error_text(response));
  refuse(response,
         fmt::format("push blob {} to '{}/{}'", upload.blob.digest.short_hex(), host_, upload.repository),
         upload.scope);
}

void Registry::upload(const std::string& repository, const Descriptor& blob, const OpenAt& open,
                      const std::function<void(int64_t)>& advance) {
  Upload upload{repository, blob, open, advance, {repository, Access::push}};
  bool whole = true;
  for (int tried = 1;; ++tried) {
    try {
      std::string location = start_upload(upload);
      if (whole && try_upload_whole(upload, location)) return;
      if (whole) {
        whole = false;
        location = start_upload(upload);  // what the refused request left behind is not to be built upon
      }
      if (try_upload_chunks(upload, location)) return;
    } catch (const HttpError& e) {
      if (!e.transient()) throw;
      upload.tell(0);
      wait_before_retry(tried, nullptr, e.message());
      if (has_blob(repository, blob.digest)) return;  // it was only the answer that got lost
    }
  }
}

void Registry::put_manifest(const std::string& repository, const std::string& version,
                            const std::string& bytes, const std::string& media_type) {
  Scope scope{repository, Access::push};
  HttpResponse response = call_with_retry({.method = "PUT",
                                           .url = url_of(repository, "manifests", version),
                                           .headers = {{"Content-Type", media_type}},
                                           .body = body_of(bytes)},
                                          scope);
  if (response.status != 201 && response.status != 200)
    refuse(response, fmt::format("push manifest to '{}/{}'", host_, repository), scope);
}

}  // namespace rayctl::oci
