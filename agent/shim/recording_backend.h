// Test only: an IommuBackend that keeps the state and lets a test stop or fail a call.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "agent/core/plan.h"
#include "agent/vfio/iommu_backend.h"

namespace nestor::agent {

class RecordingBackend final : public IommuBackend {
 public:
  // Called at the beginning of each call, on its thread; what it returns is the result.
  using Hook = std::function<absl::Status(const Step&)>;

  void SetHook(Hook hook) {
    std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }
  // What each Invalidate answers.
  void SetInvalidateStatus(absl::Status status) {
    std::lock_guard lock(mutex_);
    invalidate_status_ = std::move(status);
  }
  // The calls of Invalidate so far, as "0000:3b:00.0 5 0x1000+0x2000".
  std::vector<std::string> invalidated() {
    std::lock_guard lock(mutex_);
    return invalidated_;
  }
  // Address spaces that exist.
  int open() const { return open_; }

  absl::string_view name() const override { return "recording"; }
  bool replace_has_gap() const override { return true; }
  absl::StatusOr<DeviceCapabilities> Probe(const Bdf&) override {
    return DeviceCapabilities{.granularity = NestGranularity::kPasid,
                              .pasid_bits = 20,
                              .address_width = 48,
                              .reason = "",
                              .message = ""};
  }
  absl::StatusOr<std::unique_ptr<AddressSpace>> CreateAddressSpace() override {
    return std::make_unique<Space>(*this);
  }

 private:
  class Space final : public AddressSpace {
   public:
    explicit Space(RecordingBackend& backend) : backend_(backend) { ++backend_.open_; }
    ~Space() override { --backend_.open_; }

    absl::Status Attach(const Bdf& device) override { return Do(AttachDevice{device}); }
    absl::Status Detach(const Bdf& device) override { return Do(DetachDevice{device}); }
    absl::Status Map(const Bdf& device, const MemoryRegion& region) override {
      return Do(MapRegion{device, region});
    }
    absl::Status Unmap(const Bdf& device, const MemoryRegion& region) override {
      return Do(UnmapRegion{device, region});
    }
    absl::Status AllocatePasid(uint32_t pasid) override { return Do(agent::AllocatePasid{pasid}); }
    absl::Status FreePasid(uint32_t pasid) override { return Do(agent::FreePasid{pasid}); }
    absl::Status Bind(const BindingKey& key, const PageTable& table) override {
      return Do(BindTable{key, table});
    }
    absl::Status Replace(const BindingKey& key, const PageTable& table) override {
      return Do(ReplaceTable{key, table});
    }
    absl::Status Unbind(const BindingKey& key) override { return Do(UnbindTable{key}); }
    absl::Status Invalidate(const BindingKey& key, uint64_t address, uint64_t size) override {
      std::lock_guard lock(backend_.mutex_);
      backend_.invalidated_.push_back(
          absl::StrFormat("%s %u 0x%x+0x%x", key.device, key.pasid, address, size));
      return backend_.invalidate_status_;
    }
    absl::StatusOr<size_t> ReadRegion(const Bdf&, uint32_t region, uint64_t offset, void* buffer,
                                      size_t size) override {
      std::fill_n(static_cast<char*>(buffer), size, static_cast<char>('0' + region + offset));
      return size;
    }
    absl::StatusOr<size_t> WriteRegion(const Bdf&, uint32_t, uint64_t, const void*,
                                       size_t size) override {
      return size > kLargestWrite ? kLargestWrite : size;
    }
    absl::StatusOr<uint64_t> RegionSize(const Bdf&, uint32_t region) override {
      return uint64_t{region} * 4096;
    }
    absl::Status Reset(const Bdf& device) override { return Do(ResetFunction{device}); }
    const AddressSpaceState& state() const override { return state_; }

   private:
    static constexpr size_t kLargestWrite = 8;

    absl::Status Do(const Step& step) {
      absl::Status status = backend_.CallHook(step);
      if (status.ok() && !IsPossible(step, state_)) {
        status = absl::FailedPreconditionError(ToString(step));
      }
      if (status.ok()) ApplyStep(step, &state_);
      return status;
    }

    RecordingBackend& backend_;
    AddressSpaceState state_;
  };

  absl::Status CallHook(const Step& step) {
    Hook hook;
    {
      std::lock_guard lock(mutex_);
      hook = hook_;
    }
    return hook ? hook(step) : absl::OkStatus();
  }

  std::mutex mutex_;
  Hook hook_;
  absl::Status invalidate_status_;
  std::vector<std::string> invalidated_;
  std::atomic<int> open_ = 0;
};

}  // namespace nestor::agent
