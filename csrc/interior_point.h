// The homogeneous interior-point method, see interior_point.cpp.
#pragma once

#include <memory>
#include <vector>

#include "program.h"
#include "quasi_definite.h"
#include "scaling.h"

namespace optlayers {

class InteriorPoint {
  public:
    // Take over a program; its numbers are read at each call, and must stay where they are.
    // `keep_rows` says that rows, kinds of bounds and cones are those of the call before.
    void start(const Program& program, bool keep_rows);

    // Go on until the relative residuals and the gap are below `tolerance`.
    // `infeasible` is said with a certificate only, `unsolved` where there is no more progress.
    Outcome run(double tolerance, int most_steps);

    int steps() const { return steps_; }

    // Points and, by slack, values and duals; duals have the signs of the multipliers of the rows.
    void read(double* x, double* dual) const;

  private:
    struct Side {
        int slack;
        double sign;  // G row = sign * row: -1 at a lower bound, 1 at an upper one
    };

    void layout(const Program& program);
    void times(const double* x, double* product) const;         // G x
    void add_transposed(const double* z, double* result) const;  // += G'z
    bool factorise();
    void solve(double* x, double* z) const;
    bool is_certificate() const;
    double longest(double most);

    Program program_{};
    int n_ = 0, equal_ = 0, sides_ = 0, total_ = 0;  // total: equalities, sides, slacks of cones
    double degree_ = 0.0, unit_ = 1.0;
    int steps_ = 0;
    std::vector<Side> side_;  // equalities first
    std::vector<std::unique_ptr<Scaling>> cones_;
    std::vector<std::vector<int>> pattern_;  // columns of the entries of each row
    std::vector<double> q_, b_, x_, s_, z_, dx_, ds_, dz_, x1_, z1_, x2_, z2_, rx_, rz_, d_, h_, ahead_;
    std::vector<double> matrix_;
    mutable std::vector<double> right_, rest_, slacks_, image_;
    double tau_ = 1.0, kappa_ = 1.0, dtau_ = 0.0, dkappa_ = 0.0;
    QuasiDefinite factor_;
    bool is_ordered_ = false, has_barrier_ = false;
    std::vector<ConeKind> kinds_;
};

}  // namespace optlayers
