// The order of work for a sample: the dual active-set method where it applies and is small; otherwise the interior point,
// stopped early, and the polish, which alone says that a sample is solved; where it fails, once more from closer by.
#include "interface.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "active_set.h"
#include "interior_point.h"
#include "polish.h"

namespace optlayers {

namespace {

constexpr double kTolerances[] = {1e-5, 1e-8};  // of the interior point, before each polish
constexpr Polish::Guess kGuesses[] = {{1.0, false, false}, {1.0, true, false}, {1e3, false, false}, {1.0, false, true}};
constexpr double kPolished = 1e-11;
constexpr int kMostActive = 64;  // entries, up to which the active-set method is the fastest
constexpr int kMostSteps = 60;
constexpr int kPolishing = 15;

struct Workspace {
    ActiveSet active_set;
    InteriorPoint interior_point;
    Polish polish;
    std::vector<double> x, dual;
};

Outcome solve_one(const Program& program, bool is_strong, bool keep_rows, Workspace& work, double* x, double* y, int& steps) {
    if (program.cone_count == 0 && is_strong && program.entries <= kMostActive) {
        const Outcome outcome = work.active_set.solve(program, x, y, steps);
        if (outcome != Outcome::unsolved) return outcome;
    }
    const int n = program.entries, slacks = program.slacks();
    work.x.resize(n);
    work.dual.resize(slacks);
    work.interior_point.start(program, keep_rows);
    const bool has_heads = std::any_of(program.cones, program.cones + program.cone_count,
                                             [](const Cone& cone) { return cone.kind == ConeKind::exponential || cone.kind == ConeKind::power; });
    for (const double tolerance : kTolerances) {
        const Outcome outcome = work.interior_point.run(tolerance, kMostSteps);
        work.interior_point.read(x, y);
        steps = work.interior_point.steps();
        if (outcome == Outcome::infeasible) return outcome;
        for (const Polish::Guess& guess : kGuesses) {
            if ((guess.free_heads || guess.on_faces) && !has_heads) continue;
            std::copy(x, x + n, work.x.begin());
            std::copy(y, y + slacks, work.dual.begin());
            const bool is_polished = work.polish.run(program, work.x.data(), work.dual.data(), guess, kPolished, kPolishing);
            steps += work.polish.steps();
            if (is_polished) {
                std::copy(work.x.begin(), work.x.end(), x);
                std::copy(work.dual.begin(), work.dual.end(), y);
                return Outcome::solved;
            }
        }
        if (outcome == Outcome::unsolved) break;
    }
    return Outcome::unsolved;
}

void solve_some(const Batch& batch, std::int64_t first, std::int64_t last, bool is_strong, Workspace& work) {
    Program program{batch.entries, batch.row_count, batch.box, batch.linear, batch.cone_count, batch.cones,
                    batch.weight, batch.rows, nullptr, nullptr, nullptr};
    const std::int64_t slacks = program.slacks();
    for (std::int64_t k = first; k < last; ++k) {
        program.rows = batch.rows + k * batch.row_stride;
        program.lower = batch.lower + k * batch.bound_stride;
        program.upper = batch.upper + k * batch.bound_stride;
        program.v = batch.v + k * batch.entries;
        int steps = 0;
        const bool keep_rows = k > first && batch.row_stride == 0;
        const Outcome outcome =
            solve_one(program, is_strong, keep_rows, work, batch.x + k * batch.entries, batch.y + k * slacks, steps);
        batch.status[k] = static_cast<std::int64_t>(outcome);
        batch.steps[k] = steps;
    }
}

}  // namespace

void solve(const Batch& batch) {
    const bool is_strong = std::all_of(batch.weight, batch.weight + batch.entries, [](double w) { return w == 1.0; });
    // a rough guess of the work: threads cost some ten microseconds to start
    const double work = static_cast<double>(batch.samples) * batch.entries * (batch.entries + batch.row_count + 10.0);
    const std::int64_t threads = work < 2e4 ? 1 : std::min<std::int64_t>(batch.threads, batch.samples);
    if (threads <= 1) {
        static thread_local Workspace workspace;
        solve_some(batch, 0, batch.samples, is_strong, workspace);
        return;
    }
    const std::int64_t size = std::max<std::int64_t>(1, batch.samples / (8 * threads));
    std::atomic<std::int64_t> next{0};
    auto run = [&] {
        Workspace workspace;
        for (std::int64_t first = next.fetch_add(size); first < batch.samples; first = next.fetch_add(size))
            solve_some(batch, first, std::min(first + size, batch.samples), is_strong, workspace);
    };
    std::vector<std::thread> team;
    for (std::int64_t k = 1; k < threads; ++k) team.emplace_back(run);
    run();
    for (std::thread& thread : team) thread.join();
}

}  // namespace optlayers
