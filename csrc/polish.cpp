// From the neighbourhood of a solution to rounding.
//
// The active constraints of a solution are smooth surfaces g_i(A x) = 0, so that it solves
//
//     weight (x - v) = A' y,  y = sum_i multiplier_i grad g_i,  g_i = 0,
//
// whose Newton steps are quasi-definite systems
//
//     [W + A' C A   -E'] (dx)          E: rows grad g_i' A,  C: curvature, - sum_i multiplier_i Hess g_i.
//     [E             0 ] (multipliers)
//
//   interval       g = s - bound
//   second order   g = s0 - |s1|,              C = (multiplier / |s1|) (1 - t t'), t = s1 / |s1|
//   exponential    g = s1 log(s2 / s1) - s0,   C = (multiplier / s1) w w', w = (0, 1, -s1 / s2)
//   power          g = s0^a s1^b - |s2|,       C = a b s0^a s1^b multiplier w w', w = (1 / s0, -1 / s1, 0)
//   semidefinite   U2' S U2 = 0 for the eigenvectors U2 that Z spans: C = sum_ij (lambda_j / sigma_i) q_ij q_ij'
//                  with q_ij = (u_i u_j' + u_j u_i') / sqrt 2, i outside and j in the span
//   apex           s = 0
//   face           s1 = 0 of an exponential cone, where s0 < 0 < s2
//
// Which surfaces are active is guessed from the sizes of slacks and duals; guesses that a step proves wrong are turned.
#include "polish.h"

#include <algorithm>
#include <cmath>

#include "dense.h"
#include "symmetric.h"

namespace optlayers {

namespace {

constexpr double kProximal = 1e-7;  // of steps and changes of multipliers, so that dependent surfaces need no care
constexpr int kRefinements = 2;
constexpr double kMostDual = 1e4;  // duals grow without limit where a set has no interior: then residuals say little

}  // namespace

// Turn flags of linear slacks that are wrong: multipliers of the wrong sign, bounds that are passed.
bool Polish::flip(const double* dual, double tolerance) {
    const Program& p = *program_;
    bool changed = false;
    for (int k = 0; k < p.linear; ++k) {
        Flag& flag = flags_[k];
        if (flag == Flag::free) {
            if (slacks_[k] < p.lower[k] - tolerance) flag = Flag::lower, changed = true;
            else if (slacks_[k] > p.upper[k] + tolerance) flag = Flag::upper, changed = true;
        } else if ((flag == Flag::lower && dual[k] < -tolerance) || (flag == Flag::upper && dual[k] > tolerance)) {
            flag = Flag::free;
            changed = true;
        }
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = &slacks_[cone.start];
        const double* z = dual + cone.start;
        if (cone.kind != ConeKind::second_order) continue;
        const double s1 = norm(s + 1, cone.dimension - 1);
        if (regions_[c] == Region::interior && s[0] < s1 - tolerance) regions_[c] = Region::surface, changed = true;
        else if (regions_[c] == Region::surface && z[0] < -tolerance) regions_[c] = Region::interior, changed = true;
    }
    return changed;
}

// Stationarity, feasibility, signs; complementarity holds by construction of the duals.
bool Polish::holds(const double* x, const double* slacks, const double* dual, double tolerance) {
    const Program& p = *program_;
    const double limit = tolerance * unit_;
    if (!(largest(dual, p.slacks()) <= kMostDual * unit_)) return false;
    full_.assign(n_, 0.0);
    for (int i = 0; i < n_; ++i) full_[i] = p.weight[i] * (x[i] - p.v[i]) - (p.box ? dual[i] : 0.0);
    for (int k = p.first_row(); k < p.slacks(); ++k)
        if (dual[k] != 0.0) axpy(-dual[k], p.row(k), full_.data(), n_);
    if (!(largest(full_.data(), n_) <= limit)) return false;
    for (int k = 0; k < p.linear; ++k) {
        if (!(slacks[k] >= p.lower[k] - limit && slacks[k] <= p.upper[k] + limit)) return false;
        if (flags_[k] == Flag::lower && dual[k] < -limit) return false;
        if (flags_[k] == Flag::upper && dual[k] > limit) return false;
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (cone.kind == ConeKind::second_order) {
            if (!(s[0] - norm(s + 1, k - 1) >= -limit && z[0] - norm(z + 1, k - 1) >= -limit)) return false;
        } else if (cone.kind == ConeKind::semidefinite) {
            const int n = order_of(k);
            one_.resize(n * n);
            two_.resize(n);
            for (const double* point : {s, z}) {
                unpack(point, n, one_.data());
                eigen(one_.data(), n, two_.data(), nullptr);
                if (!(*std::min_element(two_.begin(), two_.begin() + n) >= -limit)) return false;
            }
        } else if (cone.kind == ConeKind::exponential) {
            if (regions_[c] == Region::face) {
                if (!(s[0] <= limit && std::fabs(s[1]) <= limit && s[2] >= -limit && z[1] >= -limit)) return false;
                continue;
            }
            if (!(s[1] > 0.0 && s[2] > 0.0)) return false;
            const double log_ratio = std::log(s[2] / s[1]), multiplier = -z[0], slack = s[1] * log_ratio - s[0];
            if (!(slack >= -limit && multiplier >= -limit)) return false;
            const double bent = std::fmax(std::fabs(z[1] - multiplier * (log_ratio - 1.0)), std::fabs(z[2] - multiplier * s[1] / s[2]));
            if (!(bent <= limit + tolerance * largest(z, 3) && multiplier * slack <= limit * unit_)) return false;
        } else {
            if (!(s[0] > 0.0 && s[1] > 0.0)) return false;
            const double a = cone.alpha, phi = std::pow(s[0], a) * std::pow(s[1], 1 - a), slack = phi - std::fabs(s[2]);
            const double multiplier = -std::copysign(1.0, s[2]) * z[2];
            if (!(slack >= -limit && multiplier >= -limit)) return false;
            const double bent = std::fmax(std::fabs(z[0] - multiplier * a * phi / s[0]), std::fabs(z[1] - multiplier * (1 - a) * phi / s[1]));
            if (!(bent <= limit + tolerance * largest(z, 3) && multiplier * slack <= limit * unit_)) return false;
        }
    }
    return true;
}

// Keep the heads of cones, at whose zero surfaces are not smooth, above a tenth of what they are: by changing the step in
// the only entry that a head depends on, else by shortening it. Return the part of the step to take.
double Polish::shorten(double* step, bool& is_cut) const {
    const Program& p = *program_;
    double alpha = 1.0;
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        if (regions_[c] != Region::surface || cone.kind == ConeKind::second_order) continue;
        for (int i = 0; i < 3; ++i) {
            const bool is_positive = cone.kind == ConeKind::exponential ? i > 0 : i < 2;
            if (!is_positive) continue;
            const int slack = cone.start + i;
            const double* row = p.row(slack);
            const double change = dot(row, step, n_), most = 0.9 * slacks_[slack];
            if (!(-change > most)) continue;
            is_cut = true;
            const int entry = only_entry(row);
            if (entry >= 0) step[entry] = -most / row[entry];
            else alpha = std::fmin(alpha, -most / change);
        }
    }
    return alpha;
}

bool Polish::run(const Program& program, double* x, double* dual, const Guess& guess, double tolerance, int most_steps) {
    program_ = &program;
    n_ = program.entries;
    const Program& p = program;
    const int n = n_;
    unit_ = std::fmax(largest(p.v, n), largest(x, n));
    if (!(unit_ > 0.0)) unit_ = 1.0;
    slacks_.resize(p.slacks());
    evaluate(x, slacks_.data());
    classify(slacks_.data(), dual, guess);
    bool is_ordered = false;
    bool is_near = false;
    int flips = 0;
    for (steps_ = 0; steps_ < most_steps; ++steps_) {
        surfaces(slacks_.data(), dual);
        const int size = n + equations_;
        if (equations_ > 3 * n + 50) return false;
        matrix_.assign(static_cast<size_t>(size) * size, 0.0);
        double most = 0.0;
        for (int i = 0; i < n; ++i) {
            std::copy(&hessian_[static_cast<size_t>(i) * n], &hessian_[static_cast<size_t>(i) * n] + i + 1, &matrix_[static_cast<size_t>(i) * size]);
            most = std::fmax(most, matrix_[static_cast<size_t>(i) * size + i]);
        }
        if (!std::isfinite(most)) return false;
        for (int i = 0; i < n; ++i) matrix_[static_cast<size_t>(i) * size + i] += p.weight[i] > 0.0 ? 0.0 : kProximal;
        for (int e = 0; e < equations_; ++e) {
            double* target = &matrix_[static_cast<size_t>(n + e) * size];
            for (int j = 0; j < n; ++j) target[j] = -rows_[static_cast<size_t>(e) * n + j];
            target[n + e] = -kProximal;
        }
        if (!is_ordered || factor_.size() != size) factor_.order(matrix_.data(), size), is_ordered = true;
        factor_.factorise(matrix_.data(), n);
        // H dx - E'change = W (v - x) + E'multipliers, -E dx = gaps
        std::vector<double> solution(size, 0.0), wanted(size);
        for (int i = 0; i < n; ++i) wanted[i] = p.weight[i] * (p.v[i] - x[i]);
        for (int e = 0; e < equations_; ++e) axpy(multipliers_[e], &rows_[static_cast<size_t>(e) * n], wanted.data(), n);
        for (int e = 0; e < equations_; ++e) wanted[n + e] = gaps_[e];
        for (int round = 0; round <= kRefinements; ++round) {
            right_ = wanted;
            if (round) {
                for (int i = 0; i < n; ++i) {
                    const double* row = &hessian_[static_cast<size_t>(i) * n];
                    for (int j = 0; j < i; ++j) right_[i] -= row[j] * solution[j], right_[j] -= row[j] * solution[i];
                    right_[i] -= row[i] * solution[i];
                }
                for (int e = 0; e < equations_; ++e) {
                    const double* row = &rows_[static_cast<size_t>(e) * n];
                    axpy(solution[n + e], row, right_.data(), n);
                    right_[n + e] += dot(row, solution.data(), n);
                }
            }
            factor_.solve(right_.data());
            for (int i = 0; i < size; ++i) solution[i] += right_[i];
        }
        for (int i = 0; i < size; ++i)
            if (!std::isfinite(solution[i])) return false;
        bool is_cut = false;
        const double alpha = shorten(solution.data(), is_cut);
        axpy(alpha, solution.data(), x, n);
        std::fill(dual, dual + p.slacks(), 0.0);
        for (int e = 0; e < equations_; ++e) {
            const double multiplier = multipliers_[e] + alpha * solution[n + e];
            axpy(multiplier, &normals_[normal_at_[e]], dual + normal_start_[e], normal_dimension_[e]);
        }
        before_ = slacks_;
        evaluate(x, slacks_.data());
        for (const Curvature& bend : curvatures_) {  // how the normals turn
            const double* normal = &bends_[bend.at];
            double along = 0.0;
            for (int i = 0; i < bend.dimension; ++i) along += normal[i] * (slacks_[bend.start + i] - before_[bend.start + i]);
            for (int i = 0; i < bend.dimension; ++i) {
                const double change = slacks_[bend.start + i] - before_[bend.start + i];
                dual[bend.start + i] -= bend.weight * (bend.of_tail ? change - along * normal[i] : along * normal[i]);
            }
        }
        const double moved = largest(solution.data(), n);
        if (!(moved <= 1e3 * unit_)) return false;
        // errors are of second order in the last step; where surfaces bend much, that asks for one more
        if (!is_cut && (curvatures_.empty() || moved <= 1e-6 * unit_) && holds(x, slacks_.data(), dual, tolerance)) {
            if (curvatures_.empty() || moved <= 1e-11 * unit_ || is_near) {
                ++steps_;
                return true;
            }
            is_near = true;
        }
        if (moved < 1e-3 * unit_ && flips < 10 && flip(dual, 1e-12 * unit_)) ++flips;
    }
    return false;
}

}  // namespace optlayers
