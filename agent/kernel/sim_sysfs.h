// The file names of the simulated machine: what there is of /sys, /proc and /dev.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace nestor::kernel {

struct SimSystem;

// A tree of directories, links and text files that shows the state of a SimSystem, whose
// mutex guards it. Served: PCI devices, drivers and their attributes; IOMMU groups; the
// IOMMU; the processors' one flag that matters here, la57; parameters of VFIO's modules; the
// kernel's version, command line, configuration and boot id; a process's memory lock limit and
// its capabilities, none; the nodes of /dev/vfio. Results are 0 or -errno.
class SimSysfs {
 public:
  enum class Kind { kDirectory, kLink, kText, kDeviceNode };

  // `system` must outlive this and need not be complete before Build.
  explicit SimSysfs(SimSystem& system) : system_(system) {}

  // Shows the present state.
  void Build();

  // Follows links: the name without any, and what it is. -ENOENT, -ENOTDIR, -ELOOP.
  int Resolve(const std::string& path, std::string* name, Kind* kind) const;
  // -EINVAL: no link.
  int Readlink(const std::string& path, std::string* target) const;
  // -ENOTDIR: no directory.
  int Readdir(const std::string& path, std::vector<std::string>* names) const;
  // `name`: from Resolve, of a text. -EACCES: it is for writing only, or for reading only.
  int Read(const std::string& name, std::string* content) const;
  int Write(const std::string& name, const std::string& content);

 private:
  struct Node {
    Kind kind = Kind::kDirectory;
    std::string text;  // of a link, its target
  };
  void AddDirectories(const std::string& path);
  void AddText(const std::string& path, const std::string& text);
  void AddLink(const std::string& path, const std::string& target);
  void AddDeviceNode(const std::string& path);
  void BuildDevice(int device);
  void BuildFunction(int device, const std::string& path);
  void BuildVirtualFunctions(int device, const std::string& path);
  void BuildDrivers();
  void BuildIommu();
  void BuildKernel();
  void BuildVfioNodes();
  void BuildIommufdNodes();
  // The name that `path` leads to; links in the middle are followed, the last only on wish.
  int Walk(const std::string& path, bool follow_last, std::string* name) const;
  // Where a device's own directory is.
  std::string PathOf(int device) const;
  // The number of the present device at /sys/bus/pci/devices/{bdf}, or -1.
  int FindDevice(const std::string& bdf) const;
  int WriteDeviceAttribute(int device, const std::string& attribute, const std::string& value);
  int WriteDriverAttribute(const std::string& driver, const std::string& attribute,
                           const std::string& bdf);

  SimSystem& system_;
  std::map<std::string, Node> nodes_;  // by name without links; "" is the root
};

}  // namespace nestor::kernel
