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
}  // namespace rocksdb

namespace nestor::server {

struct DatabaseOptions {
  size_t write_buffer_bytes;
  size_t block_cache_bytes;
  std::shared_ptr<rocksdb::FileSystem> file_system;  // null: the host's
};

struct Database {
  std::unique_ptr<rocksdb::Env> environment;  // used by db
  std::unique_ptr<rocksdb::DB> db;
  std::string incarnation;
  std::string identity;  // for EncodeSyncMark
  StoreHead head;        // all of it is on stable storage

  Database();
  Database(Database&&) noexcept;
  ~Database();
};

// See RocksDbStore::Open for the promises and errors.
//
// RocksDB rewrites files as it opens a database, and in every one of its recovery modes it
// takes some damage of a log for its torn end. So the database is opened read-only first,
// replaying its logs up to the first byte that is not right, and what that yields must be
// complete: every row verifies, the rows add up to what the head says, and no log bears a
// mark that more than this was synced.
absl::StatusOr<Database> OpenDatabase(const std::string& path, const DatabaseOptions& options);

// Syncs the log, and marks in it that everything up to `revision` is stored: a later start
// that does not find it refuses.
rocksdb::Status MarkSynced(const Database& database, int64_t revision);

}  // namespace nestor::server
