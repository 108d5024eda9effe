#include "tests/bench/bind_cost.h"

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/vfio/type1_backend.h"
#include "api/support/status_macros.h"
#include "tests/bench/closed_loop.h"

namespace nestor::bench {
namespace {

// Passes every call on and adds up how long ioctls take.
class TimedSyscalls final : public kernel::Syscalls {
 public:
  explicit TimedSyscalls(kernel::Syscalls& kernel) : kernel_(kernel) {}
  absl::Duration TakeIoctlTime() { return std::exchange(ioctl_time_, absl::ZeroDuration()); }

  int Ioctl(int fd, unsigned long request, uint64_t argument) override {  // NOLINT: kernel's type
    const absl::Time start = absl::Now();
    const int result = kernel_.Ioctl(fd, request, argument);
    ioctl_time_ += absl::Now() - start;
    return result;
  }
  int Open(const std::string& path, int flags) override { return kernel_.Open(path, flags); }
  int Close(int fd) override { return kernel_.Close(fd); }
  ssize_t Pread(int fd, void* buffer, size_t size, uint64_t offset) override {
    return kernel_.Pread(fd, buffer, size, offset);
  }
  ssize_t Pwrite(int fd, const void* buffer, size_t size, uint64_t offset) override {
    return kernel_.Pwrite(fd, buffer, size, offset);
  }
  int64_t Mmap(size_t length, int protection, int flags, int fd, uint64_t offset) override {
    return kernel_.Mmap(length, protection, flags, fd, offset);
  }
  int Munmap(uint64_t address, size_t length) override { return kernel_.Munmap(address, length); }
  int Readlink(const std::string& path, std::string* target) override {
    return kernel_.Readlink(path, target);
  }
  int Readdir(const std::string& path, std::vector<std::string>* names) override {
    return kernel_.Readdir(path, names);
  }
  int ReadFile(const std::string& path, std::string* content) override {
    return kernel_.ReadFile(path, content);
  }
  int WriteFile(const std::string& path, const std::string& content) override {
    return kernel_.WriteFile(path, content);
  }

 private:
  kernel::Syscalls& kernel_;
  absl::Duration ioctl_time_;
};

constexpr uint32_t kPasid = 5;
constexpr uint64_t kRoot = 0x1000;

// Guest memory from address 0 on, with room for the root.
struct alignas(4096) Memory {
  std::array<uint8_t, 64 * 1024> bytes;
};
constexpr int kRounds = 5000;

}  // namespace

absl::StatusOr<BindCost> MeasureBind() {
  const kernel::SimMachine machine = kernel::DefaultSimMachine(1);
  kernel::SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TimedSyscalls syscalls(*process);
  agent::Type1Backend backend(syscalls);
  const agent::Bdf device = machine.devices.at(0).bdf;
  ASSIGN_OR_RETURN(auto space, backend.CreateAddressSpace());
  RETURN_IF_ERROR(space->Attach(device));
  const auto memory = std::make_unique<Memory>();
  RETURN_IF_ERROR(space->Map(
      device, {.size = sizeof(Memory), .user_address = reinterpret_cast<uint64_t>(memory.get())}));
  RETURN_IF_ERROR(space->AllocatePasid(kPasid));
  const agent::BindingKey key{device, kPasid};
  const agent::PageTable table{.root = kRoot};
  std::vector<absl::Duration> binds;
  std::vector<absl::Duration> ioctls;
  for (int i = 0; i < kRounds; ++i) {
    syscalls.TakeIoctlTime();
    const absl::Time start = absl::Now();
    RETURN_IF_ERROR(space->Bind(key, table));
    binds.push_back(absl::Now() - start);
    ioctls.push_back(syscalls.TakeIoctlTime());
    RETURN_IF_ERROR(space->Unbind(key));
  }
  return BindCost{Percentile(std::move(binds), 0.5), Percentile(std::move(ioctls), 0.5)};
}

}  // namespace nestor::bench
