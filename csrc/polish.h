// Newton's method on the active surfaces, see polish.cpp.
#pragma once

#include <cstddef>
#include <vector>

#include "program.h"
#include "quasi_definite.h"

namespace optlayers {

class Polish {
  public:
    struct Guess {
        double lead;      // a dual so many times its slack is active
        bool free_heads;  // bounds on entries that exponential or power cones keep positive are not active
        bool on_faces;    // exponential cones whose duals vanish are on their flat face
    };

    // Improve a point and duals (of all slacks, as rows' multipliers) to rounding; true where the conditions of
    // optimality then hold to `tolerance`, relative to the program's own unit.
    bool run(const Program& program, double* x, double* dual, const Guess& guess, double tolerance, int most_steps);

    int steps() const { return steps_; }

  private:
    enum class Flag : char { free, lower, upper, equal };         // of linear slacks
    enum class Region : char { interior, surface, apex, face, spectral };  // of cones

    void classify(const double* slacks, const double* dual, const Guess& guess);
    int only_entry(const double* row) const;
    void evaluate(const double* x, double* slacks) const;
    void surfaces(const double* slacks, const double* dual);
    void add_surface(double value, const double* normal, int start, int dimension, double multiplier);
    void add_curvature(double weight, const double* normal, int start, int dimension);
    void surfaces_of_matrix(const Cone& cone, const double* s, const double* dual);
    bool holds(const double* x, const double* slacks, const double* dual, double tolerance);
    double shorten(double* step, bool& is_cut) const;
    bool flip(const double* dual, double tolerance);

    const Program* program_ = nullptr;
    double unit_ = 1.0;
    int n_ = 0, steps_ = 0, equations_ = 0;
    std::vector<Flag> flags_;
    std::vector<Region> regions_;
    std::vector<double> gaps_, multipliers_;  // of the equations
    std::vector<double> rows_;                // equations x n
    std::vector<double> hessian_, matrix_, right_, slacks_, full_, lifted_, one_, two_;
    std::vector<double> normals_;             // equations' normals in slacks, packed as start, dimension, entries
    std::vector<int> normal_start_, normal_dimension_;
    std::vector<std::size_t> normal_at_;
    struct Curvature {  // weight normal normal' of some slacks; -weight with `of_tail`, besides weight times the identity
        double weight;
        int start, dimension;
        bool of_tail;
        std::size_t at;
    };
    std::vector<Curvature> curvatures_;
    std::vector<double> bends_, before_;
    QuasiDefinite factor_;
};

}  // namespace optlayers
