#include "agent/vmm/control_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "agent/core/kernel_error.h"
#include "agent/vmm/fake_shim.h"
#include "agent/vmm/nestor_control.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kDevice[] = "0000:01:00.0";

class ControlRequestTest : public ::testing::Test {
 protected:
  // A request with its header filled in.
  template <typename Request>
  static Request Make(uint16_t type) {
    Request request{};
    request.header.version = NESTOR_CONTROL_VERSION;
    request.header.type = type;
    request.header.size = sizeof(request);
    request.header.id = 17;
    return request;
  }
  static nestor_control_invalidate_request Invalidation() {
    auto request = Make<nestor_control_invalidate_request>(NESTOR_CONTROL_INVALIDATE);
    std::strcpy(request.bdf, kDevice);
    request.pasid = 7;
    return request;
  }
  // The one reply to a packet.
  std::string Ask(absl::string_view packet) {
    std::optional<std::string> reply;
    HandleControlRequest(packet, sockets_, shim_, [&](std::string message) {
      EXPECT_FALSE(reply.has_value()) << "answered twice";
      reply = std::move(message);
    });
    return reply.value_or("");
  }
  template <typename Request>
  std::string Ask(const Request& request) {
    return Ask(absl::string_view(reinterpret_cast<const char*>(&request), sizeof(request)));
  }
  // A part of a reply; zeros where it is too short.
  template <typename Part>
  static Part PartOf(const std::string& reply, size_t offset = 0) {
    Part part{};
    if (reply.size() >= offset + sizeof(part)) {
      std::memcpy(&part, reply.data() + offset, sizeof(part));
    }
    return part;
  }
  template <typename Request>
  uint32_t ErrorOf(const Request& request) {
    const auto result = PartOf<nestor_control_result>(Ask(request));
    EXPECT_EQ(result.header.size, sizeof(result));
    return result.header.error;
  }

  FakeShim shim_;
  std::map<Bdf, std::string> sockets_ = {{kDevice, "/run/v/0000:01:00.0.sock"}};
};

TEST_F(ControlRequestTest, VmInfoSaysWhatTheMachineIsAndHas) {
  ShimInventory inventory;
  inventory.virtual_machine.set_name("projects/p/virtualMachines/v");
  inventory.virtual_machine.set_vm_instance("boot-1");
  inventory.capabilities[kDevice] = {.granularity = NestGranularity::kPasid,
                                     .pasid_bits = 20,
                                     .address_width = 48,
                                     .five_level = true,
                                     .reason = "",
                                     .message = ""};
  v1::Result& waiting = inventory.bindings.emplace_back();
  waiting.set_uid("b-uid");
  waiting.set_outcome(v1::Result::OUTCOME_ACCEPTED);
  waiting.mutable_failure()->set_reason("WAITING_FOR_VMM");
  inventory.keys["b-uid"] = {kDevice, 7};
  shim_.SetInventory(inventory);

  const std::string reply = Ask(Make<nestor_control_vm_info_request>(NESTOR_CONTROL_VM_INFO));
  const auto info = PartOf<nestor_control_vm_info>(reply);
  EXPECT_EQ(info.header.type, NESTOR_CONTROL_VM_INFO | NESTOR_CONTROL_REPLY);
  EXPECT_EQ(info.header.id, 17u);
  EXPECT_EQ(info.header.size, reply.size());
  EXPECT_STREQ(info.vm_name, "projects/p/virtualMachines/v");
  EXPECT_STREQ(info.vm_instance, "boot-1");
  ASSERT_EQ(info.device_count, 1u);
  ASSERT_EQ(info.binding_count, 1u);
  const auto device = PartOf<nestor_control_device>(reply, sizeof(info));
  EXPECT_STREQ(device.bdf, kDevice);
  EXPECT_STREQ(device.socket, "/run/v/0000:01:00.0.sock");
  EXPECT_EQ(device.flags, NESTOR_CONTROL_DEVICE_ATTACHED | NESTOR_CONTROL_DEVICE_FIVE_LEVEL);
  EXPECT_EQ(device.nesting, static_cast<uint32_t>(NESTOR_CONTROL_NESTING_PASID));
  EXPECT_EQ(device.pasid_bits, 20u);
  const auto binding = PartOf<nestor_control_binding>(reply, sizeof(info) + info.device_size);
  EXPECT_STREQ(binding.bdf, kDevice);
  EXPECT_EQ(binding.pasid, 7u);
  EXPECT_EQ(binding.state, static_cast<uint32_t>(NESTOR_CONTROL_ACCEPTED));
  EXPECT_STREQ(binding.reason, "WAITING_FOR_VMM");
}

TEST_F(ControlRequestTest, MoreBindingsThanAMessageHoldsComeInSeveral) {
  constexpr uint32_t kBindings = 2000;
  ShimInventory inventory;
  for (uint32_t i = 0; i < kBindings; ++i) {
    inventory.bindings.emplace_back().set_uid(absl::StrFormat("uid-%d", i));
  }
  shim_.SetInventory(inventory);
  auto request = Make<nestor_control_vm_info_request>(NESTOR_CONTROL_VM_INFO);
  for (bool more = true; more;) {
    const std::string reply = Ask(request);
    EXPECT_LE(reply.size(), static_cast<size_t>(NESTOR_CONTROL_MAX_SIZE));
    const auto info = PartOf<nestor_control_vm_info>(reply);
    ASSERT_EQ(info.total_bindings, kBindings);
    more = info.binding_count > 0;
    if (!more) break;
    const auto first = PartOf<nestor_control_binding>(reply, sizeof(info) + info.device_size);
    EXPECT_EQ(first.uid, absl::StrFormat("uid-%d", request.first_binding));
    request.first_binding += info.binding_count;
  }
  EXPECT_EQ(request.first_binding, kBindings);
}

TEST_F(ControlRequestTest, InvalidationIsAnsweredWithWhatBecameOfIt) {
  auto request = Invalidation();
  request.address = 0x1000;
  request.size = 0x2000;
  EXPECT_EQ(ErrorOf(request), 0u);
  EXPECT_THAT(shim_.calls(), ElementsAre("invalidate 0000:01:00.0 7 0x1000+0x2000"));

  shim_.Answer("invalidate", KernelErrorStatus({"CACHE_INVALIDATE", "pasid 7", ENODEV}));
  EXPECT_EQ(ErrorOf(request), static_cast<uint32_t>(ENODEV));
  shim_.Answer("invalidate", absl::FailedPreconditionError("nothing is bound"));
  EXPECT_EQ(ErrorOf(request), static_cast<uint32_t>(ENOENT));
  shim_.Answer("invalidate", absl::ResourceExhaustedError("too many"));
  EXPECT_EQ(ErrorOf(request), static_cast<uint32_t>(EBUSY));
  shim_.Answer("invalidate", absl::UnavailableError("it has ended"));
  EXPECT_EQ(ErrorOf(request), static_cast<uint32_t>(ESHUTDOWN));
}

TEST_F(ControlRequestTest, WrongRequestsAreRefusedWithoutACall) {
  auto other_version = Invalidation();
  other_version.header.version = 2;
  EXPECT_EQ(ErrorOf(other_version), static_cast<uint32_t>(EPROTONOSUPPORT));
  auto unknown = Invalidation();
  unknown.header.type = 16;
  EXPECT_EQ(ErrorOf(unknown), static_cast<uint32_t>(EOPNOTSUPP));
  auto endless = Invalidation();
  std::memset(endless.bdf, 'x', sizeof(endless.bdf));
  EXPECT_EQ(ErrorOf(endless), static_cast<uint32_t>(EINVAL));
  auto wrong_size = Invalidation();
  wrong_size.header.size += 1;
  EXPECT_EQ(ErrorOf(wrong_size), static_cast<uint32_t>(EBADMSG));
  auto header_only = Invalidation().header;
  header_only.size = sizeof(header_only);
  EXPECT_EQ(ErrorOf(header_only), static_cast<uint32_t>(EBADMSG));
  EXPECT_EQ(PartOf<nestor_control_result>(Ask("")).header.error, static_cast<uint32_t>(EBADMSG));
  EXPECT_TRUE(shim_.calls().empty());
}

}  // namespace
}  // namespace nestor::agent
