#include "cli/commands/manifest_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class ManifestFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "nestor-manifests-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }

  std::istringstream in_;
  std::string directory_;
};

TEST_F(ManifestFilesTest, DirectoryStandsForItsManifestsInOrder) {
  Write("b.yaml", "kind: Host\nname: b\n");
  Write("a.json", R"({"kind": "Host", "name": "a"})");
  Write("c.txt", "not a manifest");
  auto manifest = ReadManifest({directory_}, in_, "default");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_THAT(manifest->hosts, SizeIs(2));
  EXPECT_EQ(manifest->hosts[0].origin, directory_ + "/a.json:1");
}

TEST_F(ManifestFilesTest, DashIsStandardInput) {
  in_.str("kind: Host\nname: a\n");
  auto manifest = ReadManifest({"-", Write("b.yaml", "kind: Host\nname: b\n")}, in_, "default");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->hosts, SizeIs(2));
}

TEST_F(ManifestFilesTest, WhatCannotBeReadIsNamed) {
  EXPECT_THAT(ReadManifest({directory_ + "/none"}, in_, "default").status().message(),
              HasSubstr("none: No such file or directory"));
  EXPECT_THAT(ReadManifest({directory_}, in_, "default").status().message(),
              HasSubstr("no *.yaml, *.yml or *.json file"));
}

TEST_F(ManifestFilesTest, EndlessInputIsRefused) {
  in_.str(std::string((16 << 20) + 1, '#'));
  EXPECT_THAT(ReadManifest({"-"}, in_, "default").status().message(),
              HasSubstr("larger than 16 MiB"));
}

}  // namespace
}  // namespace nestor::cli
