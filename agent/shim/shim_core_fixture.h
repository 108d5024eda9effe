// Test only: a machine for ShimCore, which does its steps by hand and keeps what it says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/kernel_error.h"
#include "agent/shim/shim_core.h"

namespace nestor::agent {

inline constexpr char kVmUid[] = "vm-uid";
inline constexpr char kA[] = "0000:3b:00.0";
inline constexpr char kB[] = "0000:3b:00.1";

inline absl::Status Errno(const std::string& operation, int error_number) {
  return KernelErrorStatus({operation, kA, error_number});
}

inline MemoryRegion Region(uint64_t guest_address, uint64_t user_address) {
  return {.guest_address = guest_address, .size = 0x10000, .user_address = user_address};
}

// A binding intent with everything set; tests change what they are about.
inline v1::DesiredBinding Binding(const std::string& uid, uint32_t pasid, uint64_t root,
                                  const std::string& device = kA) {
  v1::DesiredBinding binding;
  binding.set_name("projects/p/virtualMachines/v/pasidBindings/" + uid);
  binding.set_uid(uid);
  binding.set_generation(1);
  binding.set_vm_uid(kVmUid);
  binding.set_device(device);
  binding.set_pasid(pasid);
  binding.mutable_page_table()->set_format(v1::PageTable::FORMAT_VTD_S1);
  binding.mutable_page_table()->set_root(root);
  binding.mutable_page_table()->set_address_width(48);
  return binding;
}

// The next generation of `binding`, with another root.
inline v1::DesiredBinding NextGeneration(v1::DesiredBinding binding, uint64_t root) {
  binding.set_generation(binding.generation() + 1);
  binding.mutable_page_table()->set_root(root);
  return binding;
}

inline v1::DesiredBinding Absent(const v1::DesiredBinding& binding) {
  v1::DesiredBinding absent;
  absent.set_name(binding.name());
  absent.set_uid(binding.uid());
  absent.set_generation(binding.generation() + 1);
  absent.set_vm_uid(binding.vm_uid());
  absent.set_absent(true);
  return absent;
}

inline v1::DesiredVirtualMachine Machine(int64_t generation,
                                         const std::vector<std::string>& devices) {
  v1::DesiredVirtualMachine machine;
  machine.set_name("projects/p/virtualMachines/v");
  machine.set_uid(kVmUid);
  machine.set_generation(generation);
  for (const std::string& device : devices) machine.add_devices(device);
  return machine;
}

// "uid gN OUTCOME [REASON]" of an answer, without the enum's prefix.
inline std::string Summary(const v1::Result& result) {
  std::string summary = result.uid() + " g" + std::to_string(result.generation()) + " " +
                        v1::Result::Outcome_Name(result.outcome()).substr(8);
  if (result.has_failure()) {
    summary += result.failure().kind() == v1::Failure::KIND_PERMANENT ? " for good: " : ": ";
    summary += result.failure().reason();
  }
  return summary;
}

class ShimCoreFixture : public ::testing::Test {
 protected:
  explicit ShimCoreFixture(bool replace_has_gap = true)
      : core_({.vm_name = "projects/p/virtualMachines/v",
               .vm_uid = kVmUid,
               .replace_has_gap = replace_has_gap,
               .after_loss = false,
               .backoff = {},
               .seed = 0}) {}

  static v1::Fence Fence(int64_t epoch = 1, int64_t head_revision = 1) {
    v1::Fence fence;
    fence.set_incarnation("store-1");
    fence.set_epoch(epoch);
    fence.set_head_revision(head_revision);
    return fence;
  }

  // Events that must succeed, without doing any step.
  void Tell(const v1::DesiredVirtualMachine& machine) {
    ASSERT_TRUE(core_.Apply(Fence(), &machine, {}, now_).ok());
  }
  void Tell(const std::vector<v1::DesiredBinding>& bindings) {
    ASSERT_TRUE(core_.Apply(Fence(), nullptr, bindings, now_).ok());
  }
  void Connect(const std::string& device, const std::string& instance = "boot-1") {
    ASSERT_TRUE(core_.ConnectMonitor(device, instance, now_).ok());
  }
  void Map(const std::string& device, const MemoryRegion& region) {
    ASSERT_TRUE(core_.MapMemory(device, region, now_).ok());
  }

  // Has step `name` (as ToString gives it) fail from now on.
  void Fail(const std::string& name, const absl::Status& status) { failing_[name] = status; }
  void Heal() { failing_.clear(); }

  // Does steps until there are none; returns them in order.
  std::vector<std::string> Run() {
    std::vector<std::string> steps;
    while (const std::optional<Step> step = core_.NextStep(now_)) {
      steps.push_back(ToString(*step));
      Finish(*step);
    }
    return steps;
  }
  void Finish(const Step& step) {
    const auto failing = failing_.find(ToString(step));
    core_.FinishStep({.status = failing == failing_.end() ? absl::OkStatus() : failing->second,
                      .duration = absl::Milliseconds(3),
                      .capabilities = capabilities_},
                     now_);
  }

  // Goes to the time of the next retry, at most 30 s away, and runs.
  std::vector<std::string> RunRetry() {
    now_ = core_.NextRetry().value();
    return Run();
  }

  // The answers about bindings since the last call.
  std::vector<std::string> Answers() {
    TakeReport();
    std::vector<std::string> summaries;
    for (const v1::Result& result : std::exchange(results_, {})) {
      summaries.push_back(Summary(result));
      last_ = result;
    }
    return summaries;
  }
  // The last answer about the machine; default where there was none since the last call.
  v1::VirtualMachineResult MachineAnswer() {
    TakeReport();
    return std::exchange(machine_result_, {});
  }

  // A machine with device kA, its monitor and 64 KiB of memory; forgets what that gave.
  void StartMachine() {
    Tell(Machine(1, {kA}));
    Run();
    Connect(kA);
    Map(kA, Region(0, 0x7000'0000));
    Run();
    Answers();
    MachineAnswer();
  }
  // Programs `binding` and forgets the answers.
  void Program(const v1::DesiredBinding& binding) {
    Tell({binding});
    Run();
    Answers();
    ASSERT_EQ(last_.outcome(), v1::Result::OUTCOME_PROGRAMMED) << last_.DebugString();
  }

  ShimCore core_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  DeviceCapabilities capabilities_{.granularity = NestGranularity::kPasid,
                                   .pasid_bits = 20,
                                   .address_width = 48,
                                   .reason = "",
                                   .message = ""};
  v1::Result last_;  // the last one of Answers()

 private:
  void TakeReport() {
    ShimReport report = core_.TakeReport();
    for (v1::Result& result : report.bindings) results_.push_back(std::move(result));
    for (auto& result : report.virtual_machines) machine_result_ = std::move(result);
  }

  std::map<std::string, absl::Status> failing_;
  std::vector<v1::Result> results_;
  v1::VirtualMachineResult machine_result_;
};

}  // namespace nestor::agent
