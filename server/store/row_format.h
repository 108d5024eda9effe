// Layout of the embedded store's database, format 1. Numbers are little-endian.
//
//   stored key        what
//   "k" + key         a key of the store
//   "mformat"         the number of this layout, decimal
//   "mincarnation"    UUID
//   "mhead"           head revision and what all keys add up to: see StoreHead
//
// Each value is a row: revision that wrote it (8 bytes), CRC-32 of stored key, revision and
// payload (4 bytes), payload. RocksDB verifies what it reads from disk; the CRC follows
// the row through memory, too, and ties it to its key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace nestor::server {

inline constexpr absl::string_view kStoreFormat = "1";
inline constexpr absl::string_view kFormatKey = "mformat";
inline constexpr absl::string_view kIncarnationKey = "mincarnation";
inline constexpr absl::string_view kHeadKey = "mhead";
inline constexpr absl::string_view kDataPrefix = "k";

struct Row {
  int64_t revision = 0;
  uint32_t checksum = 0;
  std::string value;
};

std::string DataKey(absl::string_view key);

std::string EncodeRow(absl::string_view stored_key, int64_t revision, absl::string_view value);

// Nothing where the bytes are no row of that key, or damaged.
std::optional<Row> DecodeRow(absl::string_view stored_key, absl::string_view bytes);

// The CRC-32 that EncodeRow put into a row.
uint32_t EncodedChecksum(absl::string_view bytes);

// The head revision, with the number of keys and the sum of their rows' checksums: a start
// that finds other keys than these has lost some.
struct StoreHead {
  int64_t revision = 0;
  uint64_t rows = 0;
  uint64_t checksum_sum = 0;  // modulo 2^64
  bool operator==(const StoreHead&) const = default;
};

// The row of kHeadKey.
std::string EncodeHead(const StoreHead& head);
std::optional<StoreHead> DecodeHead(const Row& row);

// What each batch tells the write-ahead log of itself, beside its rows.
struct LogMark {
  int64_t synced_revision = 0;  // when it was written, all up to here was on stable storage
  int64_t revision_before = 0;  // the head that the batch was written upon
  int64_t revision_after = 0;   // and the head that it makes
  bool operator==(const LogMark&) const = default;
};

// A mark carries a checksum, so that it can be found in the bytes of a log that no longer
// parses. `identity` is the database's id, which no client learns and so cannot store as a
// value.
std::string EncodeLogMark(absl::string_view identity, const LogMark& mark);
std::optional<LogMark> DecodeLogMark(absl::string_view identity, absl::string_view bytes);

// The highest synced_revision of any mark in `log`; nothing where there is no mark.
std::optional<int64_t> HighestSyncedRevision(absl::string_view identity, absl::string_view log);

}  // namespace nestor::server
