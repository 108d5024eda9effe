#include "agent/vfio/preparation_record.h"

#include <fstream>

#include "agent/vfio/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nestor::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr char kDevice[] = "0000:3b:00.0";
const HostDriver kBefore = {"idxd", ""};

class PreparationRecordTest : public ::testing::Test {
 protected:
  PreparationRecord Open(const std::string& boot_id = "boot-1") {
    return PreparationRecord::Open(path_, boot_id).value();
  }

  const TestDirectory directory_;
  const std::string path_ = directory_.path() + "/run/prepared";
};

TEST_F(PreparationRecordTest, OutlivesItsWriter) {
  {
    PreparationRecord record = Open();
    EXPECT_TRUE(record.Put(kDevice, kBefore).ok());
    EXPECT_TRUE(record.Put("0000:3c:00.0", {"", "pci-stub"}).ok());
    EXPECT_TRUE(record.Put("0000:3d:00.0", kBefore).ok());
    EXPECT_TRUE(record.Remove("0000:3d:00.0").ok());
  }
  EXPECT_THAT(Open().entries(), ElementsAre(Pair(kDevice, kBefore),
                                            Pair("0000:3c:00.0", HostDriver{"", "pci-stub"})));
}

TEST_F(PreparationRecordTest, AnotherBootHasNothingToUndo) {
  EXPECT_TRUE(Open().Put(kDevice, kBefore).ok());
  EXPECT_THAT(Open("boot-2").entries(), IsEmpty());
  EXPECT_THAT(Open().entries(), IsEmpty());
}

TEST_F(PreparationRecordTest, UnfinishedFileIsNoEntry) {
  Open();
  std::ofstream(path_ + "/" + kDevice + ".new") << "boot_id boot-1\n";
  EXPECT_THAT(Open().entries(), IsEmpty());
}

TEST_F(PreparationRecordTest, ForeignFileIsNamed) {
  Open();
  std::ofstream(path_ + "/" + kDevice) << "something else\n";
  const absl::Status status = PreparationRecord::Open(path_, "boot-1").status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(kDevice));
}

TEST_F(PreparationRecordTest, DirectoryThatCannotBeMadeIsAnError) {
  std::ofstream(directory_.path() + "/run") << "in the way";
  EXPECT_TRUE(absl::IsFailedPrecondition(PreparationRecord::Open(path_, "boot-1").status()));
}

TEST_F(PreparationRecordTest, RemovingWhatIsNotThereIsNoError) {
  EXPECT_TRUE(Open().Remove(kDevice).ok());
}

}  // namespace
}  // namespace nestor::agent
