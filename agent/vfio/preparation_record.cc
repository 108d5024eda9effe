#include "agent/vfio/preparation_record.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "api/support/status_macros.h"

namespace nestor::agent {
namespace {

// Of a file that is being written; one that is left over was never complete.
constexpr absl::string_view kUnfinished = ".new";

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", path, ": ", strerror(error)));
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("open", path, errno);
  const int result = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return result == 0 ? absl::OkStatus() : Failed("sync", path, result);
}

// 0 or errno.
int WriteAndSync(int fd, const std::string& text) {
  const ssize_t written = write(fd, text.data(), text.size());
  if (written < 0) return errno;
  if (static_cast<size_t>(written) != text.size()) return ENOSPC;
  return fsync(fd) == 0 ? 0 : errno;
}

absl::Status WriteSynced(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("open", path, errno);
  const int result = WriteAndSync(fd, text);
  close(fd);
  return result == 0 ? absl::OkStatus() : Failed("write", path, result);
}

}  // namespace

PreparationRecord::PreparationRecord(std::string directory, std::string boot_id)
    : directory_(std::move(directory)), boot_id_(std::move(boot_id)) {}

absl::StatusOr<PreparationRecord> PreparationRecord::Open(const std::string& directory,
                                                          const std::string& boot_id) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot make ", directory, ": ", error.message()));
  }
  PreparationRecord record(directory, boot_id);
  RETURN_IF_ERROR(record.ReadAll());
  return record;
}

std::string PreparationRecord::PathOf(const Bdf& device) const {
  return absl::StrCat(directory_, "/", device);
}

absl::Status PreparationRecord::ReadAll() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory_, error)) {
    names.push_back(entry.path().filename().string());
  }
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot read ", directory_, ": ", error.message()));
  }
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, kUnfinished)) RETURN_IF_ERROR(ReadEntry(name));
  }
  return absl::OkStatus();
}

absl::Status PreparationRecord::ReadEntry(const Bdf& device) {
  std::stringstream text;
  text << std::ifstream(PathOf(device)).rdbuf();
  const std::vector<std::string> lines = absl::StrSplit(text.str(), '\n');
  constexpr absl::string_view kKeys[] = {"boot_id ", "driver ", "driver_override "};
  std::vector<std::string> values;
  for (size_t i = 0; i < std::size(kKeys) && i < lines.size(); ++i) {
    absl::string_view line = lines[i];
    if (absl::ConsumePrefix(&line, kKeys[i])) values.emplace_back(line);
  }
  if (values.size() != std::size(kKeys)) {
    return absl::DataLossError(
        absl::StrCat(PathOf(device),
                     " is no record of a prepared device: give the device back to its driver "
                     "by hand if it is not there, and remove the file"));
  }
  if (values[0] != boot_id_) return Remove(device);
  entries_[device] = {values[1], values[2]};
  return absl::OkStatus();
}

absl::Status PreparationRecord::Put(const Bdf& device, const HostDriver& before) {
  const std::string path = PathOf(device);
  const std::string unfinished = absl::StrCat(path, kUnfinished);
  RETURN_IF_ERROR(
      WriteSynced(unfinished, absl::StrCat("boot_id ", boot_id_, "\ndriver ", before.driver,
                                           "\ndriver_override ", before.override, "\n")));
  if (rename(unfinished.c_str(), path.c_str()) != 0) return Failed("make", path, errno);
  RETURN_IF_ERROR(SyncDirectory(directory_));
  entries_[device] = before;
  return absl::OkStatus();
}

absl::Status PreparationRecord::Remove(const Bdf& device) {
  const std::string path = PathOf(device);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("remove", path, errno);
  entries_.erase(device);
  return SyncDirectory(directory_);
}

}  // namespace nestor::agent
