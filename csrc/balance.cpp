// The least-squares solution of
//
//     log |a_ij| + column_j - row_i = 0,  log |b_i| - row_i = 0
//
// over all numbers that are not zero (Curtis and Reid, "On the automatic scaling of matrices for Gaussian elimination",
// 1972), by alternate averages.
#include "balance.h"

#include <cmath>

namespace optlayers {

namespace {

constexpr int kAverages = 10;

}  // namespace

void Balance::start(int rows, int columns) {
    terms_.clear();
    tied_.clear();
    rows_.assign(rows, 0.0);
    columns_.assign(columns, 0.0);
    row_counts_.assign(rows, 0.0);
    column_counts_.assign(columns, 0.0);
}

void Balance::add(int row, int column, double value) {
    if (value == 0.0 || !std::isfinite(value)) return;
    terms_.push_back({row, column, std::log2(std::fabs(value))});
    row_counts_[row] += 1.0;
    if (column >= 0) column_counts_[column] += 1.0;
}

void Balance::solve() {
    for (int round = 0; round < kAverages; ++round) {
        sums_.assign(rows_.size(), 0.0);
        for (const Term& term : terms_) sums_[term.row] += term.value + (term.column < 0 ? 0.0 : columns_[term.column]);
        for (std::size_t i = 0; i < rows_.size(); ++i)
            if (row_counts_[i] > 0.0) rows_[i] = sums_[i] / row_counts_[i];
        for (const int first : tied_) {  // the nearest rows, by their counts, that are tied
            const double one = row_counts_[first], two = row_counts_[first + 1], three = row_counts_[first + 2];
            if (!(one > 0.0 && two > 0.0 && three > 0.0)) continue;
            const double gap = (rows_[first] + rows_[first + 1]) / 2.0 - rows_[first + 2];
            const double pull = gap / (0.25 / one + 0.25 / two + 1.0 / three);
            rows_[first] -= 0.5 * pull / one;
            rows_[first + 1] -= 0.5 * pull / two;
            rows_[first + 2] += pull / three;
        }
        sums_.assign(columns_.size(), 0.0);
        for (const Term& term : terms_)
            if (term.column >= 0) sums_[term.column] += rows_[term.row] - term.value;
        for (std::size_t j = 0; j < columns_.size(); ++j)
            if (column_counts_[j] > 0.0) columns_[j] = sums_[j] / column_counts_[j];
    }
}

}  // namespace optlayers
