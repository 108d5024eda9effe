#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_join.h"
#include "tests/simulation/cluster.h"

namespace nestor::simulation {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

std::string EndOfTrace(const RunResult& result) {
  std::deque<std::string> lines = result.trace;
  while (lines.size() > 60) lines.pop_front();
  return absl::StrJoin(lines, "\n");
}

TEST(SimulationTest, ClusterSurvivesItsFaults) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const RunResult result = RunSeed(seed);
    ASSERT_THAT(result.violation, IsEmpty()) << "seed " << seed << "\n" << EndOfTrace(result);
  }
}

TEST(SimulationTest, SeedReplaysExactly) {
  for (const uint64_t seed : {3u, 14u, 15u}) {
    EXPECT_EQ(RunSeed(seed).digest, RunSeed(seed).digest) << seed;
  }
}

class FlawTest : public ::testing::TestWithParam<FlawName> {};

TEST_P(FlawTest, IsFound) {
  std::string violation;
  for (uint64_t seed = 1; seed <= 150 && violation.empty(); ++seed) {
    violation = RunSeed(seed, GetParam().flaw).violation;
  }
  EXPECT_THAT(violation, Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(Flaws, FlawTest, ::testing::ValuesIn(kFlaws),
                         [](const ::testing::TestParamInfo<FlawName>& flaw) {
                           std::string name(flaw.param.name);
                           for (char& letter : name) {
                             if (letter == '-') letter = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace nestor::simulation
