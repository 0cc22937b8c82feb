// Rows are divided by their length, those of a cone by the largest of them; entries and bounds by the size of the points or
// of the set, whichever is smaller.
//
// Auxiliary entries may have units far from those of the points, and rows may mix both. Their columns are scaled so that
// all numbers of a row and all of a column are near to one another: the least-squares solution of
//
//     log |a_ij| + column_j - row_i = 0,  log |b_i| - row_i = 0
//
// over all numbers that are not zero, see balance.h. A second-order cone such as (1 + t, 1 - t, 2 x), which is how squares
// are written, cancels where t is far from 1: its first two slacks are turned until their sum and difference are alike.
#include "units.h"

#include <algorithm>
#include <cmath>

#include "balance.h"
#include "dense.h"

namespace optlayers {

namespace {

constexpr double kSmallestUnit = 1e-3;  // of the largest bound

// A hyperbolic rotation, which keeps second-order cones: the sum is multiplied and the difference divided by a number.
void turn(double& one, double& two, double factor) {
    const double sum = (one + two) * factor, difference = (one - two) / factor;
    one = (sum + difference) / 2.0;
    two = (sum - difference) / 2.0;
}

// The smaller of two sizes, neither zero nor far below the bounds, as a power of two.
double unit_of(double bounds, double points) {
    const double size = bounds > 0.0 ? std::fmin(bounds, std::fmax(points, kSmallestUnit * bounds)) : points;
    return size > 0.0 && std::isfinite(size) ? std::ldexp(1.0, std::ilogb(size)) : 1.0;
}

}  // namespace

void Units::take_rows(const Structure& structure, const double* matrix) {
    structure_ = structure;
    matrix_ = matrix;
    is_scaled_ = false;
    const int n = structure.entries(), m = structure.row_count;
    weight_.assign(n, 1.0);
    std::fill(weight_.begin() + structure.size, weight_.end(), 0.0);
    columns_.assign(n, 1.0);
    balances_.assign(structure.cone_count, 0.0);
    norms_.resize(m);
    rows_.resize(static_cast<std::size_t>(m) * n);
    const int slacks = structure.first_row() + m;
    lower_.resize(slacks);
    upper_.resize(slacks);
    v_.assign(n, 0.0);
    program_ = {n, m, structure.bounded_count > 0, structure.first_row() + structure.linear, structure.cone_count, structure.cones,
                weight_.data(), rows_.data(), lower_.data(), upper_.data(), v_.data()};
}

double Units::scale(int slack) const {
    const int bounded = structure_.bounded_count;
    return slack < bounded ? columns_[structure_.bounded[slack]] : norms_[slack - bounded];
}

int Units::place(int slack) const {
    const int bounded = structure_.bounded_count;
    return slack < bounded ? static_cast<int>(structure_.bounded[slack]) : program_.first_row() + slack - bounded;
}

void Units::scale_columns(const double* lower, const double* upper) {
    const Structure& s = structure_;
    const int n = s.entries(), first_row = s.bounded_count, first_cone = first_row + s.linear;
    static thread_local Balance balance;
    balance.start(first_cone + 3 * s.cone_count, 1 + s.auxiliary);
    const auto row = [&](int slack) { return matrix_ + static_cast<std::size_t>(slack - first_row) * n; };
    const auto add = [&](int equation, int entry, double value) { balance.add(equation, entry < s.size ? 0 : 1 + entry - s.size, value); };
    for (int k = 0; k < first_cone; ++k) {
        balance.add(k, -1, lower[k]);
        if (lower[k] != upper[k]) balance.add(k, -1, upper[k]);
        if (k < first_row) add(k, static_cast<int>(s.bounded[k]), 1.0);
        else
            for (int j = 0; j < n; ++j) add(k, j, row(k)[j]);
    }
    for (int c = 0; c < s.cone_count; ++c) {
        const Cone& cone = s.cones[c];
        const int at = cone.start - s.first_row() + s.bounded_count, equation = first_cone + 3 * c;
        int first = 0;
        if (cone.kind == ConeKind::second_order && cone.dimension > 2) {  // sum and difference of the first two slacks
            for (const double sign : {1.0, -1.0}) {
                balance.add(equation + first, -1, lower[at] + sign * lower[at + 1]);
                for (int j = 0; j < n; ++j) add(equation + first, j, row(at)[j] + sign * row(at + 1)[j]);
                ++first;
            }
            balance.tie(equation);
        }
        for (int k = at + first; k < at + cone.dimension; ++k) {
            balance.add(equation + 2, -1, lower[k]);
            for (int j = 0; j < n; ++j) add(equation + 2, j, row(k)[j]);
        }
    }
    balance.solve();
    for (int j = 0; j < n; ++j) columns_[j] = std::exp2(std::round(balance.column(j < s.size ? 0 : 1 + j - s.size)));
    for (int c = 0; c < s.cone_count; ++c)
        balances_[c] = std::round((balance.row(first_cone + 3 * c + 1) - balance.row(first_cone + 3 * c)) / 2.0);
}

void Units::boost(double* slacks, double power) const {
    for (int c = 0; c < structure_.cone_count; ++c) {
        if (balances_[c] == 0.0) continue;
        double* s = slacks + structure_.cones[c].start;
        turn(s[0], s[1], std::exp2(power * balances_[c]));
    }
}

void Units::scale_rows() {
    const int n = structure_.entries(), m = structure_.row_count, offset = structure_.first_row();
    for (int k = 0; k < m; ++k) {
        const std::size_t at = static_cast<std::size_t>(k) * n;
        for (int j = 0; j < n; ++j) rows_[at + j] = matrix_[at + j] * columns_[j];
    }
    for (int c = 0; c < structure_.cone_count; ++c) {
        if (balances_[c] == 0.0) continue;
        double* one = &rows_[static_cast<std::size_t>(structure_.cones[c].start - offset) * n];
        for (int j = 0; j < n; ++j) turn(one[j], one[n + j], std::exp2(balances_[c]));
    }
    for (int k = 0; k < m; ++k) norms_[k] = norm(&rows_[static_cast<std::size_t>(k) * n], n);
    for (int c = 0; c < structure_.cone_count; ++c) {
        const auto first = norms_.begin() + structure_.cones[c].start - offset, last = first + structure_.cones[c].dimension;
        std::fill(first, last, *std::max_element(first, last));
    }
    for (int k = 0; k < m; ++k) {
        if (!(norms_[k] > 0.0)) norms_[k] = 1.0;
        const double inverse = 1.0 / norms_[k];
        const std::size_t at = static_cast<std::size_t>(k) * n;
        for (int j = 0; j < n; ++j) rows_[at + j] *= inverse;
    }
}

const Program& Units::take_sample(const double* lower, const double* upper, const double* v) {
    const Structure& s = structure_;
    const int slacks = s.slacks();
    const bool depends_on_bounds = s.auxiliary > 0;
    if (!is_scaled_ || (depends_on_bounds && !(std::equal(lower, lower + slacks, given_lower_.begin()) &&
                                               std::equal(upper, upper + slacks, given_upper_.begin())))) {
        if (depends_on_bounds) {
            given_lower_.assign(lower, lower + slacks);
            given_upper_.assign(upper, upper + slacks);
            scale_columns(lower, upper);
        }
        scale_rows();
        is_scaled_ = true;
    }
    std::fill(lower_.begin(), lower_.begin() + program_.first_row(), -HUGE_VAL);
    std::fill(upper_.begin(), upper_.begin() + program_.first_row(), HUGE_VAL);
    for (int k = 0; k < slacks; ++k) {
        lower_[place(k)] = lower[k] / scale(k);
        upper_[place(k)] = upper[k] / scale(k);
    }
    boost(lower_.data(), 1.0);
    double bounds = 0.0;
    for (const auto* sides : {&lower_, &upper_})
        for (const double b : *sides)
            if (std::isfinite(b)) bounds = std::fmax(bounds, std::fabs(b));
    unit_ = unit_of(bounds, largest(v, s.size) / columns_[0]);
    for (double& b : lower_) b /= unit_;
    for (double& b : upper_) b /= unit_;
    for (int i = 0; i < s.size; ++i) v_[i] = v[i] / of_entry(i);
    return program_;
}

}  // namespace optlayers
