// Records that survive a crash: an append-only log beside a snapshot, in one directory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace rayctl::cluster {

constexpr size_t max_record_size = 64 << 20;

struct ParsedRecords {
  std::vector<std::string> records;
  size_t good = 0;  // bytes up to the end of the last whole record
  bool torn =
      false;  // a record that was being written when the machine stopped follows; it was never promised
};
// A file's content: the 8 bytes "rctljnl1", then records of 4 bytes length, 4 bytes CRC-32, payload
// (big-endian). Damage that a crash can't make (a bad record before good ones) is an Error.
ParsedRecords parse_records(std::string_view bytes, const std::string& name);

// DIRECTORY/{snapshot, journal.N}: the snapshot is replaced by rename; it names the N that goes with it.
class Journal {
 public:
  // `load` is called with the snapshot (when there is one), then `replay` with each record.
  Journal(const std::string& directory, const std::function<void(std::string_view snapshot)>& load,
          const std::function<void(std::string_view record)>& replay);

  void append(std::string_view record);  // buffered until commit()
  bool dirty() const { return !buffer_.empty(); }
  void commit();  // written and fsynced when it returns; throws: nothing was promised
  // True when the log outgrew the snapshot (and 1 MiB): the owner should call compact() with its whole state.
  bool wants_compaction() const;
  void compact(std::string_view snapshot);

 private:
  std::string path(uint64_t generation) const;

  std::string directory_;
  uint64_t generation_ = 0;
  size_t snapshot_size_ = 0, log_size_ = 0;
  std::string buffer_;
  bool broken_ = false;
  Fd log_;
};

}  // namespace rayctl::cluster
