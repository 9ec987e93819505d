#include "polyscene/data/table_pages.h"

#include "polyscene/core/mapped_memory.h"
#include "polyscene/core/memory.h"

namespace polyscene::data {
namespace {

bool is_mapped(const torch::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 && is_file_mapped(tensor.const_data_ptr());
}

void advise_bytes(const char* begin, int64_t bytes, bool wanted) {
  (wanted ? polyscene::will_need : polyscene::release)(begin, static_cast<size_t>(bytes));
}

}  // namespace

bool Table::mapped() const { return is_mapped(columns_->scene); }

bool Table::streams() const { return size_ > kStreamedRows && mapped(); }

void use_large_pages(const Table& table) {
  const auto& columns = *table.columns();
  for (const auto& column :
       {columns.codes, columns.numbers, columns.scene, columns.label, columns.weight, columns.time, table.rows()}) {
    if (column.defined() && !is_mapped(column)) polyscene::use_large_pages(column.const_data_ptr(), column.nbytes());
  }
  for (const auto& map : table.encoding().categorical) {
    polyscene::use_large_pages(map.data(), map.size() * sizeof(map[0]));
  }
}

TablePages::TablePages(const Table& table) : table_(table), rows_mapped_(is_mapped(table.rows())) {
  const auto& columns = *table.columns();
  for (const auto* column : {&columns.codes, &columns.numbers, &columns.scene, &columns.label, &columns.weight,
                             &columns.time, &columns.interest.offsets}) {
    add(*column);
  }
  const auto add_lists = [&](const Ragged& lists) {
    if (is_mapped(lists.values)) {
      lists_.push_back({lists.offsets.const_data_ptr<int64_t>(),
                        {static_cast<const char*>(lists.values.const_data_ptr()),
                         static_cast<int64_t>(lists.values.element_size())}});
    }
  };
  for (const auto& lists : columns.list_codes) {
    add(lists.offsets);
    add_lists(lists);
  }
  add_lists(columns.interest);
}

// A column [N] or [N, width].
void TablePages::add(const torch::Tensor& column) {
  if (!is_mapped(column)) return;
  columns_.push_back({static_cast<const char*>(column.const_data_ptr()),
                      static_cast<int64_t>(column.element_size()) * (column.dim() == 2 ? column.size(1) : 1)});
}

void TablePages::advise(int64_t begin, int64_t end, bool wanted) const {
  if (begin >= end) return;
  auto first = begin, last = end;
  if (table_.rows().defined()) {
    const auto* row = table_.rows().const_data_ptr<int64_t>();
    first = row[begin];
    last = row[end - 1] + 1;
    // Rows in no order, or few of many: what lies between them is not wanted.
    if (last - first < end - begin || last - first > 64 * (end - begin)) return;
    if (rows_mapped_) advise_bytes(reinterpret_cast<const char*>(row + begin), (end - begin) * 8, wanted);
  }
  for (const auto& [data, bytes] : columns_) advise_bytes(data + first * bytes, (last - first) * bytes, wanted);
  for (const auto& [offsets, values] : lists_) {
    advise_bytes(values.data + offsets[first] * values.row_bytes, (offsets[last] - offsets[first]) * values.row_bytes,
                 wanted);
  }
}

}  // namespace polyscene::data
