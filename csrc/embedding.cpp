// The start of the interior point and its linear systems; see interior_point.cpp.
#include <algorithm>
#include <cmath>

#include "barriers.h"
#include "dense.h"
#include "interior_point.h"
#include "second_order.h"
#include "semidefinite.h"

namespace optlayers {

namespace {

constexpr double kRegular = 1e-13;  // relative to the diagonal
constexpr int kRefinements = 2;
constexpr double kAccurate = 1e-11;  // relative residual at which a step needs no more refinement

}  // namespace

std::unique_ptr<Scaling> make_scaling(const Cone& cone) {
    switch (cone.kind) {
        case ConeKind::second_order: return std::make_unique<SecondOrder>(cone.dimension);
        case ConeKind::semidefinite: return std::make_unique<Semidefinite>(cone.dimension);
        case ConeKind::exponential: return std::make_unique<ThreeEntries>(exponential_barrier());
        case ConeKind::power: return std::make_unique<ThreeEntries>(power_barrier(cone.alpha));
    }
    return nullptr;
}

void InteriorPoint::layout(const Program& program) {
    n_ = program.entries;
    side_.clear();
    for (int k = 0; k < program.linear; ++k)
        if (program.lower[k] == program.upper[k]) side_.push_back({k, -1.0});
    equal_ = static_cast<int>(side_.size());
    for (int k = 0; k < program.linear; ++k) {
        if (program.lower[k] == program.upper[k]) continue;
        if (std::isfinite(program.lower[k])) side_.push_back({k, -1.0});
        if (std::isfinite(program.upper[k])) side_.push_back({k, 1.0});
    }
    sides_ = static_cast<int>(side_.size());
    total_ = sides_ + program.slacks() - program.linear;
    degree_ = sides_ - equal_;
    for (int c = 0; c < program.cone_count; ++c) degree_ += cones_[c]->degree();
}

void InteriorPoint::start(const Program& program, bool keep_rows) {
    program_ = program;
    bool same_cones = static_cast<int>(kinds_.size()) == program.cone_count;
    for (int c = 0; same_cones && c < program.cone_count; ++c) same_cones = kinds_[c] == program.cones[c].kind;
    if (!keep_rows || !same_cones) {
        cones_.clear();
        kinds_.clear();
        has_barrier_ = false;
        for (int c = 0; c < program.cone_count; ++c) {
            cones_.push_back(make_scaling(program.cones[c]));
            kinds_.push_back(program.cones[c].kind);
            has_barrier_ = has_barrier_ || !cones_[c]->is_symmetric();
        }
        pattern_.assign(program.row_count, {});
        for (int r = 0; r < program.row_count; ++r) {
            const double* row = program.rows + static_cast<size_t>(r) * program.entries;
            for (int j = 0; j < program.entries; ++j)
                if (row[j] != 0.0) pattern_[r].push_back(j);
        }
        is_ordered_ = false;
    }
    for (int c = 0; c < program.cone_count; ++c)
        cones_[c]->prepare(program.row(program.cones[c].start), program.entries);
    const int before = equal_;
    layout(program);
    if (before != equal_) is_ordered_ = false;
    const int n = n_, m = total_, size = n + equal_;
    for (auto* v : {&q_, &x_, &dx_, &x1_, &x2_, &rx_, &image_}) v->resize(n);
    for (auto* v : {&b_, &s_, &z_, &ds_, &dz_, &z1_, &z2_, &rz_, &d_, &h_}) v->resize(m);
    rest_.resize(m + n);
    right_.resize(size);
    slacks_.resize(program.slacks());
    ahead_.resize(2 * static_cast<size_t>(program.slacks()));
    matrix_.resize(static_cast<size_t>(size) * size);

    unit_ = largest(program.v, n);
    for (int k = 0; k < sides_; ++k) {
        const Side& side = side_[k];
        b_[k] = side.sign * (side.sign < 0 ? program.lower[side.slack] : program.upper[side.slack]);
        unit_ = std::fmax(unit_, std::fabs(b_[k]));
    }
    for (int k = sides_; k < m; ++k) {
        b_[k] = -program.lower[program.linear + k - sides_];
        unit_ = std::fmax(unit_, std::fabs(b_[k]));
    }
    if (!(unit_ > 0.0)) unit_ = 1.0;
    for (int k = 0; k < m; ++k) b_[k] /= unit_;
    for (int i = 0; i < n; ++i) q_[i] = -program.weight[i] * program.v[i] / unit_;

    steps_ = 0;
    tau_ = kappa_ = 1.0;
    std::fill(x_.begin(), x_.end(), 0.0);
    std::fill(z_.begin(), z_.begin() + equal_, 0.0);
    std::fill(s_.begin(), s_.begin() + equal_, 0.0);
    for (int k = equal_; k < sides_; ++k) s_[k] = z_[k] = 1.0;
    for (int c = 0; c < program.cone_count; ++c) {
        const int at = sides_ + program.cones[c].start - program.linear;
        cones_[c]->start(&s_[at], &z_[at]);
    }
    if (has_barrier_) return;
    // the least-squares point, shifted into the cones
    for (int k = equal_; k < sides_; ++k) h_[k] = 1.0;
    for (int c = 0; c < program.cone_count; ++c) {
        const int at = sides_ + program.cones[c].start - program.linear;
        cones_[c]->update(&s_[at], &z_[at]);
    }
    std::vector<double> unit_s(s_), unit_z(z_);
    if (!factorise()) return;
    for (int i = 0; i < n; ++i) x_[i] = -q_[i];
    std::copy(b_.begin(), b_.end(), z_.begin());
    solve(x_.data(), z_.data());
    for (int k = equal_; k < m; ++k) s_[k] = -z_[k];
    double least_s = 0.0, least_z = 0.0;
    for (int k = equal_; k < sides_; ++k) least_s = std::fmin(least_s, s_[k]), least_z = std::fmin(least_z, z_[k]);
    for (int c = 0; c < program.cone_count; ++c) {
        const int at = sides_ + program.cones[c].start - program.linear;
        least_s = std::fmin(least_s, cones_[c]->margin(&s_[at]));
        least_z = std::fmin(least_z, cones_[c]->margin(&z_[at]));
    }
    const double shift_s = least_s < 1e-8 ? 1.0 - least_s : 0.0, shift_z = least_z < 1e-8 ? 1.0 - least_z : 0.0;
    for (int k = equal_; k < m; ++k) s_[k] += shift_s * unit_s[k], z_[k] += shift_z * unit_z[k];
}

OPTLAYERS_CLONES void InteriorPoint::times(const double* x, double* result) const {
    const Program& p = program_;
    const int first = p.first_row();
    for (int r = 0; r < p.row_count; ++r) {
        const double* row = p.rows + static_cast<size_t>(r) * n_;
        double sum = 0.0;
        if (static_cast<int>(pattern_[r].size()) * 2 > n_) sum = dot(row, x, n_);
        else
            for (int j : pattern_[r]) sum += row[j] * x[j];
        slacks_[first + r] = sum;
    }
    if (p.box) std::copy(x, x + n_, slacks_.begin());
    for (int k = 0; k < sides_; ++k) result[k] = side_[k].sign * slacks_[side_[k].slack];
    for (int k = sides_; k < total_; ++k) result[k] = -slacks_[p.linear + k - sides_];
}

OPTLAYERS_CLONES void InteriorPoint::add_transposed(const double* z, double* result) const {
    const Program& p = program_;
    const int first = p.first_row();
    std::fill(slacks_.begin(), slacks_.end(), 0.0);
    for (int k = 0; k < sides_; ++k) slacks_[side_[k].slack] += side_[k].sign * z[k];
    for (int k = sides_; k < total_; ++k) slacks_[p.linear + k - sides_] = -z[k];
    if (p.box)
        for (int i = 0; i < n_; ++i) result[i] += slacks_[i];
    for (int r = 0; r < p.row_count; ++r) {
        const double t = slacks_[first + r];
        if (t == 0.0) continue;
        const double* row = p.rows + static_cast<size_t>(r) * n_;
        if (static_cast<int>(pattern_[r].size()) * 2 > n_) axpy(t, row, result, n_);
        else
            for (int j : pattern_[r]) result[j] += t * row[j];
    }
}

// P + G'H^-1 G, bordered by the equalities, in the lower triangle
OPTLAYERS_CLONES bool InteriorPoint::factorise() {
    const Program& p = program_;
    const int n = n_, size = n + equal_, first = p.first_row();
    std::fill(matrix_.begin(), matrix_.end(), 0.0);
    std::vector<double>& weight = rest_;
    weight.assign(std::max<size_t>(p.slacks(), rest_.size()), 0.0);
    for (int k = equal_; k < sides_; ++k) weight[side_[k].slack] += 1.0 / h_[k];
    for (int i = 0; i < n; ++i) matrix_[static_cast<size_t>(i) * size + i] = p.weight[i] + (p.box ? weight[i] : 0.0);
    for (int k = first; k < p.linear; ++k) {
        const double t = weight[k];
        if (t == 0.0) continue;
        const double* row = p.row(k);
        const std::vector<int>& pattern = pattern_[k - first];
        if (static_cast<int>(pattern.size()) == n) {
            for (int i = 0; i < n; ++i) axpy(t * row[i], row, &matrix_[static_cast<size_t>(i) * size], i + 1);
        } else {
            for (size_t a = 0; a < pattern.size(); ++a) {
                double* target = &matrix_[static_cast<size_t>(pattern[a]) * size];
                const double u = t * row[pattern[a]];
                for (size_t b = 0; b <= a; ++b) target[pattern[b]] += u * row[pattern[b]];
            }
        }
    }
    for (auto& cone : cones_) cone->add_normal(matrix_.data(), size);
    for (int e = 0; e < equal_; ++e) {
        const int slack = side_[e].slack;
        double* target = &matrix_[static_cast<size_t>(n + e) * size];
        if (slack < first) target[slack] = -1.0;
        else
            for (int j : pattern_[slack - first]) target[j] = -p.row(slack)[j];
    }
    double most = 0.0;
    for (int i = 0; i < n; ++i) {
        const double entry = matrix_[static_cast<size_t>(i) * size + i];
        if (!std::isfinite(entry)) return false;
        most = std::fmax(most, entry);
    }
    for (int i = 0; i < n; ++i) {
        double& entry = matrix_[static_cast<size_t>(i) * size + i];
        entry += kRegular * std::fmax(entry, 1e-6);
    }
    for (int e = 0; e < equal_; ++e) matrix_[static_cast<size_t>(n + e) * size + n + e] = -kRegular;
    if (!is_ordered_) {
        factor_.order(matrix_.data(), size);
        is_ordered_ = true;
    }
    factor_.factorise(matrix_.data(), n);
    return true;
}

// [P G'; G -H] (x, z) = (x, z), in place, refined on the full system
void InteriorPoint::solve(double* x, double* z) const {
    const Program& p = program_;
    const int n = n_, m = total_;
    std::vector<double>& fx = image_;
    static thread_local std::vector<double> gx, gz, rx, rz, part;
    gx.assign(x, x + n);
    gz.assign(z, z + m);
    rx.assign(n, 0.0);
    rz.assign(m, 0.0);
    part.resize(m);
    std::fill(x, x + n, 0.0);
    std::fill(z, z + m, 0.0);
    for (int round = 0; round <= kRefinements; ++round) {
        // residual of the full system
        if (round == 0) {
            rx = gx;
            rz = gz;
        } else {
            for (int i = 0; i < n; ++i) fx[i] = p.weight[i] * x[i];
            add_transposed(z, fx.data());
            for (int i = 0; i < n; ++i) rx[i] = gx[i] - fx[i];
            times(x, part.data());
            for (int k = 0; k < sides_; ++k) rz[k] = gz[k] - part[k] + (k < equal_ ? 0.0 : h_[k] * z[k]);
            for (int c = 0; c < p.cone_count; ++c) {
                const int at = sides_ + p.cones[c].start - p.linear, k = p.cones[c].dimension;
                cones_[c]->times(z + at, &rz[at]);
                for (int i = at; i < at + k; ++i) rz[i] += gz[i] - part[i];
            }
            if (largest(rx.data(), n) + largest(rz.data(), m) <= kAccurate * (largest(gx.data(), n) + largest(gz.data(), m))) break;
        }
        // x from the reduced system, z from x
        for (int k = 0; k < equal_; ++k) part[k] = 0.0;
        for (int k = equal_; k < sides_; ++k) part[k] = rz[k] / h_[k];
        for (int c = 0; c < p.cone_count; ++c) {
            const int at = sides_ + p.cones[c].start - p.linear;
            cones_[c]->divide(&rz[at], &part[at]);
        }
        std::copy(rx.begin(), rx.end(), right_.begin());
        add_transposed(part.data(), right_.data());
        for (int e = 0; e < equal_; ++e) right_[n + e] = rz[e];
        factor_.solve(right_.data());
        times(right_.data(), part.data());
        for (int i = 0; i < n; ++i) x[i] += right_[i];
        for (int e = 0; e < equal_; ++e) z[e] += right_[n + e];
        for (int k = equal_; k < sides_; ++k) z[k] += (part[k] - rz[k]) / h_[k];
        for (int c = 0; c < p.cone_count; ++c) {
            const int at = sides_ + p.cones[c].start - p.linear, k = p.cones[c].dimension;
            for (int i = at; i < at + k; ++i) part[i] -= rz[i];
            cones_[c]->divide(&part[at], &rz[at]);
            for (int i = at; i < at + k; ++i) z[i] += rz[i];
        }
    }
}

}  // namespace optlayers
