// The linear system of Newton's method on the active surfaces, see newton_system.cpp.
#pragma once

#include <vector>

#include "quasi_definite.h"
#include "surfaces.h"

namespace optlayers {

class NewtonSystem {
  public:
    // Factor the system of what is active; false where it holds no finite numbers. The order of elimination of the
    // call before is kept where `is_alike` says that the pattern is the same.
    bool factorise(const Surfaces& surfaces, bool is_alike);

    // Solve for entries and multipliers, packed, to a residual below rounding or after so many refinements.
    bool solve(const Surfaces& surfaces, const std::vector<double>& wanted, std::vector<double>& solution, int refinements);

  private:
    QuasiDefinite factor_;
    std::vector<double> matrix_, right_;
};

}  // namespace optlayers
