// The projection as a conic quadratic program of one sample, in the coordinates of optlayers/solvers.
#pragma once

#include <cstdint>

namespace optlayers {

enum class ConeKind : std::int32_t { second_order = 0, exponential = 1, power = 2, semidefinite = 3 };

struct Cone {
    ConeKind kind;
    int start;      // first slack
    int dimension;  // number of slacks
    double alpha;   // exponent of a power cone
};

// min 1/2 sum_i weight_i (x_i - v_i)^2 over slacks s = (x, rows x) with a box, or s = rows x, such that
// lower <= s <= upper for the first `linear` slacks, and s - lower in K for those of cones, which come last.
struct Program {
    int entries;
    int row_count;
    bool box;
    int linear;
    int cone_count;
    const Cone* cones;
    const double* weight;
    const double* rows;  // row_count x entries, by rows
    const double* lower;
    const double* upper;
    const double* v;

    int slacks() const { return row_count + (box ? entries : 0); }
    int first_row() const { return box ? entries : 0; }  // slack of the first row
    const double* row(int slack) const { return rows + static_cast<std::int64_t>(slack - first_row()) * entries; }

    // Slacks of a point, those of cones less their offsets.
    void evaluate(const double* x, double* values) const;
};

enum class Outcome : std::int32_t { solved = 0, infeasible = 1, unsolved = 3 };

}  // namespace optlayers
