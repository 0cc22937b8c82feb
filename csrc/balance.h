// Scales of rows and columns, see balance.cpp.
#pragma once

#include <vector>

namespace optlayers {

class Balance {
  public:
    void start(int rows, int columns);

    // A number of a row, in a column, or -1 for a bound; zero and infinite ones do not count.
    void add(int row, int column, double value);

    // The row after the next is the geometric mean of this row and the next one.
    void tie(int row) { tied_.push_back(row); }

    void solve();

    double row(int row) const { return rows_[row]; }  // log2, as for columns
    double column(int column) const { return columns_[column]; }

  private:
    struct Term {
        int row, column;
        double value;  // log2
    };
    std::vector<Term> terms_;
    std::vector<int> tied_;
    std::vector<double> rows_, columns_, row_counts_, column_counts_, sums_;
};

}  // namespace optlayers
