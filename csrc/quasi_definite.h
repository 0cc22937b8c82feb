// LDL' of quasi-definite matrices (Vanderbei, "Symmetric quasidefinite matrices", 1995), dense storage, sparse work.
#pragma once

#include <vector>

namespace optlayers {

// Factors (N E'; E -C) in any symmetric order without pivoting. Elimination skips entries that are zero, so that an
// order of little fill makes it as cheap as a sparse factorisation at these sizes.
class QuasiDefinite {
  public:
    // Eliminate in the order of least degree of the pattern of the lower triangle of `matrix`.
    void order(const double* matrix, int size);

    // Factor; the first `positive` unknowns have positive pivots, the others negative ones. Pivots of the wrong sign
    // or below rounding are replaced, at least by 1e-8: refinement takes out what that changes.
    void factorise(const double* matrix, int positive);

    void solve(double* right) const;

    int size() const { return size_; }

  private:
    int size_ = 0;
    std::vector<int> order_;  // order_[k]: the unknown that is eliminated k-th
    std::vector<double> pivots_, scratch_;
    mutable std::vector<double> work_;
    std::vector<int> index_;             // rows of the entries of each column, packed
    std::vector<int> start_;             // where each column's entries begin in index_ and values_
    std::vector<double> values_;
};

}  // namespace optlayers
