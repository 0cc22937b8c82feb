// The dual active-set method of Goldfarb and Idnani ("A numerically stable dual method for solving strictly convex
// quadratic programs", 1983) for the nearest point of a polyhedron.
//
//     x = v, no active slack
//     while some slack violates its range (equalities first, then the largest violation):
//         d = J' a                     a: the normal of that slack, turned to point inside
//         z = J2 d2                    how x moves: the part of a orthogonal to the active normals
//         r = R^-1 d1                  how the active multipliers fall
//         t1 = least multiplier / r    the first active slack that must leave
//         t2 = violation / z'a         the step that ends the violation
//         move by min(t1, t2); at t1 the slack leaves, at t2 the new one enters; with neither, the set is empty
//
// J = (J1, J2) is orthogonal with N = J1 R for the active normals N. J is kept transposed, so that its columns are
// contiguous, and changes by Givens rotations.
#include "active_set.h"

#include <algorithm>
#include <limits>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kDependent = 1e-11;  // relative length of z below which a normal depends on the active ones
constexpr double kViolation = 1e-14;  // relative to the terms of a slack

}  // namespace

void ActiveSet::reset(const Program& program) {
    n_ = program.entries;
    size_ = 0;
    basis_.assign(static_cast<size_t>(n_) * n_, 0.0);
    for (int i = 0; i < n_; ++i) basis_[static_cast<size_t>(i) * n_ + i] = 1.0;
    triangle_.resize(static_cast<size_t>(n_ + 1) * n_);
    multipliers_.resize(n_ + 1);
    product_.resize(n_);
    direction_.resize(n_);
    change_.resize(n_ + 1);
    slack_.resize(n_ + 1);
    sign_.resize(n_ + 1);
    is_equal_.resize(n_ + 1);
    is_active_.assign(program.slacks(), 0);
}

// product = J' normal; a unit normal picks one entry of each column
void ActiveSet::multiply(const double* normal, int unit, double* product) const {
    for (int j = 0; j < n_; ++j) {
        const double* column = &basis_[static_cast<size_t>(j) * n_];
        product[j] = normal ? dot(column, normal, n_) : column[unit];
    }
}

// Turn the last columns of J so that the product d has one entry after the first `size_`; it becomes a column of R.
OPTLAYERS_CLONES void ActiveSet::rotate_in() {
    for (int j = n_ - 1; j > size_; --j) {
        const double a = product_[j - 1], b = product_[j];
        if (b == 0.0) continue;
        const double h = std::hypot(a, b), c = a / h, s = b / h;
        double* one = &basis_[static_cast<size_t>(j - 1) * n_];
        double* two = one + n_;
        for (int i = 0; i < n_; ++i) {
            const double p = one[i], q = two[i];
            one[i] = c * p + s * q;
            two[i] = c * q - s * p;
        }
        product_[j - 1] = h;
        product_[j] = 0.0;
    }
    std::copy(product_.begin(), product_.begin() + size_ + 1, &triangle_[static_cast<size_t>(size_) * n_]);
}

// Take an active slack out, and make R triangular again.
OPTLAYERS_CLONES void ActiveSet::drop(int position) {
    is_active_[slack_[position]] = 0;
    for (int k = position; k + 1 < size_; ++k) {
        double* column = &triangle_[static_cast<size_t>(k) * n_];
        const double* next = column + n_;
        std::copy(next, next + k + 2, column);
        slack_[k] = slack_[k + 1];
        sign_[k] = sign_[k + 1];
        is_equal_[k] = is_equal_[k + 1];
        multipliers_[k] = multipliers_[k + 1];
    }
    multipliers_[size_ - 1] = multipliers_[size_];  // of the slack that is about to enter
    --size_;
    for (int k = position; k < size_; ++k) {
        double* column = &triangle_[static_cast<size_t>(k) * n_];
        const double a = column[k], b = column[k + 1];
        if (b == 0.0) continue;
        const double h = std::hypot(a, b), c = a / h, s = b / h;
        for (int j = k; j < size_; ++j) {
            double* other = &triangle_[static_cast<size_t>(j) * n_];
            const double p = other[k], q = other[k + 1];
            other[k] = c * p + s * q;
            other[k + 1] = c * q - s * p;
        }
        double* one = &basis_[static_cast<size_t>(k) * n_];
        double* two = one + n_;
        for (int i = 0; i < n_; ++i) {
            const double p = one[i], q = two[i];
            one[i] = c * p + s * q;
            two[i] = c * q - s * p;
        }
    }
}

OPTLAYERS_CLONES Outcome ActiveSet::solve(const Program& program, double* x, double* y, int& steps) {
    reset(program);
    const int n = n_, slacks = program.slacks(), first_row = program.first_row();
    std::copy(program.v, program.v + n, x);
    steps = 0;
    double unit = largest(program.v, n);  // the problem's own unit: points, and bounds that are not infinite
    for (int k = 0; k < slacks; ++k) {
        if (std::isfinite(program.lower[k])) unit = std::fmax(unit, std::fabs(program.lower[k]));
        if (std::isfinite(program.upper[k])) unit = std::fmax(unit, std::fabs(program.upper[k]));
    }
    const double tolerance = kViolation * unit;
    const int most_steps = 20 * (n + slacks) + 100;
    while (true) {
        // the slack with the largest violation; equalities first
        int chosen = -1;
        double most = tolerance, gap = 0.0, side = 0.0;
        bool equal = false;
        for (int k = 0; k < slacks; ++k) {
            if (is_active_[k]) continue;
            const double low = program.lower[k], high = program.upper[k];
            const double s = k < first_row ? x[k] : dot(program.row(k), x, n);
            const bool is_equal = low == high;
            if (equal && !is_equal) continue;
            const double below = low - s, above = s - high;
            const double violation = std::fmax(below, above);
            if ((is_equal && !equal) ? violation > tolerance : violation > most) {
                most = violation;
                chosen = k;
                gap = violation;
                side = below > above ? 1.0 : -1.0;
                equal = is_equal;
            }
        }
        if (chosen < 0) break;
        const double* normal = chosen < first_row ? nullptr : program.row(chosen);
        multipliers_[size_] = 0.0;
        while (true) {
            if (++steps > most_steps) return Outcome::unsolved;
            multiply(normal, chosen, product_.data());
            if (side < 0)
                for (int j = 0; j < n; ++j) product_[j] = -product_[j];
            double square = 0.0, length = 0.0;
            for (int j = 0; j < n; ++j) {
                const double p = product_[j] * product_[j];
                length += p;
                if (j >= size_) square += p;
            }
            for (int k = size_ - 1; k >= 0; --k) {  // r = R^-1 d1
                double sum = product_[k];
                for (int j = k + 1; j < size_; ++j) sum -= triangle_[static_cast<size_t>(j) * n + k] * change_[j];
                change_[k] = sum / triangle_[static_cast<size_t>(k) * n + k];
            }
            int leaving = -1;
            double first = std::numeric_limits<double>::infinity();
            for (int k = 0; k < size_; ++k) {
                if (is_equal_[k] || change_[k] <= 0.0) continue;
                const double t = multipliers_[k] / change_[k];
                if (t < first) first = t, leaving = k;
            }
            const bool depends = square <= kDependent * kDependent * length;
            const double full = depends ? std::numeric_limits<double>::infinity() : gap / square;
            const double t = std::fmin(first, full);
            if (!std::isfinite(t)) {
                // a dependent row that is violated by rounding alone is implied by the active ones
                if (gap <= 1e-9 * unit) {
                    is_active_[chosen] = 1;
                    break;
                }
                return Outcome::infeasible;
            }
            for (int k = 0; k < size_; ++k) multipliers_[k] -= t * change_[k];
            multipliers_[size_] += t;
            if (!depends) {
                std::fill(direction_.begin(), direction_.end(), 0.0);
                for (int j = size_; j < n; ++j) axpy(product_[j], &basis_[static_cast<size_t>(j) * n], direction_.data(), n);
                axpy(t, direction_.data(), x, n);
                gap -= t * square;
            }
            if (t == full) {
                rotate_in();
                slack_[size_] = chosen;
                sign_[size_] = side;
                is_equal_[size_] = equal;
                is_active_[chosen] = 1;
                ++size_;
                break;
            }
            drop(leaving);
        }
    }
    // once more with the active slacks as equations: x = v + N u, N'x = bounds
    for (int round = 0; round < 2; ++round) {
        for (int k = 0; k < size_; ++k) {
            const int slack = slack_[k];
            const double bound = sign_[k] > 0 ? program.lower[slack] : program.upper[slack];
            const double s = slack < first_row ? x[slack] : dot(program.row(slack), x, n);
            double sum = sign_[k] * (bound - s);
            for (int j = 0; j < k; ++j) sum -= triangle_[static_cast<size_t>(k) * n + j] * change_[j];
            change_[k] = sum / triangle_[static_cast<size_t>(k) * n + k];
        }
        for (int k = 0; k < size_; ++k) axpy(change_[k], &basis_[static_cast<size_t>(k) * n], x, n);
    }
    for (int i = 0; i < n; ++i) direction_[i] = x[i] - program.v[i];
    for (int k = 0; k < size_; ++k) product_[k] = dot(&basis_[static_cast<size_t>(k) * n], direction_.data(), n);
    std::fill(y, y + slacks, 0.0);
    for (int k = size_ - 1; k >= 0; --k) {
        double sum = product_[k];
        for (int j = k + 1; j < size_; ++j) sum -= triangle_[static_cast<size_t>(j) * n + k] * change_[j];
        change_[k] = sum / triangle_[static_cast<size_t>(k) * n + k];
        y[slack_[k]] = sign_[k] * change_[k];
    }
    return Outcome::solved;
}

}  // namespace optlayers
