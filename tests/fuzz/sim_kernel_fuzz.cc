// The simulated kernel under any system calls: results are the kernel's kind, what a process
// had is gone when it ends, and nothing outside its memory is touched.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/sim_process.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "api/support/file_descriptor.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using kernel::SimKernel;
using kernel::SimProcess;
using kernel::SimStatistics;
namespace uapi = kernel::uapi;

constexpr size_t kMemorySize = 64 << 10;
constexpr size_t kMaxDescriptors = 64;
constexpr int kMaxErrno = 4095;

// The only memory that a call is given: a page after it faults.
class UserPages {
 public:
  UserPages() {
    void* address = mmap(nullptr, 2 * kMemorySize, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FUZZ_CHECK(address != MAP_FAILED);
    FUZZ_CHECK(mprotect(address, kMemorySize, PROT_READ | PROT_WRITE) == 0);
    begin_ = static_cast<char*>(address);
    FUZZ_CHECK(ftruncate(file_.get(), kMemorySize) == 0);
  }
  ~UserPages() { munmap(begin_, 2 * kMemorySize); }
  UserPages(const UserPages&) = delete;
  UserPages& operator=(const UserPages&) = delete;

  char* At(size_t offset) const { return begin_ + offset % kMemorySize; }
  // The only file that a call is given.
  int file() const { return file_.get(); }
  // An address in it or in the pages after it that fault.
  uint64_t Confine(uint64_t address) const {
    return reinterpret_cast<uint64_t>(begin_) + address % (2 * kMemorySize);
  }

 private:
  char* begin_ = nullptr;
  const FileDescriptor file_{memfd_create("fuzz", MFD_CLOEXEC)};
};

class Caller {
 public:
  Caller(SimKernel& kernel, const UserPages& pages)
      : pages_(pages), process_(kernel.CreateProcess()) {}

  void Act(FuzzInput& input) {
    switch (input.Below(8)) {
      case 0:
        Open(input);
        break;
      case 1:
        Close(input);
        break;
      case 2:
        Read(input);
        break;
      case 3:
        Write(input);
        break;
      default:
        Ioctl(input);
    }
  }
  void Pass(FuzzInput& input, Caller* receiver) {
    const int fd = Descriptor(input);
    const int passed = process_->PassDescriptor(fd, *receiver->process_);
    FUZZ_CHECK((passed >= 0) == open_.contains(fd));
    receiver->Keep(passed);
  }
  size_t open() const { return open_.size(); }

 private:
  static void CheckResult(int64_t result) { FUZZ_CHECK(result >= -kMaxErrno); }

  // Mostly one that is open.
  int Descriptor(FuzzInput& input) {
    return SimProcess::kFirstDescriptor + static_cast<int>(input.Below(8));
  }
  void Keep(int64_t fd) {
    CheckResult(fd);
    if (fd < 0) return;
    FUZZ_CHECK(open_.insert(static_cast<int>(fd)).second);
  }

  void Open(FuzzInput& input) {
    static const auto* const kPaths =
        new std::vector<std::string>{"/dev/vfio/vfio",
                                     "/dev/vfio/1",
                                     "/dev/vfio/2",
                                     "/dev/vfio/3",
                                     "/sys/bus/pci/devices/0000:01:00.0/config",
                                     "/sys/bus/pci/devices/0000:01:00.0/driver_override",
                                     "/dev/iommu",
                                     "/dev/vfio/devices/vfio0",
                                     "/dev/vfio/devices/vfio1"};
    const size_t index = input.Below(kPaths->size() + 1);
    const std::string path = index < kPaths->size() ? (*kPaths)[index] : input.Line();
    if (open_.size() < kMaxDescriptors) Keep(process_->Open(path, O_RDWR));
  }
  void Close(FuzzInput& input) {
    const int fd = Descriptor(input);
    FUZZ_CHECK((process_->Close(fd) == 0) == (open_.erase(fd) == 1));
  }
  void Read(FuzzInput& input) {
    const int fd = Descriptor(input);
    const size_t size = input.Number<uint16_t>();
    const int64_t result =
        process_->Pread(fd, pages_.At(input.Number<uint16_t>()), size, Offset(input));
    CheckResult(result);
    FUZZ_CHECK(result <= static_cast<int64_t>(size));
  }
  void Write(FuzzInput& input) {
    const int fd = Descriptor(input);
    const uint64_t offset = Offset(input);
    char* buffer = pages_.At(input.Number<uint16_t>());
    const size_t size = PutBytes(input, buffer);
    const int64_t result = process_->Pwrite(fd, buffer, size, offset);
    CheckResult(result);
    FUZZ_CHECK(result <= static_cast<int64_t>(size));
  }
  // A small offset into one of the first regions of a device, or any.
  static uint64_t Offset(FuzzInput& input) {
    const size_t region = input.Below(16);
    if (region == 15) return input.Number<uint64_t>();
    return (uint64_t{region} << 40) + input.Number<uint16_t>();
  }
  // What the input has for memory; returns how much.
  size_t PutBytes(FuzzInput& input, char* where) {
    const absl::string_view bytes = input.Bytes(input.Below(128));
    const size_t room = pages_.At(0) + kMemorySize - where;
    const size_t size = std::min(bytes.size(), room);
    std::memcpy(where, bytes.data(), size);
    return size;
  }

  void Ioctl(FuzzInput& input) {
    const int fd = Descriptor(input);
    // The numbers of VFIO and of iommufd are in one row; one beyond stands for any other.
    const size_t number = input.Below(50);
    const uint32_t request =
        number == 49 ? input.Number<uint32_t>() : uapi::VfioRequest(static_cast<uint32_t>(number));
    char* argument = pages_.At(input.Number<uint16_t>());
    PutBytes(input, argument);
    if (request == uapi::VFIO_SET_IOMMU || request == uapi::VFIO_CHECK_EXTENSION) {
      return CheckResult(process_->Ioctl(fd, request, input.Below(16)));
    }
    Confine(request, argument);
    const int result = process_->IoctlPointer(fd, request, argument);
    if (request == uapi::VFIO_GROUP_GET_DEVICE_FD) return Keep(result);
    CheckResult(result);
    FUZZ_CHECK(open_.contains(fd) || result == -EBADF);
  }
  // What is mapped is written to by DMA, and must be ours, as must what a struct leads to.
  void Confine(uint32_t request, char* argument) const {
    switch (request) {
      case uapi::VFIO_IOMMU_MAP_DMA:
        return ConfineAddress(argument + offsetof(uapi::vfio_iommu_type1_dma_map, vaddr));
      case uapi::VFIO_DEVICE_BIND_IOMMUFD:
        return ConfineDescriptor(argument + offsetof(uapi::vfio_device_bind_iommufd, iommufd));
      case uapi::IOMMU_IOAS_MAP:
        return ConfineAddress(argument + offsetof(uapi::iommu_ioas_map, user_va));
      case uapi::IOMMU_IOAS_MAP_FILE:
        return Put(argument + offsetof(uapi::iommu_ioas_map_file, fd), pages_.file());
      case uapi::IOMMU_IOAS_IOVA_RANGES:
        return ConfineAddress(argument + offsetof(uapi::iommu_ioas_iova_ranges, allowed_iovas));
      case uapi::IOMMU_IOAS_ALLOW_IOVAS:
        return ConfineAddress(argument + offsetof(uapi::iommu_ioas_allow_iovas, allowed_iovas));
      case uapi::IOMMU_HWPT_ALLOC:
        return ConfineAddress(argument + offsetof(uapi::iommu_hwpt_alloc, data_uptr));
      case uapi::IOMMU_GET_HW_INFO:
        return ConfineAddress(argument + offsetof(uapi::iommu_hw_info, data_uptr));
      case uapi::IOMMU_HWPT_INVALIDATE:
        return ConfineAddress(argument + offsetof(uapi::iommu_hwpt_invalidate, data_uptr));
      default:
        return;
    }
  }
  template <typename Value>
  void Put(char* where, Value value) const {
    if (where + sizeof(value) > pages_.At(0) + kMemorySize) return;
    std::memcpy(where, &value, sizeof(value));
  }
  template <typename Value>
  Value Get(const char* where) const {
    Value value = {};
    if (where + sizeof(value) > pages_.At(0) + kMemorySize) return value;
    std::memcpy(&value, where, sizeof(value));
    return value;
  }
  void ConfineAddress(char* where) const { Put(where, pages_.Confine(Get<uint64_t>(where))); }
  // Mostly one that is open.
  void ConfineDescriptor(char* where) const {
    Put(where, SimProcess::kFirstDescriptor + (Get<int32_t>(where) & 7));
  }

  const UserPages& pages_;
  const std::unique_ptr<SimProcess> process_;
  std::set<int> open_;
};

// What can be seen from outside fits together.
void CheckStatistics(const SimKernel& kernel, size_t open) {
  const SimStatistics statistics = kernel.Statistics();
  FUZZ_CHECK(statistics.descriptors == static_cast<int>(open));
  FUZZ_CHECK(statistics.bindings == static_cast<int>(kernel.Bindings().size()));
  FUZZ_CHECK(statistics.containers + statistics.iommufds > 0 ||
             statistics.bindings + statistics.mappings == 0);
  FUZZ_CHECK(statistics.iommufds > 0 || statistics.ioases + statistics.hwpts == 0);
  FUZZ_CHECK(statistics.bound_devices > 0 || statistics.attachments == 0);
  FUZZ_CHECK(statistics.pasid_sets > 0 || statistics.pasids == 0);
}

void CheckNothingIsLeft(const SimKernel& kernel) {
  SimStatistics statistics = kernel.Statistics();
  statistics.dmas = statistics.faults = 0;  // they count since boot
  FUZZ_CHECK(statistics == SimStatistics());
}

kernel::SimPersonality PersonalityOf(int bits) {
  constexpr kernel::SimPersonality kPersonalities[] = {
      kernel::SimPersonality::kSeriesV6, kernel::SimPersonality::kLinux7_2,
      kernel::SimPersonality::kLinux6_12, kernel::SimPersonality::kLinux7_2};
  return kPersonalities[bits & 3];
}

kernel::SimIommuHardware HardwareOf(int bits) {
  constexpr kernel::SimIommuHardware kHardware[] = {
      kernel::SimIommuHardware::kVtd, kernel::SimIommuHardware::kSmmuV3,
      kernel::SimIommuHardware::kAmd, kernel::SimIommuHardware::kVtd};
  return kHardware[bits & 3];
}

}  // namespace

// A byte for the machine and its kernel, then a list of system calls of two processes.
void FuzzSimKernel(absl::string_view bytes) {
  FuzzInput input(bytes.substr(0, 4096));
  kernel::SimMachine description = kernel::DefaultSimMachine(2);
  description.boot_id = "11111111-2222-4333-8444-555555555555";
  const auto machine = input.Number<uint8_t>();
  description.personality = PersonalityOf(machine >> 1);
  description.iommu.hardware = HardwareOf(machine >> 3);
  if ((machine & 1) != 0) description.devices[1].iommu_group = description.devices[0].iommu_group;
  SimKernel kernel(description);
  const UserPages pages;
  {
    Caller first(kernel, pages);
    Caller second(kernel, pages);
    while (!input.empty()) {
      switch (input.Below(16)) {
        case 0:
          first.Pass(input, &second);
          break;
        case 1:
          second.Act(input);
          break;
        default:
          first.Act(input);
      }
      CheckStatistics(kernel, first.open() + second.open());
    }
  }
  CheckNothingIsLeft(kernel);
}

}  // namespace nestor::fuzz
