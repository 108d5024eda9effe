// Columns of text.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace nestor::cli {

// Writes rows in aligned columns, page by page: widths fit the rows of the page and never
// shrink, so memory stays bounded by one page and a list of one page is aligned perfectly.
class Table {
 public:
  Table(std::ostream& out, std::vector<std::string> header);

  // Keeps the row for the next EndPage. It has as many cells as the header.
  void AddRow(std::vector<std::string> row);
  // Writes the rows kept; the header first, once, before the first row.
  void EndPage();
  // Whether any row was written.
  bool empty() const { return !header_written_; }

 private:
  void WriteRow(const std::vector<std::string>& row);

  std::ostream& out_;
  std::vector<std::string> header_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
  bool header_written_ = false;
};

}  // namespace nestor::cli
