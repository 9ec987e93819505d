#pragma once

#include <vector>

#include "polyscene/data/table.h"

namespace polyscene::data {

/// Asks for large pages for the columns that a shuffled epoch reads at random; those that look into a file stay as
/// they are.
void use_large_pages(const Table& table);

/// The parts of the files that the rows of a table lie in: which of them are wanted in memory, and which no longer.
/// Does nothing for columns that lie in memory themselves. The table must outlive it.
class TablePages {
 public:
  explicit TablePages(const Table& table);
  /// The rows at positions [begin, end) are read soon: the system fetches them meanwhile.
  void will_need(int64_t begin, int64_t end) const { advise(begin, end, /*wanted=*/true); }
  /// They are not read for long: their pages leave the memory.
  void release(int64_t begin, int64_t end) const { advise(begin, end, /*wanted=*/false); }

 private:
  struct Column {
    const char* data;
    int64_t row_bytes;
  };
  struct Lists {
    const int64_t* offsets;
    Column values;
  };

  const Table& table_;
  bool rows_mapped_ = false;
  std::vector<Column> columns_;
  std::vector<Lists> lists_;

  void add(const torch::Tensor& column);
  void advise(int64_t begin, int64_t end, bool wanted) const;
};

}  // namespace polyscene::data
