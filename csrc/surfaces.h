// The active surfaces of a program near a solution, see surfaces.cpp.
#pragma once

#include <cstddef>
#include <vector>

#include "program.h"

namespace optlayers {

enum class Flag : char { free, lower, upper, equal };                   // of linear slacks
enum class Region : char { interior, surface, apex, face, edge, spectral };  // of cones

class Surfaces {
  public:
    struct Curvature {  // weight normal normal' of some slacks; with `of_tail` weight (1 - normal normal')
        double weight;
        int start, dimension;
        bool of_tail;
        std::size_t at;
    };

    // Begin with a program; `unit` is the size of its numbers.
    void start(const Program& program, double unit);

    // Guess from the sizes of slacks and duals what is active: a dual more than `lead` times its slack.
    void classify(const double* slacks, const double* dual, double lead);

    // Collect values, rows, multipliers and curvatures of what is active.
    void build(const double* slacks, const double* dual);

    // Add to `image` what the curvatures make of changes of slacks.
    void bend(const double* change, double* image) const;

    // Add the normals times their factors to duals of slacks.
    void combine(const double* factors, double* dual) const;

    // The only entry that a slack's row depends on; -1 where there is none, or several.
    int only_entry(int slack) const;

    const Program& program() const { return *program_; }
    double unit() const { return unit_; }
    int entries() const { return n_; }
    int count() const { return count_; }
    const double* row(int equation) const { return &rows_[static_cast<std::size_t>(equation) * n_]; }
    const std::vector<double>& gaps() const { return gaps_; }
    const std::vector<double>& multipliers() const { return multipliers_; }
    const std::vector<double>& hessian() const { return hessian_; }  // n x n, lower triangle
    bool is_flat() const { return curvatures_.empty(); }

    std::vector<Flag> flags;
    std::vector<Region> regions;

  private:
    void add_surface(double value, const double* normal, int start, int dimension, double multiplier);
    void add_curvature(double weight, const double* normal, int start, int dimension);
    void add_second_order(const Cone& cone, const double* s, const double* dual);
    void add_matrix(const Cone& cone, const double* s, const double* dual);

    const Program* program_ = nullptr;
    double unit_ = 1.0;
    int n_ = 0, count_ = 0;
    std::vector<double> gaps_, multipliers_, rows_, hessian_, lifted_, one_;
    std::vector<double> normals_, bends_;  // normals in slacks, packed
    std::vector<int> normal_start_, normal_dimension_;
    std::vector<std::size_t> normal_at_;
    std::vector<Curvature> curvatures_;
};

}  // namespace optlayers
