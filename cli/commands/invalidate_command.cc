#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "api/support/resource_name.h"
#include "api/support/status_macros.h"
#include "cli/commands/commands.h"
#include "cli/message_text.h"
#include "cli/names.h"

namespace nestor::cli {
namespace {

constexpr char kFooter[] =
    R"(Returns when the host's kernel has dropped them, or with what it refused. A guest that changes
its page table has them dropped itself; this is for whoever looks into a guest that did not.

Examples:
  nestorctl invalidate web-1/sva-3
  nestorctl invalidate web-1/sva-3 --address 0x7f0000000000 --size 4096 --timeout 2s)";

struct InvalidateOptions {
  std::string name;
  std::string address;
  uint64_t size = 0;
};

absl::StatusOr<v1::InvalidateCacheRequest> RequestOf(const InvalidateOptions& options,
                                                     const std::string& project) {
  v1::InvalidateCacheRequest request;
  ASSIGN_OR_RETURN(*request.mutable_name(), FullName(Kind::kPasidBinding, options.name, project));
  if (options.address.empty()) return request;
  uint64_t address = 0;
  if (!absl::SimpleHexAtoi(options.address, &address)) {
    return absl::InvalidArgumentError(absl::StrCat("--address: \"", Printable(options.address),
                                                   "\" is no address like 0x7f0000000000"));
  }
  request.mutable_range()->set_address(address);
  request.mutable_range()->set_size(options.size);
  return request;
}

void Print(const Session& session, const v1::InvalidateCacheRequest& request,
           const v1::InvalidateCacheResponse& response) {
  switch (session.output()) {
    case OutputFormat::kJson:
      session.out() << ToJson(response, "") << '\n';
      return;
    case OutputFormat::kYaml:
      session.out() << ToYaml(response, "");
      return;
    default:
      session.out() << "binding " << ShortName(request.name(), true) << ": dropped ";
      if (request.has_range()) {
        session.out() << absl::StrFormat("%d bytes at 0x%x\n", request.range().size(),
                                         request.range().address());
      } else {
        session.out() << "all\n";
      }
  }
}

ExitCode RunInvalidate(const Session& session, const InvalidateOptions& options) {
  auto request = RequestOf(options, session.project());
  if (!request.ok()) return session.UsageError(request.status());
  auto connection = session.Connect();
  if (!connection.ok()) return session.UsageError(connection.status());
  auto response = (*connection)
                      ->Call((*connection)->bindings(),
                             &v1::PasidBindingService::Stub::InvalidateCache, *request);
  if (!response.ok()) {
    return session.CallError("invalidate " + ShortName(request->name(), true), response.status());
  }
  Print(session, *request, *response);
  return ExitCode::kOk;
}

}  // namespace

void AddInvalidateCommand(CLI::App* app, const Session& session, ChosenCommand* chosen) {
  CLI::App* command =
      app->add_subcommand("invalidate", "Have a host drop what its IOMMU cached of a binding");
  command->footer(kFooter);
  auto options = std::make_shared<InvalidateOptions>();
  command->add_option("name", options->name, "The binding, e.g. web-1/sva-3")
      ->type_name("VM/BINDING")
      ->required();
  CLI::Option* address = command->add_option("--address", options->address,
                                             "Only from this guest virtual address, hexadecimal");
  CLI::Option* size = command->add_option("--size", options->size, "How many bytes from there");
  address->type_name("ADDRESS")->needs(size);
  size->type_name("BYTES")->needs(address);
  command->callback([&session, chosen, options] {
    *chosen = [&session, options] { return RunInvalidate(session, *options); };
  });
}

}  // namespace nestor::cli
