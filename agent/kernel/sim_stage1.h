// Stage 1: a guest's own page table, walked over stage 2.
#pragma once

#include <cstdint>
#include <variant>

#include "agent/kernel/sim_machine.h"
#include "agent/kernel/sim_physical_memory.h"
#include "agent/kernel/sim_stage2.h"

namespace nestor::kernel {

// What a nesting PASID table entry says of its first stage.
struct SimStage1 {
  uint64_t root = 0;            // guest physical, 4 KiB aligned
  uint32_t address_width = 48;  // 48: four levels, 57: five
  bool supervisor_request = false;
  bool extended_accessed_flag = false;
  bool write_protect = false;  // supervisor requests heed it too
  bool operator==(const SimStage1&) const = default;
};

// What a request wants to do.
struct SimAccess {
  bool write = false;
  bool privileged = false;  // a supervisor request
};

// What a 4 KiB page of an address space leads to, both stages taken together.
struct SimTranslation {
  uint64_t host_page = 0;      // 4 KiB aligned
  bool readable = false;       // stage 2; stage 1 has no such bit
  bool writable = false;       // stage 2
  bool write_allowed = false;  // stage 1, all levels
  bool write_protect = false;  // that holds for privileged requests as well
  bool user = false;           // stage 1, all levels
  bool dirty = false;          // the leaf's dirty bit is set
  uint64_t stage1_page = 0;    // the page of stage 1 that it is part of
  uint64_t stage1_page_size = 0;

  // Whether the access may go ahead without another walk: rights suffice, and a write has
  // no dirty bit to set.
  bool Serves(const SimAccess& access) const;
};

// Why an address does not translate.
struct SimTranslationFault {
  uint32_t reason = 0;         // uapi::IOMMU_FAULT_REASON_*
  uint64_t fetch_address = 0;  // guest physical, of the entry that is to blame; 0: none is
};

using SimWalkResult = std::variant<SimTranslation, SimTranslationFault>;

// VT-d's first-stage walk (Intel VT-d specification 3.6) with each table page and the result
// translated by stage 2. Sets accessed and dirty bits, which is not atomic against a guest
// that writes the same byte of the same entry.
//
// Faults: PERMISSION (a right is missing at some level or in stage 2, or a privileged
// request to an entry without SRE); PTE_FETCH (entry not present, reserved bit set, address
// not canonical); WALK_EABT (a table is outside stage 2 or cannot be read or updated);
// OOR_ADDRESS (stage 1 leads outside stage 2).
SimWalkResult WalkStage1(const SimIommuProperties& iommu, const SimPhysicalMemory& memory,
                         const SimStage2& stage2, const SimStage1& stage1, uint64_t address,
                         const SimAccess& access);

}  // namespace nestor::kernel
