#include "api/support/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace nestor::log {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// Catches what the default logger writes.
class LogTest : public ::testing::Test {
 protected:
  LogTest() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out_)));
  }
  ~LogTest() override { spdlog::set_default_logger(before_); }

  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream out_;
};

TEST_F(LogTest, TextEndsWithTheFields) {
  Start(Format::kText, "info");
  Info({{"resource", "hosts/a"}, {"epoch", 7}, {"error", "not now"}}, "holds {} bindings", 3);
  EXPECT_THAT(out_.str(), MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z info holds 3 "
                                       "bindings resource=hosts/a epoch=7 error=\"not now\"\n"));
}

TEST_F(LogTest, EmptyFieldsAreLeftOut) {
  Start(Format::kText, "info");
  Info({{"error", ""}, {"epoch", 7}}, "done");
  EXPECT_THAT(out_.str(), testing::EndsWith("info done epoch=7\n"));
}

TEST_F(LogTest, JsonIsOneObjectALine) {
  Start(Format::kJson, "info");
  Warn({{"resource", "hosts/a"}, {"epoch", 7}}, "said \"{}\"\n", "no");
  const nlohmann::json line = nlohmann::json::parse(out_.str());
  EXPECT_EQ(line["level"], "warning");
  EXPECT_EQ(line["message"], "said \"no\"\n");
  EXPECT_EQ(line["resource"], "hosts/a");
  EXPECT_EQ(line["epoch"], 7);
}

TEST_F(LogTest, JsonStaysJsonWhateverIsLogged) {
  Start(Format::kJson, "info");
  Info({{"resource", "\xff\"\x01"}}, "{}", "\xc3\x28");
  EXPECT_TRUE(nlohmann::json::accept(out_.str())) << out_.str();
}

TEST_F(LogTest, BelowTheLevelNothingIsWritten) {
  Start(Format::kText, "warn");
  Info({}, "quiet");
  Error({}, "loud");
  EXPECT_THAT(out_.str(), HasSubstr("loud"));
  EXPECT_THAT(out_.str(), testing::Not(HasSubstr("quiet")));
}

}  // namespace
}  // namespace nestor::log
