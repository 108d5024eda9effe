#include "cli/intent_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/sample_resources.h"

namespace nestor::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(DiffIntent, SeesNothingThatOnlyTheServerWrites) {
  v1::PasidBinding later = SampleBindings()[0];
  later.mutable_metadata()->set_etag("other");
  later.mutable_metadata()->set_generation(99);
  later.mutable_status()->Clear();
  EXPECT_THAT(DiffIntent(SampleBindings()[0], later), IsEmpty());
}

TEST(DiffIntent, NamesEachFieldWithBothValues) {
  v1::PasidBinding from;
  from.mutable_spec()->set_pasid(5);
  from.mutable_spec()->mutable_page_table()->set_root(0x1000);
  from.mutable_spec()->set_allow_translation_gap(true);
  (*from.mutable_metadata()->mutable_labels())["tier"] = "web";
  v1::PasidBinding to = from;
  to.mutable_spec()->mutable_rid();
  to.mutable_spec()->mutable_page_table()->set_root(0x2000);
  to.mutable_spec()->set_allow_translation_gap(false);
  to.mutable_metadata()->clear_labels();
  EXPECT_THAT(DiffIntent(from, to),
              ElementsAre(FieldChange{"metadata.labels.tier", "web", ""},
                          FieldChange{"spec.allowTranslationGap", "true", ""},
                          FieldChange{"spec.pageTable.root", "0x1000", "0x2000"},
                          FieldChange{"spec.pasid", "5", ""}, FieldChange{"spec.rid", "", "{}"}));
}

TEST(DiffIntent, TakesAListAsOneValue) {
  v1::VirtualMachine from;
  from.mutable_spec()->mutable_placement()->add_devices("0000:01:00.0");
  v1::VirtualMachine to = from;
  to.mutable_spec()->mutable_placement()->add_devices("0000:02:00.0");
  EXPECT_THAT(DiffIntent(from, to),
              ElementsAre(FieldChange{"spec.placement.devices", "[0000:01:00.0]",
                                      "[0000:01:00.0, 0000:02:00.0]"}));
}

TEST(DiffIntent, OfNothingHasNoFields) {
  EXPECT_THAT(DiffIntent(v1::Host(), v1::Host()), IsEmpty());
  v1::Host empty_spec;
  empty_spec.mutable_spec();
  EXPECT_THAT(DiffIntent(v1::Host(), empty_spec), IsEmpty());
}

TEST(ChangeText, MatchesItsGoldenFile) {
  const v1::PasidBinding binding = SampleBindings()[0];
  v1::PasidBinding changed = binding;
  changed.mutable_spec()->mutable_page_table()->set_root(0x7000);
  changed.mutable_spec()->set_vm_instance("an \x1b[31mescape");
  (*changed.mutable_metadata()->mutable_labels())["tier"] = "db";
  ExpectGolden("diff.txt",
               ChangeText(Change::kCreate, Kind::kPasidBinding, binding.name(),
                          DiffIntent(v1::PasidBinding(), binding)) +
                   ChangeText(Change::kUpdate, Kind::kPasidBinding, binding.name(),
                              DiffIntent(binding, changed)) +
                   ChangeText(Change::kDelete, Kind::kPasidBinding, binding.name(), {}));
}

}  // namespace
}  // namespace nestor::cli
