#include "cli/resource_printer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/describe.h"
#include "cli/manifest.h"
#include "cli/sample_resources.h"
#include "cli/yaml_tree.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

template <typename Resource>
std::string Print(OutputFormat format, Kind kind, const std::vector<Resource>& resources,
                  bool list = true, bool with_project = false) {
  std::ostringstream out;
  TableOptions options;
  options.now = SampleNow();
  options.with_project = with_project;
  auto printer = MakeResourcePrinter(format, kind, list, options, out);
  for (const Resource& resource : resources) printer->Print(resource);
  printer->EndPage();
  printer->Finish("Nothing found.");
  return out.str();
}

TEST(ResourcePrinter, TablesMatchTheirGoldenFiles) {
  ExpectGolden("hosts.table.txt", Print(OutputFormat::kTable, Kind::kHost, SampleHosts()));
  ExpectGolden("devices.table.txt", Print(OutputFormat::kTable, Kind::kDevice, SampleDevices()));
  ExpectGolden("vms.table.txt",
               Print(OutputFormat::kTable, Kind::kVirtualMachine, SampleMachines()));
  ExpectGolden("bindings.table.txt",
               Print(OutputFormat::kTable, Kind::kPasidBinding, SampleBindings()));
}

TEST(ResourcePrinter, WideTablesMatchTheirGoldenFiles) {
  ExpectGolden("hosts.wide.txt", Print(OutputFormat::kWide, Kind::kHost, SampleHosts()));
  ExpectGolden("devices.wide.txt", Print(OutputFormat::kWide, Kind::kDevice, SampleDevices()));
  ExpectGolden("vms.wide.txt",
               Print(OutputFormat::kWide, Kind::kVirtualMachine, SampleMachines(), true, true));
  ExpectGolden("bindings.wide.txt",
               Print(OutputFormat::kWide, Kind::kPasidBinding, SampleBindings(), true, true));
}

TEST(ResourcePrinter, JsonMatchesItsGoldenFiles) {
  // A map has no order, so only what has at most one label is compared.
  ExpectGolden("devices.json", Print(OutputFormat::kJson, Kind::kDevice, SampleDevices()));
  ExpectGolden("device.json",
               Print(OutputFormat::kJson, Kind::kDevice, std::vector{SampleDevices()[0]}, false));
}

TEST(ResourcePrinter, YamlMatchesItsGoldenFiles) {
  ExpectGolden("hosts.yaml", Print(OutputFormat::kYaml, Kind::kHost, SampleHosts()));
  ExpectGolden("devices.yaml", Print(OutputFormat::kYaml, Kind::kDevice, SampleDevices()));
  ExpectGolden("bindings.yaml", Print(OutputFormat::kYaml, Kind::kPasidBinding, SampleBindings()));
}

TEST(ResourcePrinter, YamlOfAListIsOneDocumentThatCanBeApplied) {
  const std::string yaml = Print(OutputFormat::kYaml, Kind::kPasidBinding, SampleBindings());
  const auto documents = ParseYaml(yaml, "");
  ASSERT_TRUE(documents.ok()) << documents.status();
  ASSERT_THAT(*documents, SizeIs(1));
  const auto manifest = ParseManifest({{"f", yaml}}, "demo");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->bindings, SizeIs(SampleBindings().size()));
}

TEST(ResourcePrinter, NothingIsSaidInEachFormat) {
  const std::vector<v1::Host> none;
  EXPECT_EQ(Print(OutputFormat::kTable, Kind::kHost, none), "Nothing found.\n");
  EXPECT_EQ(Print(OutputFormat::kJson, Kind::kHost, none), "[]\n");
  EXPECT_EQ(Print(OutputFormat::kYaml, Kind::kHost, none), "[]\n");
}

TEST(ResourcePrinter, EachPageIsWrittenWhenItEndsUnderOneHeader) {
  std::ostringstream out;
  TableOptions options;
  options.now = SampleNow();
  auto printer = MakeResourcePrinter(OutputFormat::kTable, Kind::kHost, true, options, out);
  const auto hosts = SampleHosts();
  printer->Print(hosts[0]);
  EXPECT_EQ(out.str(), "");
  printer->EndPage();
  EXPECT_THAT(out.str(), HasSubstr("host-a"));
  printer->Print(hosts[1]);
  printer->Finish("Nothing found.");
  EXPECT_THAT(out.str(), HasSubstr("host-b"));
  EXPECT_EQ(out.str().find("NAME"), out.str().rfind("NAME"));
}

TEST(ResourcePrinter, UnknownFormatIsRefused) {
  EXPECT_THAT(ParseOutputFormat("jsn").status().message(), HasSubstr("did you mean \"json\"?"));
}

TEST(Describe, MatchesItsGoldenFiles) {
  ExpectGolden("host.describe.txt", Describe(SampleHosts()[0], SampleNow()));
  ExpectGolden("device.describe.txt",
               Describe(SampleDevices()[0]) + "\n" + Describe(SampleDevices()[1]));
  ExpectGolden("vm.describe.txt", Describe(SampleMachines()[0], SampleNow()));
  ExpectGolden("binding.describe.txt", Describe(SampleBindings()[0], SampleNow()) + "\n" +
                                           Describe(SampleBindings()[1], SampleNow()));
}

TEST(Describe, TextOfTheServerCannotSteerTheTerminal) {
  const std::string text = Describe(SampleBindings()[1], SampleNow());
  EXPECT_THAT(text, HasSubstr("an \\x1b[31mescape\\x0a"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Timeline, HasALineForEachEvent) { ExpectGolden("timeline.txt", Timeline(SampleTimeline())); }

TEST(Explain, ShowsRungsKernelCallAndNextStep) {
  ExpectGolden("explain.txt", Explain(SampleExplanation()));
}

}  // namespace
}  // namespace nestor::cli
