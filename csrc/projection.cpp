// The order of work for a sample: the dual active-set method where it applies and is small; otherwise the interior point,
// stopped early, and the polish, which alone says that a sample is solved; where it fails, once more from closer by.
#include "projection.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kTolerances[] = {1e-5, 1e-8};  // of the interior point, before each polish
constexpr Polish::Guess kGuesses[] = {{1.0, false, false}, {1.0, true, false}, {1e3, false, false}, {1.0, false, true}};
constexpr double kPolished = 1e-11;
constexpr int kMostActive = 64;  // entries, up to which the active-set method is the fastest
constexpr int kMostSteps = 60;
constexpr int kPolishing = 15;
constexpr double kFar = 1e4;  // from the set, in units of it
constexpr int kRounds = 5;

bool has_head(const Cone& cone) { return cone.kind == ConeKind::exponential || cone.kind == ConeKind::power; }

}  // namespace

// Improve a point and its duals; where that fails they stay as they are.
bool Projection::polish(const Program& program, const Polish::Guess& guess, double* x, double* dual) {
    guess_.assign(x, x + program.entries);
    guess_dual_.assign(dual, dual + program.slacks());
    const bool is_polished = polish_.run(program, guess_.data(), guess_dual_.data(), guess, kPolished, kPolishing);
    steps_ += polish_.steps();
    if (!is_polished) return false;
    std::copy(guess_.begin(), guess_.end(), x);
    std::copy(guess_dual_.begin(), guess_dual_.end(), dual);
    return true;
}

Outcome Projection::run(const Program& program, double* x, double* dual) {
    const int n = program.entries;
    const bool is_strong = std::all_of(program.weight, program.weight + n, [](double w) { return w == 1.0; });
    if (program.cone_count == 0 && is_strong && n <= kMostActive) {
        const Outcome outcome = active_set_.solve(program, x, dual, steps_);
        if (outcome != Outcome::unsolved) return outcome;
    }
    const bool has_heads = std::any_of(program.cones, program.cones + program.cone_count, has_head);
    interior_point_.start(program, has_rows_);
    has_rows_ = true;
    for (const double tolerance : kTolerances) {
        const int before = interior_point_.steps();
        const Outcome outcome = interior_point_.run(tolerance, kMostSteps);
        steps_ += interior_point_.steps() - before;
        interior_point_.read(x, dual);
        if (outcome == Outcome::infeasible) return outcome;
        for (const Polish::Guess& guess : kGuesses) {
            if ((guess.free_heads || guess.on_faces) && !has_heads) continue;
            if (polish(program, guess, x, dual)) return Outcome::solved;
        }
        if (outcome == Outcome::unsolved) break;
    }
    return Outcome::unsolved;
}

double Projection::judge(const Program& program, const double* x, const double* dual) {
    slacks_.resize(program.slacks());
    program.evaluate(x, slacks_.data());
    return residual_.of(program, x, slacks_.data(), dual);
}

Outcome Projection::solve(const Program& program, bool keep_rows, bool has_start, double* x, double* dual) {
    if (!keep_rows) has_rows_ = false;
    steps_ = 0;
    if (has_start) {
        start_.assign(x, x + program.entries);
        start_dual_.assign(dual, dual + program.slacks());
        error_ = judge(program, x, dual);
        if (polish(program, kGuesses[0], x, dual)) {
            error_ = judge(program, x, dual);
            return Outcome::solved;
        }
    }
    const double before = has_start ? error_ : HUGE_VAL;
    const Outcome outcome = run(program, x, dual);
    error_ = judge(program, x, dual);
    const double size = largest(program.v, program.entries);
    if (outcome != Outcome::infeasible && size > kFar)
        for (int round = 0; round < kRounds && error_ > kPolished; ++round) approach(program, size, x, dual);
    if (!(error_ > before)) return outcome;
    std::copy(start_.begin(), start_.end(), x);
    std::copy(start_dual_.begin(), start_dual_.end(), dual);
    error_ = judge(program, x, dual);
    return Outcome::unsolved;
}

// The projection x of v is also that of x + t (v - x) for all t >= 0: a fixed point, found in few rounds, as projections
// of far points hardly move with them, where the rounding of v spoils the answer.
void Projection::approach(const Program& program, double size, double* x, double* dual) {
    const int n = program.entries;
    const double t = std::fmin(kFar * std::fmax(largest(x, n), 1.0) / size, 1.0);
    near_.resize(n);
    for (int i = 0; i < n; ++i) near_[i] = x[i] + t * (program.v[i] - x[i]);
    Program nearer = program;
    nearer.v = near_.data();
    far_x_.assign(x, x + n);
    far_dual_.assign(dual, dual + program.slacks());
    run(nearer, x, dual);
    for (int k = 0; k < program.slacks(); ++k) dual[k] /= t;
    const double error = judge(program, x, dual);
    if (error < error_) {
        error_ = error;
        return;
    }
    std::copy(far_x_.begin(), far_x_.end(), x);
    std::copy(far_dual_.begin(), far_dual_.end(), dual);
    judge(program, x, dual);
}

}  // namespace optlayers
