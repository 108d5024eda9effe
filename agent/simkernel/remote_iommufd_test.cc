// iommufd through nestor-simkernel: descriptors and memory inside structs are the caller's.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "agent/kernel/test_iommufd.h"
#include "agent/simkernel/test_simkernel.h"
#include "api/support/file_descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Ge;

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kRoot = kRam;
constexpr uint64_t kPage = kRam + 0x100000;
constexpr uint64_t kAddress = 0x7f0000000000;

class RemoteIommufdTest : public ::testing::Test {
 protected:
  SimKernel kernel_{IommufdMachine()};
  TestSimkernel simkernel_{kernel_};
  const std::unique_ptr<RemoteSyscalls> process_ = simkernel_.Connect();
};

TEST_F(RemoteIommufdTest, BindTakesTheCallersDescriptor) {
  TestIommufd iommufd(*process_);
  TestCdev cdev(*process_);
  const FileDescriptor host_file(memfd_create("no iommufd", MFD_CLOEXEC));
  EXPECT_EQ(cdev.Bind(100000), -EBADF);
  EXPECT_EQ(cdev.Bind(host_file.get()), -EBADFD);
  EXPECT_EQ(cdev.Bind(cdev.fd()), -EBADFD);
  const FileDescriptor duplicate(dup(iommufd.fd()));
  EXPECT_EQ(cdev.Bind(duplicate.get()), 1);
  EXPECT_EQ(iommufd.Ioas(), 2);  // of the same
}

TEST_F(RemoteIommufdTest, PasidIsTranslatedByATableInTheCallersMemory) {
  const TestRam ram(kRam);
  TestPageTable table(ram, kRoot);
  table.Map(kAddress, kPage);
  ram.Write(kPage, "in the caller's RAM");
  TestIommufd iommufd(*process_);
  TestCdev cdev(*process_);
  const int device = cdev.Bind(iommufd.fd());
  const int ioas = iommufd.Ioas();
  ASSERT_EQ(iommufd.Map(ioas, ram), 0);
  const int nested = iommufd.Vtd(device, iommufd.Parent(device, ioas), kRoot);
  ASSERT_EQ(cdev.AttachPasid(5, nested), nested);
  EXPECT_EQ(TestEngine(*process_, cdev.fd()).Read(5, kAddress, 19), "in the caller's RAM");
  EXPECT_EQ(iommufd.Invalidate(nested, kAddress, 1), 0);
  EXPECT_EQ(kernel_.Statistics().iotlb_entries, 0);
}

TEST_F(RemoteIommufdTest, FileOfTheCallerIsMappedAndOutlivesItsDescriptor) {
  FileDescriptor file(memfd_create("ram", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(file.get(), 4096), 0);
  ASSERT_EQ(pwrite(file.get(), "of a file", 9, 0), 9);
  TestIommufd iommufd(*process_);
  TestCdev cdev(*process_);
  ASSERT_THAT(cdev.Bind(iommufd.fd()), Ge(1));
  const int ioas = iommufd.Ioas();
  uapi::iommu_ioas_map_file map = {.size = sizeof(map),
                                   .flags = kMapAll,
                                   .ioas_id = static_cast<uint32_t>(ioas),
                                   .fd = iommufd.fd(),
                                   .start = 0,
                                   .length = 4096,
                                   .iova = kRam};
  EXPECT_EQ(iommufd.Call(uapi::IOMMU_IOAS_MAP_FILE, &map), -EINVAL);  // a socket, really
  map.fd = file.get();
  ASSERT_EQ(iommufd.Call(uapi::IOMMU_IOAS_MAP_FILE, &map), 0);
  ASSERT_THAT(cdev.Attach(ioas), Ge(1));
  file = FileDescriptor();
  EXPECT_EQ(TestEngine(*process_, cdev.fd()).Read({}, kRam, 9), "of a file");
}

TEST_F(RemoteIommufdTest, DeviceStaysBoundUntilItsLastDescriptorIsClosed) {
  TestIommufd iommufd(*process_);
  TestCdev cdev(*process_);
  ASSERT_THAT(cdev.Bind(iommufd.fd()), Ge(1));
  FileDescriptor duplicate(dup(cdev.fd()));
  cdev.Close();
  simkernel_.Settle();
  EXPECT_EQ(kernel_.Statistics().bound_devices, 1);
  duplicate = FileDescriptor();
  simkernel_.Settle();
  EXPECT_EQ(kernel_.Statistics().bound_devices, 0);
}

}  // namespace
}  // namespace nestor::kernel
