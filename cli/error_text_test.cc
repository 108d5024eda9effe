#include "cli/error_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/support/errors.h"
#include "cli/exit_code.h"

namespace nestor::cli {
namespace {

constexpr char kServer[] = "unix:/s";

TEST(ErrorText, InvalidFieldsAreListedWithTheirPlaceInTheManifest) {
  FieldViolations violations;
  violations.Add("pasid_bindings[1].spec.page_table.root", "must be a multiple of 4096");
  violations.Add("virtual_machine.name", "is required");
  const std::string text =
      ErrorText("apply demo/web-1", violations.ToStatus(), kServer, [](absl::string_view field) {
        return field == "virtual_machine.name" ? "" : "sva-4 at fleet.yaml:40";
      });
  EXPECT_EQ(text,
            "error: cannot apply demo/web-1: the server refused it\n"
            "  field:   pasid_bindings[1].spec.page_table.root: must be a multiple of 4096 "
            "(sva-4 at fleet.yaml:40)\n"
            "  field:   virtual_machine.name: is required\n"
            "  reason:  INVALID_ARGUMENT FIELD_INVALID\n"
            "  next:    correct the fields named above and try again\n");
}

TEST(ErrorText, MissingResourceSaysHowToListWhatExists) {
  EXPECT_EQ(ErrorText("get x", errors::NotFound("hosts/x"), kServer),
            "error: cannot get x: hosts/x does not exist\n"
            "  reason:  NOT_FOUND\n"
            "  next:    `nestorctl get hosts` shows what exists\n");
}

TEST(ErrorText, NextCommandNamesTheResource) {
  const std::string name = "projects/demo/virtualMachines/web-1";
  EXPECT_THAT(
      ErrorText("apply it", errors::Deleting(name), "unix:/s"),
      ::testing::HasSubstr("`nestorctl wait projects/demo/virtualMachines/web-1 --for absent`"));
}

TEST(ErrorText, UnreachableServerIsNamed) {
  EXPECT_EQ(ErrorText("list hosts", absl::UnavailableError("refused"), kServer),
            "error: cannot list hosts: refused\n"
            "  reason:  UNAVAILABLE\n"
            "  next:    check that nestor-server runs and listens on unix:/s; --server or "
            "NESTOR_SERVER names another\n");
}

TEST(ErrorText, DisagreementAboutTlsIsToldFromAnAbsentServer) {
  for (const char* last : {"Tls handshake failed: certificate verify failed", "Socket closed"}) {
    const auto refused = absl::UnavailableError(
        std::string("failed to connect to all addresses; last error: ") + last);
    EXPECT_THAT(ErrorText("list hosts", refused, kServer),
                ::testing::HasSubstr("  next:    check that nestor-server speaks TLS on unix:/s"));
  }
}

TEST(ErrorText, FullQueueSaysWhenToRetry) {
  EXPECT_THAT(ErrorText("apply x", errors::QueueFull("commits", absl::Seconds(2)), kServer),
              ::testing::HasSubstr("  retry:   after 2s\n"));
}

TEST(ErrorText, MessageOfTheServerCannotSteerTheTerminal) {
  const std::string text = ErrorText("get x", absl::InternalError("a\x1b[2J\nb"), kServer);
  EXPECT_THAT(text, ::testing::StartsWith("error: cannot get x: a\\x1b[2J\n  b\n"));
}

TEST(ExitCode, TellsFailuresApart) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), ExitCode::kOk);
  EXPECT_EQ(ExitCodeOf(errors::NotFound("hosts/x")), ExitCode::kNotFound);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), ExitCode::kUnreachable);
  EXPECT_EQ(ExitCodeOf(errors::WaitTimeout("x", "why")), ExitCode::kWaitTimeout);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), ExitCode::kFailed);
}

}  // namespace
}  // namespace nestor::cli
