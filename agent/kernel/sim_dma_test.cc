// The whole way of a device's DMA: register, PASID, both stages, memory; and faults.

#include <sys/mman.h>

#include <optional>
#include <string>
#include <vector>

#include "agent/kernel/test_dma.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using ::testing::Optional;

TEST_F(SimDmaTest, DeviceReadsWhereTheGuestsTableSays) {
  EXPECT_EQ(ReadText(), "page of the first table");
  EXPECT_EQ(engine_.Get(kSimRegisterStatus), kSimStatusDone);
  EXPECT_EQ(kernel_.Statistics().dmas, 1U);
}

TEST_F(SimDmaTest, DeviceWritesWhereTheGuestsTableSays) {
  EXPECT_TRUE(engine_.Write(kPasid, kAddress + 8, "THE DEVICE"));
  EXPECT_EQ(ram_.Read(kPageA, 23), "page of THE DEVICEtable");
}

TEST_F(SimDmaTest, TransferCrossesPagesThatAreApart) {
  table_.Map(kAddress + 4096, kPageC, 1, kRights);
  ram_.Write(kPageA + 4096 - 5, "apart");
  ram_.Write(kPageC, " in memory");
  EXPECT_EQ(engine_.Read(kPasid, kAddress + 4096 - 5, 15), "apart in memory");
  EXPECT_TRUE(engine_.Write(kPasid, kAddress + 4096 - 2, "12345"));
  EXPECT_EQ(ram_.Read(kPageC, 3), "345");
}

TEST_F(SimDmaTest, WholeBufferCanBeMoved) {
  for (uint64_t page = 0; page < 8; ++page) {
    table_.Map(kAddress + page * 4096, kPageC + page * 8192, 1, kRights);
    ram_.Write(kPageC + page * 8192 + 4095, std::string(1, static_cast<char>('a' + page)));
  }
  const std::string text = engine_.Read(kPasid, kAddress, kSimDeviceBufferSize);
  ASSERT_EQ(text.size(), kSimDeviceBufferSize);
  for (uint64_t page = 0; page < 8; ++page) EXPECT_EQ(text[page * 4096 + 4095], 'a' + page);
}

TEST_F(SimDmaTest, UnboundPasidFaultsAtOnce) {
  ASSERT_EQ(ReadText(), "page of the first table");
  ASSERT_EQ(container_.Unbind(kPasid), 0);
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY);
  EXPECT_EQ(engine_.fault_address(), kAddress);
  EXPECT_EQ(engine_.Get(kSimRegisterFaultCount), 1U);
  EXPECT_EQ(kernel_.Statistics().faults, 1U);
  EXPECT_EQ(IotlbEntries(), 0);
}

TEST_F(SimDmaTest, FreedPasidFaultsAtOnce) {
  ASSERT_EQ(ReadText(), "page of the first table");
  ASSERT_EQ(container_.Free(kPasid), 0);
  EXPECT_EQ(ReadText(), "");
}

TEST_F(SimDmaTest, NewRootIsWalkedAfterRebinding) {
  ASSERT_EQ(ReadText(), "page of the first table");
  ASSERT_EQ(container_.Unbind(kPasid), 0);
  ASSERT_EQ(container_.Bind(kPasid, kOtherRoot), 0);
  EXPECT_EQ(ReadText(), "page of another table..");
}

TEST_F(SimDmaTest, PasidsHaveAddressSpacesOfTheirOwn) {
  ASSERT_EQ(container_.Allocate(6), 6);
  ASSERT_EQ(container_.Bind(6, kOtherRoot), 0);
  EXPECT_EQ(ReadText(), "page of the first table");
  EXPECT_EQ(engine_.Read(6, kAddress, 23), "page of another table..");
  ASSERT_EQ(container_.Unbind(6), 0);
  EXPECT_EQ(ReadText(), "page of the first table");
  EXPECT_EQ(engine_.Read(6, kAddress, 23), "");
}

TEST_F(SimDmaTest, SupervisorRequestsNeedSre) {
  EXPECT_EQ(engine_.Read(kPasid, kAddress, 4, /*privileged=*/true), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_PERMISSION);
  ASSERT_EQ(container_.Unbind(kPasid), 0);
  TestBind bind;
  bind.data.gpgd = kRoot;
  bind.data.vtd.flags = uapi::IOMMU_SVA_VTD_GPASID_SRE;
  ASSERT_EQ(container_.Bind(bind), 0);
  EXPECT_EQ(engine_.Read(kPasid, kAddress, 4, /*privileged=*/true), "page");
}

TEST_F(SimDmaTest, FiveLevelTableIsWalked) {
  TestPageTable deep(ram_, kRam + 0x80000, /*levels=*/5);
  const uint64_t address = uint64_t{1} << 52;
  deep.Map(address, kPageB, 1, kRights);
  ASSERT_EQ(container_.Unbind(kPasid), 0);
  ASSERT_EQ(container_.Bind(kPasid, deep.root(), 57), 0);
  EXPECT_EQ(engine_.Read(kPasid, address, 15), "page of another");
}

// Without a PASID.

TEST_F(SimDmaTest, RequestWithoutPasidGoesThroughStage2Alone) {
  EXPECT_EQ(engine_.Read(std::nullopt, kPageB, 15), "page of another");
  EXPECT_EQ(engine_.Read(0, kPageB, 15), "page of another");  // RID_PASID
  EXPECT_EQ(engine_.Read(std::nullopt, kAddress, 15), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_PTE_FETCH);
}

TEST_F(SimDmaTest, UnmappedMemoryIsOutOfReachAtOnce) {
  ASSERT_EQ(ReadText(), "page of the first table");
  ASSERT_EQ(engine_.Read(std::nullopt, kPageB, 4), "page");
  ASSERT_EQ(container_.Unmap(ram_.guest_address(), ram_.size()), static_cast<int64_t>(ram_.size()));
  EXPECT_EQ(IotlbEntries(), 0);
  EXPECT_EQ(engine_.Read(std::nullopt, kPageB, 4), "");
  EXPECT_EQ(ReadText(), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_WALK_EABT);
  ASSERT_EQ(container_.Map(ram_), 0);  // the binding stayed
  EXPECT_EQ(ReadText(), "page of the first table");
}

TEST_F(SimDmaTest, ReadOnlyStage2CannotBeWritten) {
  const TestRam rom(0x10000000, 4096);
  rom.Write(0x10000000, "firmware");
  ASSERT_EQ(container_.Map(rom.guest_address(), rom.size(), rom.user_address(),
                           uapi::VFIO_DMA_MAP_FLAG_READ),
            0);
  EXPECT_EQ(engine_.Read(std::nullopt, rom.guest_address(), 8), "firmware");
  EXPECT_FALSE(engine_.Write(std::nullopt, rom.guest_address(), "malware!"));
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_PERMISSION);
}

TEST_F(SimDmaTest, DeviceOfAnotherContainerReachesNothingOfThisOne) {
  TestContainer plain(*process_, 2);
  ASSERT_EQ(plain.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
  TestEngine engine(*process_, plain.OpenDevice("0000:02:00.0"));
  EXPECT_EQ(engine.Read(std::nullopt, kPageA, 4), "");
  EXPECT_EQ(engine.reason(), uapi::IOMMU_FAULT_REASON_PTE_FETCH);
  EXPECT_EQ(engine.Read(kPasid, kAddress, 4), "");
  EXPECT_EQ(engine.reason(), uapi::IOMMU_FAULT_REASON_BAD_PASID_ENTRY);
}

TEST_F(SimDmaTest, GroupThatLeavesTakesNoMappingFromTheOthers) {
  SimKernel kernel(DefaultSimMachine(2));
  const auto process = kernel.CreateProcess();
  TestContainer container(*process, 1);
  ASSERT_EQ(container.SetIommu(uapi::VFIO_TYPE1v2_IOMMU), 0);
  int fd = container.container();
  const int second = process->Open("/dev/vfio/2", O_RDWR);
  ASSERT_EQ(process->IoctlPointer(second, uapi::VFIO_GROUP_SET_CONTAINER, &fd), 0);
  ASSERT_EQ(container.Map(ram_), 0);
  TestEngine engine(*process, container.OpenDevice());
  ASSERT_EQ(process->Close(second), 0);
  EXPECT_EQ(engine.Read(std::nullopt, kPageB, 4), "page");
}

// Faults.

TEST_F(SimDmaTest, FaultInTheMiddleTellsThePageAndLeavesWhatWasCopied) {
  engine_.Write(kPasid, kAddress, std::string(4096, '.'));
  EXPECT_FALSE(engine_.Write(kPasid, kAddress + 4096 - 4, "copied and not"));
  EXPECT_EQ(engine_.fault_address(), kAddress + 4096);
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_PTE_FETCH);
  EXPECT_EQ(ram_.Read(kPageA + 4096 - 4, 4), "copi");
}

TEST_F(SimDmaTest, KernelRecordsEachFaultPrecisely) {
  table_.Map(kAddress, kPageA, 1, kTestPresent | kTestUser);
  EXPECT_FALSE(engine_.Write(kPasid, kAddress, "text"));
  const std::vector<SimFault> faults = kernel_.Faults();
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].bdf, "0000:01:00.0");
  EXPECT_THAT(faults[0].pasid, Optional(kPasid));
  EXPECT_EQ(faults[0].address, kAddress);
  EXPECT_EQ(faults[0].reason, uapi::IOMMU_FAULT_REASON_PERMISSION);
  EXPECT_TRUE(faults[0].access.write);
  EXPECT_EQ(*reinterpret_cast<uint64_t*>(ram_.At(faults[0].fetch_address)),
            *table_.Entry(kAddress, 1));
}

TEST_F(SimDmaTest, OnlyTheLatestFaultsAreKept) {
  for (size_t count = 0; count < SimIommu::kKeptFaults + 10; ++count) {
    engine_.Read(kPasid, 4096 * count, 1);
  }
  const std::vector<SimFault> faults = kernel_.Faults();
  ASSERT_EQ(faults.size(), SimIommu::kKeptFaults);
  EXPECT_EQ(faults.front().address, 4096U * 10);
  EXPECT_EQ(kernel_.Statistics().faults, SimIommu::kKeptFaults + 10);
}

TEST_F(SimDmaTest, PasidBeyondTheDevicesBitsIsInvalid) {
  SimMachine machine = DefaultSimMachine(1);
  machine.devices[0].pasid_bits = 16;
  SimKernel kernel(machine);
  const auto process = kernel.CreateProcess();
  TestContainer container = TestContainer::Nesting(*process);
  TestEngine engine(*process, container.OpenDevice());
  EXPECT_EQ(engine.Read(0x10000, kAddress, 1), "");
  EXPECT_EQ(engine.reason(), uapi::IOMMU_FAULT_REASON_PASID_INVALID);
}

TEST_F(SimDmaTest, MemoryThatItsOwnerUnmappedIsGone) {
  TestRam lost(0x20000000, 4096);
  ASSERT_EQ(container_.Map(lost), 0);
  munmap(reinterpret_cast<void*>(lost.user_address()), lost.size());
  EXPECT_EQ(engine_.Read(std::nullopt, lost.guest_address(), 1), "");
  EXPECT_EQ(engine_.reason(), uapi::IOMMU_FAULT_REASON_UNKNOWN);
}

// The device.

TEST_F(SimDmaTest, UnknownCommandAndTooLongATransferAreErrors) {
  EXPECT_EQ(engine_.Run(3, kPasid, kAddress, 1), kSimStatusError);
  EXPECT_EQ(engine_.Run(kSimCommandRead, kPasid, kAddress, kSimDeviceBufferSize + 1),
            kSimStatusError);
  EXPECT_EQ(engine_.Run(kSimCommandRead, kPasid, kAddress, 0), kSimStatusDone);
}

TEST_F(SimDmaTest, RegistersCanBeWrittenInHalves) {
  const auto write_half = [&](uint64_t offset, uint32_t value) {
    process_->Pwrite(container_.device(), &value, sizeof(value), offset);
  };
  write_half(kSimRegisterPasid, kSimPasidValid | kPasid);
  write_half(kSimRegisterAddress, static_cast<uint32_t>(kAddress));
  write_half(kSimRegisterAddress + 4, static_cast<uint32_t>(kAddress >> 32));
  write_half(kSimRegisterLength, 4);
  write_half(kSimRegisterCommand + 4, 0);  // the upper half starts nothing
  EXPECT_EQ(engine_.Get(kSimRegisterStatus), kSimStatusIdle);
  write_half(kSimRegisterCommand, kSimCommandRead);
  EXPECT_EQ(engine_.Get(kSimRegisterStatus), kSimStatusDone);
}

TEST_F(SimDmaTest, RegistersForReadingStay) {
  engine_.Set(kSimRegisterIdentification, 0);
  engine_.Set(kSimRegisterDmaCount, 99);
  EXPECT_EQ(engine_.Get(kSimRegisterIdentification), kSimDeviceIdentification);
  EXPECT_EQ(engine_.Get(kSimRegisterDmaCount), 0U);
}

TEST_F(SimDmaTest, ResetClearsTheDeviceAndNotItsBindings) {
  ASSERT_EQ(ReadText(), "page of the first table");
  ASSERT_EQ(process_->Ioctl(container_.device(), uapi::VFIO_DEVICE_RESET, 0), 0);
  EXPECT_EQ(engine_.Get(kSimRegisterStatus), kSimStatusIdle);
  EXPECT_EQ(engine_.Get(kSimDeviceBuffer), 0U);
  EXPECT_EQ(engine_.Get(kSimRegisterDmaCount), 1U);
  EXPECT_EQ(ReadText(), "page of the first table");
}

}  // namespace
}  // namespace nestor::kernel
