// The homogeneous embedding of
//
//     min 1/2 x'Px + q'x  subject to  G x + s = b, s in K,     P = diag(weight), q = -P v
//
// with a predictor and a corrector (Goulart and Chen, "Clarabel: an interior-point solver for conic programs with
// quadratic objectives", 2024; scalings in second_order.cpp, semidefinite.cpp and three.cpp):
//
//     residuals: rx = P x + G'z + q tau, rz = G x + s - b tau, rt = kappa + x'Px / tau + q'x + b'z
//     mu = (s'z + tau kappa) / (degree + 1)
//     factor [P G'; G -H], solve for (-q, b) -> (x2, z2)
//     predictor: d = s, dk = kappa tau, f = 1;  corrector: d and dk with sigma mu, f = 1 - sigma
//         solve for (-f rx, d - f rz) -> (x1, z1)
//         dtau = (f rt - dk / tau + (2 P x / tau + q)'x1 + b'z1) / (kappa / tau + |x2 - x / tau|_P^2 + |z2|_H^2)
//     move by 0.99 of the way to the boundary
//
// H is eliminated, so that the matrix is P + G'H^-1 G bordered by the equalities. Rows of bounds and intervals are one
// row with two sides; K is the nonnegative numbers there.
#include "interior_point.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

namespace {

constexpr double kToBoundary = 0.99;
constexpr double kCertificate = 1e-9;   // |G'z| relative to -b'z

}  // namespace

double InteriorPoint::longest(double most) {
    double t = most;
    if (dtau_ < 0.0) t = std::fmin(t, -tau_ / dtau_);
    if (dkappa_ < 0.0) t = std::fmin(t, -kappa_ / dkappa_);
    for (int k = equal_; k < sides_; ++k) {
        if (ds_[k] < 0.0) t = std::fmin(t, -s_[k] / ds_[k]);
        if (dz_[k] < 0.0) t = std::fmin(t, -z_[k] / dz_[k]);
    }
    for (int pass = 0; pass < 2; ++pass)  // symmetric cones first: the others try steps
        for (int c = 0; c < program_.cone_count; ++c) {
            if (cones_[c]->is_symmetric() != (pass == 0)) continue;
            const int at = sides_ + program_.cones[c].start - program_.linear;
            t = cones_[c]->longest(&s_[at], &ds_[at], &z_[at], &dz_[at], t);
        }
    return t;
}

bool InteriorPoint::is_certificate() const {
    const double value = dot(b_.data(), z_.data(), total_);
    if (!(value < 0.0)) return false;
    std::fill(image_.begin(), image_.end(), 0.0);
    add_transposed(z_.data(), image_.data());
    return largest(image_.data(), n_) <= kCertificate * -value;
}

Outcome InteriorPoint::run(double tolerance, int most_steps) {
    const Program& p = program_;
    const int n = n_, m = total_;
    for (int step = 0; step < most_steps; ++step) {
        // residuals
        for (int i = 0; i < n; ++i) rx_[i] = p.weight[i] * x_[i];
        const double quadratic = dot(rx_.data(), x_.data(), n);
        add_transposed(z_.data(), rx_.data());
        axpy(tau_, q_.data(), rx_.data(), n);
        times(x_.data(), rz_.data());
        for (int k = 0; k < m; ++k) rz_[k] += s_[k] - b_[k] * tau_;
        const double qx = dot(q_.data(), x_.data(), n), bz = dot(b_.data(), z_.data(), m);
        const double rt = kappa_ + quadratic / tau_ + qx + bz;
        const double gap = dot(s_.data(), z_.data(), m), mu = (gap + tau_ * kappa_) / (degree_ + 1.0);
        const double size = std::fmax(1e-3, largest(x_.data(), n) / tau_);
        const double worst = std::fmax(largest(rx_.data(), n), largest(rz_.data(), m)) / tau_;
        const double cost = std::fmax(size * size, std::fabs(quadratic / (tau_ * tau_) + qx / tau_));
        if (!std::isfinite(worst) || !std::isfinite(mu)) return Outcome::unsolved;
        if (worst <= tolerance * size && gap / (tau_ * tau_) <= tolerance * cost) return Outcome::solved;
        if (kappa_ > tau_ && is_certificate()) return Outcome::infeasible;
        if (tau_ < 1e-12 * std::fmax(1.0, kappa_)) return Outcome::unsolved;

        for (int k = equal_; k < sides_; ++k) h_[k] = s_[k] / z_[k];
        for (int c = 0; c < p.cone_count; ++c) {
            const int at = sides_ + p.cones[c].start - p.linear;
            if (!cones_[c]->update(&s_[at], &z_[at])) return Outcome::unsolved;
        }
        if (!factorise()) return Outcome::unsolved;
        for (int i = 0; i < n; ++i) x2_[i] = -q_[i];
        std::copy(b_.begin(), b_.end(), z2_.begin());
        solve(x2_.data(), z2_.data());
        double denominator = kappa_ / tau_;
        for (int i = 0; i < n; ++i) {
            const double t = x2_[i] - x_[i] / tau_;
            denominator += p.weight[i] * t * t;
        }
        for (int k = equal_; k < sides_; ++k) denominator += h_[k] * z2_[k] * z2_[k];
        for (int c = 0; c < p.cone_count; ++c) {
            const int at = sides_ + p.cones[c].start - p.linear, k = p.cones[c].dimension;
            cones_[c]->times(&z2_[at], &d_[at]);
            denominator += dot(&z2_[at], &d_[at], k);
        }

        double sigma = 0.0, dk = kappa_ * tau_;
        std::copy(s_.begin(), s_.end(), d_.begin());
        for (int pass = 0; pass < 2; ++pass) {
            const double f = pass ? 1.0 - sigma : 1.0;
            for (int k = 0; k < equal_; ++k) d_[k] = 0.0;
            for (int i = 0; i < n; ++i) x1_[i] = -f * rx_[i];
            for (int k = 0; k < m; ++k) z1_[k] = d_[k] - f * rz_[k];
            solve(x1_.data(), z1_.data());
            double numerator = f * rt - dk / tau_ + dot(q_.data(), x1_.data(), n) + dot(b_.data(), z1_.data(), m);
            for (int i = 0; i < n; ++i) numerator += 2.0 * p.weight[i] * x_[i] * x1_[i] / tau_;
            dtau_ = numerator / denominator;
            dkappa_ = -(dk + kappa_ * dtau_) / tau_;
            for (int i = 0; i < n; ++i) dx_[i] = x1_[i] + dtau_ * x2_[i];
            for (int k = 0; k < m; ++k) dz_[k] = z1_[k] + dtau_ * z2_[k];
            times(dx_.data(), ds_.data());
            for (int k = 0; k < m; ++k) ds_[k] = k < equal_ ? 0.0 : b_[k] * dtau_ - f * rz_[k] - ds_[k];
            if (pass) break;
            const double alpha = longest(1.0);
            sigma = (1.0 - alpha) * (1.0 - alpha) * (1.0 - alpha);
            dk += dkappa_ * dtau_ - sigma * mu;
            for (int k = equal_; k < sides_; ++k) d_[k] = s_[k] + (ds_[k] * dz_[k] - sigma * mu) / z_[k];
            for (int c = 0; c < p.cone_count; ++c) {
                const int at = sides_ + p.cones[c].start - p.linear;
                cones_[c]->corrector(&ds_[at], &dz_[at], sigma * mu, &d_[at]);
            }
        }
        double alpha = std::fmin(1.0, kToBoundary * longest(1.0 / kToBoundary));
        if (has_barrier_) {  // stay where the total barrier says that the step is not too long
            for (; alpha > 1e-8; alpha *= 0.8) {
                double product = (tau_ + alpha * dtau_) * (kappa_ + alpha * dkappa_);
                double total = -std::log(tau_ + alpha * dtau_) - std::log(kappa_ + alpha * dkappa_);
                for (int k = equal_; k < sides_; ++k) {
                    const double a = s_[k] + alpha * ds_[k], b = z_[k] + alpha * dz_[k];
                    product += a * b;
                    total -= std::log(a * b);
                }
                for (int c = 0; c < p.cone_count; ++c) {
                    const int at = sides_ + p.cones[c].start - p.linear, k = p.cones[c].dimension;
                    double* a = ahead_.data();
                    double* b = a + k;
                    for (int i = 0; i < k; ++i) a[i] = s_[at + i] + alpha * ds_[at + i], b[i] = z_[at + i] + alpha * dz_[at + i];
                    product += dot(a, b, k);
                    total += cones_[c]->barrier(a, b);
                }
                const double next = product / (degree_ + 1.0);
                if (next > 0.0 && total + (degree_ + 1.0) * std::log(next) < 1.0) break;
                if (alpha < 0.05) break;
            }
        }
        if (!(alpha > 1e-8)) return Outcome::unsolved;
        axpy(alpha, dx_.data(), x_.data(), n);
        axpy(alpha, ds_.data(), s_.data(), m);
        axpy(alpha, dz_.data(), z_.data(), m);
        tau_ += alpha * dtau_;
        kappa_ += alpha * dkappa_;
        ++steps_;
    }
    return Outcome::unsolved;
}

void InteriorPoint::read(double* x, double* dual) const {
    const Program& p = program_;
    for (int i = 0; i < n_; ++i) x[i] = x_[i] / tau_ * unit_;
    std::fill(dual, dual + p.slacks(), 0.0);
    for (int k = 0; k < sides_; ++k) dual[side_[k].slack] -= side_[k].sign * z_[k] / tau_ * unit_;
    for (int k = sides_; k < total_; ++k) dual[p.linear + k - sides_] = z_[k] / tau_ * unit_;
}

}  // namespace optlayers
