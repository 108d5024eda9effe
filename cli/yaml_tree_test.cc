#include "cli/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace nestor::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ErrorOf(absl::string_view text) {
  return std::string(ParseYaml(text, "f.yaml").status().message());
}

TEST(YamlTree, ValuesKnowTheirPlace) {
  auto documents = ParseYaml("a: 1\nlist:\n- x\n- {k: v}\n", "f.yaml");
  ASSERT_TRUE(documents.ok()) << documents.status();
  ASSERT_THAT(*documents, SizeIs(1));
  const YamlValue* list = documents->front().Find("list");
  ASSERT_NE(list, nullptr);
  ASSERT_THAT(list->items, SizeIs(2));
  EXPECT_EQ(list->items[0].text, "x");
  EXPECT_EQ(list->items[1].Find("k")->place.line, 4);
  EXPECT_EQ(list->items[1].Find("k")->place.column, 7);
  EXPECT_EQ(documents->front().Find("none"), nullptr);
}

TEST(YamlTree, EmptyDocumentsAreLeftOut) {
  auto documents = ParseYaml("---\n# nothing\n---\na: 1\n---\n", "f.yaml");
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, SizeIs(1));
}

TEST(YamlTree, JsonIsRead) {
  auto documents = ParseYaml("{\n\t\"a\": [1, \"x\\ty\"]\n}", "f.json");
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_EQ(documents->front().Find("a")->items[1].text, "x\ty");
}

TEST(YamlTree, DuplicateKeyIsRefusedWithBothLines) {
  EXPECT_EQ(ErrorOf("a: 1\nb: 2\na: 3\n"), "f.yaml:3:1: key \"a\" is given twice, first in line 1");
}

TEST(YamlTree, BrokenSyntaxIsRefusedWithItsLine) {
  EXPECT_THAT(ErrorOf("a: 1\nb: [1, 2\n"), HasSubstr("f.yaml:3:1: not valid YAML: "));
  EXPECT_THAT(ErrorOf("a: 1\n  b: 2\n"), HasSubstr("f.yaml:2:"));
}

TEST(YamlTree, AnchorsAndAliasesAreRefused) {
  EXPECT_THAT(ErrorOf("a: &x 1\nb: *x\n"), HasSubstr("f.yaml:1:4: anchors (&) and aliases (*)"));
  EXPECT_THAT(ErrorOf("a: &x [1]\n"), HasSubstr("f.yaml:1:4: anchors (&) and aliases (*)"));
}

TEST(YamlTree, AnExponentialBombIsRefused) {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 60; ++i) {
    absl::StrAppend(&bomb, "a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, "]\n");
  }
  EXPECT_THAT(ErrorOf(bomb), HasSubstr("f.yaml:1:5: anchors"));
}

TEST(YamlTree, KeysThatAreNoTextAreRefused) {
  EXPECT_THAT(ErrorOf("[a, b]: 1\n"), HasSubstr("a key must be plain text"));
  EXPECT_THAT(ErrorOf("~: 1\n"), HasSubstr("a key must not be null"));
}

TEST(YamlTree, DepthIsBounded) {
  const std::string allowed(kMaxYamlDepth, '[');
  EXPECT_TRUE(ParseYaml(allowed + std::string(kMaxYamlDepth, ']'), "f.yaml").ok());
  EXPECT_THAT(ErrorOf(std::string(kMaxYamlDepth + 1, '[') + std::string(kMaxYamlDepth + 1, ']')),
              HasSubstr("f.yaml:1:65: nested more than 64 deep"));
  EXPECT_THAT(ErrorOf(std::string(16 << 20, '[')), HasSubstr("nested more than 64 deep"));
  std::string dashes;
  for (int i = 0; i < 100'000; ++i) dashes += "- ";
  EXPECT_THAT(ErrorOf(dashes), HasSubstr("nested more than 64 deep"));
}

TEST(YamlTree, NumberOfValuesIsBounded) {
  std::string text = "[";
  for (size_t i = 0; i < kMaxYamlValues + 1; ++i) text += "1,";
  EXPECT_THAT(ErrorOf(text + "]"), HasSubstr("more than 1000000 values"));
}

TEST(YamlTree, NulByteIsRefusedWithItsPlace) {
  EXPECT_EQ(ErrorOf(absl::string_view("a: 1\nb: \0\n", 10)),
            "f.yaml:2:4: a NUL byte: this is not a text file");
}

TEST(YamlTree, SizeIsBounded) {
  EXPECT_THAT(ErrorOf(std::string(kMaxYamlBytes + 1, ' ')), HasSubstr("larger than 16 MiB"));
}

}  // namespace
}  // namespace nestor::cli
