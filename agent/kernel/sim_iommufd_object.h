// What an iommufd is made of.
#pragma once

#include <cstdint>

namespace nestor::kernel {

// Anything that has an id there: an IOAS, a HWPT, a device, a vIOMMU, a vDEVICE.
class SimIommufdObject {
 public:
  SimIommufdObject() = default;
  virtual ~SimIommufdObject() = default;
  SimIommufdObject(const SimIommufdObject&) = delete;
  SimIommufdObject& operator=(const SimIommufdObject&) = delete;

  uint32_t id() const { return id_; }

 private:
  friend class SimIommufd;
  uint32_t id_ = 0;
};

}  // namespace nestor::kernel
