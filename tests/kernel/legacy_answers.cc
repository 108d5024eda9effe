#include "tests/kernel/legacy_answers.h"

#include <sys/mman.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "agent/core/kernel_error.h"
#include "agent/kernel/test_container.h"
#include "agent/kernel/test_page_table.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"

namespace nestor::kernel_test {
namespace {

namespace uapi = kernel::uapi;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kInterruptWindow = 0xfee00000;
constexpr uint32_t kRead = uapi::VFIO_DMA_MAP_FLAG_READ;
constexpr uint32_t kReadWrite = kRead | uapi::VFIO_DMA_MAP_FLAG_WRITE;

// Collects questions and answers.
class Interview {
 public:
  Interview(kernel::Syscalls& syscalls, agent::Bdf device, int group)
      : syscalls_(syscalls), device_(std::move(device)), group_(group) {}

  std::vector<std::string> Run() {
    AskExtensions();
    AskGroups();
    AskNesting();
    kernel::TestContainer container(syscalls_, group_);
    container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU);
    AskInfo(container);
    AskNestingCalls(container);
    AskMapping(container);
    AskUnmapping(container);
    AskDevice(container);
    return answers_;
  }

 private:
  void Note(absl::string_view question, int64_t answer) {
    answers_.push_back(absl::StrCat(
        question, ": ",
        answer < 0 ? agent::ErrnoName(static_cast<int>(-answer)) : absl::StrCat(answer)));
  }

  void AskExtensions() {
    const int container = syscalls_.Open("/dev/vfio/vfio", O_RDWR);
    Note("VFIO_GET_API_VERSION", syscalls_.Ioctl(container, uapi::VFIO_GET_API_VERSION, 0));
    for (const auto type :
         {uapi::VFIO_TYPE1_IOMMU, uapi::VFIO_TYPE1v2_IOMMU, uapi::VFIO_TYPE1_NESTING_IOMMU}) {
      Note(absl::StrCat("VFIO_CHECK_EXTENSION(", type, ")"),
           syscalls_.Ioctl(container, uapi::VFIO_CHECK_EXTENSION, type));
    }
    Note("VFIO_SET_IOMMU without a group",
         syscalls_.Ioctl(container, uapi::VFIO_SET_IOMMU, uapi::VFIO_TYPE1v2_IOMMU));
    Note("VFIO_IOMMU_MAP_DMA without an IOMMU",
         syscalls_.Ioctl(container, uapi::VFIO_IOMMU_MAP_DMA, 0));
    syscalls_.Close(container);
  }

  void AskGroups() {
    kernel::TestContainer container(syscalls_, group_);
    Note("VFIO_GROUP_SET_CONTAINER", container.joined());
    Note("open of an open group", syscalls_.Open(absl::StrCat("/dev/vfio/", group_), O_RDWR));
    int fd = container.container();
    Note("VFIO_GROUP_SET_CONTAINER again",
         syscalls_.IoctlPointer(container.group(), uapi::VFIO_GROUP_SET_CONTAINER, &fd));
    Note("VFIO_GROUP_GET_DEVICE_FD without an IOMMU", OpenDevice(container, device_));
    Note("VFIO_SET_IOMMU(TYPE1v2)", container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU));
    Note("VFIO_SET_IOMMU again", container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU));
    Note("VFIO_GROUP_GET_DEVICE_FD of another device", OpenDevice(container, "0000:7f:00.0"));
    Note("VFIO_GROUP_UNSET_CONTAINER", Unset(container));
    Note("VFIO_GROUP_UNSET_CONTAINER again", Unset(container));
  }

  void AskNesting() {
    kernel::TestContainer container(syscalls_, group_);
    Note("VFIO_SET_IOMMU(NESTING)", container.SetIommu(uapi::VFIO_TYPE1_NESTING_IOMMU));
    Note("VFIO_GROUP_UNSET_CONTAINER after a refusal", Unset(container));
    int fd = container.container();
    Note("VFIO_GROUP_SET_CONTAINER after a refusal",
         syscalls_.IoctlPointer(container.group(), uapi::VFIO_GROUP_SET_CONTAINER, &fd));
    Note("VFIO_SET_IOMMU(TYPE1v2) after a refusal", container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU));
  }

  void AskInfo(kernel::TestContainer& container) {
    std::vector<uint8_t> reply(4096);
    uapi::vfio_iommu_type1_info info = {};
    info.argsz = static_cast<uint32_t>(reply.size());
    std::memcpy(reply.data(), &info, sizeof(info));
    Note("VFIO_IOMMU_GET_INFO", container.Call(uapi::VFIO_IOMMU_GET_INFO, reply.data()));
    std::memcpy(&info, reply.data(), sizeof(info));
    Note("its flags", info.flags);
    Note("its page sizes", static_cast<int64_t>(info.iova_pgsizes));
    for (uint32_t offset = info.cap_offset; offset != 0;) {
      uapi::vfio_info_cap_header header;
      std::memcpy(&header, reply.data() + offset, sizeof(header));
      Note("a capability", header.id);
      if (header.id == uapi::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
        uapi::vfio_iommu_type1_info_dma_avail available;
        std::memcpy(&available, reply.data() + offset, sizeof(available));
        Note("free mappings", available.avail);
      }
      if (header.id == uapi::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
        NoteRanges(reply.data() + offset);
      }
      offset = header.next;
    }
    info.argsz = 8;
    Note("VFIO_IOMMU_GET_INFO, too small", container.Call(uapi::VFIO_IOMMU_GET_INFO, &info));
  }

  void NoteRanges(const uint8_t* capability) {
    uapi::vfio_iommu_type1_info_cap_iova_range header;
    std::memcpy(&header, capability, sizeof(header));
    for (uint32_t i = 0; i < header.nr_iovas; ++i) {
      uapi::vfio_iova_range range;
      std::memcpy(&range, capability + sizeof(header) + i * sizeof(range), sizeof(range));
      answers_.push_back(
          absl::StrCat("addresses: ", absl::Hex(range.start), "-", absl::Hex(range.end)));
    }
  }

  void AskNestingCalls(kernel::TestContainer& container) {
    Note("VFIO_IOMMU_PASID_REQUEST", container.Allocate(5));
    Note("VFIO_IOMMU_NESTING_OP", container.Bind(5, 0x1000));
  }

  void AskMapping(kernel::TestContainer& container) {
    const auto map = [&](const char* what, uint64_t iova, uint64_t size, uint64_t address,
                         uint32_t flags = kReadWrite) {
      Note(absl::StrCat("VFIO_IOMMU_MAP_DMA ", what), container.Map(iova, size, address, flags));
    };
    map("of two pages", kPage, 2 * kPage, ram_.user_address());
    map("of one of them again", 2 * kPage, kPage, ram_.user_address());
    map("of no bytes", 8 * kPage, 0, ram_.user_address());
    map("of half a page", 8 * kPage, kPage / 2, ram_.user_address());
    map("of an unaligned address", 8 * kPage, kPage, ram_.user_address() + 1);
    map("at an unaligned address", 8 * kPage + 1, kPage, ram_.user_address());
    map("without a right", 8 * kPage, kPage, ram_.user_address(), 0);
    map("with an unknown flag", 8 * kPage, kPage, ram_.user_address(), kReadWrite | 1 << 9);
    map("beyond 2^64", ~uint64_t{0} - kPage + 1, 2 * kPage, ram_.user_address());
    map("of memory beyond 2^64", 8 * kPage, 2 * kPage, ~uint64_t{0} - kPage + 1);
    map("beyond the address width", uint64_t{1} << 57, kPage, ram_.user_address());
    map("of the interrupt window", kInterruptWindow, kPage, ram_.user_address());
    map("of nothing", 8 * kPage, kPage, kPage);
    mprotect(ram_.At(4 * kPage), kPage, PROT_READ);
    map("for writing of a read-only page", 8 * kPage, kPage, ram_.user_address() + 4 * kPage);
    map("for reading of a read-only page", 8 * kPage, kPage, ram_.user_address() + 4 * kPage,
        kRead);
  }

  // Of what AskMapping left.
  void AskUnmapping(kernel::TestContainer& container) {
    const auto unmap = [&](const char* what, uint64_t iova, uint64_t size) {
      Note(absl::StrCat("VFIO_IOMMU_UNMAP_DMA ", what), container.Unmap(iova, size));
    };
    unmap("of the first half of a mapping", kPage, kPage);
    unmap("of the second half of a mapping", 2 * kPage, kPage);
    unmap("of a mapping", kPage, 2 * kPage);
    unmap("of what is not mapped", kPage, 2 * kPage);
    unmap("of no bytes", 8 * kPage, 0);
    unmap("of half a page", 8 * kPage, kPage / 2);
    unmap("beyond 2^64", ~uint64_t{0} - kPage + 1, 2 * kPage);
    unmap("of more than a mapping", 4 * kPage, 64 * kPage);
  }

  void AskDevice(kernel::TestContainer& container) {
    const int device = OpenDevice(container, device_);
    Note("VFIO_GROUP_UNSET_CONTAINER with an open device", Unset(container));
    uapi::vfio_region_info region = {};
    region.argsz = sizeof(region);
    region.index = uapi::VFIO_PCI_NUM_REGIONS;
    Note("VFIO_DEVICE_GET_REGION_INFO of no region",
         syscalls_.IoctlPointer(device, uapi::VFIO_DEVICE_GET_REGION_INFO, &region));
    syscalls_.Close(device);
  }

  int OpenDevice(const kernel::TestContainer& container, agent::Bdf device) {
    return syscalls_.IoctlPointer(container.group(), uapi::VFIO_GROUP_GET_DEVICE_FD, device.data());
  }
  int Unset(const kernel::TestContainer& container) {
    return syscalls_.Ioctl(container.group(), uapi::VFIO_GROUP_UNSET_CONTAINER, 0);
  }

  kernel::Syscalls& syscalls_;
  const agent::Bdf device_;
  const int group_;
  const kernel::TestRam ram_{0, 16 * kPage};
  std::vector<std::string> answers_;
};

}  // namespace

std::vector<std::string> AskLegacyVfio(kernel::Syscalls& syscalls, const agent::Bdf& device,
                                       int group) {
  return Interview(syscalls, device, group).Run();
}

}  // namespace nestor::kernel_test
