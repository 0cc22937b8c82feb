// The implicit function theorem on the active surfaces. A change of the data by (dv, dA, db) moves the solution by
//
//     H dx - E'd(multipliers) = W dv + dA'y - A'C delta,   E dx = - grad g' delta,   delta = dA x - db,
//
// with H = W + A'C A and E = grad g' A as in newton_system.cpp. The adjoint solves one system with the same matrix,
//
//     H p + E'm = gradient,  E p = 0,
//
// and gives gradient'dx = p'(W dv + dA'y) + q'delta with q = -(C A p + grad g m).
//
// Slacks at a bound stay there; with cones or entries without weight, those with a dual do (the same convention as in
// optlayers/differentiation).
#include "derivative.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kAtBound = 1e-10;  // relative; slacks this near to a bound are at it
constexpr double kWeak = 1e-9;      // relative; duals up to this size are zero
constexpr double kSharp = 1e-9;     // relative; slacks of cones this small are at an edge
constexpr int kRefinements = 10;

}  // namespace

bool Derivative::classify(const double* dual) {
    const Program& p = surfaces_.program();
    const double unit = surfaces_.unit();
    const bool is_polyhedron = p.cone_count == 0 && std::all_of(p.weight, p.weight + p.entries, [](double w) { return w > 0.0; });
    surfaces_.classify(slacks_.data(), dual, 1.0);
    for (int k = 0; k < p.linear; ++k) {
        const double s = slacks_[k], y = dual[k];
        Flag flag = Flag::free;
        if (p.lower[k] == p.upper[k]) flag = Flag::equal;
        else if (!is_polyhedron) flag = y > kWeak * unit ? Flag::lower : y < -kWeak * unit ? Flag::upper : Flag::free;
        else if (s - y <= p.lower[k] || s <= p.lower[k] + kAtBound * unit) flag = Flag::lower;
        else if (s - y >= p.upper[k] || s >= p.upper[k] - kAtBound * unit) flag = Flag::upper;
        surfaces_.flags[k] = flag;
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = &slacks_[cone.start];
        Region& region = surfaces_.regions[c];
        if (largest(dual + cone.start, cone.dimension) <= kWeak * unit) {
            region = Region::interior;
            continue;
        }
        if (region == Region::spectral || region == Region::apex) continue;
        if (largest(s, cone.dimension) <= kSharp * unit) region = Region::apex;
        else if (cone.kind == ConeKind::second_order && region == Region::interior) return false;
        else if (cone.kind == ConeKind::exponential && !(s[2] > kSharp * unit)) return false;
        else if (cone.kind == ConeKind::exponential && s[1] <= kSharp * unit)
            region = -dual[cone.start] > kWeak * unit ? Region::edge : Region::face;
        else if (cone.kind == ConeKind::power && !(std::fmin(s[0], s[1]) > kSharp * unit && std::fabs(s[2]) > kSharp * unit)) return false;
    }
    return true;
}

bool Derivative::pull(const Program& program, const double* x, const double* dual, const double* gradient, double* p,
                      double* q, char* at_upper) {
    const int n = program.entries, slacks = program.slacks();
    surfaces_.start(program, std::fmax(largest(program.v, n), 1.0));
    slacks_.resize(slacks);
    program.evaluate(x, slacks_.data());
    if (!classify(dual)) return false;
    surfaces_.build(slacks_.data(), dual);
    const int equations = surfaces_.count();
    if (!system_.factorise(surfaces_, false)) return false;
    wanted_.assign(n + equations, 0.0);
    std::copy(gradient, gradient + n, wanted_.begin());
    if (!system_.solve(surfaces_, wanted_, solution_, kRefinements)) return false;
    std::copy(solution_.begin(), solution_.begin() + n, p);
    for (int k = 0; k < program.linear; ++k) at_upper[k] = surfaces_.flags[k] == Flag::upper;
    // the system has -E' where the adjoint has E': its multipliers are -m
    std::fill(q, q + slacks, 0.0);
    surfaces_.combine(&solution_[n], q);
    change_.assign(slacks, 0.0);
    if (program.box)
        for (int i = 0; i < n; ++i) change_[i] = -p[i];
    for (int k = program.first_row(); k < slacks; ++k) change_[k] = -dot(program.row(k), p, n);
    surfaces_.bend(change_.data(), q);
    return true;
}

}  // namespace optlayers
