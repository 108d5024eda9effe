// I/O address spaces: what maps, what does not, and what a page table or a device changes.

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <vector>

#include "agent/kernel/test_iommufd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Ge;

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kInterruptWindow = 0xfee00000;

class SimIoasTest : public ::testing::Test {
 protected:
  // A page table from here on.
  int AddPageTable(uint32_t flags = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT) {
    device_ = cdev_.Bind(iommufd_.fd());
    return iommufd_.Paging(device_, ioas_, flags);
  }
  int MapPage(uint64_t iova, uint32_t flags = kMapAll) {
    return iommufd_.Map(ioas_, iova, 4096, ram_.user_address(), flags);
  }
  int Mappings() const { return kernel_.Statistics().mappings; }
  // The usable ranges, or fewer where they are more.
  int Ranges(std::vector<uapi::iommu_iova_range>* ranges) {
    uapi::iommu_ioas_iova_ranges query = {};
    query.size = sizeof(query);
    query.ioas_id = static_cast<uint32_t>(ioas_);
    query.num_iovas = static_cast<uint32_t>(ranges->size());
    query.allowed_iovas = reinterpret_cast<uint64_t>(ranges->data());
    const int result = iommufd_.Call(uapi::IOMMU_IOAS_IOVA_RANGES, &query);
    ranges->resize(query.num_iovas);
    alignment_ = query.out_iova_alignment;
    return result;
  }
  int MapFile(int fd, uint64_t start, uint64_t length, uint32_t flags = kMapAll) {
    uapi::iommu_ioas_map_file map = {.size = sizeof(map),
                                     .flags = flags,
                                     .ioas_id = static_cast<uint32_t>(ioas_),
                                     .fd = fd,
                                     .start = start,
                                     .length = length,
                                     .iova = kRam};
    return iommufd_.Call(uapi::IOMMU_IOAS_MAP_FILE, &map);
  }

  const TestRam ram_{kRam};
  SimKernel kernel_{IommufdMachine()};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TestIommufd iommufd_{*process_};
  TestCdev cdev_{*process_};
  int ioas_ = iommufd_.Ioas();
  int device_ = -1;
  uint64_t alignment_ = 0;
};

TEST_F(SimIoasTest, MapChecksFlagsFirst) {
  EXPECT_EQ(MapPage(0, kMapAll | 8), -EOPNOTSUPP);
  EXPECT_EQ(MapPage(0, uapi::IOMMU_IOAS_MAP_FIXED_IOVA), -EINVAL);
  EXPECT_EQ(MapPage(kMax), -EOVERFLOW);
  EXPECT_EQ(iommufd_.Map(ioas_ + 1, 0, 4096, ram_.user_address()), -ENOENT);
  EXPECT_EQ(iommufd_.Map(ioas_, 0, 0, ram_.user_address()), -EINVAL);
  EXPECT_EQ(iommufd_.Map(ioas_, 0, 4096, kMax - 4095), -EOVERFLOW);
  EXPECT_EQ(iommufd_.Map(ioas_, kMax - 4095, 8192, ram_.user_address()), -EOVERFLOW);
  EXPECT_EQ(Mappings(), 0);
}

TEST_F(SimIoasTest, MapRefusesReservedFields) {
  uapi::iommu_ioas_map map = {};
  map.size = sizeof(map);
  map.reserved = 1;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP, &map), -EOPNOTSUPP);
}

TEST_F(SimIoasTest, MapRefusesToOverlap) {
  ASSERT_EQ(iommufd_.Map(ioas_, kRam, 8192, ram_.user_address()), 0);
  EXPECT_EQ(MapPage(kRam), -EEXIST);
  EXPECT_EQ(MapPage(kRam + 4096), -EEXIST);
  EXPECT_EQ(MapPage(kRam + 8192), 0);
}

TEST_F(SimIoasTest, MapChoosesAPlaceWhereNoneIsFixed) {
  ASSERT_EQ(MapPage(0), 0);
  uapi::iommu_ioas_map map = {.size = sizeof(map),
                              .flags = uapi::IOMMU_IOAS_MAP_READABLE,
                              .ioas_id = static_cast<uint32_t>(ioas_),
                              .reserved = 0,
                              .user_va = ram_.user_address(),
                              .length = 4096,
                              .iova = 0};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP, &map), 0);
  EXPECT_EQ(map.iova, 4096u);
  map.length = kMax - 1;
  map.user_va = 0;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP, &map), -ENOSPC);
}

TEST_F(SimIoasTest, AllowedRangesConfineWhatIsChosen) {
  const uapi::iommu_iova_range range = {.start = 0x40000000, .last = 0x40000fff};
  uapi::iommu_ioas_allow_iovas allow = {};
  allow.size = sizeof(allow);
  allow.ioas_id = static_cast<uint32_t>(ioas_);
  allow.num_iovas = 1;
  allow.allowed_iovas = reinterpret_cast<uint64_t>(&range);
  ASSERT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_ALLOW_IOVAS, &allow), 0);
  uapi::iommu_ioas_map map = {.size = sizeof(map),
                              .flags = uapi::IOMMU_IOAS_MAP_READABLE,
                              .ioas_id = static_cast<uint32_t>(ioas_),
                              .reserved = 0,
                              .user_va = ram_.user_address(),
                              .length = 4096,
                              .iova = 0};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP, &map), 0);
  EXPECT_EQ(map.iova, range.start);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_MAP, &map), -ENOSPC);
  EXPECT_EQ(MapPage(kRam), 0);  // fixed
}

TEST_F(SimIoasTest, AlignmentAndReachComeWithThePageTable) {
  ASSERT_EQ(iommufd_.Map(ioas_, 0x10, 0x20, ram_.user_address()), 0);
  EXPECT_EQ(AddPageTable(), -EADDRINUSE);
  ASSERT_EQ(iommufd_.Unmap(ioas_, 0x10, 0x20), 0x20);
  ASSERT_EQ(MapPage(uint64_t{1} << 48), 0);
  EXPECT_EQ(iommufd_.Paging(device_, ioas_, 0), -EADDRINUSE);
  ASSERT_EQ(iommufd_.Unmap(ioas_, uint64_t{1} << 48, 4096), 4096);
  ASSERT_THAT(iommufd_.Paging(device_, ioas_, 0), Ge(1));
  EXPECT_EQ(iommufd_.Map(ioas_, 0x10, 4096, ram_.user_address()), -EINVAL);
  EXPECT_EQ(iommufd_.Map(ioas_, 0, 100, ram_.user_address()), -EINVAL);
  EXPECT_EQ(iommufd_.Map(ioas_, 0, 4096, ram_.user_address() + 16), -EINVAL);
  EXPECT_EQ(MapPage(uint64_t{1} << 48), -EINVAL);
}

TEST_F(SimIoasTest, MemoryIsLookedAtOnceThereIsAPageTable) {
  ASSERT_EQ(iommufd_.Map(ioas_, kRam, 4096, 0x1000), 0);
  EXPECT_EQ(AddPageTable(), -EFAULT);
  ASSERT_EQ(iommufd_.Unmap(ioas_, kRam, 4096), 4096);
  ASSERT_THAT(iommufd_.Paging(device_, ioas_, 0), Ge(1));
  EXPECT_EQ(iommufd_.Map(ioas_, kRam, 4096, 0x1000), -EFAULT);
  EXPECT_EQ(Mappings(), 0);
}

TEST_F(SimIoasTest, NestParentOfVtdHasNoReadOnlyMappings) {
  constexpr uint32_t kReadOnly = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE;
  ASSERT_EQ(MapPage(kRam, kReadOnly), 0);
  EXPECT_EQ(AddPageTable(), -EINVAL);
  ASSERT_EQ(iommufd_.Unmap(ioas_, kRam, 4096), 4096);
  const int parent = iommufd_.Parent(device_, ioas_);
  ASSERT_THAT(parent, Ge(1));
  EXPECT_EQ(MapPage(kRam, kReadOnly), -EINVAL);
  ASSERT_EQ(iommufd_.Destroy(parent), 0);
  EXPECT_EQ(MapPage(kRam, kReadOnly), 0);
}

TEST_F(SimIoasTest, InterruptWindowIsReservedWhileADeviceIsAttached) {
  ASSERT_EQ(MapPage(kInterruptWindow), 0);
  const int hwpt = AddPageTable();
  EXPECT_EQ(cdev_.Attach(hwpt), -EADDRINUSE);
  ASSERT_EQ(iommufd_.Unmap(ioas_, kInterruptWindow, 4096), 4096);
  ASSERT_EQ(cdev_.Attach(hwpt), hwpt);
  EXPECT_EQ(MapPage(kInterruptWindow), -EINVAL);
  ASSERT_EQ(cdev_.Detach(), 0);
  EXPECT_EQ(MapPage(kInterruptWindow), 0);
}

TEST_F(SimIoasTest, UnmapNeverCutsAMapping) {
  ASSERT_EQ(iommufd_.Map(ioas_, kRam, 8192, ram_.user_address()), 0);
  EXPECT_EQ(iommufd_.Unmap(ioas_, kRam, 4096), -ENOENT);
  EXPECT_EQ(iommufd_.Unmap(ioas_, kRam + 4096, 4096), -ENOENT);
  EXPECT_EQ(iommufd_.Unmap(ioas_, 0, kRam), -ENOENT);
  EXPECT_EQ(iommufd_.Unmap(ioas_, 0, 0), -EINVAL);
  EXPECT_EQ(iommufd_.Unmap(ioas_, kRam, kMax - 1), -EOVERFLOW);
  EXPECT_EQ(iommufd_.Unmap(ioas_, 0, 1 << 30), 8192);
}

TEST_F(SimIoasTest, UnmapOfEverythingIsFineWithNothing) {
  ASSERT_EQ(MapPage(kRam), 0);
  ASSERT_EQ(MapPage(kRam + 8192), 0);
  EXPECT_EQ(iommufd_.Unmap(ioas_, 0, kMax), 8192);
  EXPECT_EQ(iommufd_.Unmap(ioas_, 0, kMax), 0);
  EXPECT_EQ(Mappings(), 0);
}

TEST_F(SimIoasTest, RangesShowWhatIsReserved) {
  std::vector<uapi::iommu_iova_range> ranges(1);
  ASSERT_EQ(Ranges(&ranges), 0);
  EXPECT_EQ(ranges[0].last, kMax);
  EXPECT_EQ(alignment_, 1u);
  ASSERT_GE(cdev_.Attach(AddPageTable()), 0);
  EXPECT_EQ(Ranges(&ranges), -EMSGSIZE);
  ASSERT_EQ(ranges.size(), 2u);
  ASSERT_EQ(Ranges(&ranges), 0);
  EXPECT_EQ(ranges[0].last, kInterruptWindow - 1);
  EXPECT_EQ(ranges[1].start, 0xfef00000u);
  EXPECT_EQ(ranges[1].last, (uint64_t{1} << 48) - 1);
  EXPECT_EQ(alignment_, 4096u);
}

TEST_F(SimIoasTest, CopySharesPagesAndKeepsRights) {
  constexpr uint32_t kReadOnly = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE;
  ASSERT_EQ(MapPage(kRam, kReadOnly), 0);
  ASSERT_EQ(MapPage(kRam + 4096, kReadOnly), 0);
  const auto target = static_cast<uint32_t>(iommufd_.Ioas());
  uapi::iommu_ioas_copy copy = {.size = sizeof(copy),
                                .flags = kMapAll,
                                .dst_ioas_id = target,
                                .src_ioas_id = static_cast<uint32_t>(ioas_),
                                .length = 8192,
                                .dst_iova = 0,
                                .src_iova = kRam};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_COPY, &copy), -EPERM);
  copy.flags = kReadOnly;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_COPY, &copy), 0);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_COPY, &copy), -EEXIST);
  copy.length = 12288;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_COPY, &copy), -ENOENT);
  ASSERT_EQ(iommufd_.Destroy(ioas_), 0);
  EXPECT_EQ(Mappings(), 2);  // of the copy
  EXPECT_EQ(iommufd_.Unmap(static_cast<int>(target), 0, 8192), 8192);
  EXPECT_EQ(Mappings(), 0);
}

TEST_F(SimIoasTest, FileMustBeSharedMemoryWithThatRange) {
  const FileDescriptor file(memfd_create("ram", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 8192), 0);
  EXPECT_EQ(MapFile(-1, 0, 8192), -EBADF);
  EXPECT_EQ(MapFile(file.get(), 0, 12288), -EINVAL);
  EXPECT_EQ(MapFile(file.get(), kMax - 1, 4096), -EOVERFLOW);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(MapFile(ends[0], 0, 4096), -EINVAL);
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(MapFile(file.get(), 4096, 4096), 0);
}

TEST_F(SimIoasTest, FileThatIsOpenForReadingIsNotMappedForWriting) {
  const FileDescriptor file(memfd_create("ram", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 4096), 0);
  const std::string path = "/proc/self/fd/" + std::to_string(file.get());
  const FileDescriptor reader(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(MapFile(reader.get(), 0, 4096), -EPERM);
  EXPECT_EQ(MapFile(reader.get(), 0, 4096,
                    uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE),
            0);
}

TEST_F(SimIoasTest, FileIsReadByDmaAfterItsDescriptorIsClosed) {
  FileDescriptor file(memfd_create("ram", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 8192), 0);
  ASSERT_EQ(pwrite(file.get(), "of the second page", 18, 4096), 18);
  ASSERT_EQ(MapFile(file.get(), 4096, 4096), 0);
  file = FileDescriptor();
  ASSERT_GE(cdev_.Attach(AddPageTable()), 0);
  TestEngine engine(*process_, cdev_.fd());
  EXPECT_EQ(engine.Read({}, kRam, 18), "of the second page");
}

TEST_F(SimIoasTest, ChangeOfProcessNeedsFilesOnly) {
  uapi::iommu_ioas_change_process change = {.size = sizeof(change), .reserved = 0};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_CHANGE_PROCESS, &change), 0);
  ASSERT_EQ(MapPage(kRam), 0);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_IOAS_CHANGE_PROCESS, &change), -EINVAL);
}

TEST_F(SimIoasTest, OptionsAreChecked) {
  uapi::iommu_option option = {};
  option.size = sizeof(option);
  option.op = uapi::IOMMU_OPTION_OP_GET;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_OPTION, &option), 0);
  EXPECT_EQ(option.val64, 0u);
  option.op = uapi::IOMMU_OPTION_OP_SET;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_OPTION, &option), -EPERM);
  option.option_id = uapi::IOMMU_OPTION_HUGE_PAGES;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_OPTION, &option), -ENOENT);
  option.object_id = static_cast<uint32_t>(ioas_);
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_OPTION, &option), 0);
  option.option_id = 7;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_OPTION, &option), -EOPNOTSUPP);
}

TEST_F(SimIoasTest, IoasOfContainersIsSetAndCleared) {
  uapi::iommu_vfio_ioas ioas = {};
  ioas.size = sizeof(ioas);
  ioas.op = uapi::IOMMU_VFIO_IOAS_GET;
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_VFIO_IOAS, &ioas), -ENODEV);
  ioas = {.size = sizeof(ioas),
          .ioas_id = static_cast<uint32_t>(ioas_),
          .op = uapi::IOMMU_VFIO_IOAS_SET,
          .reserved = 0};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_VFIO_IOAS, &ioas), 0);
  ioas = {.size = sizeof(ioas), .ioas_id = 0, .op = uapi::IOMMU_VFIO_IOAS_GET, .reserved = 0};
  EXPECT_EQ(iommufd_.Call(uapi::IOMMU_VFIO_IOAS, &ioas), 0);
  EXPECT_EQ(ioas.ioas_id, static_cast<uint32_t>(ioas_));
}

}  // namespace
}  // namespace nestor::kernel
