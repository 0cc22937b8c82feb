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

#include "barriers.h"
#include "dense.h"
#include "second_order.h"
#include "semidefinite.h"

namespace optlayers {

namespace {

constexpr double kToBoundary = 0.99;
constexpr double kRegular = 1e-13;      // relative to the largest diagonal entry
constexpr double kCertificate = 1e-9;   // |G'z| relative to -b'z
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
    cones_start_ = sides_ = static_cast<int>(side_.size());
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
            cones_[c]->prepare(program.row(program.cones[c].start), program.entries);
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
    const int before = equal_;
    layout(program);
    if (before != equal_) is_ordered_ = false;
    const int n = n_, m = total_, size = n + equal_;
    for (auto* v : {&q_, &x_, &dx_, &ax_, &x1_, &x2_, &rx_, &image_}) v->resize(n);
    for (auto* v : {&b_, &s_, &z_, &ds_, &dz_, &az_, &z1_, &z2_, &rz_, &d_, &h_}) v->resize(m);
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
