// Clients of iommufd that die: what they held goes with their last descriptors, and no sooner.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <memory>

#include "agent/kernel/test_iommufd.h"
#include "api/support/file_descriptor.h"
#include "gtest/gtest.h"
#include "tests/simkernel/simkernel_process.h"

namespace nestor::testing {
namespace {

using kernel::TestCdev;
using kernel::TestEngine;
using kernel::TestIommufd;
namespace uapi = kernel::uapi;

constexpr uint64_t kIova = 0x100000;
constexpr uint64_t kSize = 64 * 1024;

class KilledIommufdTest : public ::testing::Test {
 protected:
  void ExpectNothingHeld() {
    for (const char* name : {"descriptors", "groups", "iommufds", "bound_devices", "ioases",
                             "hwpts", "attachments", "bindings", "mappings"}) {
      EXPECT_EQ(simkernel_.Count(name), 0) << name;
    }
  }
  // Maps the file as guest memory, and nests PASID 5 in it.
  void SetUpDevice(TestIommufd& iommufd, TestCdev& cdev) {
    const int device = cdev.Bind(iommufd.fd());
    const int ioas = iommufd.Ioas();
    uapi::iommu_ioas_map_file map = {.size = sizeof(map),
                                     .flags = kernel::kMapAll,
                                     .ioas_id = static_cast<uint32_t>(ioas),
                                     .fd = file_.get(),
                                     .start = 0,
                                     .length = kSize,
                                     .iova = kIova};
    if (iommufd.Call(uapi::IOMMU_IOAS_MAP_FILE, &map) != 0) _exit(1);
    const int parent = iommufd.Parent(device, ioas);
    if (cdev.Attach(parent) != parent) _exit(1);
    if (cdev.AttachPasid(5, iommufd.Vtd(device, parent, kIova)) < 0) _exit(1);
  }

  SimkernelProcess simkernel_{{"--personality", "7.2"}};
  std::unique_ptr<kernel::Syscalls> client_ = simkernel_.Connect();
  FileDescriptor file_{MakeFile()};

 private:
  static int MakeFile() {
    const int fd = memfd_create("guest", MFD_CLOEXEC);
    return ftruncate(fd, kSize) == 0 ? fd : -1;
  }
};

TEST_F(KilledIommufdTest, KernelTakesBackAllThatItHeld) {
  ForkedChild child([&] {
    // Never destroyed: the child ends by a signal.
    auto* iommufd = new TestIommufd(*client_);
    auto* cdev = new TestCdev(*client_);
    SetUpDevice(*iommufd, *cdev);
  });
  EXPECT_EQ(simkernel_.Count("descriptors"), 2);
  EXPECT_EQ(simkernel_.Count("attachments"), 2);
  EXPECT_EQ(simkernel_.Count("bindings"), 1);
  child.Kill();
  ExpectNothingHeld();
}

TEST_F(KilledIommufdTest, DmaToAFileGoesOnWithoutTheProcessThatMappedIt) {
  TestIommufd iommufd(*client_);
  TestCdev cdev(*client_);
  ASSERT_EQ(pwrite(file_.get(), "mapped by the dead", 18, 4096), 18);
  ForkedChild child([&] { SetUpDevice(iommufd, cdev); });
  child.Kill();
  EXPECT_EQ(TestEngine(*client_, cdev.fd()).Read({}, kIova + 4096, 18), "mapped by the dead");
  iommufd.Close();
  EXPECT_EQ(TestEngine(*client_, cdev.fd()).Read({}, kIova + 4096, 18), "mapped by the dead");
  cdev.Close();
  ExpectNothingHeld();
}

}  // namespace
}  // namespace nestor::testing
