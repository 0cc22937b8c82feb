// The derivative of a projection, see derivative.cpp.
#pragma once

#include <vector>

#include "newton_system.h"
#include "surfaces.h"

namespace optlayers {

class Derivative {
  public:
    // Given a solution `x`, `dual` and a gradient in `x`, write `p` (entries) and `q` (slacks) such that the gradient is
    // weight p in the points, -q in the bounds where slacks are held, and dual p' + q x' in the rows; false where the
    // active surfaces are not smooth. `at_upper` says, by linear slack, whether it is the upper bound that holds.
    bool pull(const Program& program, const double* x, const double* dual, const double* gradient, double* p, double* q,
              char* at_upper);

  private:
    bool classify(const double* dual);

    Surfaces surfaces_;
    NewtonSystem system_;
    std::vector<double> slacks_, wanted_, solution_, change_;
};

}  // namespace optlayers
