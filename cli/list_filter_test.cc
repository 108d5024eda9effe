#include "cli/list_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;

TEST(ListFilter, ConditionsAreJoined) {
  ListConditions conditions;
  conditions.filter = "state!=UNKNOWN";
  conditions.host = "hosts/host-a";
  conditions.device = "0000:01:00.0";
  conditions.state = "programmed";
  conditions.selectors = {"tier=web,zone!=b", "rack=7"};
  EXPECT_EQ(*ListFilter(Kind::kPasidBinding, conditions),
            "state!=UNKNOWN AND host=host-a AND device=0000:01:00.0 AND state=PROGRAMMED AND "
            "label.tier=web AND label.zone!=b AND label.rack=7");
  EXPECT_EQ(*ListFilter(Kind::kPasidBinding, {}), "");
}

TEST(ListFilter, ConditionsThatAKindDoesNotHaveAreRefused) {
  ListConditions device;
  device.device = "0000:01:00.0";
  EXPECT_THAT(ListFilter(Kind::kHost, device).status().message(), HasSubstr("--device"));
  ListConditions state;
  state.state = "programmed";
  EXPECT_THAT(ListFilter(Kind::kDevice, state).status().message(), HasSubstr("--state"));
  EXPECT_THAT(ListFilter(Kind::kHost, state).status().message(),
              HasSubstr("unknown state \"programmed\"; known are NEVER_SEEN, CONNECTED, UNKNOWN"));
}

TEST(ListFilter, MalformedSelectorsAreRefused) {
  for (const char* selector : {"tier", "=web", "!=web", ""}) {
    ListConditions conditions;
    conditions.selectors = {selector};
    EXPECT_THAT(ListFilter(Kind::kHost, conditions).status().message(), HasSubstr("KEY=VALUE"))
        << selector;
  }
}

}  // namespace
}  // namespace nestor::cli
