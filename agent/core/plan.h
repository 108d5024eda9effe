// What has to be done so that a virtual machine holds what it should.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "agent/core/host_state.h"

namespace nestor::agent {

// The steps are the calls of AddressSpace (agent/vfio/iommu_backend.h).
struct AttachDevice {
  Bdf device;
  auto operator<=>(const AttachDevice&) const = default;
};
struct DetachDevice {
  Bdf device;
  auto operator<=>(const DetachDevice&) const = default;
};
struct MapRegion {
  Bdf device;
  MemoryRegion region;
  auto operator<=>(const MapRegion&) const = default;
};
struct UnmapRegion {
  Bdf device;
  MemoryRegion region;
  auto operator<=>(const UnmapRegion&) const = default;
};
struct AllocatePasid {
  uint32_t pasid = 0;
  auto operator<=>(const AllocatePasid&) const = default;
};
struct FreePasid {
  uint32_t pasid = 0;
  auto operator<=>(const FreePasid&) const = default;
};
struct BindTable {
  BindingKey key;
  PageTable table;
  auto operator<=>(const BindTable&) const = default;
};
struct ReplaceTable {
  BindingKey key;
  PageTable table;
  auto operator<=>(const ReplaceTable&) const = default;
};
struct UnbindTable {
  BindingKey key;
  auto operator<=>(const UnbindTable&) const = default;
};
// Never in a plan, since it changes no state: the shim adds it.
struct ResetFunction {
  Bdf device;
  auto operator<=>(const ResetFunction&) const = default;
};

// One step. Comparable, so that what became of it can be kept beside it.
using Step = std::variant<UnbindTable, FreePasid, UnmapRegion, DetachDevice, AttachDevice,
                          MapRegion, AllocatePasid, ReplaceTable, BindTable, ResetFunction>;

// Steps in the order in which they are to be done.
using Plan = std::vector<Step>;

// The steps from `actual` to `desired`; empty where they agree.
//
// All releases come before all acquires: unbind, free PASIDs, unmap, detach; then attach,
// map, allocate PASIDs, replace, bind. A change of memory leaves bindings alone. A PASID
// that bindings of `desired` use is allocated once, on however many devices it is bound and
// whether or not `desired.pasids` lists it; PASID 0 (RID) needs no allocation.
// `desired` has memory and bindings only for its own devices.
Plan Diff(const AddressSpaceState& desired, const AddressSpaceState& actual);

// Whether the order above allows `step` in `actual`: false where something that failed
// earlier must be done first.
bool IsPossible(const Step& step, const AddressSpaceState& actual);

// Takes the success of `step` into `state`.
void ApplyStep(const Step& step, AddressSpaceState* state);

// Whether the step gives something up. Such a step is never given up itself.
bool IsRelease(const Step& step);

// The device that the step is about; empty: it is about none, or all.
Bdf DeviceOf(const Step& step);
// What a step does, as one word: "bind".
absl::string_view NameOf(const Step& step);
// E.g. "bind 0000:3b:00.0 pasid 5 VTD_S1 root 0x1000 width 48".
std::string ToString(const Step& step);
// One step a line.
std::string ToString(const Plan& plan);

}  // namespace nestor::agent
