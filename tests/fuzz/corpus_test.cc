// Every input of the corpus, once, in the ordinary builds: what fuzzing found stays mended.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_targets.h"

namespace nestor::fuzz {
namespace {

using Target = void (*)(absl::string_view bytes);

const std::map<std::string, Target>& Targets() {
  static const auto* const kTargets = new std::map<std::string, Target>{
      {"host_decision", FuzzHostDecision}, {"list_query", FuzzListQuery},
      {"manifest", FuzzManifest},          {"resource_name", FuzzResourceName},
      {"shim_core", FuzzShimCore},         {"sim_kernel", FuzzSimKernel},
      {"stored_row", FuzzStoredRow},       {"vfio_user", FuzzVfioUser},
  };
  return *kTargets;
}

std::filesystem::path Corpus() {
  return std::filesystem::path(NESTOR_SOURCE_DIR) / "tests" / "fuzz" / "corpus";
}

// "{target}/{file}" of each input, in order.
std::vector<std::string> Inputs() {
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Corpus())) {
    if (entry.is_regular_file()) {
      inputs.push_back(entry.path().lexically_relative(Corpus()).string());
    }
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

std::string ReadInput(const std::string& input) {
  std::ifstream file(Corpus() / input, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string CaseName(const ::testing::TestParamInfo<std::string>& input) {
  std::string name = input.param;
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

class FuzzCorpusTest : public ::testing::TestWithParam<std::string> {};

TEST_P(FuzzCorpusTest, BreaksNoPromise) {
  const auto target = Targets().find(GetParam().substr(0, GetParam().find('/')));
  ASSERT_NE(target, Targets().end());
  target->second(ReadInput(GetParam()));
  target->second(ReadInput(GetParam()));  // a second time: a target keeps nothing
}

INSTANTIATE_TEST_SUITE_P(All, FuzzCorpusTest, ::testing::ValuesIn(Inputs()), CaseName);

TEST(FuzzCorpus, EveryTargetHasInputs) {
  const std::vector<std::string> inputs = Inputs();
  for (const auto& [name, target] : Targets()) {
    EXPECT_THAT(inputs, ::testing::Contains(::testing::StartsWith(name + "/")));
  }
}

}  // namespace
}  // namespace nestor::fuzz
