#include "agent/kernel/sim_process.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_vfio_container.h"

namespace nestor::kernel {
namespace {

constexpr char kContainerNode[] = "/dev/vfio/vfio";
constexpr char kVfioDirectory[] = "/dev/vfio/";

bool IsSimulated(int fd) { return fd >= SimProcess::kFirstDescriptor; }

// A file of sysfs or procfs.
class SimTextFile final : public SimFile {
 public:
  SimTextFile(SimSysfs& sysfs, std::string name) : sysfs_(sysfs), name_(std::move(name)) {}

  ssize_t Pread(SimTask& task, uint64_t address, size_t size, uint64_t offset) override {
    std::string content;
    if (const int result = sysfs_.Read(name_, &content); result != 0) return result;
    const size_t begin = std::min<uint64_t>(offset, content.size());
    const size_t count = std::min(size, content.size() - begin);
    if (!task.memory().Write(address, content.data() + begin, count)) return -EFAULT;
    return static_cast<ssize_t>(count);
  }

  ssize_t Pwrite(SimTask& task, uint64_t address, size_t size, uint64_t) override {
    // The kernel takes at most a page at once.
    std::string content(std::min<size_t>(size, 4096), '\0');
    if (!task.memory().Read(address, content.data(), content.size())) return -EFAULT;
    const int result = sysfs_.Write(name_, content);
    return result != 0 ? result : static_cast<ssize_t>(content.size());
  }

 private:
  SimSysfs& sysfs_;
  const std::string name_;
};

// Opens what `name`, which has no links, stands for: 0 or -errno.
int OpenFile(SimSystem& system, const std::string& name, SimSysfs::Kind kind,
             std::shared_ptr<SimFile>* file) {
  if (kind == SimSysfs::Kind::kDirectory) return -EISDIR;
  if (kind == SimSysfs::Kind::kText) {
    *file = std::make_shared<SimTextFile>(system.sysfs, name);
    return 0;
  }
  if (name == kContainerNode) {
    *file = std::make_shared<SimVfioContainer>(system);
    return 0;
  }
  const int group = std::stoi(name.substr(sizeof(kVfioDirectory) - 1));
  return system.groups.at(group)->Open(file);
}

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
  std::string name;
  SimSysfs::Kind kind;
  if (const int result = system_.sysfs.Resolve(path, &name, &kind); result != 0) return result;
  std::shared_ptr<SimFile> file;
  if (const int result = OpenFile(system_, name, kind, &file); result != 0) return result;
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

int SimProcess::ResolveText(const std::string& path, std::string* name) const {
  SimSysfs::Kind kind;
  if (const int result = system_.sysfs.Resolve(path, name, &kind); result != 0) return result;
  if (kind == SimSysfs::Kind::kDirectory) return -EISDIR;
  return kind == SimSysfs::Kind::kText ? 0 : -EINVAL;
}

int SimProcess::ReadFile(const std::string& path, std::string* content) {
  const std::lock_guard lock(system_.mutex);
  std::string name;
  if (const int result = ResolveText(path, &name); result != 0) return result;
  return system_.sysfs.Read(name, content);
}

int SimProcess::WriteFile(const std::string& path, const std::string& content) {
  const std::lock_guard lock(system_.mutex);
  std::string name;
  if (const int result = ResolveText(path, &name); result != 0) return result;
  return system_.sysfs.Write(name, content);
}

}  // namespace nestor::kernel
