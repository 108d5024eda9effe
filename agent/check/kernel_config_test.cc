#include "agent/check/kernel_config.h"

#include <zlib.h>

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

std::map<std::string, v1::KernelOption::Value> Values(
    const std::vector<v1::KernelOption>& options) {
  std::map<std::string, v1::KernelOption::Value> values;
  for (const v1::KernelOption& option : options) values[option.name()] = option.value();
  return values;
}

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  std::string input = text;
  stream.next_in = reinterpret_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

TEST(ParseKernelConfigTest, TellsBuiltInFromModuleFromOff) {
  const auto values = Values(
      ParseKernelConfig("#\n# Automatically generated\nCONFIG_VFIO=m\nCONFIG_INTEL_IOMMU=y\n"
                        "# CONFIG_VFIO_PCI is not set\nCONFIG_CMDLINE=\"CONFIG_PCI_PASID=y\"\n",
                        "type1"));
  EXPECT_THAT(values, AllOf(Contains(Pair("CONFIG_VFIO", v1::KernelOption::VALUE_MODULE)),
                            Contains(Pair("CONFIG_INTEL_IOMMU", v1::KernelOption::VALUE_BUILT_IN)),
                            Contains(Pair("CONFIG_VFIO_PCI", v1::KernelOption::VALUE_OFF)),
                            Contains(Pair("CONFIG_PCI_PASID", v1::KernelOption::VALUE_OFF))));
}

TEST(ParseKernelConfigTest, EachInterfaceNeedsItsOwn) {
  const auto values = Values(ParseKernelConfig("CONFIG_IOMMUFD=y\n", "iommufd"));
  EXPECT_THAT(values, AllOf(Contains(Pair("CONFIG_IOMMUFD", v1::KernelOption::VALUE_BUILT_IN)),
                            Contains(Pair("CONFIG_VFIO_DEVICE_CDEV", v1::KernelOption::VALUE_OFF)),
                            Not(Contains(Key("CONFIG_VFIO_PASID")))));
}

TEST(ParseKernelConfigTest, LongerNameIsAnotherOption) {
  const auto values = Values(ParseKernelConfig("CONFIG_VFIO_PCI_CORE=y\n", "type1"));
  EXPECT_THAT(values, Each(Pair(testing::_, v1::KernelOption::VALUE_OFF)));
}

TEST(GunzipTest, UnpacksWhatWasPacked) {
  const std::string text(100'000, 'x');
  EXPECT_EQ(Gunzip(Gzip(text)).value(), text);
}

TEST(GunzipTest, AnythingElseIsDataLoss) {
  const std::string packed = Gzip("CONFIG_VFIO=y\n");
  const std::string bomb = Gzip(std::string(9 << 20, '\0'));
  for (const std::string& bad : {std::string(), std::string("CONFIG_VFIO=y\n"),
                                 packed.substr(0, packed.size() - 1), packed.substr(1), bomb}) {
    EXPECT_TRUE(absl::IsDataLoss(Gunzip(bad).status())) << bad.size();
  }
}

}  // namespace
}  // namespace nestor::agent
