// The second-order cone |s1| <= s0 with the scaling of Nesterov and Todd: H = eta^2 (2 w w' - J), J = diag(1, -1, ...)
// (Vandenberghe, "The CVXOPT linear and quadratic cone program solvers", 2010).
#include "second_order.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

// s0^2 - |s1|^2 without cancellation
double hyperbolic(const double* s, int k) {
    const double tail = norm(s + 1, k - 1);
    return (s[0] - tail) * (s[0] + tail);
}

// (2 g g' + form) / eta2 into the rows and columns of `index`, lower triangle
OPTLAYERS_CLONES void add_form(const double* g, const double* form, double eta2, const int* index, int count, double* matrix,
                               int size) {
    for (int p = 0; p < count; ++p) {
        double* row = matrix + static_cast<size_t>(index[p]) * size;
        const double* form_row = form + static_cast<size_t>(p) * count;
        const double twice = 2.0 * g[p];
        for (int q = 0; q <= p; ++q) row[index[q]] += (twice * g[q] + form_row[q]) / eta2;
    }
}

// A'diag(-1, 1, ..., 1)A, lower triangle
OPTLAYERS_CLONES void make_form(const double* rows, int dimension, int count, double* form) {
    for (int i = 0; i < dimension; ++i) {
        const double* row = rows + static_cast<size_t>(i) * count;
        const double sign = i ? 1.0 : -1.0;
        for (int p = 0; p < count; ++p)
            if (row[p] != 0.0) axpy(sign * row[p], row, form + static_cast<size_t>(p) * count, p + 1);
    }
}

}  // namespace

void SecondOrder::start(double* s, double* z) const {
    std::fill(s, s + k_, 0.0);
    std::fill(z, z + k_, 0.0);
    s[0] = z[0] = 1.0;
}

double SecondOrder::margin(const double* s) { return s[0] - norm(s + 1, k_ - 1); }

bool SecondOrder::update(const double* s, const double* z) {
    const double ss = hyperbolic(s, k_), zz = hyperbolic(z, k_);
    if (!(ss > 0.0 && zz > 0.0 && s[0] > 0.0 && z[0] > 0.0)) return false;
    const double a = std::sqrt(ss), b = std::sqrt(zz);
    const double gamma = std::sqrt((1.0 + dot(s, z, k_) / (a * b)) / 2.0);
    for (int i = 0; i < k_; ++i) w_[i] = (s[i] / a + (i ? -1.0 : 1.0) * z[i] / b) / (2.0 * gamma);
    const double tail = norm(&w_[1], k_ - 1);
    w_[0] = std::hypot(1.0, tail);
    eta2_ = a / b;
    std::copy(s, s + k_, s_.begin());
    scale(z, lambda_.data());
    return std::isfinite(eta2_);
}

void SecondOrder::times(const double* x, double* r) const {
    const double t = 2.0 * dot(w_.data(), x, k_);
    for (int i = 0; i < k_; ++i) r[i] = eta2_ * (t * w_[i] - (i ? -x[i] : x[i]));
}

void SecondOrder::divide(const double* x, double* r) const {
    const double t = 2.0 * (w_[0] * x[0] - dot(&w_[1], x + 1, k_ - 1));
    r[0] = (t * w_[0] - x[0]) / eta2_;
    for (int i = 1; i < k_; ++i) r[i] = (x[i] - t * w_[i]) / eta2_;
}

// W x, with W^2 = H
void SecondOrder::scale(const double* x, double* r) const {
    const double eta = std::sqrt(eta2_), p = dot(&w_[1], x + 1, k_ - 1);
    const double t = x[0] + p / (1.0 + w_[0]);
    r[0] = eta * (w_[0] * x[0] + p);
    for (int i = 1; i < k_; ++i) r[i] = eta * (x[i] + t * w_[i]);
}

// W^-1 x
void SecondOrder::unscale(const double* x, double* r) const {
    const double eta = std::sqrt(eta2_), p = dot(&w_[1], x + 1, k_ - 1);
    const double t = -x[0] + p / (1.0 + w_[0]);
    r[0] = (w_[0] * x[0] - p) / eta;
    for (int i = 1; i < k_; ++i) r[i] = (x[i] + t * w_[i]) / eta;
}

// s + W (lambda \ (W^-1 ds o W dz - target e))
void SecondOrder::corrector(const double* ds, const double* dz, double target, double* d) const {
    unscale(ds, one_.data());
    scale(dz, two_.data());
    const double head = dot(one_.data(), two_.data(), k_) - target;
    for (int i = 1; i < k_; ++i) d[i] = one_[0] * two_[i] + two_[0] * one_[i];
    d[0] = head;
    const double first = (lambda_[0] * d[0] - dot(&lambda_[1], d + 1, k_ - 1)) / hyperbolic(lambda_.data(), k_);
    for (int i = 1; i < k_; ++i) one_[i] = (d[i] - first * lambda_[i]) / lambda_[0];
    one_[0] = first;
    scale(one_.data(), d);
    for (int i = 0; i < k_; ++i) d[i] += s_[i];
}

double SecondOrder::longest_of(const double* s, const double* ds, double most) const {
    // the smallest positive root of a t^2 + 2 b t + c, in which the point leaves the cone
    const double a = hyperbolic(ds, k_), c = hyperbolic(s, k_);
    const double b = s[0] * ds[0] - dot(s + 1, ds + 1, k_ - 1);
    const double square = b * b - a * c;
    double t = most;
    if (a < 0.0 || (b < 0.0 && square >= 0.0)) {
        const double root = std::sqrt(std::fmax(square, 0.0));
        const double q = b < 0.0 ? root - b : -(b + root);  // no cancellation
        const double first = b < 0.0 ? c / q : q / a;
        if (first > 0.0) t = std::fmin(t, first);
    }
    if (ds[0] < 0.0) t = std::fmin(t, -s[0] / ds[0]);
    return t;
}

double SecondOrder::longest(const double* s, const double* ds, const double* z, const double* dz, double most) {
    return longest_of(z, dz, longest_of(s, ds, most));
}

double SecondOrder::barrier(const double* s, const double* z) const {
    return -0.5 * std::log(hyperbolic(s, k_)) - 0.5 * std::log(hyperbolic(z, k_));
}

void SecondOrder::prepare(const double* rows, int n) {
    columns_.read(rows, k_, n);
    const int count = static_cast<int>(columns_.index.size());
    form_.assign(static_cast<size_t>(count) * count, 0.0);  // -A'JA
    make_form(columns_.entries.data(), k_, count, form_.data());
    lifted_.resize(count);
}

// eta^-2 (2 g g' - A'JA) with g = A'Jw
void SecondOrder::add_normal(double* matrix, int size) {
    const int count = static_cast<int>(columns_.index.size());
    std::fill(lifted_.begin(), lifted_.end(), 0.0);
    for (int i = 0; i < k_; ++i)
        axpy(i ? -w_[i] : w_[i], &columns_.entries[static_cast<size_t>(i) * count], lifted_.data(), count);
    add_form(lifted_.data(), form_.data(), eta2_, columns_.index.data(), count, matrix, size);
}

}  // namespace optlayers
