#include "server/store/store_directory.h"

#include <fcntl.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/support/errors.h"
#include "api/support/status_macros.h"
#include "server/store/row_format.h"
#include "server/store/row_reader.h"

namespace nestor::server {
namespace {

const rocksdb::IOOptions kIoOptions;

// Files that hold what was committed.
bool IsTable(absl::string_view name) { return absl::EndsWith(name, ".sst"); }
bool IsLog(absl::string_view name) { return absl::EndsWith(name, ".log"); }
bool IsManifest(absl::string_view name) { return absl::StartsWith(name, "MANIFEST-"); }

// Files that RocksDB writes before CURRENT names a database for the first time. A fresh
// file system brings lost+found.
bool PrecedesDatabase(absl::string_view name) {
  return name == "LOCK" || name == "IDENTITY" || name == "lost+found" ||
         absl::StartsWith(name, "LOG") || IsManifest(name) || absl::EndsWith(name, ".dbtmp");
}

// Whether this process is refused `path` by its permissions.
bool IsForbidden(const std::string& path) {
  return faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0 &&
         (errno == EACCES || errno == EROFS);
}

absl::Status PermissionDenied(const std::string& path, const rocksdb::Status& status) {
  return absl::PermissionDeniedError(absl::StrCat("may not read and write ", path,
                                                  "; give it to the user that runs the server (",
                                                  status.ToString(), ")"));
}

class HeldLock final : public StoreDirectory::Lock {
 public:
  HeldLock(std::shared_ptr<rocksdb::FileSystem> file_system, rocksdb::FileLock* lock)
      : file_system_(std::move(file_system)), lock_(lock) {}
  ~HeldLock() override {
    file_system_->UnlockFile(lock_, kIoOptions, nullptr).PermitUncheckedError();
  }

 private:
  const std::shared_ptr<rocksdb::FileSystem> file_system_;
  rocksdb::FileLock* const lock_;
};

}  // namespace

StoreDirectory::StoreDirectory(std::string path, std::shared_ptr<rocksdb::FileSystem> file_system)
    : path_(std::move(path)), file_system_(std::move(file_system)) {}

absl::Status StoreDirectory::CreateIfMissing() {
  bool is_directory = false;
  const rocksdb::IOStatus found =
      file_system_->IsDirectory(path_, kIoOptions, &is_directory, nullptr);
  if (found.ok() && is_directory) {
    // It may be of an earlier start that was killed before it synced. A parent that this
    // process may not open is another's to look after.
    SyncParent().IgnoreError();
    return absl::OkStatus();
  }
  if (found.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " is a file; the store needs a directory of its own"));
  }
  const rocksdb::IOStatus created = file_system_->CreateDir(path_, kIoOptions, nullptr);
  if (created.IsPathNotFound()) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot create ", path_, ": its parent directory does not exist; create it"));
  }
  if (!created.ok() && IsForbidden(Parent())) return PermissionDenied(Parent(), created);
  if (!created.ok()) return Explain(created);
  std::error_code error;  // a file system without permissions has nothing to restrict
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all, error);
  return SyncParent();
}

std::string StoreDirectory::Parent() const {
  std::filesystem::path path = std::filesystem::absolute(path_).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // of a trailing slash
  return path.parent_path();
}

absl::Status StoreDirectory::SyncParent() const {
  std::unique_ptr<rocksdb::FSDirectory> directory;
  rocksdb::IOStatus status = file_system_->NewDirectory(Parent(), kIoOptions, &directory, nullptr);
  if (status.ok()) status = directory->Fsync(kIoOptions, nullptr);
  return FromRocksDb(status, path_);
}

absl::StatusOr<StoreDirectory::Contents> StoreDirectory::Inspect() const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, FileNames());
  const auto has = [&names](const auto& predicate) {
    return std::any_of(names.begin(), names.end(), predicate);
  };
  if (has([](const std::string& name) { return name == "CURRENT"; })) return Contents::kStore;
  if (has(IsManifest) && (has(IsTable) || has(IsLog))) {
    return errors::StoreCorrupt(path_, "its file CURRENT is missing");
  }
  const auto foreign = std::find_if_not(names.begin(), names.end(), PrecedesDatabase);
  if (foreign == names.end()) return Contents::kNoStore;
  return absl::FailedPreconditionError(
      absl::StrCat(path_, " holds other files (", *foreign,
                   ") and no store; give the store an empty directory of its own"));
}

absl::StatusOr<std::unique_ptr<StoreDirectory::Lock>> StoreDirectory::Acquire() const {
  rocksdb::FileLock* lock = nullptr;
  const rocksdb::IOStatus status =
      file_system_->LockFile(absl::StrCat(path_, "/LOCK"), kIoOptions, &lock, nullptr);
  if (status.ok()) return std::make_unique<HeldLock>(file_system_, lock);
  const absl::Status explained = Explain(status);
  if (absl::IsPermissionDenied(explained)) return explained;
  return absl::FailedPreconditionError(absl::StrCat("cannot lock the store at ", path_,
                                                    "; if another process uses it, stop that (",
                                                    status.ToString(), ")"));
}

bool StoreDirectory::HasTables() const {
  const auto names = FileNames();
  return !names.ok() || std::any_of(names->begin(), names->end(), IsTable);
}

absl::StatusOr<std::optional<int64_t>> StoreDirectory::HighestSyncedRevisionOfLogs(
    absl::string_view identity) const {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, FileNames());
  std::optional<int64_t> highest;
  for (const std::string& name : names) {
    if (!IsLog(name)) continue;
    std::string log;
    const rocksdb::Status status =
        rocksdb::ReadFileToString(file_system_.get(), absl::StrCat(path_, "/", name), &log);
    if (!status.ok()) return Explain(status);
    // An empty optional is less than any other.
    highest = std::max(highest, HighestSyncedRevision(identity, log));
  }
  return highest;
}

absl::Status StoreDirectory::Explain(const rocksdb::Status& status) const {
  std::vector<std::string> candidates = {path_};
  if (const auto names = FileNames(); names.ok()) {
    for (const std::string& name : *names) candidates.push_back(absl::StrCat(path_, "/", name));
  }
  const auto forbidden = std::find_if(candidates.begin(), candidates.end(), IsForbidden);
  if (forbidden != candidates.end()) return PermissionDenied(*forbidden, status);
  return FromRocksDb(status, path_);
}

absl::StatusOr<std::vector<std::string>> StoreDirectory::FileNames() const {
  std::vector<std::string> names;
  const rocksdb::IOStatus status = file_system_->GetChildren(path_, kIoOptions, &names, nullptr);
  if (!status.ok() && IsForbidden(path_)) return PermissionDenied(path_, status);
  if (!status.ok()) return FromRocksDb(status, path_);
  std::erase_if(names, [](const std::string& name) { return name == "." || name == ".."; });
  return names;
}

}  // namespace nestor::server
