#include "tests/bench/hollow_agents.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <spdlog/spdlog.h>

#include <iostream>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_format.h"
#include "agent/reconcile/server_session.h"
#include "api/support/grpc_address.h"
#include "tests/bench/floors.h"

namespace nestor::bench {
namespace {

constexpr char kBoot[] = "22222222-3333-4444-8555-666666666666";
constexpr char kGuest[] = "33333333-4444-4555-8666-777777777777";

absl::Status NothingThere() { return absl::UnimplementedError("a hollow owner has no guest"); }

// Holds what it is told, as if the kernel did all at once.
class HollowShim final : public agent::Shim {
 public:
  using Report = std::function<void(agent::ShimReport)>;

  HollowShim(std::string vm_name, std::string vm_uid, std::atomic<int64_t>& held, Report report)
      : held_(held), report_(std::move(report)) {
    inventory_.virtual_machine.set_name(std::move(vm_name));
    inventory_.virtual_machine.set_uid(std::move(vm_uid));
  }

  absl::Status Apply(const v1::Fence& fence, const v1::DesiredVirtualMachine* machine,
                     const std::vector<v1::DesiredBinding>& bindings) override {
    inventory_.fence = fence;
    agent::ShimReport report;
    if (machine != nullptr) report.virtual_machines.push_back(Take(*machine));
    for (const v1::DesiredBinding& binding : bindings) report.bindings.push_back(Take(binding));
    report_(std::move(report));
    return absl::OkStatus();
  }
  agent::ShimInventory Inventory() override {
    agent::ShimInventory inventory = inventory_;
    for (const auto& [uid, result] : results_) inventory.bindings.push_back(result);
    return inventory;
  }

  absl::StatusOr<std::string> VmmConnected(const agent::Bdf&) override { return NothingThere(); }
  void VmmDisconnected(const agent::Bdf&) override {}
  absl::Status MapMemory(const agent::Bdf&, const agent::GuestMemory&) override {
    return NothingThere();
  }
  absl::Status UnmapMemory(const agent::Bdf&, uint64_t, uint64_t) override {
    return NothingThere();
  }
  absl::StatusOr<uint64_t> RegionSize(const agent::Bdf&, uint32_t) override {
    return NothingThere();
  }
  absl::StatusOr<std::string> ReadRegion(const agent::Bdf&, uint32_t, uint64_t, size_t) override {
    return NothingThere();
  }
  absl::Status WriteRegion(const agent::Bdf&, uint32_t, uint64_t, const std::string&) override {
    return NothingThere();
  }
  absl::Status ResetDevice(const agent::Bdf&) override { return NothingThere(); }
  void Invalidate(const agent::BindingKey&, uint64_t, uint64_t, InvalidateDone done) override {
    done(absl::OkStatus());
  }

 private:
  v1::VirtualMachineResult Take(const v1::DesiredVirtualMachine& machine) {
    inventory_.virtual_machine.set_generation(machine.generation());
    inventory_.virtual_machine.set_vm_instance(kGuest);
    v1::VirtualMachineResult result;
    result.set_uid(machine.uid());
    result.set_generation(machine.generation());
    result.set_absent(machine.absent());
    if (!machine.absent()) result.set_vm_instance(kGuest);
    return result;
  }

  v1::Result Take(const v1::DesiredBinding& binding) {
    v1::Result result;
    result.set_uid(binding.uid());
    result.set_generation(binding.generation());
    if (binding.absent()) {
      held_ -= static_cast<int64_t>(results_.erase(binding.uid()));
      result.set_outcome(v1::Result::OUTCOME_ABSENT);
      return result;
    }
    result.set_outcome(v1::Result::OUTCOME_PROGRAMMED);
    result.set_device(binding.device());
    result.set_pasid(binding.pasid());
    result.set_programmed_root(binding.page_table().root());
    result.set_programmed_generation(binding.generation());
    result.set_vm_instance(kGuest);
    held_ += results_.insert_or_assign(binding.uid(), result).second ? 1 : 0;
    return result;
  }

  std::atomic<int64_t>& held_;
  const Report report_;
  agent::ShimInventory inventory_;
  std::map<std::string, v1::Result> results_;  // by uid
};

v1::Inventory InventoryOf(const std::string& host) {
  v1::Inventory inventory;
  v1::Device& device = *inventory.add_devices();
  device.set_name(host + "/devices/" + kDevice);
  device.mutable_status()->set_driver("vfio-pci");
  device.mutable_status()->set_pasid_bits(20);
  device.mutable_status()->set_nest_granularity(v1::NEST_GRANULARITY_PASID);
  return inventory;
}

std::shared_ptr<grpc::Channel> OwnConnection(const std::string& server) {
  grpc::ChannelArguments arguments = ClientChannelArguments();
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

// Everything but its constructor runs on the loop.
class HollowAgents::Agent final : public agent::ShimLauncher, public agent::VmmEndpoints {
 public:
  Agent(HollowAgents& all, const std::string& server, int number)
      : all_(all),
        host_(absl::StrFormat("hosts/h-%05d", number)),
        reconciler_({.host = host_,
                     .agent_instance = absl::StrFormat("hollow-%05d", number),
                     .boot_id = kBoot,
                     .agent_version = "hollow"},
                    InventoryOf(host_), *this, *this,
                    [this](std::function<void()> function) { OnLoop(std::move(function)); }),
        session_(all.loop_, reconciler_, OwnConnection(server), {},
                 [this](bool connected, int64_t) { Count(connected); }) {
    session_.Start();
  }
  void Stop() { session_.Stop(); }

  absl::StatusOr<std::shared_ptr<agent::Shim>> Launch(const std::string& vm_name,
                                                      const std::string& vm_uid) override {
    std::shared_ptr<HollowShim>& shim = shims_[vm_uid];
    if (shim == nullptr) {
      shim = std::make_shared<HollowShim>(vm_name, vm_uid, all_.held_,
                                          [this](agent::ShimReport report) {
                                            OnLoop([this, report = std::move(report)]() mutable {
                                              reconciler_.Collect(std::move(report));
                                            });
                                          });
    }
    return std::shared_ptr<agent::Shim>(shim);
  }
  absl::Status Retire(const std::string& vm_uid) override {
    shims_.erase(vm_uid);
    return absl::OkStatus();
  }
  std::vector<std::shared_ptr<agent::Shim>> Running() override {
    std::vector<std::shared_ptr<agent::Shim>> running;
    for (const auto& [uid, shim] : shims_) running.push_back(shim);
    return running;
  }

  absl::Status Open(const std::string&, const agent::Bdf& device,
                    std::shared_ptr<agent::Shim>) override {
    opened_.insert(device);
    return absl::OkStatus();
  }
  void Close(const std::string&, const agent::Bdf& device) override { opened_.erase(device); }
  std::set<agent::Bdf> Opened(const std::string&) override { return opened_; }

 private:
  void OnLoop(std::function<void()> function) {
    all_.loop_.Post([this, function = std::move(function)] {
      function();
      session_.SendPending();
    });
  }
  void Count(bool connected) {
    if (connected == connected_) return;
    connected_ = connected;
    all_.connected_ += connected ? 1 : -1;
  }

  HollowAgents& all_;
  const std::string host_;
  std::map<std::string, std::shared_ptr<HollowShim>> shims_;
  std::set<agent::Bdf> opened_;
  bool connected_ = false;
  agent::HostReconciler reconciler_;
  agent::ServerSession session_;
};

HollowAgents::HollowAgents(const std::string& server, int first, int count) {
  for (int i = 0; i < count; ++i) {
    agents_.push_back(std::make_unique<Agent>(*this, server, first + i));
  }
}

HollowAgents::~HollowAgents() {
  for (const auto& agent : agents_) agent->Stop();
  loop_.Stop();
}

int RunHollowAgents(const std::string& server, int first, int count) {
  spdlog::set_level(spdlog::level::off);  // stdout is for the answers
  const HollowAgents agents(server, first, count);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << agents.connected() << " " << agents.held() << std::endl;
  }
  return 0;
}

}  // namespace nestor::bench
