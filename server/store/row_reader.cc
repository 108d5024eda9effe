#include "server/store/row_reader.h"

#include <rocksdb/db.h>

#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/support/errors.h"
#include "server/store/store.h"

namespace nestor::server {
namespace {

// An I/O error needs an operator.
constexpr absl::Duration kRetryAfterIoError = absl::Seconds(30);

rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }

absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status RowCorrupt(const std::string& path, absl::string_view stored_key) {
  return errors::StoreCorrupt(
      path, absl::StrCat("the row of key ", absl::CHexEscape(stored_key.substr(1)),
                         " does not match its checksum"));
}

}  // namespace

absl::Status FromRocksDb(const rocksdb::Status& status, const std::string& path) {
  if (status.ok()) return absl::OkStatus();
  if (status.IsCorruption()) return errors::StoreCorrupt(path, status.ToString());
  return errors::Unavailable(absl::StrCat("the store at ", path, ": ", status.ToString()),
                             kRetryAfterIoError);
}

absl::StatusOr<std::optional<Row>> RowReader::Find(absl::string_view stored_key) const {
  rocksdb::PinnableSlice bytes;
  const rocksdb::Status status =
      db_.Get(rocksdb::ReadOptions(), db_.DefaultColumnFamily(), ToSlice(stored_key), &bytes);
  if (status.IsNotFound()) return std::optional<Row>();
  if (!status.ok()) return FromRocksDb(status, path_);
  std::optional<Row> row = DecodeRow(stored_key, ToView(bytes));
  if (!row) return RowCorrupt(path_, stored_key);
  return row;
}

absl::Status RowReader::Scan(absl::string_view begin, absl::string_view end,
                             const Visitor& visit) const {
  const std::string lower = DataKey(begin);
  const std::string upper = end.empty() ? PrefixEnd(kDataPrefix) : DataKey(end);
  const rocksdb::Slice upper_bound(upper);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper_bound;
  const std::unique_ptr<rocksdb::Iterator> iterator(db_.NewIterator(options));
  for (iterator->Seek(lower); iterator->Valid(); iterator->Next()) {
    const absl::string_view stored_key = ToView(iterator->key());
    std::optional<Row> row = DecodeRow(stored_key, ToView(iterator->value()));
    if (!row) return RowCorrupt(path_, stored_key);
    if (!visit(stored_key.substr(kDataPrefix.size()), *std::move(row))) return absl::OkStatus();
  }
  return FromRocksDb(iterator->status(), path_);
}

}  // namespace nestor::server
