// Which surfaces are active near a point, and their values, normals and curvatures; see polish.cpp.
#include <algorithm>
#include <cmath>

#include "dense.h"
#include "polish.h"
#include "symmetric.h"

namespace optlayers {

namespace {

constexpr double kFace = 1e-4, kFaint = 1e-3;  // slacks and duals, relative to the unit, next to the flat face

}  // namespace

void Polish::evaluate(const double* x, double* slacks) const {
    const Program& p = *program_;
    if (p.box) std::copy(x, x + n_, slacks);
    for (int k = p.first_row(); k < p.slacks(); ++k) slacks[k] = dot(p.row(k), x, n_);
    for (int k = p.linear; k < p.slacks(); ++k) slacks[k] -= p.lower[k];
}

// The only entry that a row depends on; -1 where there is none, or several.
int Polish::only_entry(const double* row) const {
    int result = -1;
    for (int j = 0; j < n_; ++j) {
        if (row[j] == 0.0) continue;
        if (result >= 0) return -1;
        result = j;
    }
    return result;
}

void Polish::classify(const double* slacks, const double* dual, const Guess& guess) {
    const Program& p = *program_;
    flags_.assign(p.linear, Flag::free);
    for (int k = 0; k < p.linear; ++k) {
        const double low = p.lower[k], high = p.upper[k];
        if (low == high) flags_[k] = Flag::equal;
        else if (dual[k] > guess.lead * (slacks[k] - low)) flags_[k] = Flag::lower;
        else if (-dual[k] > guess.lead * (high - slacks[k])) flags_[k] = Flag::upper;
    }
    if (guess.free_heads) {
        std::vector<char> is_head(n_, 0);
        for (int c = 0; c < p.cone_count; ++c) {
            const Cone& cone = p.cones[c];
            if (cone.kind != ConeKind::exponential && cone.kind != ConeKind::power) continue;
            for (int i = 0; i < 3; ++i) {
                const int entry = only_entry(p.row(cone.start + i));
                if (entry >= 0) is_head[entry] = 1;
            }
        }
        for (int k = 0; k < p.linear; ++k) {
            const int entry = k < p.first_row() ? k : only_entry(p.row(k));
            if (flags_[k] != Flag::equal && entry >= 0 && is_head[entry]) flags_[k] = Flag::free;
        }
    }
    regions_.assign(p.cone_count, Region::interior);
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (cone.kind == ConeKind::semidefinite) {
            regions_[c] = Region::spectral;
        } else if (cone.kind == ConeKind::second_order) {
            const double s1 = norm(s + 1, k - 1), z1 = norm(z + 1, k - 1);
            if (z[0] + z1 < s[0] - s1) regions_[c] = Region::interior;
            else if (s[0] + s1 < z[0] - z1) regions_[c] = Region::apex;
            else regions_[c] = Region::surface;
        } else {
            double margin = 0.0;
            if (cone.kind == ConeKind::exponential) margin = s[1] > 0 && s[2] > 0 ? s[1] * std::log(s[2] / s[1]) - s[0] : 0.0;
            else if (s[0] > 0 && s[1] > 0) margin = std::pow(s[0], cone.alpha) * std::pow(s[1], 1 - cone.alpha) - std::fabs(s[2]);
            regions_[c] = largest(z, 3) < margin ? Region::interior : Region::surface;
            if (guess.on_faces && cone.kind == ConeKind::exponential && s[1] < kFace * unit_ && -z[0] < kFaint * unit_)
                regions_[c] = Region::face;
        }
    }
}

// normal' A as an equation, with its value and the multiplier so far
void Polish::add_surface(double value, const double* normal, int start, int dimension, double multiplier) {
    const Program& p = *program_;
    rows_.resize(static_cast<size_t>(equations_ + 1) * n_);
    double* row = &rows_[static_cast<size_t>(equations_) * n_];
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
    ++equations_;
}

void Polish::add_curvature(double weight, const double* normal, int start, int dimension) {
    if (!(weight > 0.0)) return;
    lifted_.assign(n_, 0.0);
    for (int i = 0; i < dimension; ++i)
        if (normal[i] != 0.0) axpy(normal[i], program_->row(start + i), lifted_.data(), n_);
    for (int i = 0; i < n_; ++i)
        if (lifted_[i] != 0.0) axpy(weight * lifted_[i], lifted_.data(), &hessian_[static_cast<size_t>(i) * n_], i + 1);
    curvatures_.push_back({weight, start, dimension, false, bends_.size()});
    bends_.insert(bends_.end(), normal, normal + dimension);
}

void Polish::surfaces_of_matrix(const Cone& cone, const double* s, const double* z) {
    const int k = cone.dimension, n = order_of(k);
    std::vector<double> matrix(n * n), other(n * n), vectors(n * n), values(n), image(n * n), normal(k);
    for (int i = 0; i < k; ++i) normal[i] = s[i] - z[i];
    unpack(normal.data(), n, matrix.data());
    eigen(matrix.data(), n, values.data(), nullptr);
    const int rank = static_cast<int>(std::count_if(values.begin(), values.end(), [](double t) { return t <= 0.0; }));
    unpack(s, n, matrix.data());
    image = matrix;
    eigen(image.data(), n, values.data(), vectors.data());
    std::vector<int> in(n), out;
    for (int i = 0; i < n; ++i) in[i] = i;
    std::sort(in.begin(), in.end(), [&](int i, int j) { return values[i] < values[j]; });
    out.assign(in.begin() + rank, in.end());
    in.resize(rank);
    unpack(z, n, other.data());
    auto form = [&](const std::vector<double>& m, int i, int j) {
        double sum = 0.0;
        for (int a = 0; a < n; ++a) sum += vectors[i * n + a] * dot(&m[a * n], &vectors[j * n], n);
        return sum;
    };
    // turn U2 until U2'Z U2 is diagonal
    std::vector<double> inner(rank * rank), turn(rank * rank), size(rank), turned(rank * n, 0.0);
    for (int i = 0; i < rank; ++i)
        for (int j = 0; j < rank; ++j) inner[i * rank + j] = form(other, in[i], in[j]);
    eigen(inner.data(), rank, size.data(), turn.data());
    for (int i = 0; i < rank; ++i)
        for (int j = 0; j < rank; ++j) axpy(turn[i * rank + j], &vectors[in[j] * n], &turned[i * n], n);
    for (int i = 0; i < rank; ++i) std::copy(&turned[i * n], &turned[i * n] + n, &vectors[in[i] * n]);
    auto mixed = [&](int i, int j) {
        for (int a = 0; a < n; ++a)
            for (int b = 0; b < n; ++b)
                image[a * n + b] = (vectors[i * n + a] * vectors[j * n + b] + vectors[j * n + a] * vectors[i * n + b]) / (i == j ? 2.0 : kRoot2);
        pack(image.data(), n, normal.data());
    };
    for (size_t a = 0; a < in.size(); ++a)
        for (size_t b = 0; b <= a; ++b) {
            const int i = in[a], j = in[b];
            mixed(i, j);
            const double scale = i == j ? 1.0 : kRoot2;
            add_surface(scale * form(matrix, i, j), normal.data(), cone.start, k, scale * form(other, i, j));
        }
    for (int i : out)
        for (int j : in) {
            mixed(i, j);
            add_curvature(std::fmax(form(other, j, j), 0.0) / std::fmax(values[i], 1e-12 * unit_), normal.data(), cone.start, k);
        }
}

OPTLAYERS_CLONES void Polish::surfaces(const double* slacks, const double* dual) {
    const Program& p = *program_;
    equations_ = 0;
    gaps_.clear();
    multipliers_.clear();
    normals_.clear();
    normal_at_.clear();
    normal_start_.clear();
    normal_dimension_.clear();
    curvatures_.clear();
    bends_.clear();
    hessian_.assign(static_cast<size_t>(n_) * n_, 0.0);
    for (int i = 0; i < n_; ++i) hessian_[static_cast<size_t>(i) * n_ + i] = p.weight[i];
    for (int k = 0; k < p.linear; ++k) {
        if (flags_[k] == Flag::free) continue;
        const double bound = flags_[k] == Flag::upper ? p.upper[k] : p.lower[k], one = 1.0;
        add_surface(slacks[k] - bound, &one, k, 1, dual[k]);
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (regions_[c] == Region::interior) continue;
        if (regions_[c] == Region::spectral) {
            surfaces_of_matrix(cone, s, z);
            continue;
        }
        one_.assign(k, 0.0);
        if (regions_[c] == Region::apex) {
            for (int i = 0; i < k; ++i) {
                one_[i] = 1.0;
                add_surface(s[i], one_.data(), cone.start, k, z[i]);
                one_[i] = 0.0;
            }
            continue;
        }
        if (regions_[c] == Region::face) {
            one_[1] = 1.0;
            add_surface(s[1], one_.data(), cone.start, k, z[1]);
            continue;
        }
        if (cone.kind == ConeKind::second_order) {
            const double length = norm(s + 1, k - 1), multiplier = std::fmax(z[0], 0.0);
            one_[0] = 1.0;
            for (int i = 1; i < k; ++i) one_[i] = -s[i] / length;
            const double weight = multiplier / length;
            // 1 - t t': all rows of the tail, less their combination t
            two_.assign(n_, 0.0);
            for (int i = 1; i < k; ++i) {
                const double* row = p.row(cone.start + i);
                for (int a = 0; a < n_; ++a)
                    if (row[a] != 0.0) axpy(weight * row[a], row, &hessian_[static_cast<size_t>(a) * n_], a + 1);
                axpy(one_[i], row, two_.data(), n_);
            }
            for (int a = 0; a < n_; ++a)
                if (two_[a] != 0.0) axpy(-weight * two_[a], two_.data(), &hessian_[static_cast<size_t>(a) * n_], a + 1);
            curvatures_.push_back({weight, cone.start + 1, k - 1, true, bends_.size()});
            bends_.insert(bends_.end(), one_.begin() + 1, one_.begin() + k);
            add_surface(s[0] - length, one_.data(), cone.start, k, multiplier);
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

}  // namespace optlayers
