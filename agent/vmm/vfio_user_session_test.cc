#include "agent/vmm/vfio_user_session.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cerrno>
#include <filesystem>

#include "agent/core/kernel_error.h"
#include "agent/vmm/fake_shim.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using vfio_user::Command;
using vfio_user::DecodePayload;
using vfio_user::EncodePayload;

constexpr uint32_t kReadWrite = vfio_user::kDmaReadable | vfio_user::kDmaWriteable;

FileDescriptor Memory(uint64_t size) {
  FileDescriptor memory(memfd_create("ram", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(memory.get(), static_cast<off_t>(size)), 0);
  return memory;
}

size_t OpenDescriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(fds), end(fds)));
}

// What came back: errno 0 and the payload, or the errno.
struct Reply {
  uint32_t error = 0;
  std::string payload;
};

class VfioUserSessionTest : public testing::Test {
 protected:
  absl::StatusOr<std::string> Raw(uint16_t command, std::string payload, uint32_t flags = 0,
                                  std::vector<FileDescriptor> fds = {}) {
    const auto size = static_cast<uint32_t>(sizeof(vfio_user::Header) + payload.size());
    return session_.Handle({{.message_id = 1, .command = command, .size = size, .flags = flags},
                            std::move(payload),
                            std::move(fds)});
  }

  Reply Ask(Command command, std::string payload, FileDescriptor fd = FileDescriptor()) {
    std::vector<FileDescriptor> fds;
    if (fd.valid()) fds.push_back(std::move(fd));
    const auto bytes = Raw(static_cast<uint16_t>(command), std::move(payload), 0, std::move(fds));
    if (!bytes.ok()) {
      ADD_FAILURE() << bytes.status();
      return {};
    }
    const auto header = vfio_user::DecodeHeader(*bytes);
    EXPECT_EQ(header->size, bytes->size());
    return {header->error, bytes->substr(sizeof(vfio_user::Header))};
  }

  void Connect() { ASSERT_EQ(Ask(Command::kVersion, vfio_user::EncodeVersion({})).error, 0u); }

  uint32_t Map(uint64_t address, uint64_t size, FileDescriptor fd, uint32_t flags = kReadWrite,
               uint64_t offset = 0) {
    return Ask(Command::kDmaMap,
               EncodePayload(vfio_user::DmaMap{.argsz = 32,
                                               .flags = flags,
                                               .offset = offset,
                                               .address = address,
                                               .size = size}),
               std::move(fd))
        .error;
  }

  uint32_t Unmap(uint64_t address, uint64_t size, uint32_t flags = 0) {
    return Ask(Command::kDmaUnmap,
               EncodePayload(vfio_user::DmaUnmap{
                   .argsz = 24, .flags = flags, .address = address, .size = size}))
        .error;
  }

  Reply Access(Command command, uint64_t offset, uint32_t region, uint32_t count,
               const std::string& data = "") {
    return Ask(command, EncodePayload(vfio_user::RegionAccess{offset, region, count}) + data);
  }

  const std::shared_ptr<FakeShim> shim_ = std::make_shared<FakeShim>();
  VfioUserSession session_{shim_, "0000:01:00.0"};
};

TEST_F(VfioUserSessionTest, AnythingBeforeVersionEndsTheConnection) {
  EXPECT_EQ(Raw(13, "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(shim_->calls(), IsEmpty());
}

TEST_F(VfioUserSessionTest, ReplyEndsTheConnection) {
  Connect();
  EXPECT_EQ(Raw(13, "", vfio_user::kTypeReply).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(VfioUserSessionTest, VersionConnectsTheMonitorOnce) {
  Connect();
  EXPECT_EQ(Ask(Command::kVersion, vfio_user::EncodeVersion({})).error, 22u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect"));
}

TEST_F(VfioUserSessionTest, MonitorThatTheShimRefusesIsNotConnected) {
  shim_->Answer("connect", absl::FailedPreconditionError("not attached"));
  EXPECT_EQ(Ask(Command::kVersion, vfio_user::EncodeVersion({})).error,
            static_cast<uint32_t>(EBUSY));
  EXPECT_FALSE(Raw(13, "").ok());
}

TEST(VfioUserSessionEndTest, OnlyAConnectedMonitorDisconnects) {
  const auto shim = std::make_shared<FakeShim>();
  { VfioUserSession session(shim, "0000:01:00.0"); }
  EXPECT_THAT(shim->calls(), IsEmpty());
  {
    VfioUserSession session(shim, "0000:01:00.0");
    const std::string payload = vfio_user::EncodeVersion({});
    ASSERT_TRUE(session.Handle({{.command = 1}, payload, {}}).ok());
  }
  EXPECT_THAT(shim->calls(), ElementsAre("connect", "disconnect"));
}

TEST_F(VfioUserSessionTest, UnknownCommandsAreNotSupported) {
  Connect();
  for (const uint16_t command : {0, 6, 11, 12, 14, 15, 16, 17, 18, 0xffff}) {
    const auto reply = Raw(command, std::string(64, 'x'));
    ASSERT_TRUE(reply.ok());
    EXPECT_EQ(vfio_user::DecodeHeader(*reply)->error, static_cast<uint32_t>(EOPNOTSUPP)) << command;
  }
}

TEST_F(VfioUserSessionTest, EveryCommandRefusesAPayloadCutShort) {
  Connect();
  for (const Command command :
       {Command::kDmaMap, Command::kDmaUnmap, Command::kDeviceGetInfo,
        Command::kDeviceGetRegionInfo, Command::kDeviceGetIrqInfo, Command::kDeviceSetIrqs,
        Command::kRegionRead, Command::kRegionWrite}) {
    EXPECT_EQ(Ask(command, std::string(11, '\0')).error, static_cast<uint32_t>(EINVAL))
        << static_cast<int>(command);
  }
}

TEST_F(VfioUserSessionTest, MemoryWithADescriptorGoesToTheShim) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x2000, Memory(0x8000), kReadWrite, 0x6000), 0u);
  EXPECT_EQ(Unmap(0x1000, 0x2000), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x2000", "unmap 0x1000+0x2000"));
}

TEST_F(VfioUserSessionTest, MemoryThatCannotBeMappedIsRememberedOnly) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x1000, FileDescriptor()), 0u) << "no descriptor";
  EXPECT_EQ(Map(0x2000, 0x1000, Memory(0x1000), vfio_user::kDmaReadable), 0u) << "read-only";
  EXPECT_EQ(Map(0x3000, 0x1000, Memory(0x1000), kReadWrite | vfio_user::kDmaFdForReadWrite), 0u)
      << "not for mmap";
  EXPECT_EQ(Map(0x1000, 0x1000, FileDescriptor()), static_cast<uint32_t>(EEXIST));
  EXPECT_EQ(Unmap(0x1000, 0x3000), 0u);
  EXPECT_EQ(Map(0x1000, 0x1000, FileDescriptor()), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect"));
}

TEST_F(VfioUserSessionTest, OverlapIsRefusedBeforeTheShimSeesIt) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x2000, Memory(0x2000)), 0u);
  EXPECT_EQ(Map(0x2000, 0x2000, Memory(0x2000)), static_cast<uint32_t>(EEXIST));
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x2000"));
}

TEST_F(VfioUserSessionTest, MemoryPastTheEndOfItsFileIsRefused) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x2000, Memory(0x1000)), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000), kReadWrite, 0x1000), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x2000), kReadWrite, 0x800), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000), kReadWrite, ~uint64_t{0xfff}),
            static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Map(0x1000, 0x1000, FileDescriptor(eventfd(0, EFD_CLOEXEC))),
            static_cast<uint32_t>(EINVAL));
  EXPECT_THAT(shim_->calls(), ElementsAre("connect"));
}

TEST_F(VfioUserSessionTest, FailedMapAnswersTheKernelsErrnoAndWaitsForItsUnmap) {
  Connect();
  shim_->Answer("map", KernelErrorStatus({"VFIO_IOMMU_MAP_DMA", "0x1000", ENOSPC}));
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), static_cast<uint32_t>(ENOSPC));
  shim_->Answer("unmap", absl::NotFoundError("never got that far"));
  EXPECT_EQ(Unmap(0x1000, 0x1000), 0u);
  shim_->Answer("map", absl::OkStatus());
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x1000", "unmap 0x1000+0x1000",
                                          "map 0x1000+0x1000"));
}

TEST_F(VfioUserSessionTest, FailedUnmapKeepsThePiece) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), 0u);
  shim_->Answer("unmap", absl::InternalError("kernel"));
  EXPECT_EQ(Unmap(0x1000, 0x1000), static_cast<uint32_t>(EIO));
  shim_->Answer("unmap", absl::OkStatus());
  EXPECT_EQ(Unmap(0x1000, 0x1000), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x1000", "unmap 0x1000+0x1000",
                                          "unmap 0x1000+0x1000"));
}

TEST_F(VfioUserSessionTest, UnmapOfWhatWasNeverMappedSucceeds) {
  Connect();
  EXPECT_EQ(Unmap(0, uint64_t{1} << 47), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect"));
}

TEST_F(VfioUserSessionTest, UnmapTakesWholePiecesAndCutsNone) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x2000, Memory(0x2000)), 0u);
  EXPECT_EQ(Map(0x4000, 0x1000, Memory(0x1000)), 0u);
  EXPECT_EQ(Unmap(0x2000, 0x8000), static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Unmap(0, 0x8000), 0u);
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x2000", "map 0x4000+0x1000",
                                          "unmap 0x1000+0x2000", "unmap 0x4000+0x1000"));
}

TEST_F(VfioUserSessionTest, UnmapOfAllTakesEverything) {
  Connect();
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), 0u);
  EXPECT_EQ(Unmap(0, 0, vfio_user::kUnmapAll), 0u);
  EXPECT_EQ(Unmap(0x1000, 0x1000, vfio_user::kUnmapDirtyBitmap), static_cast<uint32_t>(EOPNOTSUPP));
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "map 0x1000+0x1000", "unmap 0x1000+0x1000"));
}

TEST_F(VfioUserSessionTest, UnmapReplyEchoesTheRequest) {
  Connect();
  const std::string request =
      EncodePayload(vfio_user::DmaUnmap{.argsz = 24, .address = 0x1000, .size = 0x1000});
  EXPECT_EQ(Ask(Command::kDmaUnmap, request).payload, request);
}

TEST_F(VfioUserSessionTest, DeviceIsAResettablePciDevice) {
  Connect();
  const Reply reply = Ask(Command::kDeviceGetInfo, EncodePayload(vfio_user::DeviceInfo()));
  const auto info = DecodePayload<vfio_user::DeviceInfo>(reply.payload);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->flags, vfio_user::kDevicePci | vfio_user::kDeviceResettable);
  EXPECT_EQ(info->num_regions, 9u);
  EXPECT_EQ(info->num_irqs, 5u);
}

TEST_F(VfioUserSessionTest, RegionsAreTrapped) {
  Connect();
  const auto describe = [&](uint32_t index) {
    return Ask(Command::kDeviceGetRegionInfo, EncodePayload(vfio_user::RegionInfo{.index = index}));
  };
  const auto bar = DecodePayload<vfio_user::RegionInfo>(describe(0).payload);
  ASSERT_TRUE(bar.ok());
  EXPECT_EQ(bar->size, 64u << 10);
  EXPECT_EQ(bar->flags, vfio_user::kRegionReadable | vfio_user::kRegionWriteable);
  EXPECT_EQ(bar->argsz, 32u);
  const auto none = DecodePayload<vfio_user::RegionInfo>(describe(3).payload);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->size, 0u);
  EXPECT_EQ(none->flags, 0u);
  EXPECT_EQ(describe(9).error, static_cast<uint32_t>(EINVAL));
}

TEST_F(VfioUserSessionTest, WhatIsWrittenIsReadBack) {
  Connect();
  EXPECT_EQ(Access(Command::kRegionWrite, 0x10, 0, 8, "12345678").error, 0u);
  const Reply reply = Access(Command::kRegionRead, 0x12, 0, 4);
  EXPECT_EQ(reply.payload.substr(sizeof(vfio_user::RegionAccess)), "3456");
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "write 0 0x10+8", "read 0 0x12+4"));
}

TEST_F(VfioUserSessionTest, AccessOutsideItsRegionIsRefused) {
  Connect();
  EXPECT_EQ(Access(Command::kRegionRead, 0xffff, 0, 2).error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionRead, ~uint64_t{0}, 0, 2).error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionRead, 0, 0, 0xffffffff).error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionRead, 0, 3, 1).error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionRead, 0, 0xffffffff, 1).error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionWrite, 0, 0, 8, "1234").error, static_cast<uint32_t>(EINVAL));
  EXPECT_EQ(Access(Command::kRegionWrite, 0, 0, 2, "1234").error, static_cast<uint32_t>(EINVAL));
  EXPECT_THAT(shim_->calls(), ElementsAre("connect"));
}

TEST_F(VfioUserSessionTest, DeviceThatFailsReadsAsAllOnes) {
  Connect();
  shim_->Answer("read", absl::InternalError("device is gone"));
  const Reply reply = Access(Command::kRegionRead, 0, 0, 4);
  EXPECT_EQ(reply.error, 0u);
  EXPECT_EQ(reply.payload.substr(sizeof(vfio_user::RegionAccess)), "\xff\xff\xff\xff");
}

TEST_F(VfioUserSessionTest, PostedWriteGetsNoReplyEvenWhenItFails) {
  Connect();
  const std::string write = EncodePayload(vfio_user::RegionAccess{0, 0, 4}) + "1234";
  EXPECT_EQ(Raw(10, write, vfio_user::kNoReply).value(), "");
  shim_->Answer("write", absl::InternalError("device is gone"));
  EXPECT_EQ(Raw(10, write, vfio_user::kNoReply).value(), "");
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "write 0 0x0+4", "write 0 0x0+4"));
}

TEST_F(VfioUserSessionTest, InterruptsOfQemusStartAreAccepted) {
  Connect();
  for (const uint32_t index : {0, 3}) {  // INTx, ERR
    const vfio_user::SetIrqs request{
        .flags = vfio_user::kIrqDataEventfd | vfio_user::kIrqActionTrigger,
        .index = index,
        .count = 1};
    EXPECT_EQ(Ask(Command::kDeviceSetIrqs, EncodePayload(request),
                  FileDescriptor(eventfd(0, EFD_CLOEXEC)))
                  .error,
              0u);
  }
  EXPECT_EQ(session_.eventfds(), 2u);
}

TEST_F(VfioUserSessionTest, InterruptIndexesHaveNoVectors) {
  Connect();
  const auto describe = [&](uint32_t index) {
    return Ask(Command::kDeviceGetIrqInfo, EncodePayload(vfio_user::IrqInfo{.index = index}));
  };
  const auto msix = DecodePayload<vfio_user::IrqInfo>(describe(2).payload);
  ASSERT_TRUE(msix.ok());
  EXPECT_EQ(msix->index, 2u);
  EXPECT_EQ(msix->count, 0u);
  EXPECT_EQ(describe(5).error, static_cast<uint32_t>(EINVAL));
}

TEST_F(VfioUserSessionTest, ResetGoesToTheShim) {
  Connect();
  EXPECT_EQ(Ask(Command::kDeviceReset, "").error, 0u);
  shim_->Answer("reset", absl::InternalError("device is gone"));
  EXPECT_EQ(Ask(Command::kDeviceReset, "").error, static_cast<uint32_t>(EIO));
  EXPECT_THAT(shim_->calls(), ElementsAre("connect", "reset", "reset"));
}

TEST_F(VfioUserSessionTest, DescriptorsThatNobodyWantsAreClosed) {
  Connect();
  const size_t before = OpenDescriptors();
  for (const uint16_t command : {2, 3, 4, 8, 9, 13, 99}) {
    std::vector<FileDescriptor> fds;
    fds.reserve(3);
    for (int i = 0; i < 3; ++i) fds.push_back(Memory(0x1000));
    EXPECT_TRUE(Raw(command, std::string(32, '\0'), 0, std::move(fds)).ok());
  }
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), 0u);
  EXPECT_EQ(Map(0x1000, 0x1000, Memory(0x1000)), static_cast<uint32_t>(EEXIST));
  EXPECT_EQ(OpenDescriptors(), before);
}

}  // namespace
}  // namespace nestor::agent
