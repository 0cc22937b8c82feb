// The active constraints of a solution are smooth surfaces g_i(A x) = 0 with multipliers and curvatures
// C = - sum_i multiplier_i Hess g_i:
//
//   interval       g = s - bound
//   second order   g = s0 - |s1|,              C = (multiplier / |s1|) (1 - t t'), t = s1 / |s1|
//   exponential    g = s1 log(s2 / s1) - s0,   C = (multiplier / s1) w w', w = (0, 1, -s1 / s2)
//   power          g = s0^a s1^b - |s2|,       C = a b s0^a s1^b multiplier w w', w = (1 / s0, -1 / s1, 0)
//   semidefinite   see surfaces_of_matrices.cpp
//   apex           s = 0
//   face           s1 = 0 of an exponential cone, where s0 < 0 < s2
//   edge           s0 = s1 = 0 of an exponential cone: where s1 = s2 exp(-a) of a large a
#include "surfaces.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

void Surfaces::start(const Program& program, double unit) {
    program_ = &program;
    unit_ = unit;
    n_ = program.entries;
}

int Surfaces::only_entry(int slack) const {
    if (slack < program_->first_row()) return slack;
    const double* row = program_->row(slack);
    int result = -1;
    for (int j = 0; j < n_; ++j) {
        if (row[j] == 0.0) continue;
        if (result >= 0) return -1;
        result = j;
    }
    return result;
}

void Surfaces::classify(const double* slacks, const double* dual, double lead) {
    const Program& p = *program_;
    flags.assign(p.linear, Flag::free);
    for (int k = 0; k < p.linear; ++k) {
        const double low = p.lower[k], high = p.upper[k];
        if (low == high) flags[k] = Flag::equal;
        else if (dual[k] > lead * (slacks[k] - low)) flags[k] = Flag::lower;
        else if (-dual[k] > lead * (high - slacks[k])) flags[k] = Flag::upper;
    }
    regions.assign(p.cone_count, Region::surface);
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (cone.kind == ConeKind::semidefinite) {
            regions[c] = Region::spectral;
        } else if (cone.kind == ConeKind::second_order) {
            const double s1 = norm(s + 1, k - 1), z1 = norm(z + 1, k - 1);
            if (z[0] + z1 < s[0] - s1) regions[c] = Region::interior;
            else if (s[0] + s1 < z[0] - z1) regions[c] = Region::apex;
        } else {
            double margin = 0.0;
            if (cone.kind == ConeKind::exponential) margin = s[1] > 0 && s[2] > 0 ? s[1] * std::log(s[2] / s[1]) - s[0] : 0.0;
            else if (s[0] > 0 && s[1] > 0) margin = std::pow(s[0], cone.alpha) * std::pow(s[1], 1 - cone.alpha) - std::fabs(s[2]);
            if (largest(z, 3) < margin) regions[c] = Region::interior;
        }
    }
}

// normal' A as an equation, with its value and the multiplier so far
void Surfaces::add_surface(double value, const double* normal, int start, int dimension, double multiplier) {
    const Program& p = *program_;
    rows_.resize(static_cast<std::size_t>(count_ + 1) * n_);
    double* row = &rows_[static_cast<std::size_t>(count_) * n_];
    std::fill(row, row + n_, 0.0);
    for (int i = 0; i < dimension; ++i) {
        const int slack = start + i;
        if (normal[i] == 0.0) continue;
        if (slack < p.first_row()) row[slack] += normal[i];
        else axpy(normal[i], p.row(slack), row, n_);
    }
    gaps_.push_back(value);
    multipliers_.push_back(multiplier);
    normal_start_.push_back(start);
    normal_dimension_.push_back(dimension);
    normal_at_.push_back(normals_.size());
    normals_.insert(normals_.end(), normal, normal + dimension);
    ++count_;
}

void Surfaces::add_curvature(double weight, const double* normal, int start, int dimension) {
    if (!(weight > 0.0)) return;
    lifted_.assign(n_, 0.0);
    for (int i = 0; i < dimension; ++i)
        if (normal[i] != 0.0) axpy(normal[i], program_->row(start + i), lifted_.data(), n_);
    for (int i = 0; i < n_; ++i)
        if (lifted_[i] != 0.0) axpy(weight * lifted_[i], lifted_.data(), &hessian_[static_cast<std::size_t>(i) * n_], i + 1);
    curvatures_.push_back({weight, start, dimension, false, bends_.size()});
    bends_.insert(bends_.end(), normal, normal + dimension);
}

// The curvature 1 - t t': all rows of the tail, less their combination t.
void Surfaces::add_second_order(const Cone& cone, const double* s, const double* z) {
    const Program& p = *program_;
    const int k = cone.dimension;
    const double length = norm(s + 1, k - 1), multiplier = std::fmax(z[0], 0.0), weight = multiplier / length;
    one_.assign(k, 1.0);
    for (int i = 1; i < k; ++i) one_[i] = -s[i] / length;
    lifted_.assign(n_, 0.0);
    for (int i = 1; i < k; ++i) {
        const double* row = p.row(cone.start + i);
        for (int a = 0; a < n_; ++a)
            if (row[a] != 0.0) axpy(weight * row[a], row, &hessian_[static_cast<std::size_t>(a) * n_], a + 1);
        axpy(one_[i], row, lifted_.data(), n_);
    }
    for (int a = 0; a < n_; ++a)
        if (lifted_[a] != 0.0) axpy(-weight * lifted_[a], lifted_.data(), &hessian_[static_cast<std::size_t>(a) * n_], a + 1);
    curvatures_.push_back({weight, cone.start + 1, k - 1, true, bends_.size()});
    bends_.insert(bends_.end(), one_.begin() + 1, one_.begin() + k);
    add_surface(s[0] - length, one_.data(), cone.start, k, multiplier);
}

OPTLAYERS_CLONES void Surfaces::build(const double* slacks, const double* dual) {
    const Program& p = *program_;
    count_ = 0;
    for (auto* list : {&gaps_, &multipliers_, &normals_, &bends_}) list->clear();
    normal_at_.clear();
    normal_start_.clear();
    normal_dimension_.clear();
    curvatures_.clear();
    hessian_.assign(static_cast<std::size_t>(n_) * n_, 0.0);
    for (int i = 0; i < n_; ++i) hessian_[static_cast<std::size_t>(i) * n_ + i] = p.weight[i];
    for (int k = 0; k < p.linear; ++k) {
        if (flags[k] == Flag::free) continue;
        const double bound = flags[k] == Flag::upper ? p.upper[k] : p.lower[k], one = 1.0;
        add_surface(slacks[k] - bound, &one, k, 1, dual[k]);
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (regions[c] == Region::interior) continue;
        if (regions[c] == Region::spectral) {
            add_matrix(cone, s, z);
        } else if (regions[c] == Region::apex || regions[c] == Region::face || regions[c] == Region::edge) {
            one_.assign(k, 0.0);
            const int first = regions[c] == Region::face ? 1 : 0, last = regions[c] == Region::apex ? k : 2;
            for (int i = first; i < last; ++i) {
                one_[i] = 1.0;
                add_surface(s[i], one_.data(), cone.start, k, z[i]);
                one_[i] = 0.0;
            }
        } else if (cone.kind == ConeKind::second_order) {
            add_second_order(cone, s, z);
        } else if (cone.kind == ConeKind::exponential) {
            const double ratio = s[2] / s[1], log_ratio = std::log(ratio), multiplier = std::fmax(-z[0], 0.0);
            one_ = {-1.0, log_ratio - 1.0, 1.0 / ratio};
            const double w[3] = {0.0, 1.0, -1.0 / ratio};
            add_curvature(multiplier / s[1], w, cone.start, 3);
            add_surface(s[1] * log_ratio - s[0], one_.data(), cone.start, 3, multiplier);
        } else {
            const double a = cone.alpha, b = 1.0 - a, phi = std::pow(s[0], a) * std::pow(s[1], b);
            const double multiplier = std::fabs(z[2]), sign = std::copysign(1.0, s[2]);
            one_ = {a * phi / s[0], b * phi / s[1], -sign};
            const double w[3] = {1.0 / s[0], -1.0 / s[1], 0.0};
            add_curvature(a * b * phi * multiplier, w, cone.start, 3);
            add_surface(phi - std::fabs(s[2]), one_.data(), cone.start, 3, multiplier);
        }
    }
}

void Surfaces::bend(const double* change, double* image) const {
    for (const Curvature& curvature : curvatures_) {
        const double* normal = &bends_[curvature.at];
        const double* from = change + curvature.start;
        double* to = image + curvature.start;
        const double along = dot(normal, from, curvature.dimension);
        for (int i = 0; i < curvature.dimension; ++i)
            to[i] += curvature.weight * (curvature.of_tail ? from[i] - along * normal[i] : along * normal[i]);
    }
}

void Surfaces::combine(const double* factors, double* dual) const {
    for (int e = 0; e < count_; ++e) axpy(factors[e], &normals_[normal_at_[e]], dual + normal_start_[e], normal_dimension_[e]);
}

}  // namespace optlayers
