// Newton's method on the active surfaces, see polish.cpp.
#pragma once

#include <vector>

#include "newton_system.h"
#include "residual.h"
#include "surfaces.h"

namespace optlayers {

class Polish {
  public:
    struct Guess {
        double lead;      // a dual so many times its slack is active
        bool free_heads;  // bounds on entries that exponential or power cones keep positive are not active
        bool on_faces;    // exponential cones whose duals vanish are on their flat face
    };

    // Improve a point and duals (of all slacks, as rows' multipliers) to rounding; true where the KKT residual is then at
    // most `tolerance`, relative to the program's own unit.
    bool run(const Program& program, double* x, double* dual, const Guess& guess, double tolerance, int most_steps);

    int steps() const { return steps_; }

  private:
    void free_heads();
    void find_faces(const double* dual);
    bool step(double* x, double* dual);
    double shorten(double* step, bool& is_cut) const;
    bool flip(const double* dual, double tolerance);

    const Program* program_ = nullptr;
    Surfaces surfaces_;
    NewtonSystem system_;
    Residual residual_;
    int steps_ = 0;
    double moved_ = 0.0;   // by the last step
    bool is_cut_ = false;  // whether the last step was shortened
    std::vector<double> slacks_, before_, image_, wanted_, solution_;
};

}  // namespace optlayers
