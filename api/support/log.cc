#include "api/support/log.h"

#include <spdlog/formatter.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace nestor::log {
namespace {

// The fields of the line that this thread is writing: the sinks run on the same thread.
thread_local const Fields* current_fields = nullptr;

std::string TimeOf(const spdlog::details::log_msg& line) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(line.time), absl::UTCTimeZone());
}

absl::string_view LevelOf(const spdlog::details::log_msg& line) {
  const auto name = spdlog::level::to_string_view(line.level);
  return {name.data(), name.size()};
}

bool IsEmpty(const Field& field) {
  const auto* text = std::get_if<absl::string_view>(&field.value);
  return text != nullptr && text->empty();
}

void Append(absl::string_view text, spdlog::memory_buf_t& buffer) {
  buffer.append(text.data(), text.data() + text.size());
}

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& buffer) override {
    Append(absl::StrCat(TimeOf(line), " ", LevelOf(line), " ",
                        absl::string_view(line.payload.data(), line.payload.size())),
           buffer);
    if (current_fields != nullptr) {
      for (const Field& field : *current_fields) {
        if (!IsEmpty(field)) Append(absl::StrCat(" ", field.name, "=", ValueOf(field)), buffer);
      }
    }
    Append("\n", buffer);
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }

 private:
  static std::string ValueOf(const Field& field) {
    if (const auto* number = std::get_if<int64_t>(&field.value)) return absl::StrCat(*number);
    const absl::string_view text = std::get<absl::string_view>(field.value);
    if (!absl::StrContains(text, ' ')) return std::string(text);
    return absl::StrCat("\"", text, "\"");
  }
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& buffer) override {
    nlohmann::ordered_json object;
    object["time"] = TimeOf(line);
    object["level"] = std::string(LevelOf(line));
    object["message"] = std::string(line.payload.data(), line.payload.size());
    if (current_fields != nullptr) {
      for (const Field& field : *current_fields) {
        if (!IsEmpty(field)) Put(field, object);
      }
    }
    // What clients send need not be UTF-8.
    Append(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), buffer);
    Append("\n", buffer);
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  static void Put(const Field& field, nlohmann::ordered_json& object) {
    const std::string name(field.name);
    if (const auto* number = std::get_if<int64_t>(&field.value)) {
      object[name] = *number;
    } else {
      object[name] = std::string(std::get<absl::string_view>(field.value));
    }
  }
};

}  // namespace

void Start(Format format, const std::string& level) {
  spdlog::set_level(spdlog::level::from_str(level));
  if (format == Format::kJson) {
    spdlog::set_formatter(std::make_unique<JsonFormatter>());
  } else {
    spdlog::set_formatter(std::make_unique<TextFormatter>());
  }
  // A line that another program waits for must not stay in a buffer.
  spdlog::flush_on(spdlog::level::trace);
}

std::string Text(const absl::Status& status) {
  return status.ToString(absl::StatusToStringMode::kWithNoExtraData);
}

void Write(spdlog::level::level_enum level, Fields fields, const std::string& message) {
  current_fields = &fields;
  spdlog::log(level, spdlog::string_view_t(message));
  current_fields = nullptr;
}

}  // namespace nestor::log
