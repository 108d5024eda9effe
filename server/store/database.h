// Opens the RocksDB database of an embedded store: verified first, written afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/row_format.h"

namespace rocksdb {
class DB;
class Env;
class FileSystem;
class Status;
class WalFilter;
}  // namespace rocksdb

namespace nestor::server {

struct DatabaseOptions {
  size_t write_buffer_bytes;
  size_t block_cache_bytes;
  std::shared_ptr<rocksdb::FileSystem> file_system;  // null: the host's
};

struct Database {
  std::unique_ptr<rocksdb::Env> environment;   // used by db, like the next
  std::unique_ptr<rocksdb::WalFilter> replay;  // null: it was new
  std::unique_ptr<rocksdb::DB> db;
  std::string incarnation;
  std::string identity;  // for EncodeLogMark
  StoreHead head;        // all of it is on stable storage

  Database();
  Database(Database&&) noexcept;
  ~Database();
};

// See RocksDbStore::Open for the promises and errors.
absl::StatusOr<Database> OpenDatabase(const std::string& path, const DatabaseOptions& options);

// Syncs the log, and marks in it that everything up to `revision` is stored: a later start
// that does not find it refuses.
rocksdb::Status MarkSynced(const Database& database, int64_t revision);

}  // namespace nestor::server
