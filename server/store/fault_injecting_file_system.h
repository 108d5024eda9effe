// A disk that fails on demand and loses power: for tests of what stands on RocksDB.
//
// It keeps the letter of what a file system promises. After a power cut a file holds what
// it held at its last sync and some of what was appended since, perhaps with a page of zeros
// in it; a file that was
// created, renamed or deleted is so only if its directory was synced since, and operations
// on a directory survive in order. The files are real ones below a real directory.
#pragma once

#include <rocksdb/file_system.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace nestor::server {

// Thread-safe. Knows of RocksDB's write pattern only: files grow by appending, and are not
// linked. RocksDB's own message log is let through untouched and uncounted.
class FaultInjectingFileSystem : public rocksdb::FileSystemWrapper {
 public:
  // What can fail and is counted.
  enum class Operation { kAppend, kSync, kSyncDirectory, kChangeDirectory };

  // `backup_directory`: empty, on the same file system as the files; holds what a power cut
  // may bring back.
  explicit FaultInjectingFileSystem(std::string backup_directory);

  // Since construction.
  int Count(Operation operation) const;

  // Fails the `nth` operation of that kind from now, 1 being the next, with `error`. An
  // append that fails has written the first half of its data.
  void FailNth(Operation operation, int nth, rocksdb::IOStatus error);

  // Cuts the power after `operations` more of any kind; each one after fails.
  void CutPowerAfter(int operations);

  // After a power cut, with all files closed: makes the files what a disk might hold, chosen
  // by `random`, and lets operations succeed again.
  void RestorePower(std::mt19937& random);

  const char* Name() const override { return "FaultInjectingFileSystem"; }
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDir(const std::string& path, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& path, const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  class WritableFile;
  class Directory;

  // Bytes of a file that was written to.
  struct Extent {
    uint64_t written = 0;
    uint64_t synced = 0;
  };
  // What a directory forgets unless synced, and how to undo it.
  struct DirectoryChange {
    std::string created;  // path that appeared
    std::string renamed;  // path under which `created` was known before, or empty
    std::string backup;   // what `created`, or else `deleted`, held before, or empty
    std::string deleted;  // path that disappeared, or empty
  };

  // Counts one operation; an error where it is to fail.
  rocksdb::IOStatus Begin(Operation operation);
  void Appended(const std::string& path, uint64_t bytes);
  void Synced(const std::string& path);
  void Truncated(const std::string& path, uint64_t size);
  void DirectorySynced(const std::string& path);
  // Moves `path`, if it exists, where Undo can find it; returns that place.
  std::string BackUp(const std::string& path);
  void LoseUnsynced(const std::string& path, const Extent& extent, std::mt19937& random);
  void Undo(const DirectoryChange& change);

  const std::string backup_directory_;
  mutable std::mutex mutex_;
  std::map<Operation, int> counts_;
  std::map<Operation, std::pair<int, rocksdb::IOStatus>> failures_;  // at which count
  std::optional<int> operations_until_cut_;
  std::map<std::string, Extent> extents_;                         // by path
  std::map<std::string, std::vector<DirectoryChange>> unsynced_;  // by directory
  int backups_ = 0;
};

}  // namespace nestor::server
