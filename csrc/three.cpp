// The scaling of Dahl and Andersen ("A primal-dual interior-point algorithm for nonsymmetric exponential-cone
// optimization", 2022), after Tuncel: with the shadows s~ = -F*'(z), z~ = -F'(s), ds = s - mu s~ and dz = z - mu z~,
//
//     H = s s'/s'z + ds ds'/ds'dz + t c c',   c orthogonal to z and z~,
//
// which maps z to s and z~ to s~. Next to the central path, where ds'dz vanishes, it is mu F*''(z).
#include <algorithm>
#include <cmath>
#include <limits>

#include "barriers.h"
#include "dense.h"
#include "three.h"

namespace optlayers {

namespace {

void multiply(const double* m, const double* x, double* r) {
    for (int i = 0; i < 3; ++i) r[i] = m[3 * i] * x[0] + m[3 * i + 1] * x[1] + m[3 * i + 2] * x[2];
}

// lower L with m = L L'; false where m is not positive definite
bool factor(const double* m, double* l) {
    std::fill(l, l + 9, 0.0);
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j <= i; ++j) {
            double sum = m[3 * i + j];
            for (int k = 0; k < j; ++k) sum -= l[3 * i + k] * l[3 * j + k];
            if (i == j) {
                if (!(sum > 0.0)) return false;
                l[4 * i] = std::sqrt(sum);
            } else {
                l[3 * i + j] = sum / l[4 * j];
            }
        }
    return true;
}

void forward(const double* l, const double* x, double* r) {
    r[0] = x[0] / l[0];
    r[1] = (x[1] - l[3] * r[0]) / l[4];
    r[2] = (x[2] - l[6] * r[0] - l[7] * r[1]) / l[8];
}

void backward(const double* l, const double* x, double* r) {
    r[2] = x[2] / l[8];
    r[1] = (x[1] - l[7] * r[2]) / l[4];
    r[0] = (x[0] - l[3] * r[1] - l[6] * r[2]) / l[0];
}

}  // namespace

bool ThreeEntries::update(const double* s, const double* z) {
    if (!barrier_->is_inside(s) || !barrier_->is_inside_dual(z)) return false;
    std::copy(s, s + 3, s_);
    std::copy(z, z + 3, z_);
    barrier_->gradient_dual(z, gradient_, hessian_);
    if (!factor(hessian_, dual_factor_)) return false;
    double primal[3];
    barrier_->gradient(s, primal);
    const double product = dot(s, z, 3), mu = product / 3.0, shadow = dot(primal, gradient_, 3) / 3.0;
    double ds[3], dz[3], image[3], rest[3];
    for (int i = 0; i < 3; ++i) ds[i] = s[i] + mu * gradient_[i], dz[i] = z[i] + mu * primal[i];
    multiply(hessian_, primal, image);
    const double one = mu * shadow - 1.0, two = dot(primal, image, 3) - 3.0 * shadow * shadow;
    const double across = dot(ds, dz, 3);
    bool chosen = std::fabs(one) > 1e-8 && std::fabs(two) > 1e-16 && product > 0.0 && across > 0.0;
    if (chosen) {
        double c[3] = {z[1] * primal[2] - z[2] * primal[1], z[2] * primal[0] - z[0] * primal[2],
                       z[0] * primal[1] - z[1] * primal[0]};
        const double length = norm(c, 3);
        for (int i = 0; i < 3; ++i) rest[i] = shadow * gradient_[i] - image[i], c[i] /= length;
        double square = 0.0;
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) {
                const double m = hessian_[3 * i + j] - gradient_[i] * gradient_[j] / 3.0 - rest[i] * rest[j] / two;
                square += m * m;
            }
        const double t = mu * std::sqrt(square);
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j)
                h_[3 * i + j] = s[i] * s[j] / product + ds[i] * ds[j] / across + t * c[i] * c[j];
        chosen = std::isfinite(t) && length > 0.0 && factor(h_, factor_);
    }
    if (!chosen) {
        for (int i = 0; i < 9; ++i) h_[i] = mu * hessian_[i];
        return factor(h_, factor_);
    }
    return true;
}

void ThreeEntries::times(const double* x, double* r) const { multiply(h_, x, r); }

void ThreeEntries::divide(const double* x, double* r) const {
    double half[3];
    forward(factor_, x, half);
    backward(factor_, half, r);
}

// s + target F*' - 1/2 F*'''[dz, F*''^-1 ds]
void ThreeEntries::corrector(const double* ds, const double* dz, double target, double* d) const {
    double half[3], u[3], bend[3];
    forward(dual_factor_, ds, half);
    backward(dual_factor_, half, u);
    barrier_->third(z_, u, dz, bend);
    for (int i = 0; i < 3; ++i) d[i] = s_[i] + target * gradient_[i] - 0.5 * bend[i];
}

double ThreeEntries::longest(const double* s, const double* ds, const double* z, const double* dz, double most) {
    for (double t = most; t > 1e-12; t *= 0.9) {
        double a[3], b[3];
        for (int i = 0; i < 3; ++i) a[i] = s[i] + t * ds[i], b[i] = z[i] + t * dz[i];
        if (barrier_->is_inside(a) && barrier_->is_inside_dual(b)) return t;
    }
    return 0.0;
}

double ThreeEntries::barrier(const double* s, const double* z) const {
    return barrier_->value(s) + barrier_->value_dual(z);
}

// B'B with B = L^-1 A, H = L L'
void ThreeEntries::add_normal(double* matrix, int size) {
    const int count = static_cast<int>(columns_.index.size());
    const double* a = columns_.entries.data();
    double lifted[3 * 512];
    std::vector<double> heap;
    double* b = lifted;
    if (count > 512) {
        heap.resize(3 * static_cast<size_t>(count));
        b = heap.data();
    }
    for (int p = 0; p < count; ++p) {
        const double column[3] = {a[p], a[count + p], a[2 * count + p]};
        forward(factor_, column, b + 3 * p);
    }
    for (int p = 0; p < count; ++p) {
        double* row = matrix + static_cast<size_t>(columns_.index[p]) * size;
        for (int q = 0; q <= p; ++q) row[columns_.index[q]] += dot(b + 3 * p, b + 3 * q, 3);
    }
}

}  // namespace optlayers
