#include "agent/kernel/tracing_syscalls.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "agent/kernel/ioctl_description.h"
#include "agent/kernel/sim_kernel.h"
#include "agent/kernel/uapi/iommufd.h"
#include "agent/kernel/uapi/vfio_type1_nesting.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class TracingSyscallsTest : public ::testing::Test {
 protected:
  SimKernel kernel_{DefaultSimMachine(1)};
  std::unique_ptr<SimProcess> process_ = kernel_.CreateProcess();
  TracingSyscalls syscalls_{*process_};
};

TEST_F(TracingSyscallsTest, CallIsRecordedWithObjectAndResult) {
  const auto recording = syscalls_.Record(10);
  EXPECT_EQ(syscalls_.Open("/dev/vfio/9", O_RDWR), -ENOENT);
  const int fd = syscalls_.Open("/dev/vfio/vfio", O_RDWR);
  EXPECT_EQ(syscalls_.Ioctl(fd, uapi::VFIO_CHECK_EXTENSION, 6), 1);
  syscalls_.Close(fd);
  EXPECT_THAT(
      recording->Calls(),
      ElementsAre(
          AllOf(Field(&TracedCall::call, "open"), Field(&TracedCall::object, "/dev/vfio/9"),
                Field(&TracedCall::result, -ENOENT)),
          Field(&TracedCall::result, fd),
          AllOf(Field(&TracedCall::operation, "VFIO_CHECK_EXTENSION(6)"),
                Field(&TracedCall::object, "/dev/vfio/vfio"), Field(&TracedCall::argument, ""),
                Field(&TracedCall::result, 1)),
          AllOf(Field(&TracedCall::call, "close"), Field(&TracedCall::object, "/dev/vfio/vfio"))));
}

TEST_F(TracingSyscallsTest, StructIsRecordedBeforeAndAfter) {
  const int fd = syscalls_.Open("/dev/vfio/1", O_RDWR);
  const auto recording = syscalls_.Record(10);
  uapi::vfio_group_status status = {};
  status.argsz = sizeof(status);
  ASSERT_EQ(syscalls_.IoctlPointer(fd, uapi::VFIO_GROUP_GET_STATUS, &status), 0);
  ASSERT_THAT(recording->Calls(), SizeIs(1));
  const TracedCall call = recording->Calls()[0];
  EXPECT_EQ(call.argument, std::string({8, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(call.reply, std::string({8, 0, 0, 0, uapi::VFIO_GROUP_FLAGS_VIABLE, 0, 0, 0}));
  syscalls_.Close(fd);
}

TEST_F(TracingSyscallsTest, RecordingHearsOnlyWhatHappensInItsLife) {
  std::string content;
  syscalls_.ReadFile("/proc/cmdline", &content);
  auto first = syscalls_.Record(10);
  syscalls_.ReadFile("/proc/cmdline", &content);
  const auto second = syscalls_.Record(10);
  syscalls_.ReadFile("/proc/cpuinfo", &content);
  EXPECT_THAT(first->Calls(), SizeIs(2));
  EXPECT_THAT(second->Calls(), ElementsAre(AllOf(Field(&TracedCall::object, "/proc/cpuinfo"),
                                                 Field(&TracedCall::reply, content))));
}

TEST_F(TracingSyscallsTest, CallsBeyondTheLimitAreCounted) {
  const auto recording = syscalls_.Record(1);
  std::string target;
  for (int i = 0; i < 3; ++i) syscalls_.Readlink("/nowhere", &target);
  EXPECT_THAT(recording->Calls(), SizeIs(1));
  EXPECT_EQ(recording->dropped(), 2u);
}

TEST(IoctlDescriptionTest, OperationIsNamedFromTheStruct) {
  uapi::vfio_iommu_type1_nesting_op operation = {sizeof(operation),
                                                 uapi::VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL};
  const auto argument = reinterpret_cast<uint64_t>(&operation);
  EXPECT_EQ(IoctlName(uapi::VFIO_IOMMU_NESTING_OP, argument),
            "VFIO_IOMMU_NESTING_OP(UNBIND_PGTBL)");
  EXPECT_THAT(IoctlArgument(uapi::VFIO_IOMMU_NESTING_OP, argument), SizeIs(8));
  operation.flags = 9;
  EXPECT_EQ(IoctlName(uapi::VFIO_IOMMU_NESTING_OP, argument), "VFIO_IOMMU_NESTING_OP(9)");
}

TEST(IoctlDescriptionTest, StructOfNoSizeShowsItsHeaderOnly) {
  const uint64_t too_small[2] = {};
  EXPECT_THAT(IoctlArgument(uapi::VFIO_IOMMU_PASID_REQUEST, reinterpret_cast<uint64_t>(&too_small)),
              SizeIs(8));
}

TEST(IoctlDescriptionTest, TextEndsAtItsEnd) {
  const char name[] = "0000:01:00.0";
  EXPECT_EQ(IoctlArgument(uapi::VFIO_GROUP_GET_DEVICE_FD, reinterpret_cast<uint64_t>(name)), name);
}

TEST(IoctlDescriptionTest, DeviceFilesAreToldFromTheSeriesByTheirStructs) {
  const auto name = [](uint32_t request, const auto& argument) {
    return IoctlName(request, reinterpret_cast<uint64_t>(&argument));
  };
  uapi::vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  EXPECT_EQ(name(0x3b76, bind), "VFIO_DEVICE_BIND_IOMMUFD");
  bind.argsz = uapi::VFIO_DEVICE_BIND_MIN_SIZE;
  EXPECT_EQ(name(0x3b76, bind), "VFIO_DEVICE_BIND_IOMMUFD");
  const uapi::vfio_iommu_type1_pasid_request request = {
      .argsz = sizeof(request), .flags = uapi::VFIO_IOMMU_FLAG_ALLOC_PASID, .range = {1, 2}};
  EXPECT_EQ(name(0x3b76, request), "VFIO_IOMMU_PASID_REQUEST(ALLOC)");
  uapi::vfio_device_attach_iommufd_pt attach = {
      .argsz = sizeof(attach), .flags = uapi::VFIO_DEVICE_ATTACH_PASID, .pt_id = 4, .pasid = 100};
  EXPECT_EQ(name(0x3b77, attach), "VFIO_DEVICE_ATTACH_IOMMUFD_PT(PASID 100)");
  attach = {.argsz = uapi::VFIO_DEVICE_ATTACH_MIN_SIZE, .flags = 0, .pt_id = 3, .pasid = 0};
  EXPECT_EQ(name(0x3b77, attach), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
  const uapi::vfio_device_detach_iommufd_pt detach = {
      .argsz = sizeof(detach), .flags = uapi::VFIO_DEVICE_DETACH_PASID, .pasid = 7};
  EXPECT_EQ(name(0x3b78, detach), "VFIO_DEVICE_DETACH_IOMMUFD_PT(PASID 7)");
}

TEST(IoctlDescriptionTest, StructOfIommufdIsAsLongAsItSays) {
  const uapi::iommu_destroy destroy = {.size = sizeof(destroy), .id = 4};
  const auto argument = reinterpret_cast<uint64_t>(&destroy);
  EXPECT_EQ(IoctlName(uapi::IOMMU_DESTROY, argument), "IOMMU_DESTROY");
  EXPECT_THAT(IoctlArgument(uapi::IOMMU_DESTROY, argument), SizeIs(8));
}

TEST(IoctlDescriptionTest, UnknownNumberIsNotLookedInto) {
  EXPECT_EQ(IoctlName(0x1234, 1), "ioctl 0x1234");
  EXPECT_THAT(IoctlArgument(0x1234, 1), IsEmpty());
}

}  // namespace
}  // namespace nestor::kernel
