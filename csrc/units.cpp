#include "units.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kSmallestUnit = 1e-3;  // of the largest bound

// The smaller of two sizes, neither zero nor far below the bounds, as a power of two.
double unit_of(double bounds, double points) {
    const double size = bounds > 0.0 ? std::fmin(bounds, std::fmax(points, kSmallestUnit * bounds)) : points;
    return size > 0.0 && std::isfinite(size) ? std::ldexp(1.0, std::ilogb(size)) : 1.0;
}

}  // namespace

void Units::take_rows(const Structure& structure, const double* matrix) {
    structure_ = &structure;
    bounded_count_ = structure.bounded_count;
    const int n = structure.entries(), m = structure.row_count;
    norms_.resize(m);
    for (int k = 0; k < m; ++k) norms_[k] = optlayers::norm(matrix + static_cast<std::size_t>(k) * n, n);
    const int offset = bounded_count_ ? n : 0;
    for (int c = 0; c < structure.cone_count; ++c) {
        const auto first = norms_.begin() + structure.cones[c].start - offset, last = first + structure.cones[c].dimension;
        std::fill(first, last, *std::max_element(first, last));
    }
    rows_.resize(static_cast<std::size_t>(m) * n);
    for (int k = 0; k < m; ++k) {
        if (!(norms_[k] > 0.0)) norms_[k] = 1.0;
        const double inverse = 1.0 / norms_[k];
        const std::size_t at = static_cast<std::size_t>(k) * n;
        for (int j = 0; j < n; ++j) rows_[at + j] = matrix[at + j] * inverse;
    }
    weight_.assign(n, 1.0);
    std::fill(weight_.begin() + structure.size, weight_.end(), 0.0);
    const int slacks = offset + m;
    lower_.resize(slacks);
    upper_.resize(slacks);
    v_.assign(n, 0.0);
    program_ = {n, m, bounded_count_ > 0, offset + structure.linear, structure.cone_count, structure.cones, weight_.data(),
                rows_.data(), lower_.data(), upper_.data(), v_.data()};
}

int Units::place(int slack) const {
    if (slack < bounded_count_) return static_cast<int>(structure_->bounded[slack]);
    return program_.first_row() + slack - bounded_count_;
}

const Program& Units::take_sample(const double* lower, const double* upper, const double* v) {
    const Structure& s = *structure_;
    double bounds = 0.0;
    for (int k = 0; k < s.slacks(); ++k) {
        const double norm = k < bounded_count_ ? 1.0 : norms_[k - bounded_count_];
        for (const double b : {lower[k] / norm, upper[k] / norm})
            if (std::isfinite(b)) bounds = std::fmax(bounds, std::fabs(b));
    }
    unit_ = unit_of(bounds, largest(v, s.size));
    std::fill(lower_.begin(), lower_.begin() + program_.first_row(), -HUGE_VAL);
    std::fill(upper_.begin(), upper_.begin() + program_.first_row(), HUGE_VAL);
    for (int k = 0; k < s.slacks(); ++k) {
        lower_[place(k)] = lower[k] / factor(k);
        upper_[place(k)] = upper[k] / factor(k);
    }
    for (int i = 0; i < s.size; ++i) v_[i] = v[i] / unit_;
    return program_;
}

}  // namespace optlayers
