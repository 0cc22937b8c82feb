// The dual active-set method for polyhedra, see active_set.cpp.
#pragma once

#include <vector>

#include "program.h"

namespace optlayers {

// Memory of the method, kept from sample to sample; sizes grow and never shrink.
class ActiveSet {
  public:
    // Write the nearest point to `x` and duals of all slacks to `y`; return what became of the sample.
    // `steps` counts changes of the active set. Programs need weights of one, and no cones.
    Outcome solve(const Program& program, double* x, double* y, int& steps);

  private:
    void reset(const Program& program);
    void rotate_in();
    void drop(int position);
    void multiply(const double* normal, int unit, double* product) const;

    int n_ = 0, size_ = 0;
    std::vector<double> basis_;     // orthogonal, n x n by rows: row i holds the i-th column of J
    std::vector<double> triangle_;  // upper triangular, by columns of n
    std::vector<double> multipliers_, product_, direction_, change_;
    std::vector<int> slack_;       // active slacks
    std::vector<double> sign_;     // 1 at a lower bound, -1 at an upper one
    std::vector<char> is_equal_;   // may not leave
    std::vector<char> is_active_;  // by slack
};

}  // namespace optlayers
