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
    int first_row() const { return bounded_count ? entries() : 0; }  // slack of the program
};

class Units {
  public:
    // The matrix, by rows; it must stay where it is.
    void take_rows(const Structure& structure, const double* matrix);

    // Bounds and point of a sample.
    const Program& take_sample(const double* lower, const double* upper, const double* v);

    // The place of a slack of the user's among those of the program.
    int place(int slack) const;

    // What values of the program are to be multiplied by: entries, slacks, and duals of slacks.
    double of_entry(int entry) const { return unit_ * columns_[entry]; }
    double of_slack(int slack) const { return unit_ * scale(slack); }
    double of_dual(int slack) const { return of_entry(0) * (of_entry(0) / of_slack(slack)); }

    // Turn duals of the program's slacks, before they are multiplied, into those of cones that are not balanced, and back.
    void unbalance(double* duals) const { boost(duals, 1.0); }
    void balance(double* duals) const { boost(duals, -1.0); }

  private:
    double scale(int slack) const;
    void scale_columns(const double* lower, const double* upper);
    void scale_rows();
    void boost(double* slacks, double power) const;

    Structure structure_{};
    const double* matrix_ = nullptr;
    bool is_scaled_ = false;
    double unit_ = 1.0;
    Program program_{};
    std::vector<double> weight_, columns_, norms_, rows_, lower_, upper_, v_, given_lower_, given_upper_;
    std::vector<double> balances_;  // by cone: log2 of what the sum of the first two slacks is multiplied by
};

}  // namespace optlayers
