#include "agent/core/plan.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nestor::agent {
namespace {

std::set<uint32_t> NeededPasids(const AddressSpaceState& state) {
  std::set<uint32_t> pasids = state.pasids;
  for (const auto& [key, table] : state.bindings) {
    if (key.pasid != 0) pasids.insert(key.pasid);
  }
  return pasids;
}

bool HasRegion(const AddressSpaceState& state, const Bdf& device, const MemoryRegion& region) {
  const auto it = state.memory.find(device);
  return it != state.memory.end() && it->second.contains(region);
}

bool HasBindingOf(const AddressSpaceState& state, const Bdf& device) {
  const auto it = state.bindings.lower_bound({device, 0});
  return it != state.bindings.end() && it->first.device == device;
}

bool HasBindingOf(const AddressSpaceState& state, uint32_t pasid) {
  return std::any_of(state.bindings.begin(), state.bindings.end(),
                     [pasid](const auto& binding) { return binding.first.pasid == pasid; });
}

void AppendReleases(const AddressSpaceState& desired, const AddressSpaceState& actual, Plan* plan) {
  for (const auto& [key, table] : actual.bindings) {
    if (!desired.bindings.contains(key)) plan->push_back(UnbindTable{key});
  }
  const std::set<uint32_t> needed = NeededPasids(desired);
  for (const uint32_t pasid : actual.pasids) {
    if (!needed.contains(pasid)) plan->push_back(FreePasid{pasid});
  }
  for (const auto& [device, regions] : actual.memory) {
    for (const MemoryRegion& region : regions) {
      if (!HasRegion(desired, device, region)) plan->push_back(UnmapRegion{device, region});
    }
  }
  for (const Bdf& device : actual.devices) {
    if (!desired.devices.contains(device)) plan->push_back(DetachDevice{device});
  }
}

void AppendAcquires(const AddressSpaceState& desired, const AddressSpaceState& actual, Plan* plan) {
  for (const Bdf& device : desired.devices) {
    if (!actual.devices.contains(device)) plan->push_back(AttachDevice{device});
  }
  for (const auto& [device, regions] : desired.memory) {
    for (const MemoryRegion& region : regions) {
      if (!HasRegion(actual, device, region)) plan->push_back(MapRegion{device, region});
    }
  }
  for (const uint32_t pasid : NeededPasids(desired)) {
    if (!actual.pasids.contains(pasid)) plan->push_back(AllocatePasid{pasid});
  }
  Plan binds;
  for (const auto& [key, table] : desired.bindings) {
    const auto bound = actual.bindings.find(key);
    if (bound == actual.bindings.end()) {
      binds.push_back(BindTable{key, table});
    } else if (bound->second != table) {
      plan->push_back(ReplaceTable{key, table});
    }
  }
  plan->insert(plan->end(), binds.begin(), binds.end());
}

// Overloads for each step, called through std::visit.

struct Possible {
  const AddressSpaceState& actual;

  bool operator()(const AttachDevice&) const { return true; }
  bool operator()(const DetachDevice& step) const {
    return !HasBindingOf(actual, step.device) && !actual.memory.contains(step.device);
  }
  bool operator()(const MapRegion& step) const { return actual.devices.contains(step.device); }
  bool operator()(const UnmapRegion&) const { return true; }
  bool operator()(const AllocatePasid&) const { return true; }
  bool operator()(const FreePasid& step) const { return !HasBindingOf(actual, step.pasid); }
  bool operator()(const BindTable& step) const {
    return actual.devices.contains(step.key.device) &&
           (step.key.pasid == 0 || actual.pasids.contains(step.key.pasid));
  }
  bool operator()(const ReplaceTable&) const { return true; }
  bool operator()(const UnbindTable&) const { return true; }
  bool operator()(const ResetFunction&) const { return actual.bindings.empty(); }
};

struct Outcome {
  AddressSpaceState* state;

  void operator()(const AttachDevice& step) const { state->devices.insert(step.device); }
  void operator()(const DetachDevice& step) const { state->devices.erase(step.device); }
  void operator()(const MapRegion& step) const { state->memory[step.device].insert(step.region); }
  void operator()(const UnmapRegion& step) const {
    const auto it = state->memory.find(step.device);
    if (it == state->memory.end()) return;
    it->second.erase(step.region);
    if (it->second.empty()) state->memory.erase(it);
  }
  void operator()(const AllocatePasid& step) const { state->pasids.insert(step.pasid); }
  void operator()(const FreePasid& step) const { state->pasids.erase(step.pasid); }
  void operator()(const BindTable& step) const { state->bindings[step.key] = step.table; }
  void operator()(const ReplaceTable& step) const { state->bindings[step.key] = step.table; }
  void operator()(const UnbindTable& step) const { state->bindings.erase(step.key); }
  void operator()(const ResetFunction&) const {}
};

std::string Print(const BindingKey& key) {
  return key.pasid == 0 ? absl::StrCat(key.device, " rid")
                        : absl::StrCat(key.device, " pasid ", key.pasid);
}

const char* Print(PageTableFormat format) {
  switch (format) {
    case PageTableFormat::kVtdS1:
      return "VTD_S1";
    case PageTableFormat::kArmSmmuV3:
      return "ARM_SMMUV3";
    case PageTableFormat::kAmdV2:
      return "AMD_V2";
    case PageTableFormat::kUnspecified:
      break;
  }
  return "UNSPECIFIED";
}

std::string Print(const PageTable& table) {
  return absl::StrCat(Print(table.format), " root 0x", absl::Hex(table.root), " width ",
                      table.address_width, table.supervisor_request ? " supervisor" : "",
                      table.extended_access_flag ? " extended-access" : "");
}

std::string Print(const Bdf& device, const MemoryRegion& region) {
  return absl::StrCat(device, " gpa 0x", absl::Hex(region.guest_address), " size 0x",
                      absl::Hex(region.size), region.writable ? "" : " read-only");
}

struct Namer {
  absl::string_view operator()(const AttachDevice&) const { return "attach"; }
  absl::string_view operator()(const DetachDevice&) const { return "detach"; }
  absl::string_view operator()(const MapRegion&) const { return "map"; }
  absl::string_view operator()(const UnmapRegion&) const { return "unmap"; }
  absl::string_view operator()(const AllocatePasid&) const { return "allocate"; }
  absl::string_view operator()(const FreePasid&) const { return "free"; }
  absl::string_view operator()(const BindTable&) const { return "bind"; }
  absl::string_view operator()(const ReplaceTable&) const { return "replace"; }
  absl::string_view operator()(const UnbindTable&) const { return "unbind"; }
  absl::string_view operator()(const ResetFunction&) const { return "reset"; }
};

// What follows the name.
struct Printer {
  std::string operator()(const AttachDevice& s) const { return s.device; }
  std::string operator()(const DetachDevice& s) const { return s.device; }
  std::string operator()(const MapRegion& s) const { return Print(s.device, s.region); }
  std::string operator()(const UnmapRegion& s) const { return Print(s.device, s.region); }
  std::string operator()(const AllocatePasid& s) const { return absl::StrCat("pasid ", s.pasid); }
  std::string operator()(const FreePasid& s) const { return absl::StrCat("pasid ", s.pasid); }
  std::string operator()(const BindTable& s) const {
    return absl::StrCat(Print(s.key), " ", Print(s.table));
  }
  std::string operator()(const ReplaceTable& s) const {
    return absl::StrCat(Print(s.key), " ", Print(s.table));
  }
  std::string operator()(const UnbindTable& s) const { return Print(s.key); }
  std::string operator()(const ResetFunction& s) const { return s.device; }
};

}  // namespace

Plan Diff(const AddressSpaceState& desired, const AddressSpaceState& actual) {
  Plan plan;
  AppendReleases(desired, actual, &plan);
  AppendAcquires(desired, actual, &plan);
  return plan;
}

bool IsPossible(const Step& step, const AddressSpaceState& actual) {
  return std::visit(Possible{actual}, step);
}

void ApplyStep(const Step& step, AddressSpaceState* state) { std::visit(Outcome{state}, step); }

bool IsRelease(const Step& step) {
  return std::holds_alternative<UnbindTable>(step) || std::holds_alternative<FreePasid>(step) ||
         std::holds_alternative<UnmapRegion>(step) || std::holds_alternative<DetachDevice>(step);
}

absl::string_view NameOf(const Step& step) { return std::visit(Namer{}, step); }

Bdf DeviceOf(const Step& step) {
  return std::visit(
      [](const auto& its) -> Bdf {
        if constexpr (requires { its.device; }) return its.device;
        if constexpr (requires { its.key.device; }) return its.key.device;
        return "";
      },
      step);
}

std::string ToString(const Step& step) {
  return absl::StrCat(NameOf(step), " ", std::visit(Printer{}, step));
}

std::string ToString(const Plan& plan) {
  return absl::StrJoin(
      plan, "\n", [](std::string* out, const Step& step) { absl::StrAppend(out, ToString(step)); });
}

}  // namespace nestor::agent
