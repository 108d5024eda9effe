// Value types of the agent: what a virtual machine should hold, and what it holds.
// Printable, comparable, without I/O.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace nestor::agent {

// A PCI address in the kernel's form, e.g. "0000:3b:00.0".
using Bdf = std::string;

// Who walks a stage-1 page table. Values as nestor.v1.PageTable.Format.
enum class PageTableFormat { kUnspecified = 0, kVtdS1 = 1, kArmSmmuV3 = 2, kAmdV2 = 3 };

// A guest's page table.
struct PageTable {
  PageTableFormat format = PageTableFormat::kVtdS1;
  uint64_t root = 0;            // guest physical address, 4 KiB aligned
  uint32_t address_width = 48;  // 48 or 57
  bool supervisor_request = false;
  bool extended_access_flag = false;
  auto operator<=>(const PageTable&) const = default;
};

// What a binding binds to: a PASID of a device, or the device itself.
struct BindingKey {
  Bdf device;
  uint32_t pasid = 0;  // 0: the device itself (RID)
  auto operator<=>(const BindingKey&) const = default;
};

// A piece of guest memory that the virtual machine monitor handed over.
struct MemoryRegion {
  uint64_t guest_address = 0;  // GPA, 4 KiB aligned
  uint64_t size = 0;           // bytes, a multiple of 4 KiB
  uint64_t user_address = 0;   // where the owner process has it mapped
  bool writable = true;
  auto operator<=>(const MemoryRegion&) const = default;
};

// What one virtual machine's kernel objects are, or should be.
struct AddressSpaceState {
  std::set<Bdf> devices;                         // attached
  std::map<Bdf, std::set<MemoryRegion>> memory;  // stage 2 of each device
  std::set<uint32_t> pasids;                     // allocated (type1: system-wide ids)
  std::map<BindingKey, PageTable> bindings;      // stage 1
  bool operator==(const AddressSpaceState&) const = default;
};

// At which granularity a device's stage 1 nests. Values as nestor.v1.NestGranularity.
enum class NestGranularity { kNone = 1, kRid = 2, kPasid = 3 };

// What probing found about a device. `reason` is empty where it is usable.
struct DeviceCapabilities {
  NestGranularity granularity = NestGranularity::kNone;
  PageTableFormat format = PageTableFormat::kVtdS1;  // unless the granularity is kNone
  bool binds_device = false;                         // the device itself (RID) can be bound too
  uint32_t pasid_bits = 0;
  uint32_t address_width = 0;  // of stage 2, bits
  bool five_level = false;
  bool supervisor_request = false;
  bool extended_access_flag = false;
  std::string reason;  // UPPER_SNAKE_CASE
  // With the fix; where the device is usable, why it is not by PASID.
  std::string message;
  bool operator==(const DeviceCapabilities&) const = default;
};

}  // namespace nestor::agent
