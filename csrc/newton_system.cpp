//     [W + A' C A   -E'] (x)             E: rows grad g_i' A,  C: the curvature of the active surfaces
//     [-E            0 ] (multipliers)
//
// A proximal term makes it quasi-definite, so that dependent surfaces and entries without weight need no care; iterative
// refinement takes out what that changes.
#include "newton_system.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kProximal = 1e-7;
constexpr double kRounding = 1e-15;

}  // namespace

bool NewtonSystem::factorise(const Surfaces& surfaces, bool is_alike) {
    const int n = surfaces.entries(), size = n + surfaces.count();
    matrix_.assign(static_cast<std::size_t>(size) * size, 0.0);
    for (int i = 0; i < n; ++i) {
        const double* row = &surfaces.hessian()[static_cast<std::size_t>(i) * n];
        double* target = &matrix_[static_cast<std::size_t>(i) * size];
        std::copy(row, row + i + 1, target);
        if (!std::isfinite(target[i])) return false;
        target[i] += surfaces.program().weight[i] > 0.0 ? 0.0 : kProximal;
    }
    for (int e = 0; e < surfaces.count(); ++e) {
        double* target = &matrix_[static_cast<std::size_t>(n + e) * size];
        for (int j = 0; j < n; ++j) target[j] = -surfaces.row(e)[j];
        target[n + e] = -kProximal;
    }
    if (!is_alike || factor_.size() != size) factor_.order(matrix_.data(), size);
    factor_.factorise(matrix_.data(), n);
    return true;
}

bool NewtonSystem::solve(const Surfaces& surfaces, const std::vector<double>& wanted, std::vector<double>& solution, int refinements) {
    const int n = surfaces.entries(), size = n + surfaces.count();
    const double limit = kRounding * largest(wanted.data(), size);
    solution.assign(size, 0.0);
    right_ = wanted;
    for (int round = 0;; ++round) {
        factor_.solve(right_.data());
        for (int i = 0; i < size; ++i) solution[i] += right_[i];
        if (round == refinements) break;
        right_ = wanted;
        for (int i = 0; i < n; ++i) {
            const double* row = &surfaces.hessian()[static_cast<std::size_t>(i) * n];
            right_[i] -= dot(row, solution.data(), i + 1);
            axpy(-solution[i], row, right_.data(), i);
        }
        for (int e = 0; e < surfaces.count(); ++e) {
            axpy(solution[n + e], surfaces.row(e), right_.data(), n);
            right_[n + e] += dot(surfaces.row(e), solution.data(), n);
        }
        if (largest(right_.data(), size) <= limit) break;
    }
    return std::all_of(solution.begin(), solution.end(), [](double t) { return std::isfinite(t); });
}

}  // namespace optlayers
