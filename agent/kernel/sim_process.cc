#include "agent/kernel/sim_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "agent/kernel/sim_open.h"
#include "agent/kernel/sim_system.h"

namespace nestor::kernel {
namespace {

bool IsSimulated(int fd) { return fd >= SimProcess::kFirstDescriptor; }

}  // namespace

SimProcess::SimProcess(SimSystem& system, int address_space)
    : system_(system), address_space_(address_space), memory_(getpid()) {}

SimProcess::~SimProcess() {
  const std::lock_guard lock(system_.mutex);
  while (!files_.empty()) {
    files_.erase(files_.begin());
    --system_.descriptors;
  }
}

std::shared_ptr<SimFile> SimProcess::GetFile(int fd) {
  const auto found = files_.find(fd);
  return found == files_.end() ? nullptr : found->second;
}

FileDescriptor SimProcess::DuplicateHostFile(int fd) const {
  return FileDescriptor(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int SimProcess::InstallFile(std::shared_ptr<SimFile> file) {
  int fd = kFirstDescriptor;
  for (auto taken = files_.begin(); taken != files_.end() && taken->first == fd; ++taken) ++fd;
  files_.emplace(fd, std::move(file));
  ++system_.descriptors;
  return fd;
}

int SimProcess::PassDescriptor(int fd, SimProcess& receiver) {
  const std::lock_guard lock(system_.mutex);
  std::shared_ptr<SimFile> file = GetFile(fd);
  return file == nullptr ? -EBADF : receiver.InstallFile(std::move(file));
}

int SimProcess::Open(const std::string& path, int) {
  const std::lock_guard lock(system_.mutex);
  std::shared_ptr<SimFile> file;
  if (const int result = OpenPath(system_, path, &file); result != 0) return result;
  return InstallFile(std::move(file));
}

int SimProcess::Close(int fd) {
  if (!IsSimulated(fd)) return host_.Close(fd);
  const std::lock_guard lock(system_.mutex);
  if (files_.erase(fd) == 0) return -EBADF;
  --system_.descriptors;
  return 0;
}

int SimProcess::Ioctl(int fd, unsigned long request, uint64_t argument) {  // NOLINT
  if (!IsSimulated(fd)) return host_.Ioctl(fd, request, argument);
  const std::lock_guard lock(system_.mutex);
  const std::shared_ptr<SimFile> file = GetFile(fd);
  if (file == nullptr) return -EBADF;
  return file->Ioctl(*this, static_cast<uint32_t>(request), argument);
}

ssize_t SimProcess::Pread(int fd, void* buffer, size_t size, uint64_t offset) {
  if (!IsSimulated(fd)) return host_.Pread(fd, buffer, size, offset);
  const std::lock_guard lock(system_.mutex);
  const std::shared_ptr<SimFile> file = GetFile(fd);
  if (file == nullptr) return -EBADF;
  return file->Pread(*this, reinterpret_cast<uint64_t>(buffer), size, offset);
}

ssize_t SimProcess::Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) {
  if (!IsSimulated(fd)) return host_.Pwrite(fd, buffer, size, offset);
  const std::lock_guard lock(system_.mutex);
  const std::shared_ptr<SimFile> file = GetFile(fd);
  if (file == nullptr) return -EBADF;
  return file->Pwrite(*this, reinterpret_cast<uint64_t>(buffer), size, offset);
}

int64_t SimProcess::Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) {
  if (!IsSimulated(fd)) return host_.Mmap(length, protection, flags, fd, offset);
  const std::lock_guard lock(system_.mutex);
  return GetFile(fd) == nullptr ? -EBADF : -ENODEV;
}

int SimProcess::Munmap(uint64_t address, size_t length) { return host_.Munmap(address, length); }

int SimProcess::Readlink(const std::string& path, std::string* target) {
  const std::lock_guard lock(system_.mutex);
  return system_.sysfs.Readlink(path, target);
}

int SimProcess::Readdir(const std::string& path, std::vector<std::string>* names) {
  const std::lock_guard lock(system_.mutex);
  return system_.sysfs.Readdir(path, names);
}

int SimProcess::ReadFile(const std::string& path, std::string* content) {
  const std::lock_guard lock(system_.mutex);
  return ReadText(system_, path, content);
}

int SimProcess::WriteFile(const std::string& path, const std::string& content) {
  const std::lock_guard lock(system_.mutex);
  return WriteText(system_, path, content);
}

}  // namespace nestor::kernel
