// Log lines with fields that machines can search by, as text or as JSON.
//
//   log::Info({{"resource", name}, {"epoch", epoch}}, "connected: holds {} bindings", held);
//
// text:  2026-01-02T03:04:05.678Z info connected: holds 3 bindings resource=hosts/a epoch=7
// json:  {"time":"…","level":"info","message":"connected: …","resource":"hosts/a","epoch":7}
//
// Fields of one meaning have one name in both programs: resource (the name of what the line
// is about), request_id, caller, epoch, error (the reason in the error catalogue, or the code).
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nestor::log {

enum class Format { kText, kJson };

// Sets how the lines of this process look, from now on, and the least level that is shown:
// trace, debug, info, warn or error. They go to standard output. Call once, in main.
void Start(Format format, const std::string& level);

// A field of empty text is left out.
struct Field {
  Field(absl::string_view field_name, absl::string_view text) : name(field_name), value(text) {}
  Field(absl::string_view field_name, const std::string& text)
      : Field(field_name, absl::string_view(text)) {}
  Field(absl::string_view field_name, const char* text)
      : Field(field_name, absl::string_view(text)) {}
  Field(absl::string_view field_name, int64_t number) : name(field_name), value(number) {}

  absl::string_view name;
  std::variant<absl::string_view, int64_t> value;
};
using Fields = std::initializer_list<Field>;

// An error as one text, without its typed details.
std::string Text(const absl::Status& status);

// Thread-safe. Do not throw.
void Write(spdlog::level::level_enum level, Fields fields, const std::string& message);

template <typename... Args>
void Write(spdlog::level::level_enum level, Fields fields, fmt::format_string<Args...> format,
           Args&&... args) {
  if (spdlog::should_log(level)) {
    Write(level, fields, fmt::format(format, std::forward<Args>(args)...));
  }
}
template <typename... Args>
void Debug(Fields fields, fmt::format_string<Args...> format, Args&&... args) {
  Write(spdlog::level::debug, fields, format, std::forward<Args>(args)...);
}
template <typename... Args>
void Info(Fields fields, fmt::format_string<Args...> format, Args&&... args) {
  Write(spdlog::level::info, fields, format, std::forward<Args>(args)...);
}
template <typename... Args>
void Warn(Fields fields, fmt::format_string<Args...> format, Args&&... args) {
  Write(spdlog::level::warn, fields, format, std::forward<Args>(args)...);
}
template <typename... Args>
void Error(Fields fields, fmt::format_string<Args...> format, Args&&... args) {
  Write(spdlog::level::err, fields, format, std::forward<Args>(args)...);
}

}  // namespace nestor::log
