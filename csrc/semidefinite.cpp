// The semidefinite cone, as scaled triangles, with the scaling of Nesterov and Todd: H u = W u W with W = R R',
// R^-1 S R^-T = R' Z R = diag(lambda) (Vandenberghe, "The CVXOPT linear and quadratic cone program solvers", 2010).
#include "semidefinite.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dense.h"
#include "symmetric.h"

namespace optlayers {

namespace {

// One-sided Jacobi: turn the rows of `rows` until they are orthogonal, and the rows of `turned` with them.
OPTLAYERS_CLONES void orthogonalise(double* rows, double* turned, int n) {
    for (int sweep = 0; sweep < 30; ++sweep) {
        double worst = 0.0;
        for (int p = 0; p < n; ++p)
            for (int q = p + 1; q < n; ++q) {
                double* x = rows + p * n;
                double* y = rows + q * n;
                const double xx = dot(x, x, n), yy = dot(y, y, n), xy = dot(x, y, n);
                if (xx == 0.0 || yy == 0.0 || std::fabs(xy) <= 1e-15 * std::sqrt(xx) * std::sqrt(yy)) continue;
                worst = std::fmax(worst, std::fabs(xy) / (std::sqrt(xx) * std::sqrt(yy)));
                const double theta = (yy - xx) / (2.0 * xy);
                const double t = std::copysign(1.0, theta) / (std::fabs(theta) + std::hypot(theta, 1.0));
                const double c = 1.0 / std::hypot(t, 1.0), s = t * c;
                for (int m = 0; m < 2; ++m) {
                    double* u = (m ? turned : rows) + p * n;
                    double* v = (m ? turned : rows) + q * n;
                    for (int i = 0; i < n; ++i) {
                        const double a = u[i], b = v[i];
                        u[i] = c * a - s * b;
                        v[i] = s * a + c * b;
                    }
                }
            }
        if (worst <= 1e-14) break;
    }
}

// The products of columns, each of k numbers, into the rows and columns of `index`, lower triangle
OPTLAYERS_CLONES void add_products(const double* columns, int k, const int* index, int count, double* matrix, int size) {
    for (int p = 0; p < count; ++p) {
        double* row = matrix + static_cast<size_t>(index[p]) * size;
        const double* one = columns + static_cast<size_t>(p) * k;
        for (int q = 0; q <= p; ++q) row[index[q]] += dot(one, columns + static_cast<size_t>(q) * k, k);
    }
}

// target += value one two', n x n
OPTLAYERS_CLONES void add_outer(double value, const double* one, const double* two, int n, double* target) {
    for (int i = 0; i < n; ++i) axpy(value * one[i], two, target + i * n, n);
}

}  // namespace

Semidefinite::Semidefinite(int dimension) : n_(order_of(dimension)), k_(dimension) {
    const size_t square = static_cast<size_t>(n_) * n_;
    for (auto* matrix : {&r_, &inverse_, &a_, &b_, &c_, &d_}) matrix->resize(square);
    lambda_.resize(n_);
    s_.resize(k_);
}

void Semidefinite::start(double* s, double* z) const {
    std::fill(a_.begin(), a_.end(), 0.0);
    for (int i = 0; i < n_; ++i) a_[i * n_ + i] = 1.0;
    pack(a_.data(), n_, s);
    std::copy(s, s + k_, z);
}

double Semidefinite::margin(const double* s) {
    unpack(s, n_, a_.data());
    eigen(a_.data(), n_, lambda_.data(), nullptr);
    return *std::min_element(lambda_.begin(), lambda_.end());
}

bool Semidefinite::update(const double* s, const double* z) {
    unpack(s, n_, a_.data());
    unpack(z, n_, b_.data());
    if (!cholesky(a_.data(), n_) || !cholesky(b_.data(), n_)) return false;  // S = L1 L1', Z = L2 L2'
    product(a_.data(), true, b_.data(), false, n_, c_.data());               // rows: columns of L2'L1
    std::fill(d_.begin(), d_.end(), 0.0);
    for (int i = 0; i < n_; ++i) d_[i * n_ + i] = 1.0;
    orthogonalise(c_.data(), d_.data(), n_);  // c = D U', d = V'
    for (int i = 0; i < n_; ++i) {
        lambda_[i] = norm(&c_[i * n_], n_);
        if (!(lambda_[i] > 0.0)) return false;
        const double root = std::sqrt(lambda_[i]);
        for (int j = 0; j < n_; ++j) {
            c_[i * n_ + j] /= lambda_[i] * root;  // D^-1/2 U'
            d_[i * n_ + j] /= root;               // D^-1/2 V'
        }
    }
    product(a_.data(), false, d_.data(), true, n_, r_.data());        // L1 V D^-1/2
    product(c_.data(), false, b_.data(), true, n_, inverse_.data());  // D^-1/2 U' L2'
    std::copy(s, s + k_, s_.begin());
    return true;
}

// F X F', or F' X F
void Semidefinite::congruence(const double* x, const std::vector<double>& f, bool transposed, double* result) const {
    unpack(x, n_, a_.data());
    product(f.data(), transposed, a_.data(), false, n_, b_.data());
    product(b_.data(), false, f.data(), !transposed, n_, result);
}

void Semidefinite::times(const double* x, double* result) const {
    congruence(x, r_, true, c_.data());
    pack(c_.data(), n_, result);
    congruence(result, r_, false, c_.data());
    pack(c_.data(), n_, result);
}

void Semidefinite::divide(const double* x, double* result) const {
    congruence(x, inverse_, false, c_.data());
    pack(c_.data(), n_, result);
    congruence(result, inverse_, true, c_.data());
    pack(c_.data(), n_, result);
}

void Semidefinite::corrector(const double* ds, const double* dz, double target, double* d) const {
    congruence(ds, inverse_, false, c_.data());
    congruence(dz, r_, true, d_.data());
    product(c_.data(), false, d_.data(), false, n_, a_.data());
    for (int i = 0; i < n_; ++i)
        for (int j = 0; j <= i; ++j) {
            const double symmetric = (a_[i * n_ + j] + a_[j * n_ + i]) / 2.0 - (i == j ? target : 0.0);
            c_[i * n_ + j] = c_[j * n_ + i] = 2.0 * symmetric / (lambda_[i] + lambda_[j]);
        }
    pack(c_.data(), n_, d);
    congruence(d, r_, false, c_.data());
    pack(c_.data(), n_, d);
    for (int i = 0; i < k_; ++i) d[i] += s_[i];
}

double Semidefinite::longest_scaled(const double* x, const std::vector<double>& f, bool transposed, double most) {
    congruence(x, f, transposed, c_.data());
    for (int i = 0; i < n_; ++i)
        for (int j = 0; j < n_; ++j) c_[i * n_ + j] /= std::sqrt(lambda_[i]) * std::sqrt(lambda_[j]);
    std::vector<double>& values = eigenvalues_;
    values.resize(n_);
    eigen(c_.data(), n_, values.data(), nullptr);
    const double least = *std::min_element(values.begin(), values.end());
    return least < 0.0 ? std::fmin(most, -1.0 / least) : most;
}

double Semidefinite::longest(const double*, const double* ds, const double*, const double* dz, double most) {
    most = longest_scaled(ds, inverse_, false, most);
    return longest_scaled(dz, r_, true, most);
}

double Semidefinite::barrier(const double* s, const double* z) const {
    double result = 0.0;
    for (const double* point : {s, z}) {
        unpack(point, n_, a_.data());
        if (!cholesky(a_.data(), n_)) return std::numeric_limits<double>::infinity();
        for (int i = 0; i < n_; ++i) result -= 2.0 * std::log(a_[i * n_ + i]);
    }
    return result;
}

void Semidefinite::prepare(const double* rows, int n) {
    columns_.read(rows, k_, n);
    lifted_.resize(columns_.index.size() * static_cast<size_t>(k_));
}

// B'B with columns R^-1 A_j R^-T; a column with few entries is a sum of as many outer products
void Semidefinite::add_normal(double* matrix, int size) {
    const int count = static_cast<int>(columns_.index.size());
    for (int i = 0; i < n_; ++i)
        for (int j = 0; j < n_; ++j) d_[j * n_ + i] = inverse_[i * n_ + j];  // rows: columns of R^-1
    for (int p = 0; p < count; ++p) {
        std::fill(c_.begin(), c_.end(), 0.0);
        int entry = 0;
        for (int j = 0; j < n_; ++j)
            for (int i = j; i < n_; ++i, ++entry) {
                double value = columns_.entries[static_cast<size_t>(entry) * count + p];
                if (value == 0.0) continue;
                if (i == j) value /= 2.0;
                else value /= kRoot2;
                const double* one = &d_[i * n_];
                const double* two = &d_[j * n_];
                add_outer(value, one, two, n_, c_.data());  // half; the other is its transpose
            }
        double* column = &lifted_[static_cast<size_t>(p) * k_];
        int place = 0;
        for (int j = 0; j < n_; ++j)
            for (int i = j; i < n_; ++i, ++place)
                column[place] = i == j ? 2.0 * c_[i * n_ + i] : (c_[i * n_ + j] + c_[j * n_ + i]) * kRoot2;
    }
    add_products(lifted_.data(), k_, columns_.index.data(), count, matrix, size);
}

}  // namespace optlayers
