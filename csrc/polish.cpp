// From the neighbourhood of a solution to rounding.
//
// The active constraints of a solution are smooth surfaces g_i(A x) = 0, see surfaces.cpp, so that it solves
//
//     weight (x - v) = A' y,  y = sum_i multiplier_i grad g_i,  g_i = 0,
//
// by Newton's method. Which surfaces are active is guessed from the sizes of slacks and duals; guesses that a step proves
// wrong are turned.
#include "polish.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr int kRefinements = 2;
constexpr int kFlips = 10;
constexpr double kVanishing = 1e-17;  // slack of an exponential cone, relative to the unit, that is zero
constexpr double kMostFall = -40.0;  // of a logarithm in one step
constexpr double kMostDual = 1e4;  // duals grow without limit where a set has no interior: then residuals say little
constexpr double kFace = 1e-4, kFaint = 1e-3;  // slacks and duals, relative to the unit, next to the flat face

bool has_heads(const Cone& cone) { return cone.kind == ConeKind::exponential || cone.kind == ConeKind::power; }

}  // namespace

void Polish::free_heads() {
    const Program& p = *program_;
    std::vector<char> is_head(p.entries, 0);
    for (int c = 0; c < p.cone_count; ++c) {
        if (!has_heads(p.cones[c])) continue;
        for (int i = 0; i < 3; ++i) {
            const int entry = surfaces_.only_entry(p.cones[c].start + i);
            if (entry >= 0) is_head[entry] = 1;
        }
    }
    for (int k = 0; k < p.linear; ++k) {
        const int entry = surfaces_.only_entry(k);
        if (surfaces_.flags[k] != Flag::equal && entry >= 0 && is_head[entry]) surfaces_.flags[k] = Flag::free;
    }
}

void Polish::find_faces(const double* dual) {
    const Program& p = *program_;
    const double unit = surfaces_.unit();
    for (int c = 0; c < p.cone_count; ++c) {
        const int start = p.cones[c].start;
        if (p.cones[c].kind == ConeKind::exponential && slacks_[start + 1] < kFace * unit && -dual[start] < kFaint * unit)
            surfaces_.regions[c] = Region::face;
    }
}

// Turn what is wrong: multipliers of the wrong sign, bounds that are passed.
bool Polish::flip(const double* dual, double tolerance) {
    const Program& p = *program_;
    bool changed = false;
    for (int k = 0; k < p.linear; ++k) {
        Flag& flag = surfaces_.flags[k];
        const Flag before = flag;
        if (flag == Flag::free) {
            if (slacks_[k] < p.lower[k] - tolerance) flag = Flag::lower;
            else if (slacks_[k] > p.upper[k] + tolerance) flag = Flag::upper;
        } else if ((flag == Flag::lower && dual[k] < -tolerance) || (flag == Flag::upper && dual[k] > tolerance)) {
            flag = Flag::free;
        }
        changed |= flag != before;
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        Region& region = surfaces_.regions[c];
        const Region before = region;
        const double* s = &slacks_[cone.start];
        if (cone.kind == ConeKind::exponential && region == Region::surface && s[1] < kVanishing * surfaces_.unit()) region = Region::edge;
        else if (cone.kind != ConeKind::second_order) continue;
        else if (region == Region::interior && s[0] < norm(s + 1, cone.dimension - 1) - tolerance) region = Region::surface;
        else if (region == Region::surface && dual[cone.start] < -tolerance) region = Region::interior;
        changed |= region != before;
    }
    return changed;
}

// Keep the heads of cones, at whose zero surfaces are not smooth, above a tenth of what they are: by changing the step in
// the only entry that a head depends on, else by shortening it. Such an entry of an exponential cone takes the step of its
// logarithm, in which its stationarity is linear. Return the part of the step to take.
double Polish::shorten(double* step, bool& is_cut) const {
    const Program& p = *program_;
    double alpha = 1.0;
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        if (surfaces_.regions[c] != Region::surface || !has_heads(cone)) continue;
        const int first = cone.kind == ConeKind::exponential ? 1 : 0;
        for (int slack = cone.start + first; slack < cone.start + first + 2; ++slack) {
            const double* row = p.row(slack);
            const double change = dot(row, step, p.entries), most = 0.9 * slacks_[slack];
            if (!(-change > most)) continue;
            is_cut = true;
            const int entry = surfaces_.only_entry(slack);
            if (entry >= 0 && first == 1) step[entry] = slacks_[slack] * std::expm1(std::fmax(change / slacks_[slack], kMostFall)) / row[entry];
            else if (entry >= 0) step[entry] = -most / row[entry];
            else alpha = std::fmin(alpha, -most / change);
        }
    }
    return alpha;
}

// H dx - E'change = W (v - x) + E'multipliers, -E dx = gaps; the duals follow the turning normals.
bool Polish::step(double* x, double* dual) {
    const Program& p = *program_;
    const int n = p.entries, equations = surfaces_.count();
    wanted_.resize(n + equations);
    for (int i = 0; i < n; ++i) wanted_[i] = p.weight[i] * (p.v[i] - x[i]);
    for (int e = 0; e < equations; ++e) {
        axpy(surfaces_.multipliers()[e], surfaces_.row(e), wanted_.data(), n);
        wanted_[n + e] = surfaces_.gaps()[e];
    }
    if (!system_.solve(surfaces_, wanted_, solution_, kRefinements)) return false;
    is_cut_ = false;
    const double alpha = shorten(solution_.data(), is_cut_);
    axpy(alpha, solution_.data(), x, n);
    for (int e = 0; e < equations; ++e) solution_[n + e] = surfaces_.multipliers()[e] + alpha * solution_[n + e];
    std::fill(dual, dual + p.slacks(), 0.0);
    surfaces_.combine(&solution_[n], dual);
    before_ = slacks_;
    p.evaluate(x, slacks_.data());
    for (int k = 0; k < p.slacks(); ++k) before_[k] -= slacks_[k];
    surfaces_.bend(before_.data(), dual);
    moved_ = largest(solution_.data(), n) / surfaces_.unit();
    return moved_ <= 1e3;
}

bool Polish::run(const Program& program, double* x, double* dual, const Guess& guess, double tolerance, int most_steps) {
    program_ = &program;
    const int n = program.entries, slacks = program.slacks();
    double unit = std::fmax(largest(program.v, n), largest(x, n));
    if (!(unit > 0.0)) unit = 1.0;
    surfaces_.start(program, unit);
    slacks_.resize(slacks);
    program.evaluate(x, slacks_.data());
    surfaces_.classify(slacks_.data(), dual, guess.lead);
    if (guess.free_heads) free_heads();
    if (guess.on_faces) find_faces(dual);
    bool is_near = false;
    int flips = 0;
    for (steps_ = 0; steps_ < most_steps; ++steps_) {
        surfaces_.build(slacks_.data(), dual);
        if (surfaces_.count() > 3 * n + 50 || !system_.factorise(surfaces_, steps_ > 0) || !step(x, dual)) return false;
        // errors are of second order in the last step; where surfaces bend much, that asks for one more
        const bool is_flat = surfaces_.is_flat();
        if (!is_cut_ && (is_flat || moved_ <= 1e-6) && largest(dual, slacks) <= kMostDual * unit &&
            residual_.of(program, x, slacks_.data(), dual) <= tolerance) {
            if (is_flat || moved_ <= 1e-11 || is_near) {
                ++steps_;
                return true;
            }
            is_near = true;
        }
        if (moved_ < 1e-3 && flips < kFlips && flip(dual, 1e-12 * unit)) ++flips;
    }
    return false;
}

}  // namespace optlayers
