// The directory of an embedded store, before and beside RocksDB.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rocksdb {
class FileSystem;
class Status;
}  // namespace rocksdb

namespace nestor::server {

// Errors name the path and what to do about it.
class StoreDirectory {
 public:
  enum class Contents {
    kNoStore,  // nothing, or what a creation leaves that was cut short before it stored
    kStore,
  };

  // Keeps other processes, and other stores of this one, out until destroyed.
  class Lock {
   public:
    virtual ~Lock() = default;
  };

  StoreDirectory(std::string path, std::shared_ptr<rocksdb::FileSystem> file_system);

  // Makes the directory, durably and for this user alone, unless it is there. Its parent must
  // be there.
  //   FAILED_PRECONDITION  `path` is a file, or its parent is missing
  absl::Status CreateIfMissing();

  // Tells by file names what is there.
  //   FAILED_PRECONDITION  something that is no store
  //   DATA_LOSS            a store without its CURRENT file
  absl::StatusOr<Contents> Inspect() const;

  //   FAILED_PRECONDITION  another process, or store, has it
  absl::StatusOr<std::unique_ptr<Lock>> Acquire() const;

  bool HasTables() const;

  // The highest synced_revision that any write-ahead log is marked with; nothing: no mark.
  absl::StatusOr<std::optional<int64_t>> HighestSyncedRevisionOfLogs(
      absl::string_view identity) const;

  // A failure of RocksDB to open the directory, for the operator: PERMISSION_DENIED where
  // there is a file that this process may not use, else as FromRocksDb.
  absl::Status Explain(const rocksdb::Status& status) const;

  const std::string& path() const { return path_; }

 private:
  absl::StatusOr<std::vector<std::string>> FileNames() const;
  std::string Parent() const;
  absl::Status SyncParent() const;

  const std::string path_;
  const std::shared_ptr<rocksdb::FileSystem> file_system_;
};

}  // namespace nestor::server
