// The user's numbers in the units of the solver, see units.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace optlayers {

// The set {x : lower <= (x_bounded, L x) <= upper, C x - lower in K} and points, where L and C are rows of a matrix: what
// optlayers/solvers/structure.py calls a structure, for many samples.
struct Structure {
    int size, auxiliary;         // entries whose distance counts, and others that follow them
    int bounded_count;
    const std::int64_t* bounded;  // entries with a bound
    int linear, row_count;       // rows of L, and of the whole matrix
    int cone_count;
    const Cone* cones;           // their starts count the slacks of the program

    int entries() const { return size + auxiliary; }
    int slacks() const { return bounded_count + row_count; }  // as the user counts them
};

class Units {
  public:
    // The matrix, by rows; each is divided by its length, those of a cone by the largest of them.
    void take_rows(const Structure& structure, const double* matrix);

    // Bounds and point of a sample, all divided by the size of points or bounds, as a power of two.
    const Program& take_sample(const double* lower, const double* upper, const double* v);

    double unit() const { return unit_; }
    double norm(int row) const { return norms_[row]; }

    // The place of a slack of the user's among those of the program, and what its value there is to be multiplied by.
    int place(int slack) const;
    double factor(int slack) const { return slack < bounded_count_ ? unit_ : unit_ * norms_[slack - bounded_count_]; }

  private:
    const Structure* structure_ = nullptr;
    int bounded_count_ = 0;
    double unit_ = 1.0;
    Program program_{};
    std::vector<double> weight_, rows_, norms_, lower_, upper_, v_;
};

}  // namespace optlayers
