#include "cli/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "cli/message_text.h"
#include "cli/sample_resources.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::StatusOr<Manifest> Parse(const std::string& text) {
  return ParseManifest({{"f.yaml", text}}, "default");
}

std::string ErrorOf(const std::string& text) {
  auto manifest = Parse(text);
  EXPECT_EQ(manifest.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(manifest.status().message());
}

// A binding document with `spec_lines` in its spec, which begins in line 4.
std::string BindingWith(absl::string_view spec_lines) {
  return absl::StrCat("kind: PasidBinding\nname: web-1/sva-1\nspec:\n", spec_lines);
}

std::string ReadExample(const std::string& name) {
  std::ifstream file(absl::StrCat(NESTOR_SOURCE_DIR, "/examples/", name));
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Manifest, VirtualMachineWithInlineBindings) {
  auto manifest = Parse(R"(
apiVersion: nestor.dev/v1
kind: VirtualMachine
name: web-1
metadata: {labels: {tier: web, version: 2}}
spec:
  placement: {host: host-a, devices: [0000:01:00.0]}
bindings:
- name: sva-1
  spec:
    device: 0000:01:00.0
    pasid: 0x10
    pageTable: {format: VTD_S1, root: 0x12345000, addressWidth: 48}
    allowTranslationGap: true
- name: projects/default/virtualMachines/web-1/pasidBindings/sva-2
  spec: {device: 0000:01:00.0, anyOf: {first: 1, last: 9}, pageTable: {root: "305418240"}}
)");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_THAT(manifest->virtual_machines, SizeIs(1));
  const VirtualMachineDocument& machine = manifest->virtual_machines[0];
  EXPECT_EQ(machine.resource.name(), "projects/default/virtualMachines/web-1");
  EXPECT_EQ(machine.resource.spec().placement().host(), "hosts/host-a");
  EXPECT_EQ(machine.resource.metadata().labels().at("version"), "2");
  EXPECT_EQ(machine.origin, "f.yaml:2");
  ASSERT_TRUE(machine.bindings.has_value());
  ASSERT_THAT(*machine.bindings, SizeIs(2));
  const v1::PasidBinding& first = (*machine.bindings)[0].resource;
  EXPECT_EQ(first.name(), "projects/default/virtualMachines/web-1/pasidBindings/sva-1");
  EXPECT_EQ(first.spec().pasid(), 16u);
  EXPECT_EQ(first.spec().page_table().root(), 0x12345000u);
  EXPECT_EQ(first.spec().page_table().format(), v1::PageTable::FORMAT_VTD_S1);
  EXPECT_TRUE(first.spec().allow_translation_gap());
  EXPECT_EQ((*machine.bindings)[0].origin, "f.yaml:9");
  const v1::PasidBinding& second = (*machine.bindings)[1].resource;
  EXPECT_EQ(second.spec().any_of().last(), 9u);
  EXPECT_EQ(second.spec().page_table().root(), 0x12345000u);
}

TEST(Manifest, BindingDocumentsJoinTheirMachineAcrossFiles) {
  auto manifest = ParseManifest(
      {{"a.yaml", "kind: PasidBinding\nname: web-1/sva-1\n---\nkind: PasidBinding\nname: db-1/x\n"},
       {"b.yaml", "kind: VirtualMachine\nname: web-1\n"}},
      "demo");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_THAT(manifest->virtual_machines, SizeIs(1));
  ASSERT_TRUE(manifest->virtual_machines[0].bindings.has_value());
  EXPECT_EQ((*manifest->virtual_machines[0].bindings)[0].origin, "a.yaml:1");
  ASSERT_THAT(manifest->bindings, SizeIs(1));
  EXPECT_EQ(manifest->bindings[0].resource.name(),
            "projects/demo/virtualMachines/db-1/pasidBindings/x");
}

TEST(Manifest, NoBindingsKeyIsNotAnEmptyList) {
  auto manifest =
      Parse("kind: VirtualMachine\nname: a\n---\nkind: VirtualMachine\nname: b\nbindings: []\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_FALSE(manifest->virtual_machines[0].bindings.has_value());
  ASSERT_TRUE(manifest->virtual_machines[1].bindings.has_value());
  EXPECT_THAT(*manifest->virtual_machines[1].bindings, IsEmpty());
}

TEST(Manifest, JsonArrayStandsForItsItems) {
  auto manifest = Parse(R"([{"kind": "Host", "name": "host-a", "spec": {"cordoned": true}},
                           {"kind": "Host", "name": "hosts/host-b"}])");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  ASSERT_THAT(manifest->hosts, SizeIs(2));
  EXPECT_TRUE(manifest->hosts[0].resource.spec().cordoned());
  EXPECT_EQ(manifest->hosts[1].origin, "f.yaml:2");
}

TEST(Manifest, WhatGetPrintsCanBeAppliedWithoutItsOutputOnlyParts) {
  const v1::PasidBinding printed = SampleBindings()[1];
  v1::PasidBinding wanted;
  wanted.set_name(printed.name());
  *wanted.mutable_metadata()->mutable_labels() = printed.metadata().labels();
  *wanted.mutable_spec() = printed.spec();
  for (const std::string& text :
       {ToYaml(printed, "PasidBinding"), ToJson(printed, "PasidBinding")}) {
    auto manifest = Parse(text);
    ASSERT_TRUE(manifest.ok()) << manifest.status() << text;
    EXPECT_EQ(ToYaml(manifest->bindings[0].resource, ""), ToYaml(wanted, ""));
  }
}

TEST(Manifest, UnknownKeyIsRefusedWithItsLineAndTheNearestKnown) {
  EXPECT_EQ(ErrorOf("kind: VirtualMachine\nname: a\nbindngs: []\n"),
            "f.yaml:3:1: unknown key \"bindngs\"; did you mean \"bindings\"?");
  EXPECT_EQ(ErrorOf(BindingWith("  page_table: {}\n")),
            "f.yaml:4:3: unknown key \"page_table\"; did you mean \"pageTable\"?");
  EXPECT_EQ(ErrorOf(BindingWith("  pageTable:\n    xyzzy: 1\n")),
            "f.yaml:5:5: unknown key \"xyzzy\"; known are format, root, addressWidth, "
            "supervisorRequest, extendedAccessFlag");
}

TEST(Manifest, WrongTypesAreRefusedWithTheirPlace) {
  EXPECT_EQ(ErrorOf(BindingWith("  pasid: five\n")),
            "f.yaml:4:10: pasid: expected a whole number of 32 bits, like 4096 or 0x1000, found "
            "\"five\"");
  EXPECT_THAT(ErrorOf(BindingWith("  pasid: -1\n")), HasSubstr("f.yaml:4:10: pasid: expected"));
  EXPECT_THAT(ErrorOf(BindingWith("  pasid: 4294967296\n")), HasSubstr("a whole number of 32"));
  EXPECT_THAT(ErrorOf(BindingWith("  pasid: 010\n")), HasSubstr("found \"010\""));
  EXPECT_THAT(ErrorOf(BindingWith("  pageTable: {root: 0x}\n")), HasSubstr("found \"0x\""));
  EXPECT_THAT(ErrorOf(BindingWith("  pageTable: {root: 0x-1}\n")), HasSubstr("found \"0x-1\""));
  EXPECT_THAT(ErrorOf(BindingWith("  pageTable: {root: 0x10000000000000000}\n")),
              HasSubstr("a whole number of 64 bits"));
  EXPECT_THAT(ErrorOf(BindingWith("  allowTranslationGap: yes\n")),
              HasSubstr("expected true or false, found \"yes\""));
  EXPECT_THAT(ErrorOf(BindingWith("  pageTable: {format: VTD_S}\n")),
              HasSubstr("format: unknown value \"VTD_S\"; did you mean \"VTD_S1\"?"));
  EXPECT_THAT(ErrorOf(BindingWith("  device: [a]\n")),
              HasSubstr("f.yaml:4:11: expected a value for device, found a list"));
  EXPECT_THAT(ErrorOf(BindingWith("  device: \"\\x01\"\n")), HasSubstr("printable ASCII"));
  EXPECT_THAT(ErrorOf("kind: Host\nname: h\nspec:\n"),
              HasSubstr("expected a mapping, found nothing"));
  EXPECT_THAT(ErrorOf("kind: VirtualMachine\nname: a\nbindings: {}\n"),
              HasSubstr("expected a list"));
}

TEST(Manifest, AlternativeTargetsExcludeEachOther) {
  EXPECT_EQ(ErrorOf(BindingWith("  pasid: 1\n  rid: {}\n")),
            "f.yaml:5:3: \"rid\" and \"pasid\" exclude each other; give one of them");
}

TEST(Manifest, KindAndNameAreRequired) {
  EXPECT_THAT(ErrorOf("name: a\n"), HasSubstr("f.yaml:1:1: \"kind\" is missing"));
  EXPECT_THAT(ErrorOf("kind: Hosts\nname: a\n"), HasSubstr("did you mean \"Host\"?"));
  EXPECT_THAT(ErrorOf("kind: Host\n"), HasSubstr("f.yaml:1:1: \"name\" is missing"));
  EXPECT_THAT(ErrorOf("kind: Host\nname: [a]\n"), HasSubstr("f.yaml:2:7: "));
  EXPECT_THAT(ErrorOf("kind: [Host]\n"), HasSubstr("f.yaml:1:7: kind: expected text"));
  EXPECT_THAT(ErrorOf("just text\n"), HasSubstr("expected a resource"));
  EXPECT_THAT(ErrorOf("apiVersion: v2\nkind: Host\nname: a\n"),
              HasSubstr("f.yaml:1:13: unknown apiVersion \"v2\"; known is nestor.dev/v1"));
}

TEST(Manifest, NamesOutOfFormAreRefusedWithTheirPlace) {
  EXPECT_THAT(ErrorOf("kind: Host\nname: hosts/../x\n"), HasSubstr("f.yaml:2:7: "));
  EXPECT_THAT(ErrorOf("kind: PasidBinding\nname: sva-1\n"),
              HasSubstr("{virtual machine}/{binding}"));
  EXPECT_THAT(ErrorOf("kind: VirtualMachine\nname: a\nbindings:\n- name: web-2/sva\n"),
              HasSubstr("f.yaml:4:9: "));
  EXPECT_THAT(ErrorOf("kind: VirtualMachine\nname: a\nspec:\n  placement:\n    host: projects/x\n"),
              HasSubstr("f.yaml:5:11: "));
  EXPECT_THAT(ErrorOf(absl::StrCat("kind: Host\nname: ", std::string(65'536, 'a'), "\n")),
              HasSubstr("f.yaml:2:7: "));
}

TEST(Manifest, SameResourceTwiceIsRefusedWithBothPlaces) {
  EXPECT_EQ(ErrorOf("kind: Host\nname: h\n---\nkind: Host\nname: hosts/h\n"),
            "f.yaml:5:7: hosts/h is given twice, first at f.yaml:2");
}

TEST(Manifest, EmptyManifestIsRefused) {
  EXPECT_THAT(ErrorOf("# nothing\n"), HasSubstr("it names no resource"));
}

TEST(Manifest, ExampleFleetHasSixtyDistinctBindings) {
  auto manifest = ParseManifest({{"fleet.yaml", ReadExample("fleet.yaml")}}, "default");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->hosts, SizeIs(3));
  EXPECT_THAT(manifest->virtual_machines, SizeIs(6));
  std::set<uint64_t> roots;
  for (const VirtualMachineDocument& machine : manifest->virtual_machines) {
    ASSERT_TRUE(machine.bindings.has_value());
    EXPECT_THAT(*machine.bindings, SizeIs(10));
    for (const auto& binding : *machine.bindings) {
      roots.insert(binding.resource.spec().page_table().root());
    }
  }
  EXPECT_THAT(roots, SizeIs(60));
  EXPECT_EQ(*roots.begin() % 4096, 0u);
  EXPECT_LT(*roots.rbegin(), 0x3000000u);
}

TEST(Manifest, ExampleThatCannotWorkIsWellFormed) {
  auto manifest = ParseManifest({{"cannot-work.yaml", ReadExample("cannot-work.yaml")}}, "default");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_TRUE((*manifest->virtual_machines[0].bindings)[0].resource.spec().has_rid());
}

}  // namespace
}  // namespace nestor::cli
