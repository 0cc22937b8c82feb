// The KKT residual that judges all answers, see residual.cpp.
#pragma once

#include <vector>

#include "program.h"

namespace optlayers {

class Residual {
  public:
    // The largest absolute entry of weight (x - v) - A'y, relative to the points, and of s - P(s - y), relative to the
    // solution: what ConicProgram.error in optlayers/solvers/conic_program.py computes, or an upper bound of it.
    // `slacks` are those of `x`, less the offsets of cones.
    double of(const Program& program, const double* x, const double* slacks, const double* dual);

    // The distance of each slack to its range, or an upper bound; for cones the same for all slacks of one.
    void distances(const Program& program, const double* slacks, std::vector<double>& result);

  private:
    double of_cone(const Cone& cone, const double* s, const double* z);

    std::vector<double> rest_, dual_, zero_, matrix_, vectors_, values_, image_;
};

}  // namespace optlayers
