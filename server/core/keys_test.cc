#include "server/core/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestor::server::keys {
namespace {

TEST(Keys, EveryKeyThatIsMadeIsOne) {
  const VirtualMachineName machine{"p", "v"};
  const PasidBindingName binding{"p", "v", "b"};
  for (const std::string& key :
       {Host("h.example"), HostObserved("h"), HostEvents("h"), DeviceObserved("h", "0000:3b:00.0"),
        VirtualMachine(machine), VirtualMachineObserved(machine), PasidBinding(binding),
        PasidBindingObserved(binding), PasidClaim("h", "0000:3b:00.0", 1),
        DeviceClaim("h", "0000:3b:00.0"), Epoch("h"), Request("p", "id")}) {
    EXPECT_TRUE(IsKey(key)) << key;
  }
}

TEST(Keys, OtherFormsAreNone) {
  for (const char* key :
       {"", "h", "h/", "h/H", "od/h", "od/h/0000:3b:00.8", "od/H/0000:3b:00.0",
        "d/h/0000:3b:00.0/1", "v/p", "v/p/v/b", "v/p/-v", "b/p/v", "b/p/v/b/c", "b/p/v/B",
        "ob/p//b", "p/h/0000:3b:00.0", "p/h/0000:3b:00.0/x", "r/id", "x/h"}) {
    EXPECT_FALSE(IsKey(key)) << key;
  }
}

TEST(Keys, NamesComeBackFromTheirKeys) {
  EXPECT_EQ(VirtualMachineNameOf("p/v"), "projects/p/virtualMachines/v");
  EXPECT_EQ(PasidBindingNameOf("p/v/b"), "projects/p/virtualMachines/v/pasidBindings/b");
  EXPECT_EQ(VirtualMachineNameOf("p/v/b"), "");
  EXPECT_EQ(PasidBindingNameOf("p/v"), "");
}

TEST(Keys, PartsOfAPasidClaimComeBackFromItsKey) {
  const std::string key = PasidClaim("h", "0000:3b:00.0", 0xfffff);
  const auto parts = ParsePasidClaim(key);
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(key, "p/h/0000:3b:00.0/000fffff");
  EXPECT_EQ(parts->host, "h");
  EXPECT_EQ(parts->bdf, "0000:3b:00.0");
  EXPECT_EQ(parts->pasid, 0xfffffu);
}

}  // namespace
}  // namespace nestor::server::keys
