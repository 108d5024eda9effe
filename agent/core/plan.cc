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

struct Printer {
  std::string operator()(const AttachDevice& s) const { return absl::StrCat("attach ", s.device); }
  std::string operator()(const DetachDevice& s) const { return absl::StrCat("detach ", s.device); }
  std::string operator()(const MapRegion& s) const {
    return absl::StrCat("map ", Print(s.device, s.region));
  }
  std::string operator()(const UnmapRegion& s) const {
    return absl::StrCat("unmap ", Print(s.device, s.region));
  }
  std::string operator()(const AllocatePasid& s) const {
    return absl::StrCat("allocate pasid ", s.pasid);
  }
  std::string operator()(const FreePasid& s) const { return absl::StrCat("free pasid ", s.pasid); }
  std::string operator()(const BindTable& s) const {
    return absl::StrCat("bind ", Print(s.key), " ", Print(s.table));
  }
  std::string operator()(const ReplaceTable& s) const {
    return absl::StrCat("replace ", Print(s.key), " ", Print(s.table));
  }
  std::string operator()(const UnbindTable& s) const {
    return absl::StrCat("unbind ", Print(s.key));
  }
  std::string operator()(const ResetFunction& s) const { return absl::StrCat("reset ", s.device); }
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

std::string NameOf(const Step& step) {
  const std::string text = ToString(step);
  return text.substr(0, text.find(' '));
}

std::string ToString(const Step& step) { return std::visit(Printer{}, step); }

std::string ToString(const Plan& plan) {
  return absl::StrJoin(
      plan, "\n", [](std::string* out, const Step& step) { absl::StrAppend(out, ToString(step)); });
}

}  // namespace nestor::agent
