// The devices of the kernel's own tests of iommufd (CONFIG_IOMMUFD_TEST), which exist in an
// iommufd alone, and the looks behind the scenes that the kernel gives with them.
//
// Source: drivers/iommu/iommufd/iommufd_test.h of Linux 7.3, which no distribution installs.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "tests/kernel/iommufd_calls.h"

namespace nestor::kernel_test {

inline constexpr uint32_t kMockHardwareType = 0xfeedbeef;  // in iommu_hw_info
inline constexpr uint32_t kMockPasidBits = 20;
inline constexpr uint32_t kMockStage1 = 0xdead;            // data type of a nested HWPT
inline constexpr uint32_t kMockInvalidation = 0xdeadbeef;  // data type, of both kinds
inline constexpr uint32_t kMockViommuType = 0xdeadbeef;
inline constexpr uint32_t kMockIotlbEntries = 4;
inline constexpr uint32_t kMockCacheDefault = 0xbaddad;  // of a device's cache
// Stage 2 takes these guest addresses only.
inline constexpr uint64_t kMockFirstAddress = 1 << 24;
// The second attach to this PASID fails with ENOMEM, on purpose.
inline constexpr uint32_t kMockFailingPasid = 1024;

// What a mock's stage 1 is made of: the value that fills its translation cache.
struct MockStage1 {
  uint32_t iotlb = 0;
  uint32_t page_table_type = 0;
};
// An entry of a cache, or all: sets it to 0.
struct MockInvalidation {
  uint32_t flags = 0;  // 1: all
  uint32_t entry = 0;
};
struct MockViommuInvalidation {
  uint32_t flags = 0;
  uint32_t virtual_id = 0;
  uint32_t entry = 0;
};

// Mock devices of an iommufd; calls return 0 or -errno.
class MockDevices {
 public:
  explicit MockDevices(IommufdCalls& iommufd) : iommufd_(iommufd) {}

  struct Device {
    int64_t result = 0;   // 0 or -errno
    uint32_t handle = 0;  // of the mock: destroying it unbinds
    uint32_t id = 0;      // of the device, as binding gives it
    uint32_t table = 0;   // what it was attached to
  };
  // Binds a device and attaches it to an IOAS or HWPT.
  Device Create(uint32_t table, bool with_pasids = true);
  int64_t Replace(uint32_t handle, uint32_t table);

  int64_t AttachPasid(uint32_t handle, uint32_t pasid, uint32_t table);
  int64_t ReplacePasid(uint32_t handle, uint32_t pasid, uint32_t table);
  int64_t DetachPasid(uint32_t handle, uint32_t pasid);

  // 0 where it is so, -EINVAL where it is not: the PASID walks `table` (0: nothing); stage 2
  // leads from `iova` to that memory; an entry of a cache has that value.
  int64_t CheckPasid(uint32_t handle, uint32_t pasid, uint32_t table);
  int64_t CheckMapping(uint32_t table, uint64_t iova, uint64_t user_address, uint64_t size);
  int64_t CheckIotlb(uint32_t table, uint32_t entry, uint32_t value);
  int64_t CheckCache(uint32_t device, uint32_t entry, uint32_t value);

  // The device asks for a page.
  int64_t RequestPage(uint32_t device, uint32_t pasid, uint64_t address);

 private:
  struct Command;
  int64_t Run(Command& command);
  // A command whose arguments are `words`, in order.
  int64_t Run(uint32_t operation, uint32_t id, std::initializer_list<uint32_t> words);

  IommufdCalls& iommufd_;
};

}  // namespace nestor::kernel_test
