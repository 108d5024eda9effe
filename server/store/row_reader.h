// Verified reads of a database of the layout in row_format.h.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/row_format.h"

namespace rocksdb {
class DB;
class Status;
}  // namespace rocksdb

namespace nestor::server {

// DATA_LOSS STORE_CORRUPT for corruption, else UNAVAILABLE; names `path`.
absl::Status FromRocksDb(const rocksdb::Status& status, const std::string& path);

// Thread-safe. Errors are those of FromRocksDb, and DATA_LOSS naming the key of a row that
// does not verify.
class RowReader {
 public:
  // Visits a row of a key of the store; false: enough.
  using Visitor = std::function<bool(absl::string_view key, Row row)>;

  // `path` is for messages. `db` must outlive the reader.
  RowReader(rocksdb::DB& db, std::string path) : db_(db), path_(std::move(path)) {}

  // A row by its stored key.
  absl::StatusOr<std::optional<Row>> Find(absl::string_view stored_key) const;

  // The rows of the keys in [begin, end) in order, as of one moment; empty end: all.
  absl::Status Scan(absl::string_view begin, absl::string_view end, const Visitor& visit) const;

  const std::string& path() const { return path_; }

 private:
  rocksdb::DB& db_;
  const std::string path_;
};

}  // namespace nestor::server
