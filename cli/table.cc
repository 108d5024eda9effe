#include "cli/table.h"

#include <algorithm>
#include <utility>

namespace nestor::cli {

Table::Table(std::ostream& out, std::vector<std::string> header)
    : out_(out), header_(std::move(header)) {
  for (const std::string& title : header_) widths_.push_back(title.size());
}

void Table::AddRow(std::vector<std::string> row) {
  for (size_t i = 0; i < row.size(); ++i) widths_[i] = std::max(widths_[i], row[i].size());
  rows_.push_back(std::move(row));
}

void Table::EndPage() {
  if (rows_.empty()) return;
  if (!std::exchange(header_written_, true)) WriteRow(header_);
  for (const auto& row : rows_) WriteRow(row);
  rows_.clear();
}

void Table::WriteRow(const std::vector<std::string>& row) {
  constexpr size_t kGap = 3;
  for (size_t i = 0; i + 1 < row.size(); ++i) {
    out_ << row[i] << std::string(widths_[i] + kGap - row[i].size(), ' ');
  }
  out_ << row.back() << '\n';
}

}  // namespace nestor::cli
