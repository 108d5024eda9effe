// iommufd: /dev/iommu.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "agent/kernel/sim_attachments.h"
#include "agent/kernel/sim_file.h"
#include "agent/kernel/sim_iommufd_object.h"

namespace nestor::kernel {

struct SimSystem;

// The objects of one opening of /dev/iommu, shared by its descriptors and the devices that are
// bound to it. An object is in use while another one, an attachment or a bound device refers
// to it: while anybody but this has a pointer to it.
class SimIommufd {
 public:
  // `system` must outlive this.
  explicit SimIommufd(SimSystem& system);
  ~SimIommufd();
  SimIommufd(const SimIommufd&) = delete;
  SimIommufd& operator=(const SimIommufd&) = delete;

  SimSystem& system() { return system_; }
  SimAttachments& attachments() { return attachments_; }

  // Gives an object the lowest free id, from 1.
  uint32_t Add(const std::shared_ptr<SimIommufdObject>& object);
  // Null: there is none with that id, or it is of another kind.
  template <typename Object>
  std::shared_ptr<Object> Get(uint32_t id) const {
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : std::dynamic_pointer_cast<Object>(found->second);
  }
  // -ENOENT; -EBUSY: in use.
  int Destroy(uint32_t id);
  // Whatever uses it; nothing where there is none. A burnt id is never given again.
  void Remove(uint32_t id) { objects_.erase(id); }
  void Burn(uint32_t id);
  bool empty() const { return objects_.empty(); }
  const std::map<uint32_t, std::shared_ptr<SimIommufdObject>>& objects() const { return objects_; }

  uint32_t compatible_ioas = 0;  // IOMMU_VFIO_IOAS; 0: none

 private:
  SimSystem& system_;
  std::map<uint32_t, std::shared_ptr<SimIommufdObject>> objects_;  // null: burnt
  SimAttachments attachments_;
};

// A descriptor of it.
class SimIommufdFile final : public SimFile {
 public:
  explicit SimIommufdFile(SimSystem& system) : context_(std::make_shared<SimIommufd>(system)) {}

  const std::shared_ptr<SimIommufd>& context() const { return context_; }
  // -ENOTTY: a number that the kernel at hand does not know; -EFAULT; -EINVAL: too short;
  // -E2BIG: longer than it knows, and not zero there.
  int Ioctl(SimTask& task, uint32_t request, uint64_t argument) override;

 private:
  const std::shared_ptr<SimIommufd> context_;
};

}  // namespace nestor::kernel
