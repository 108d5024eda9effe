#include "agent/kernel/sim_iommu.h"

#include <cerrno>

#include "agent/kernel/dma_engine_registers.h"

namespace nestor::kernel {
namespace {

constexpr uint64_t kPageMask = 4095;

// A request whose entry has no first stage.
SimWalkResult WalkStage2(const SimStage2& stage2, const SimRequest& request) {
  const uint64_t page = request.address & ~kPageMask;
  const auto result = stage2.Translate(page);
  if (!result) return SimTranslationFault{uapi::IOMMU_FAULT_REASON_PTE_FETCH};
  if (request.access.write ? !result->writable : !result->readable) {
    return SimTranslationFault{uapi::IOMMU_FAULT_REASON_PERMISSION};
  }
  return SimTranslation{.host_page = result->host_address,
                        .readable = result->readable,
                        .writable = result->writable,
                        .write_allowed = true,
                        .user = true,
                        .dirty = true,
                        .stage1_page = page,
                        .stage1_page_size = kPageMask + 1};
}

}  // namespace

void SimIommu::SetEntry(int device, uint32_t pasid, const SimPasidEntry& entry) {
  ClearEntry(device, pasid);
  entries_[{device, pasid}] = entry;
}

void SimIommu::ClearEntry(int device, uint32_t pasid) {
  if (entries_.erase({device, pasid}) > 0) iotlb_.DropPasid(device, pasid);
}

void SimIommu::Detach(int device) {
  entries_.erase(entries_.lower_bound({device, 0}), entries_.lower_bound({device + 1, 0}));
  iotlb_.DropDevice(device);
}

int SimIommu::Bind(int device, uint32_t pasid, const SimStage1& stage1) {
  if (IsBound(device, pasid)) return -EBUSY;
  SetEntry(device, pasid, {.stage2 = entries_.at({device, 0}).stage2, .stage1 = stage1});
  return 0;
}

void SimIommu::UnbindEverywhere(uint32_t pasid) {
  for (size_t device = 0; device < machine_.devices.size(); ++device) {
    Unbind(static_cast<int>(device), pasid);
  }
}

void SimIommu::FlushDomain(const SimStage2& stage2) {
  for (const auto& [key, entry] : entries_) {
    if (entry.stage2 == &stage2) iotlb_.DropPasid(key.first, key.second);
  }
}

std::map<std::pair<int, uint32_t>, SimStage1> SimIommu::bindings() const {
  std::map<std::pair<int, uint32_t>, SimStage1> bindings;
  for (const auto& [key, entry] : entries_) {
    if (entry.stage1) bindings.emplace(key, *entry.stage1);
  }
  return bindings;
}

bool SimIommu::Transfer(int device, const SimRequest& request, void* buffer, size_t size) {
  SimWalkResult result = Translate(device, request);
  if (const auto* translation = std::get_if<SimTranslation>(&result)) {
    const uint64_t address = translation->host_page | (request.address & kPageMask);
    const bool copied = request.access.write ? memory_.Write(address, buffer, size)
                                             : memory_.Read(address, buffer, size);
    if (copied) return true;
    result = SimTranslationFault{uapi::IOMMU_FAULT_REASON_UNKNOWN};
  }
  Record(device, request, std::get<SimTranslationFault>(result));
  return false;
}

SimWalkResult SimIommu::Translate(int device, const SimRequest& request) {
  const uint32_t pasid = request.pasid.value_or(0);
  const SimTranslation* kept = iotlb_.Find(device, pasid, request.address);
  if (kept != nullptr && kept->Serves(request.access)) return *kept;
  SimWalkResult result = Walk(device, request);
  if (const auto* translation = std::get_if<SimTranslation>(&result)) {
    iotlb_.Insert(device, pasid, request.address, *translation);
  }
  return result;
}

SimWalkResult SimIommu::Walk(int device, const SimRequest& request) const {
  if (request.pasid && *request.pasid >> machine_.devices[device].pasid_bits != 0) {
    return SimTranslationFault{uapi::IOMMU_FAULT_REASON_PASID_INVALID};
  }
  const auto found = entries_.find({device, request.pasid.value_or(0)});
  if (found == entries_.end()) {
    return SimTranslationFault{uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY};
  }
  const SimPasidEntry& entry = found->second;
  if (entry.unmodelled) return SimTranslationFault{kSimFaultReasonNotModelled};
  if (!entry.stage1) return WalkStage2(*entry.stage2, request);
  return WalkStage1(machine_.iommu, memory_, *entry.stage2, *entry.stage1, request.address,
                    request.access);
}

void SimIommu::Record(int device, const SimRequest& request, const SimTranslationFault& fault) {
  if (faults_.size() >= kKeptFaults) faults_.pop_front();
  faults_.push_back({.bdf = machine_.devices[device].bdf,
                     .pasid = request.pasid,
                     .address = request.address,
                     .fetch_address = fault.fetch_address,
                     .reason = fault.reason,
                     .access = request.access});
}

}  // namespace nestor::kernel
