#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/core/test_view.h"
#include "server/core/validation.h"

namespace nestor::server {
namespace {

constexpr char kUuid[] = "0b9a1b1e-4f0e-4d4c-8f6a-0c8b1f0a7d10";

struct BindingCase {
  const char* sentence;
  void (*change)(v1::PasidBinding& binding);
  const char* field;  // below "pasid_binding"; empty: accepted
};

class ValidateBinding : public ::testing::TestWithParam<BindingCase> {};

TEST_P(ValidateBinding, AsTheSentenceSays) {
  SCOPED_TRACE(GetParam().sentence);
  v1::CreatePasidBindingRequest request;
  *request.mutable_pasid_binding() = WantedBinding(BindingName("b"), 7);
  GetParam().change(*request.mutable_pasid_binding());
  const std::string field = GetParam().field;
  if (field.empty()) {
    EXPECT_EQ(Validate(request), absl::OkStatus());
  } else {
    ExpectRefused(Validate(request), "pasid_binding" + field);
  }
  v1::BatchCreatePasidBindingsRequest batch;
  *batch.add_requests()->mutable_pasid_binding() = WantedBinding(BindingName("other"), 9);
  *batch.add_requests()->mutable_pasid_binding() = request.pasid_binding();
  EXPECT_EQ(Validate(batch).ok(), field.empty());
  if (!field.empty()) ExpectRefused(Validate(batch), "requests[1].pasid_binding" + field);
}

using B = v1::PasidBinding;

INSTANTIATE_TEST_SUITE_P(
    Names, ValidateBinding,
    ::testing::Values(
        BindingCase{"a good one", [](B&) {}, ""},
        BindingCase{"no name", [](B& b) { b.clear_name(); }, ".name"},
        BindingCase{"upper case", [](B& b) { b.set_name(BindingName("B")); }, ".name"},
        BindingCase{"dots", [](B& b) { b.set_name(BindingName("..")); }, ".name"},
        BindingCase{"a NUL", [](B& b) { b.set_name(BindingName(std::string("a\0b", 3))); },
                    ".name"},
        BindingCase{"escape sequences", [](B& b) { b.set_name("\x1b[2J\n"); }, ".name"},
        BindingCase{"64 KiB", [](B& b) { b.set_name(BindingName(std::string(65536, 'a'))); },
                    ".name"},
        BindingCase{"63 characters", [](B& b) { b.set_name(BindingName(std::string(63, 'a'))); },
                    ""},
        BindingCase{"64 characters", [](B& b) { b.set_name(BindingName(std::string(64, 'a'))); },
                    ".name"},
        BindingCase{"name of a machine", [](B& b) { b.set_name(kMachine); }, ".name"}));

INSTANTIATE_TEST_SUITE_P(
    Specs, ValidateBinding,
    ::testing::Values(
        BindingCase{"no device", [](B& b) { b.mutable_spec()->clear_device(); }, ".spec.device"},
        BindingCase{"short device", [](B& b) { b.mutable_spec()->set_device("3b:00.0"); },
                    ".spec.device"},
        BindingCase{"upper-case device", [](B& b) { b.mutable_spec()->set_device("0000:3B:00.0"); },
                    ".spec.device"},
        BindingCase{"function 8", [](B& b) { b.mutable_spec()->set_device("0000:3b:00.8"); },
                    ".spec.device"},
        BindingCase{"no target", [](B& b) { b.mutable_spec()->clear_target(); }, ".spec.target"},
        BindingCase{"rid", [](B& b) { b.mutable_spec()->mutable_rid(); }, ""},
        BindingCase{"PASID 0", [](B& b) { b.mutable_spec()->set_pasid(0); }, ".spec.pasid"},
        BindingCase{"PASID 1", [](B& b) { b.mutable_spec()->set_pasid(1); }, ""},
        BindingCase{"PASID 2^20 - 1", [](B& b) { b.mutable_spec()->set_pasid(1048575); }, ""},
        BindingCase{"PASID 2^20", [](B& b) { b.mutable_spec()->set_pasid(1048576); },
                    ".spec.pasid"},
        BindingCase{"a range", [](B& b) { b = WantedAnyOf(b.name(), 1, 1048575); }, ""},
        BindingCase{"a range of one", [](B& b) { b = WantedAnyOf(b.name(), 5, 5); }, ""},
        BindingCase{"a range from 0", [](B& b) { b = WantedAnyOf(b.name(), 0, 5); },
                    ".spec.any_of.first"},
        BindingCase{"a range past the end", [](B& b) { b = WantedAnyOf(b.name(), 5, 1048576); },
                    ".spec.any_of.last"},
        BindingCase{"a range backwards", [](B& b) { b = WantedAnyOf(b.name(), 6, 5); },
                    ".spec.any_of.last"},
        BindingCase{"an instance", [](B& b) { b.mutable_spec()->set_vm_instance(kUuid); }, ""},
        BindingCase{"an instance with a line break",
                    [](B& b) { b.mutable_spec()->set_vm_instance("boot\n"); }, ".spec.vm_instance"},
        BindingCase{"an endless instance",
                    [](B& b) { b.mutable_spec()->set_vm_instance(std::string(4096, 'a')); },
                    ".spec.vm_instance"}));

INSTANTIATE_TEST_SUITE_P(
    PageTables, ValidateBinding,
    ::testing::Values(
        BindingCase{"no format",
                    [](B& b) { b.mutable_spec()->mutable_page_table()->clear_format(); },
                    ".spec.page_table.format"},
        BindingCase{"unknown format",
                    [](B& b) {
                      b.mutable_spec()->mutable_page_table()->set_format(
                          static_cast<v1::PageTable::Format>(99));
                    },
                    ".spec.page_table.format"},
        BindingCase{"root 0", [](B& b) { b.mutable_spec()->mutable_page_table()->set_root(0); },
                    ""},
        BindingCase{"crooked root",
                    [](B& b) { b.mutable_spec()->mutable_page_table()->set_root(0x1001); },
                    ".spec.page_table.root"},
        BindingCase{
            "highest root",
            [](B& b) { b.mutable_spec()->mutable_page_table()->set_root((1ull << 52) - 4096); },
            ""},
        BindingCase{"root 2^52",
                    [](B& b) { b.mutable_spec()->mutable_page_table()->set_root(1ull << 52); },
                    ".spec.page_table.root"},
        BindingCase{"57 bits",
                    [](B& b) { b.mutable_spec()->mutable_page_table()->set_address_width(57); },
                    ""},
        BindingCase{"39 bits",
                    [](B& b) { b.mutable_spec()->mutable_page_table()->set_address_width(39); },
                    ".spec.page_table.address_width"}));

void SetLabel(B& binding, const std::string& key, const std::string& value) {
  (*binding.mutable_metadata()->mutable_labels())[key] = value;
}

INSTANTIATE_TEST_SUITE_P(
    Metadata, ValidateBinding,
    ::testing::Values(
        BindingCase{"a label", [](B& b) { SetLabel(b, "a.b/c_d-e9", "X.y_z-9"); }, ""},
        BindingCase{"an empty value", [](B& b) { SetLabel(b, "a", ""); }, ""},
        BindingCase{"an empty key", [](B& b) { SetLabel(b, "", "1"); }, ".metadata.labels[]"},
        BindingCase{"a key from a digit", [](B& b) { SetLabel(b, "1a", "1"); },
                    ".metadata.labels[1a]"},
        BindingCase{"a key in upper case", [](B& b) { SetLabel(b, "aB", "1"); },
                    ".metadata.labels[aB]"},
        BindingCase{"a key with a line break", [](B& b) { SetLabel(b, "a\n", "1"); },
                    ".metadata.labels[a\\x0a]"},
        BindingCase{"the longest key", [](B& b) { SetLabel(b, std::string(63, 'k'), "1"); }, ""},
        BindingCase{"a value with a space", [](B& b) { SetLabel(b, "a", "1 2"); },
                    ".metadata.labels[a]"},
        BindingCase{"a value of 64", [](B& b) { SetLabel(b, "a", std::string(64, 'v')); },
                    ".metadata.labels[a]"},
        BindingCase{"65 labels",
                    [](B& b) {
                      for (int i = 0; i < 65; ++i) SetLabel(b, absl::StrCat("k", i), "");
                    },
                    ".metadata.labels"},
        BindingCase{"64 labels",
                    [](B& b) {
                      for (int i = 0; i < 64; ++i) SetLabel(b, absl::StrCat("k", i), "");
                    },
                    ""},
        BindingCase{"a strange etag", [](B& b) { b.mutable_metadata()->set_etag("W/\"1\""); },
                    ".metadata.etag"},
        BindingCase{"what only the server sets is ignored",
                    [](B& b) {
                      b.mutable_metadata()->set_uid("\n");
                      b.mutable_metadata()->set_generation(-1);
                      b.mutable_status()->set_effective_pasid(1u << 31);
                    },
                    ""}));

}  // namespace
}  // namespace nestor::server
