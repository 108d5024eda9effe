#include "server/store/row_format.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace nestor::server {
namespace {

constexpr size_t kRevisionSize = 8;
constexpr size_t kChecksumSize = 4;
constexpr size_t kRowHeaderSize = kRevisionSize + kChecksumSize;

void AppendNumber(std::string& bytes, uint64_t number, size_t size) {
  std::array<char, sizeof(number)> little_endian;
  for (size_t i = 0; i < size; ++i) little_endian[i] = static_cast<char>(number >> (8 * i));
  bytes.append(little_endian.data(), size);
}

uint64_t ReadNumber(absl::string_view bytes) {
  uint64_t number = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    number |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return number;
}

uint32_t AddToChecksum(uint32_t checksum, absl::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(checksum, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

uint32_t RowChecksum(absl::string_view stored_key, absl::string_view revision,
                     absl::string_view value) {
  uint32_t checksum = AddToChecksum(0, stored_key);
  checksum = AddToChecksum(checksum, revision);
  return AddToChecksum(checksum, value);
}

}  // namespace

std::string DataKey(absl::string_view key) { return absl::StrCat(kDataPrefix, key); }

std::string EncodeRow(absl::string_view stored_key, int64_t revision, absl::string_view value) {
  std::string row;
  row.reserve(kRowHeaderSize + value.size());
  AppendNumber(row, static_cast<uint64_t>(revision), kRevisionSize);
  AppendNumber(row, RowChecksum(stored_key, row, value), kChecksumSize);
  row.append(value.data(), value.size());
  return row;
}

std::optional<Row> DecodeRow(absl::string_view stored_key, absl::string_view bytes) {
  if (bytes.size() < kRowHeaderSize) return std::nullopt;
  const absl::string_view revision = bytes.substr(0, kRevisionSize);
  const absl::string_view value = bytes.substr(kRowHeaderSize);
  Row row;
  row.revision = static_cast<int64_t>(ReadNumber(revision));
  row.checksum = EncodedChecksum(bytes);
  if (row.checksum != RowChecksum(stored_key, revision, value)) return std::nullopt;
  row.value = std::string(value);
  return row;
}

uint32_t EncodedChecksum(absl::string_view bytes) {
  return static_cast<uint32_t>(ReadNumber(bytes.substr(kRevisionSize, kChecksumSize)));
}

std::string EncodeHead(const StoreHead& head) {
  std::string totals;
  AppendNumber(totals, head.rows, 8);
  AppendNumber(totals, head.checksum_sum, 8);
  return EncodeRow(kHeadKey, head.revision, totals);
}

std::optional<StoreHead> DecodeHead(const Row& row) {
  const absl::string_view totals = row.value;
  if (totals.size() != 16) return std::nullopt;
  return StoreHead{row.revision, ReadNumber(totals.substr(0, 8)), ReadNumber(totals.substr(8))};
}

std::string EncodeLogMark(absl::string_view identity, const LogMark& mark) {
  std::string bytes(identity);
  for (int64_t revision : {mark.synced_revision, mark.revision_before, mark.revision_after}) {
    AppendNumber(bytes, static_cast<uint64_t>(revision), kRevisionSize);
  }
  AppendNumber(bytes, AddToChecksum(0, bytes), kChecksumSize);
  return bytes;
}

std::optional<LogMark> DecodeLogMark(absl::string_view identity, absl::string_view bytes) {
  const size_t checked_size = identity.size() + 3 * kRevisionSize;
  if (bytes.size() != checked_size + kChecksumSize) return std::nullopt;
  const absl::string_view checked = bytes.substr(0, checked_size);
  const bool is_mark = absl::StartsWith(checked, identity) &&
                       ReadNumber(bytes.substr(checked_size)) == AddToChecksum(0, checked);
  if (!is_mark) return std::nullopt;
  const auto revision = [&](size_t index) {
    const size_t at = identity.size() + index * kRevisionSize;
    return static_cast<int64_t>(ReadNumber(checked.substr(at, kRevisionSize)));
  };
  return LogMark{revision(0), revision(1), revision(2)};
}

std::optional<int64_t> HighestSyncedRevision(absl::string_view identity, absl::string_view log) {
  const size_t mark_size = EncodeLogMark(identity, {}).size();
  std::optional<int64_t> highest;
  for (size_t at = log.find(identity); at != absl::string_view::npos;
       at = log.find(identity, at + 1)) {
    const std::optional<LogMark> mark = DecodeLogMark(identity, log.substr(at, mark_size));
    // An empty optional is less than any other.
    if (mark) highest = std::max(highest, std::optional(mark->synced_revision));
  }
  return highest;
}

}  // namespace nestor::server
