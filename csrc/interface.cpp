#include "interface.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "derivative.h"
#include "projection.h"
#include "team.h"

namespace optlayers {

namespace {

constexpr double kSmall = 2e4;  // a rough count of operations that are not worth a second thread

// Call `each` for all samples, each thread with a workspace of its own.
template <class Work, class Each>
void for_each_sample(const Batch& batch, const Each& each) {
    const std::int64_t n = batch.structure.entries(), m = batch.structure.row_count;
    const double operations = static_cast<double>(batch.samples) * n * (n + m + 10.0);
    const std::int64_t threads = operations < kSmall ? 1 : std::min<std::int64_t>(batch.threads, batch.samples);
    const std::int64_t size = std::max<std::int64_t>(1, batch.samples / (8 * std::max<std::int64_t>(threads, 1)));
    std::atomic<std::int64_t> next{0};
    share_out(static_cast<int>(threads), threads, [&](std::int64_t) {
        static thread_local Units units;
        static thread_local Work work;
        bool has_rows = false;
        for (std::int64_t first = next.fetch_add(size); first < batch.samples; first = next.fetch_add(size)) {
            for (std::int64_t k = first; k < std::min(first + size, batch.samples); ++k) {
                const bool keep_rows = has_rows && batch.matrix_stride == 0;
                if (!keep_rows) units.take_rows(batch.structure, batch.matrix + k * batch.matrix_stride);
                has_rows = true;
                const Program& program = units.take_sample(batch.lower + k * batch.bound_stride,
                                                           batch.upper + k * batch.bound_stride, batch.v + k * batch.structure.size);
                each(work, units, program, k, keep_rows);
            }
        }
    });
}

// Points and duals of the program from the user's.
void enter(const Units& units, const double* x, int n, double* to_x, const double* dual, int slacks, double* to_dual) {
    for (int i = 0; i < n; ++i) to_x[i] = x[i] / units.of_entry(i);
    for (int i = 0; i < slacks; ++i) to_dual[units.place(i)] = dual[i] / units.of_dual(i);
    units.balance(to_dual);
}

struct Projecting {
    Projection projection;
    std::vector<double> dual, distances;
};

struct Pulling {
    Derivative derivative;
    std::vector<double> x, dual, gradient, p, q;
    std::vector<char> at_upper;
};

}  // namespace

void project(const Batch& batch, const double* start, const Verdicts& verdicts) {
    const Structure& structure = batch.structure;
    const int n = structure.entries(), slacks = structure.slacks();
    for_each_sample<Projecting>(batch, [&](Projecting& work, Units& units, const Program& program, std::int64_t k, bool keep_rows) {
        double* x = batch.x + k * n;
        double* dual = batch.dual + k * slacks;
        work.dual.assign(program.slacks(), 0.0);
        const double* from = start ? start + k * (slacks + n) : nullptr;
        const bool has_start = from && std::all_of(from, from + slacks + n, [](double t) { return std::isfinite(t); });
        if (has_start) enter(units, from + slacks, n, x, from, slacks, work.dual.data());
        const Outcome outcome = work.projection.solve(program, keep_rows, has_start, x, work.dual.data());
        verdicts.error[k] = outcome == Outcome::infeasible ? HUGE_VAL : work.projection.error();
        verdicts.steps[k] = work.projection.steps();
        work.projection.residual().distances(program, work.projection.slacks().data(), work.distances);
        verdicts.violation[k] = 0.0;
        units.unbalance(work.dual.data());
        for (int i = 0; i < n; ++i) x[i] *= units.of_entry(i);
        for (int i = 0; i < slacks; ++i) {
            const int place = units.place(i);
            dual[i] = work.dual[place] * units.of_dual(i);
            verdicts.violation[k] = std::max(verdicts.violation[k], work.distances[place] * units.of_slack(i));
        }
    });
}

void pull(const Batch& batch, const Gradients& gradients) {
    const Structure& structure = batch.structure;
    const int n = structure.entries(), slacks = structure.slacks(), m = structure.row_count;
    for_each_sample<Pulling>(batch, [&](Pulling& work, Units& units, const Program& program, std::int64_t k, bool) {
        const double* x = batch.x + k * n;
        const double* dual = batch.dual + k * slacks;
        work.x.resize(n);
        work.dual.assign(program.slacks(), 0.0);
        enter(units, x, n, work.x.data(), dual, slacks, work.dual.data());
        work.p.resize(n);
        work.q.resize(program.slacks());
        work.at_upper.assign(program.slacks(), 0);
        work.gradient.resize(n);
        for (int i = 0; i < n; ++i) work.gradient[i] = gradients.of_x[k * n + i] * units.of_entry(i);
        const bool is_known = work.derivative.pull(program, work.x.data(), work.dual.data(), work.gradient.data(),
                                                   work.p.data(), work.q.data(), work.at_upper.data());
        gradients.failed[k] = !is_known;
        if (!is_known) return;
        units.unbalance(work.q.data());
        const double unit = units.of_entry(0);
        for (int i = 0; i < n; ++i) work.p[i] *= units.of_entry(i) / unit / unit;
        std::copy_n(work.p.begin(), structure.size, gradients.of_v + k * structure.size);
        for (int i = 0; i < slacks; ++i) {
            const int place = units.place(i);
            const double q = work.q[place] / units.of_slack(i);
            if (gradients.of_lower) {
                gradients.of_lower[k * slacks + i] = work.at_upper[place] ? 0.0 : -q;
                gradients.of_upper[k * slacks + i] = work.at_upper[place] ? -q : 0.0;
            }
            if (gradients.of_matrix && i >= structure.bounded_count) {
                double* row = gradients.of_matrix + (k * m + i - structure.bounded_count) * n;
                for (int j = 0; j < n; ++j) row[j] = dual[i] * work.p[j] + q * x[j];
            }
        }
    });
}

}  // namespace optlayers
