// The nearest point of one sample, see projection.cpp.
#pragma once

#include <vector>

#include "active_set.h"
#include "interior_point.h"
#include "polish.h"
#include "program.h"
#include "residual.h"

namespace optlayers {

// Memory of all methods, kept from sample to sample.
class Projection {
  public:
    // Write point and duals of all slacks; with `has_start` they hold those of a nearby program,
    // or an answer of another solver, and never become worse. `keep_rows` says that
    // rows and cones are those of the call before. The outcome is what the methods say; `error` is the KKT residual, and
    // judges.
    Outcome solve(const Program& program, bool keep_rows, bool has_start, double* x, double* dual);

    double error() const { return error_; }
    int steps() const { return steps_; }
    const std::vector<double>& slacks() const { return slacks_; }
    Residual& residual() { return residual_; }

  private:
    bool polish(const Program& program, const Polish::Guess& guess, double* x, double* dual);
    Outcome run(const Program& program, double* x, double* dual);
    double judge(const Program& program, const double* x, const double* dual);
    void approach(const Program& program, double size, double* x, double* dual);

    ActiveSet active_set_;
    InteriorPoint interior_point_;
    Polish polish_;
    Residual residual_;
    std::vector<double> guess_, guess_dual_, slacks_, near_, far_x_, far_dual_, start_, start_dual_;
    double error_ = 0.0;
    int steps_ = 0;
    bool has_rows_ = false;  // whether the interior point has those of the program
};

}  // namespace optlayers
