// nestor-shim-held: nestor-shim for tests, which can be stopped before and after each step.
//
// Where the environment variable NESTOR_TEST_HOLD names a directory with a file STEP.before or
// STEP.after, the shim makes the file "held" there when it comes to that point, and waits until
// the first one is gone.

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "agent/core/plan.h"
#include "agent/shim/shim_main.h"

namespace nestor::agent {
namespace {

void HoldAt(const std::string& point) {
  const char* directory = std::getenv("NESTOR_TEST_HOLD");
  if (directory == nullptr) return;
  const std::filesystem::path order = std::filesystem::path(directory) / point;
  if (!std::filesystem::exists(order)) return;
  std::ofstream(std::filesystem::path(directory) / "held") << getpid();
  while (std::filesystem::exists(order)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Every change of kernel state can be stopped; what only looks passes.
class HoldingSpace final : public AddressSpace {
 public:
  explicit HoldingSpace(std::unique_ptr<AddressSpace> space) : space_(std::move(space)) {}

  absl::Status Attach(const Bdf& device) override {
    return Hold("attach", [&] { return space_->Attach(device); });
  }
  absl::Status Detach(const Bdf& device) override {
    return Hold("detach", [&] { return space_->Detach(device); });
  }
  absl::Status Map(const Bdf& device, const MemoryRegion& region) override {
    return Hold("map", [&] { return space_->Map(device, region); });
  }
  absl::Status Unmap(const Bdf& device, const MemoryRegion& region) override {
    return Hold("unmap", [&] { return space_->Unmap(device, region); });
  }
  absl::Status AllocatePasid(uint32_t pasid) override {
    return Hold("allocate", [&] { return space_->AllocatePasid(pasid); });
  }
  absl::Status FreePasid(uint32_t pasid) override {
    return Hold("free", [&] { return space_->FreePasid(pasid); });
  }
  absl::Status Bind(const BindingKey& key, const PageTable& table) override {
    return Hold("bind", [&] { return space_->Bind(key, table); });
  }
  absl::Status Replace(const BindingKey& key, const PageTable& table) override {
    return Hold("replace", [&] { return space_->Replace(key, table); });
  }
  absl::Status Unbind(const BindingKey& key) override {
    return Hold("unbind", [&] { return space_->Unbind(key); });
  }
  absl::Status Reset(const Bdf& device) override {
    return Hold("reset", [&] { return space_->Reset(device); });
  }
  absl::Status Invalidate(const BindingKey& key, uint64_t address, uint64_t size) override {
    return space_->Invalidate(key, address, size);
  }
  absl::StatusOr<size_t> ReadRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                    void* buffer, size_t size) override {
    return space_->ReadRegion(device, region, offset, buffer, size);
  }
  absl::StatusOr<size_t> WriteRegion(const Bdf& device, uint32_t region, uint64_t offset,
                                     const void* buffer, size_t size) override {
    return space_->WriteRegion(device, region, offset, buffer, size);
  }
  absl::StatusOr<uint64_t> RegionSize(const Bdf& device, uint32_t region) override {
    return space_->RegionSize(device, region);
  }
  const AddressSpaceState& state() const override { return space_->state(); }

 private:
  template <typename Call>
  static absl::Status Hold(const std::string& step, const Call& call) {
    HoldAt(step + ".before");
    const absl::Status status = call();
    HoldAt(step + ".after");
    return status;
  }

  const std::unique_ptr<AddressSpace> space_;
};

class HoldingBackend final : public IommuBackend {
 public:
  explicit HoldingBackend(IommuBackend& backend) : backend_(backend) {}
  absl::string_view name() const override { return backend_.name(); }
  bool replace_has_gap() const override { return backend_.replace_has_gap(); }
  absl::StatusOr<DeviceCapabilities> Probe(const Bdf& device) override {
    return backend_.Probe(device);
  }
  absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() override {
    auto space = backend_.CreateAddressSpace();
    if (!space.ok()) return space.status();
    return std::make_unique<HoldingSpace>(*std::move(space));
  }

 private:
  IommuBackend& backend_;
};

}  // namespace
}  // namespace nestor::agent

int main(int argc, char** argv) {
  return nestor::agent::RunShimProgram(argc, argv, [](nestor::agent::IommuBackend& backend) {
    return std::make_unique<nestor::agent::HoldingBackend>(backend);
  });
}
