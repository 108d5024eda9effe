// VFIO containers: /dev/vfio/vfio.
#pragma once

#include <memory>
#include <vector>

#include "agent/kernel/sim_file.h"

namespace nestor::kernel {

struct SimSystem;
class SimType1;
class SimVfioGroup;

// A container and its descriptor. Groups keep it alive beyond that; with the last group it
// loses its IOMMU and can be set to another.
class SimVfioContainer final : public SimFile {
 public:
  explicit SimVfioContainer(SimSystem& system);
  ~SimVfioContainer() override;

  // Before an IOMMU is set every other request is -EINVAL, whatever it is.
  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override;

  // 0, or what the IOMMU that is set answers to another group.
  int AddGroup(SimTask& task, SimVfioGroup& group);
  void RemoveGroup(SimVfioGroup& group);
  bool has_driver() const { return driver_ != nullptr; }

 private:
  int CheckExtension(uint64_t extension) const;
  int SetIommu(SimTask& task, uint64_t type);

  SimSystem& system_;
  std::vector<SimVfioGroup*> groups_;
  std::unique_ptr<SimType1> driver_;
};

}  // namespace nestor::kernel
