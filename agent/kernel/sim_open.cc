#include "agent/kernel/sim_open.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "agent/kernel/sim_iommufd.h"
#include "agent/kernel/sim_system.h"
#include "agent/kernel/sim_vfio_cdev.h"
#include "agent/kernel/sim_vfio_container.h"

namespace nestor::kernel {
namespace {

constexpr char kContainerNode[] = "/dev/vfio/vfio";
constexpr char kVfioDirectory[] = "/dev/vfio/";
constexpr char kIommuNode[] = "/dev/iommu";
constexpr char kDeviceNode[] = "/dev/vfio/devices/vfio";

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
  if (name == kIommuNode) {
    *file = std::make_shared<SimIommufdFile>(system);
    return 0;
  }
  if (absl::StartsWith(name, kDeviceNode)) {
    const int device = std::stoi(name.substr(sizeof(kDeviceNode) - 1));
    *file = std::make_shared<SimVfioCdevFile>(system, device);
    return 0;
  }
  const int group = std::stoi(name.substr(sizeof(kVfioDirectory) - 1));
  return system.groups.at(group)->Open(file);
}

// The name without links of a text.
int ResolveText(const SimSystem& system, const std::string& path, std::string* name) {
  SimSysfs::Kind kind;
  if (const int result = system.sysfs.Resolve(path, name, &kind); result != 0) return result;
  if (kind == SimSysfs::Kind::kDirectory) return -EISDIR;
  return kind == SimSysfs::Kind::kText ? 0 : -EINVAL;
}

}  // namespace

int OpenPath(SimSystem& system, const std::string& path, std::shared_ptr<SimFile>* file) {
  std::string name;
  SimSysfs::Kind kind;
  if (const int result = system.sysfs.Resolve(path, &name, &kind); result != 0) return result;
  return OpenFile(system, name, kind, file);
}

int ReadText(const SimSystem& system, const std::string& path, std::string* content) {
  std::string name;
  if (const int result = ResolveText(system, path, &name); result != 0) return result;
  return system.sysfs.Read(name, content);
}

int WriteText(SimSystem& system, const std::string& path, const std::string& content) {
  std::string name;
  if (const int result = ResolveText(system, path, &name); result != 0) return result;
  return system.sysfs.Write(name, content);
}

}  // namespace nestor::kernel
