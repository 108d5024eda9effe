#include "agent/kernel/linux_device_events.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace nestor::kernel {
namespace {

using namespace std::string_literals;  // NOLINT: for zero bytes inside

TEST(LinuxDeviceEventsTest, OnlyMessagesOfThePciBusCount) {
  EXPECT_TRUE(LinuxDeviceEvents::IsAboutPci(
      "remove@/devices/pci0000:00/0000:00:04.0\0ACTION=remove\0SUBSYSTEM=pci\0SEQNUM=7\0"s));
  EXPECT_FALSE(LinuxDeviceEvents::IsAboutPci(
      "add@/devices/pci0000:00/0000:00:04.0/net/eth0\0ACTION=add\0SUBSYSTEM=net\0"s));
  EXPECT_FALSE(LinuxDeviceEvents::IsAboutPci(""));
}

TEST(LinuxDeviceEventsTest, InterruptEndsAWaitThatRunsAndOneThatFollows) {
  LinuxDeviceEvents events;
  const absl::Time start = absl::Now();
  std::thread other([&] { events.Interrupt(); });
  events.Wait(absl::Minutes(10));
  other.join();
  events.Interrupt();
  events.Wait(absl::Minutes(10));
  EXPECT_LT(absl::Now() - start, absl::Minutes(1));
}

TEST(LinuxDeviceEventsTest, WaitEndsWithItsTime) {
  LinuxDeviceEvents events;
  events.Wait(absl::Milliseconds(1));
}

}  // namespace
}  // namespace nestor::kernel
