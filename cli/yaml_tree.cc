#include "cli/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "api/support/resource_name.h"

namespace nestor::cli {
namespace {

Place ToPlace(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

Place PlaceOf(absl::string_view text, size_t position) {
  const absl::string_view before = text.substr(0, position);
  const size_t newline = before.rfind('\n');
  const size_t line_start = newline == absl::string_view::npos ? 0 : newline + 1;
  return {static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<int>(position - line_start) + 1};
}

std::string TooDeep() { return absl::StrCat("nested more than ", kMaxYamlDepth, " deep"); }

std::string TooMany() { return absl::StrCat("more than ", kMaxYamlValues, " values in one file"); }

// Builds the tree of one document from the parser's events. The parser cannot be told to
// stop, so after the first error the remaining events are ignored.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(absl::string_view file, size_t* values_left)
      : file_(file), values_left_(*values_left) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(mark, anchor, YamlValue::Kind::kNull, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                const std::string& text) override {
    Add(mark, anchor, YamlValue::Kind::kScalar, text);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, anchor, YamlValue::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, anchor, YamlValue::Kind::kMapping);
  }
  void OnMapEnd() override { Close(); }

  const absl::Status& status() const { return status_; }
  YamlValue TakeRoot() { return std::move(root_); }

 private:
  // A sequence or mapping that is not yet complete.
  struct OpenValue {
    YamlValue value;
    absl::flat_hash_map<std::string, int> line_of_key;
  };

  // In a mapping, keys and values take turns.
  bool KeyIsNext() const {
    return !open_.empty() && open_.back().value.kind == YamlValue::Kind::kMapping &&
           open_.back().value.keys.size() == open_.back().value.items.size();
  }

  void Fail(Place place, absl::string_view what) {
    if (status_.ok()) status_ = ErrorAt(file_, place, what);
  }

  void RefuseAnchor(const YAML::Mark& mark) {
    Fail(ToPlace(mark), "anchors (&) and aliases (*) are not supported; write the value out");
  }

  // Checks what holds for every value; false when it must be ignored.
  bool Admit(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) RefuseAnchor(mark);
    if (status_.ok() && values_left_ == 0) {
      Fail(ToPlace(mark), TooMany());
    }
    if (!status_.ok()) return false;
    --values_left_;
    return true;
  }

  void Add(const YAML::Mark& mark, YAML::anchor_t anchor, YamlValue::Kind kind,
           const std::string& text) {
    if (!Admit(mark, anchor)) return;
    if (KeyIsNext()) return AddKey(ToPlace(mark), kind, text);
    YamlValue value;
    value.kind = kind;
    value.place = ToPlace(mark);
    value.text = text;
    Attach(std::move(value));
  }

  void AddKey(Place place, YamlValue::Kind kind, const std::string& text) {
    if (kind != YamlValue::Kind::kScalar) return Fail(place, "a key must not be null");
    OpenValue& mapping = open_.back();
    auto [found, inserted] = mapping.line_of_key.emplace(text, place.line);
    if (!inserted) {
      return Fail(place, absl::StrCat("key \"", Printable(text),
                                      "\" is given twice, first in line ", found->second));
    }
    mapping.value.keys.push_back({text, place});
  }

  void Open(const YAML::Mark& mark, YAML::anchor_t anchor, YamlValue::Kind kind) {
    if (!Admit(mark, anchor)) return;
    if (KeyIsNext()) return Fail(ToPlace(mark), "a key must be plain text");
    if (open_.size() == kMaxYamlDepth) {
      return Fail(ToPlace(mark), TooDeep());
    }
    OpenValue opened;
    opened.value.kind = kind;
    opened.value.place = ToPlace(mark);
    open_.push_back(std::move(opened));
  }

  void Close() {
    if (!status_.ok()) return;
    YamlValue value = std::move(open_.back().value);
    open_.pop_back();
    Attach(std::move(value));
  }

  void Attach(YamlValue value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().value.items.push_back(std::move(value));
    }
  }

  absl::string_view file_;
  size_t& values_left_;
  absl::Status status_;
  std::vector<OpenValue> open_;
  YamlValue root_;
};

absl::Status CheckBytes(absl::string_view text, absl::string_view file) {
  if (text.size() > kMaxYamlBytes) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": larger than ", kMaxYamlBytes >> 20,
                                                   " MiB; split it into several files"));
  }
  const size_t nul = text.find('\0');
  if (nul != absl::string_view::npos) {
    return ErrorAt(file, PlaceOf(text, nul), "a NUL byte: this is not a text file");
  }
  return absl::OkStatus();
}

// In brackets the parser reads ahead without telling, up to the whole file, which takes
// gigabytes for a file of brackets and commas. So these are bounded before: each of them
// stands for a value, or for another level, or is in a comment or in quotes, of which a
// manifest does not have so many.
absl::Status CheckBrackets(absl::string_view text, absl::string_view file) {
  constexpr int kMaxOpenBrackets = 1000;
  int open = 0;
  size_t values = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool opens = text[i] == '[' || text[i] == '{';
    if (opens) ++open;
    if ((text[i] == ']' || text[i] == '}') && open > 0) --open;
    if (opens || text[i] == ',') ++values;
    if (open > kMaxOpenBrackets) return ErrorAt(file, PlaceOf(text, i), TooDeep());
    if (values > kMaxYamlValues) return ErrorAt(file, PlaceOf(text, i), TooMany());
  }
  return absl::OkStatus();
}

// Reads the next document into `builder`; false at the end of the file.
absl::StatusOr<bool> ReadDocument(YAML::Parser& parser, TreeBuilder& builder,
                                  absl::string_view file) {
  absl::Status broken;
  bool found = false;
  try {
    found = parser.HandleNextDocument(builder);
  } catch (const YAML::Exception& error) {
    broken = ErrorAt(file, ToPlace(error.mark), absl::StrCat("not valid YAML: ", error.msg));
  }
  // What the builder saw came first.
  if (!builder.status().ok()) return builder.status();
  if (!broken.ok()) return broken;
  return found;
}

}  // namespace

const YamlValue* YamlValue::Find(absl::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].name == key) return &items[i];
  }
  return nullptr;
}

absl::StatusOr<std::vector<YamlValue>> ParseYaml(absl::string_view text, absl::string_view file) {
  absl::Status bytes = CheckBytes(text, file);
  if (!bytes.ok()) return bytes;
  absl::Status brackets = CheckBrackets(text, file);
  if (!brackets.ok()) return brackets;
  std::istringstream stream{std::string(text)};
  YAML::Parser parser(stream);
  std::vector<YamlValue> documents;
  size_t values_left = kMaxYamlValues;
  while (true) {
    TreeBuilder builder(file, &values_left);
    auto found = ReadDocument(parser, builder, file);
    if (!found.ok()) return found.status();
    if (!*found) return documents;
    YamlValue root = builder.TakeRoot();
    if (root.kind != YamlValue::Kind::kNull) documents.push_back(std::move(root));
  }
}

absl::Status ErrorAt(absl::string_view file, Place place, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(file, ":", place.line, ":", place.column, ": ", what));
}

}  // namespace nestor::cli
