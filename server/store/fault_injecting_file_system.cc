#include "server/store/fault_injecting_file_system.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace nestor::server {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

constexpr uint64_t kPageSize = 4096;

std::string ParentOf(const std::string& path) {
  return std::filesystem::path(path).parent_path().string();
}

// LOG and its older generations: for people, nothing depends on them.
bool IsMessageLog(const std::string& path) {
  return absl::StartsWith(std::filesystem::path(path).filename().string(), "LOG");
}

// Directories are named with and without a trailing slash.
std::string Normal(const std::string& directory) {
  return absl::EndsWith(directory, "/") ? directory.substr(0, directory.size() - 1) : directory;
}

}  // namespace

class FaultInjectingFileSystem::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(FaultInjectingFileSystem& disk, std::string path,
               std::unique_ptr<rocksdb::FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), disk_(disk), path_(std::move(path)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus failure = disk_.Begin(Operation::kAppend);
    const Slice written(data.data(), failure.ok() ? data.size() : data.size() / 2);
    IOStatus status = FSWritableFileOwnerWrapper::Append(written, options, debug);
    if (status.ok()) disk_.Appended(path_, written.size());
    return failure.ok() ? status : failure;
  }

  IOStatus Append(const Slice& data, const IOOptions& options, const rocksdb::DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }

  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    if (IOStatus failure = disk_.Begin(Operation::kAppend); !failure.ok()) return failure;
    disk_.Truncated(path_, size);
    return FSWritableFileOwnerWrapper::Truncate(size, options, debug);
  }

  // Not passed on: what is synced is decided here, and a test need not wait for the disk.
  IOStatus Sync(const IOOptions&, IODebugContext*) override {
    IOStatus status = disk_.Begin(Operation::kSync);
    if (status.ok()) disk_.Synced(path_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }

 private:
  FaultInjectingFileSystem& disk_;
  const std::string path_;
};

class FaultInjectingFileSystem::Directory final : public rocksdb::FSDirectory {
 public:
  Directory(FaultInjectingFileSystem& disk, std::string path,
            std::unique_ptr<rocksdb::FSDirectory> target)
      : disk_(disk), path_(std::move(path)), target_(std::move(target)) {}

  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    IOStatus status = disk_.Begin(Operation::kSyncDirectory);
    if (status.ok()) disk_.DirectorySynced(path_);
    return status;
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    return target_->Close(options, debug);
  }

 private:
  FaultInjectingFileSystem& disk_;
  const std::string path_;
  const std::unique_ptr<rocksdb::FSDirectory> target_;
};

FaultInjectingFileSystem::FaultInjectingFileSystem(std::string backup_directory)
    : FileSystemWrapper(rocksdb::FileSystem::Default()),
      backup_directory_(std::move(backup_directory)) {}

int FaultInjectingFileSystem::Count(Operation operation) const {
  std::lock_guard lock(mutex_);
  const auto count = counts_.find(operation);
  return count == counts_.end() ? 0 : count->second;
}

void FaultInjectingFileSystem::FailNth(Operation operation, int nth, IOStatus error) {
  std::lock_guard lock(mutex_);
  failures_[operation] = {counts_[operation] + nth, std::move(error)};
}

void FaultInjectingFileSystem::CutPowerAfter(int operations) {
  std::lock_guard lock(mutex_);
  operations_until_cut_ = operations;
}

IOStatus FaultInjectingFileSystem::Begin(Operation operation) {
  std::lock_guard lock(mutex_);
  if (operations_until_cut_ == 0) return IOStatus::IOError("the power is cut");
  if (operations_until_cut_) --*operations_until_cut_;
  const int count = ++counts_[operation];
  const auto failure = failures_.find(operation);
  if (failure == failures_.end() || failure->second.first != count) return IOStatus::OK();
  return failure->second.second;
}

void FaultInjectingFileSystem::RestorePower(std::mt19937& random) {
  std::lock_guard lock(mutex_);
  for (auto& [path, extent] : extents_) {
    LoseUnsynced(path, extent, random);
  }
  // In reverse, so that a directory is done with before its parent may lose it.
  for (auto entry = unsynced_.rbegin(); entry != unsynced_.rend(); ++entry) {
    std::vector<DirectoryChange>& changes = entry->second;
    std::uniform_int_distribution<size_t> survivors(0, changes.size());
    for (size_t kept = survivors(random); changes.size() > kept; changes.pop_back()) {
      Undo(changes.back());
    }
  }
  extents_.clear();
  unsynced_.clear();
  operations_until_cut_.reset();
}

void FaultInjectingFileSystem::LoseUnsynced(const std::string& path, const Extent& extent,
                                            std::mt19937& random) {
  const uint64_t size =
      std::uniform_int_distribution<uint64_t>(extent.synced, extent.written)(random);
  std::filesystem::resize_file(path, size);
  // A page before the last may be lost, too, as pages are written in any order.
  const uint64_t first_page = extent.synced / kPageSize;
  const uint64_t pages = size / kPageSize - first_page;
  if (pages == 0 || random() % 2 == 0) return;
  const uint64_t page = (first_page + random() % pages) * kPageSize;
  const uint64_t hole = std::max(extent.synced, page);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(hole));
  file << std::string(page + kPageSize - hole, '\0');
}

void FaultInjectingFileSystem::Undo(const DirectoryChange& change) {
  if (!change.renamed.empty()) {
    std::filesystem::rename(change.created, change.renamed);
  } else if (!change.created.empty()) {
    std::filesystem::remove_all(change.created);
  }
  const std::string& replaced = change.created.empty() ? change.deleted : change.created;
  if (!change.backup.empty()) std::filesystem::rename(change.backup, replaced);
}

void FaultInjectingFileSystem::Appended(const std::string& path, uint64_t bytes) {
  std::lock_guard lock(mutex_);
  extents_[path].written += bytes;
}

void FaultInjectingFileSystem::Synced(const std::string& path) {
  std::lock_guard lock(mutex_);
  Extent& extent = extents_[path];
  extent.synced = extent.written;
}

void FaultInjectingFileSystem::Truncated(const std::string& path, uint64_t size) {
  std::lock_guard lock(mutex_);
  Extent& extent = extents_[path];
  extent = {std::min(extent.written, size), std::min(extent.synced, size)};
}

void FaultInjectingFileSystem::DirectorySynced(const std::string& path) {
  std::lock_guard lock(mutex_);
  unsynced_.erase(path);
}

std::string FaultInjectingFileSystem::BackUp(const std::string& path) {
  if (!std::filesystem::exists(path)) return "";
  std::string backup = absl::StrCat(backup_directory_, "/", ++backups_);
  std::filesystem::rename(path, backup);
  // What the file holds after a power cut is chosen when that comes, wherever it is.
  if (auto extent = extents_.extract(path)) {
    extent.key() = backup;
    extents_.insert(std::move(extent));
  }
  return backup;
}

IOStatus FaultInjectingFileSystem::NewWritableFile(const std::string& path,
                                                   const FileOptions& options,
                                                   std::unique_ptr<rocksdb::FSWritableFile>* result,
                                                   IODebugContext* debug) {
  if (IsMessageLog(path)) return target()->NewWritableFile(path, options, result, debug);
  if (IOStatus failure = Begin(Operation::kChangeDirectory); !failure.ok()) return failure;
  std::string backup;
  {
    std::lock_guard lock(mutex_);
    backup = BackUp(path);
  }
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->NewWritableFile(path, options, &file, debug);
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  extents_[path] = Extent();
  unsynced_[ParentOf(path)].push_back({path, "", backup, ""});
  *result = std::make_unique<WritableFile>(*this, path, std::move(file));
  return status;
}

IOStatus FaultInjectingFileSystem::ReopenWritableFile(
    const std::string& path, const FileOptions& options,
    std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> file;
  IOStatus status = target()->ReopenWritableFile(path, options, &file, debug);
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  const uint64_t size = std::filesystem::file_size(path);
  extents_.try_emplace(path, Extent{size, size});
  *result = std::make_unique<WritableFile>(*this, path, std::move(file));
  return status;
}

IOStatus FaultInjectingFileSystem::NewDirectory(const std::string& path, const IOOptions& options,
                                                std::unique_ptr<rocksdb::FSDirectory>* result,
                                                IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSDirectory> directory;
  IOStatus status = target()->NewDirectory(path, options, &directory, debug);
  if (!status.ok()) return status;
  *result = std::make_unique<Directory>(*this, Normal(path), std::move(directory));
  return status;
}

IOStatus FaultInjectingFileSystem::CreateDir(const std::string& path, const IOOptions& options,
                                             IODebugContext* debug) {
  if (IOStatus failure = Begin(Operation::kChangeDirectory); !failure.ok()) return failure;
  IOStatus status = target()->CreateDir(path, options, debug);
  if (!status.ok()) return status;
  std::lock_guard lock(mutex_);
  unsynced_[ParentOf(Normal(path))].push_back({Normal(path), "", "", ""});
  return status;
}

IOStatus FaultInjectingFileSystem::CreateDirIfMissing(const std::string& path,
                                                      const IOOptions& options,
                                                      IODebugContext* debug) {
  if (std::filesystem::is_directory(path)) return IOStatus::OK();
  return CreateDir(path, options, debug);
}

IOStatus FaultInjectingFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                              IODebugContext* debug) {
  if (IsMessageLog(path)) return target()->DeleteFile(path, options, debug);
  if (IOStatus failure = Begin(Operation::kChangeDirectory); !failure.ok()) return failure;
  std::lock_guard lock(mutex_);
  const std::string backup = BackUp(path);
  if (backup.empty()) return IOStatus::PathNotFound(path);
  unsynced_[ParentOf(path)].push_back({"", "", backup, path});
  return IOStatus::OK();
}

IOStatus FaultInjectingFileSystem::RenameFile(const std::string& from, const std::string& to,
                                              const IOOptions& options, IODebugContext* debug) {
  if (IsMessageLog(from)) return target()->RenameFile(from, to, options, debug);
  if (IOStatus failure = Begin(Operation::kChangeDirectory); !failure.ok()) return failure;
  std::lock_guard lock(mutex_);
  const std::string backup = BackUp(to);
  IOStatus status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  if (auto extent = extents_.extract(from)) {
    extent.key() = to;
    extents_.insert(std::move(extent));
  }
  unsynced_[ParentOf(to)].push_back({to, from, backup, ""});
  return status;
}

}  // namespace nestor::server
