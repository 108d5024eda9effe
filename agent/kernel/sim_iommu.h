// The IOMMU: PASID tables of the devices, their domains, the IOTLB, and the faults.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "agent/kernel/sim_iotlb.h"
#include "agent/kernel/sim_machine.h"
#include "agent/kernel/sim_physical_memory.h"
#include "agent/kernel/sim_stage1.h"
#include "agent/kernel/sim_stage2.h"

namespace nestor::kernel {

// A memory request of a device, within one 4 KiB page.
struct SimRequest {
  std::optional<uint32_t> pasid;
  uint64_t address = 0;
  SimAccess access;
};

// A request that was refused; numbers as uapi::IOMMU_FAULT_REASON_*, and
// kSimFaultReasonNotModelled.
struct SimFault {
  std::string bdf;
  std::optional<uint32_t> pasid;
  uint64_t address = 0;
  uint64_t fetch_address = 0;  // guest physical, of the entry to blame; 0: none
  uint32_t reason = 0;
  SimAccess access;
};

// An entry of a device's PASID table.
struct SimPasidEntry {
  const SimStage2* stage2 = nullptr;
  std::optional<SimStage1> stage1 = {};  // unset: through stage 2 alone
  // It has a first stage in a form that nobody here walks: every request is a fault,
  // kSimFaultReasonNotModelled.
  bool unmodelled = false;
};

// All devices of the machine are behind it; a device is its index in SimMachine::devices. As
// in VT-d's scalable mode, each has a table of entries by PASID, and requests without one, and
// those with PASID 0, go by entry 0. Not thread-safe.
class SimIommu {
 public:
  static constexpr size_t kKeptFaults = 256;

  // The referenced objects must outlive this.
  SimIommu(const SimMachine& machine, const SimPhysicalMemory& memory)
      : machine_(machine), memory_(memory) {}

  // Fills an entry in place of what it held, and drops what the IOTLB has of that. Its
  // `stage2` must outlive its stay.
  void SetEntry(int device, uint32_t pasid, const SimPasidEntry& entry);
  // Empties it, likewise; nothing where it is empty.
  void ClearEntry(int device, uint32_t pasid);

  // Puts a device into a domain: entry 0 without a first stage.
  void Attach(int device, const SimStage2& stage2) { SetEntry(device, 0, {.stage2 = &stage2}); }
  // Takes it out, with all its entries.
  void Detach(int device);

  // Nests an entry of an attached device in its domain: 0, or -EBUSY where it is filled.
  int Bind(int device, uint32_t pasid, const SimStage1& stage1);
  void Unbind(int device, uint32_t pasid) { ClearEntry(device, pasid); }
  // The same on every device.
  void UnbindEverywhere(uint32_t pasid);
  bool IsBound(int device, uint32_t pasid) const { return entries_.contains({device, pasid}); }

  // Drops translations: of a PASID, of pages of a PASID that touch [first, last], of all
  // entries of a domain.
  void FlushPasid(int device, uint32_t pasid) { iotlb_.DropPasid(device, pasid); }
  void FlushRange(int device, uint32_t pasid, uint64_t first, uint64_t last) {
    iotlb_.DropRange(device, pasid, first, last);
  }
  void FlushDomain(const SimStage2& stage2);

  // Copies between `buffer` and memory as the request says, if both stages let it: true. A
  // refusal is recorded: false, and it is the last of faults().
  bool Transfer(int device, const SimRequest& request, void* buffer, size_t size);

  // The first stages that are walked, by device and PASID.
  std::map<std::pair<int, uint32_t>, SimStage1> bindings() const;
  const std::deque<SimFault>& faults() const { return faults_; }
  int iotlb_entries() const { return iotlb_.size(); }

 private:
  SimWalkResult Translate(int device, const SimRequest& request);
  SimWalkResult Walk(int device, const SimRequest& request) const;
  void Record(int device, const SimRequest& request, const SimTranslationFault& fault);

  const SimMachine& machine_;
  const SimPhysicalMemory& memory_;
  std::map<std::pair<int, uint32_t>, SimPasidEntry> entries_;  // by device and PASID
  SimIotlb iotlb_;
  std::deque<SimFault> faults_;
};

}  // namespace nestor::kernel
