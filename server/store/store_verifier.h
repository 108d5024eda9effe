// Looks at a database before anything may write to it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/row_format.h"
#include "server/store/store_directory.h"

namespace rocksdb {
struct Options;
}  // namespace rocksdb

namespace nestor::server {

// A database that was found whole.
struct VerifiedDatabase {
  std::string identity;            // RocksDB's id of it
  int64_t revision_of_tables = 0;  // what it holds without its logs
  std::string incarnation;         // empty: its creation was cut short before it held anything
  StoreHead head;
};

// Opens the database read-only and reads all of it; changes no file. Errors as of
// RocksDbStore::Open. Options are those with which it will be opened, but for the filter of
// its logs: pass on a LogReplay of what this returns.
//
// RocksDB rewrites files as it opens a database, and in every one of its recovery modes it
// takes some damage of a log for its torn end. So its logs are replayed up to the first byte
// that is not right, and what that yields must be complete: every row verifies, the rows add
// up to what the head says, and no log bears a mark that more than this was synced.
absl::StatusOr<VerifiedDatabase> VerifyDatabase(const StoreDirectory& directory,
                                                const rocksdb::Options& options);

}  // namespace nestor::server
