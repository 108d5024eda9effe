// nestor-guest: a virtual machine without a virtual machine, for demonstrations.

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "agent/vmm/vmm_socket.h"
#include "api/support/status_macros.h"
#include "tests/guest/guest.h"
#include "tests/guest/guest_console.h"
#include "tests/guest/socket_wait.h"

namespace nestor::guest {
namespace {

constexpr char kDescription[] = R"(A stand-in for a guest and its virtual machine monitor.

Connects to the vfio-user sockets that nestor-agent opens for a virtual machine, hands
over its memory, and has the simulated devices do DMA as told on standard input.)";

constexpr char kFooter[] =
    R"(Each --root makes a 4-level x86-64 page table at that guest physical address, which maps
the page at --address to a page that holds TEXT. The last quarter of memory is taken by the
tables below. Prints "ready" once all is in place, then answers each line with one line:
  dma-read PASID ADDRESS LENGTH [BDF]     ok TEXT | ok 0xHEX | fault REASON 0xADDRESS
  dma-write PASID ADDRESS TEXT [BDF]      ok | fault REASON 0xADDRESS
  expect PASID ADDRESS TEXT [BDF]         ok TEXT | mismatch TEXT | fault REASON 0xADDRESS
  storm PASID ADDRESS TEXT COUNT [BDF]    ok dmas=N faults=N mismatches=N
  quit
What fails is answered "error WHY". PASID - is DMA without a PASID. BDF may be left out
where there is one device.

Examples:
  nestor-guest --socket-dir /run/nestor/vmm --vm projects/demo/virtualMachines/web-1 \
      --device 0000:01:00.0 --root 0x100000:first --root 0x200000:second
  echo "expect 5 0x7f0000000000 first" | nestor-guest ...)";

struct Options {
  std::string socket_directory;
  std::string vm;
  std::vector<std::string> devices;
  uint64_t memory = 64 << 20;
  std::vector<std::string> roots;
  uint64_t address = 0x7f00'0000'0000;
  double timeout_seconds = 30;
};

void Declare(CLI::App& app, Options& options) {
  app.add_option("--socket-dir", options.socket_directory, "Directory of the agent's VMM sockets")
      ->required();
  app.add_option("--vm", options.vm, "projects/{project}/virtualMachines/{vm}")->required();
  app.add_option("--device", options.devices, "PCI address of a device; may be repeated")
      ->required();
  app.add_option("--memory", options.memory, "Guest memory")
      ->transform(CLI::AsSizeValue(false))
      ->default_str("64MiB");
  app.add_option("--root", options.roots, "ADDRESS:TEXT; may be repeated");
  app.add_option("--address", options.address, "Guest virtual address of every TEXT")
      ->default_str("0x7f0000000000");
  app.add_option("--timeout", options.timeout_seconds, "Seconds to wait for the sockets")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app.footer(kFooter);
  app.set_version_flag("--version", NESTOR_VERSION);
}

absl::Status MakeRoot(Guest& guest, uint64_t address, const std::string& root) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(root, absl::MaxSplits(':', 1));
  uint64_t table = 0;
  if (parts.second.empty() || !absl::SimpleHexAtoi(parts.first, &table)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--root ", root, ": a hexadecimal address, a colon and a text are wanted"));
  }
  const absl::Status made = guest.MapText({table, 4}, address, parts.second);
  if (!made.ok()) {
    return absl::Status(made.code(), absl::StrCat("--root ", root, ": ", made.message()));
  }
  return absl::OkStatus();
}

absl::Status ConnectAll(Guest& guest, const Options& options) {
  const absl::Time deadline = absl::Now() + absl::Seconds(options.timeout_seconds);
  for (const std::string& device : options.devices) {
    ASSIGN_OR_RETURN(const std::string path,
                     agent::VmmSocketPath(options.socket_directory, options.vm, device));
    RETURN_IF_ERROR(WaitForPath(path, deadline - absl::Now()));
    RETURN_IF_ERROR(guest.Connect(device, path));
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const auto guest, Guest::Create(options.memory));
  for (const std::string& root : options.roots) {
    RETURN_IF_ERROR(MakeRoot(*guest, options.address, root));
  }
  RETURN_IF_ERROR(ConnectAll(*guest, options));
  std::cout << "ready " << absl::StrJoin(options.devices, " ") << std::endl;
  GuestConsole console(*guest, options.devices);
  std::string line;
  while (std::getline(std::cin, line) && line != "quit") {
    std::cout << console.Execute(line) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace nestor::guest

int main(int argc, char** argv) {
  CLI::App app(nestor::guest::kDescription, "nestor-guest");
  nestor::guest::Options options;
  nestor::guest::Declare(app, options);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = nestor::guest::Run(options);
  if (status.ok()) return 0;
  std::cerr << "nestor-guest: " << status.message() << "\n";
  return 1;
}
