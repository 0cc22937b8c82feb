// The power cone {(x, y, z) : x^alpha y^(1 - alpha) >= |z|, x, y >= 0} and the barrier of its dual,
// F*(z) = -log(phi - z2^2) - (1 - alpha) log z0 - alpha log z1 with phi = (z0 / alpha)^2alpha (z1 / beta)^2beta.
#include <algorithm>
#include <cmath>

#include "barriers.h"
#include "dense.h"

namespace optlayers {

namespace {

class Power final : public Barrier {
  public:
    explicit Power(double alpha) : a_(alpha), b_(1.0 - alpha) {}

    void start(double* s, double* z) const override {
        s[0] = z[0] = std::sqrt(1.0 + a_);
        s[1] = z[1] = std::sqrt(1.0 + b_);
        s[2] = z[2] = 0.0;
    }

    bool is_inside(const double* s) const override {
        return s[0] > 0.0 && s[1] > 0.0 && std::exp(2 * a_ * std::log(s[0]) + 2 * b_ * std::log(s[1])) > s[2] * s[2];
    }

    bool is_inside_dual(const double* z) const override {
        return z[0] > 0.0 && z[1] > 0.0 && phi(z) > z[2] * z[2];
    }

    double value(const double* s) const override {
        double g[3];
        gradient(s, g);
        for (double& entry : g) entry = -entry;
        return -value_dual(g) - 3.0;
    }

    double value_dual(const double* z) const override {
        return -std::log(phi(z) - z[2] * z[2]) - b_ * std::log(z[0]) - a_ * std::log(z[1]);
    }

    // z = -F'(s) solves F*'(z) = -s: z0 s0 = 1 + alpha + alpha x t, z1 s1 = 2 - alpha + (1 - alpha) x t, with t = |s2|
    // and x = |z2| the root of phi(z) = 2 x / t + x^2, here in log x.
    void gradient(const double* s, double* g) const override {
        const double t = std::fabs(s[2]);
        double x = 0.0;
        if (t > 0.0) {
            const double base = -2 * a_ * std::log(a_ * s[0]) - 2 * b_ * std::log(b_ * s[1]);
            const double gap = std::exp(2 * a_ * std::log(s[0]) + 2 * b_ * std::log(s[1]));
            double w = std::log(2.0 * t / std::fmax(gap - t * t, 1e-300));
            double low = w - 60.0, high = w + 60.0;
            for (int k = 0; k < 100; ++k) {
                x = std::exp(w);
                const double p = 1.0 + a_ + a_ * x * t, q = 1.0 + b_ + b_ * x * t;
                const double f = base + 2 * a_ * std::log(p) + 2 * b_ * std::log(q) - std::log(2.0 * x / t + x * x);
                const double slope = 2 * a_ * a_ * x * t / p + 2 * b_ * b_ * x * t / q - (2.0 / t + 2.0 * x) / (2.0 / t + x);
                (f > 0.0 ? low : high) = w;
                double next = w - f / slope;
                if (!(next > low && next < high)) next = (low + high) / 2.0;
                if (std::fabs(next - w) <= 1e-15 * std::fmax(1.0, std::fabs(w))) break;
                w = next;
            }
        }
        g[0] = -(1.0 + a_ + a_ * x * t) / s[0];
        g[1] = -(1.0 + b_ + b_ * x * t) / s[1];
        g[2] = std::copysign(x, s[2]);
    }

    void gradient_dual(const double* z, double* g, double* h) const override {
        const Terms k(*this, z);
        for (int i = 0; i < 3; ++i) g[i] = -k.d[i] / k.psi;
        g[0] -= b_ / z[0];
        g[1] -= a_ / z[1];
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) h[3 * i + j] = k.d[i] * k.d[j] / (k.psi * k.psi) - k.second(i, j) / k.psi;
        h[0] += b_ / (z[0] * z[0]);
        h[4] += a_ / (z[1] * z[1]);
    }

    void third(const double* z, const double* u, const double* v, double* t) const override {
        const Terms k(*this, z);
        double hu[3], hv[3], cubic[3];
        for (int i = 0; i < 3; ++i) {
            hu[i] = hv[i] = 0.0;
            for (int j = 0; j < 3; ++j) hu[i] += k.second(i, j) * u[j], hv[i] += k.second(i, j) * v[j];
        }
        const double p = 2 * a_, q = 2 * b_, x = z[0], y = z[1];  // phi is x^p y^q times a constant
        const double xxx = k.phi * p * (p - 1) * (p - 2) / (x * x * x), xxy = k.phi * p * (p - 1) * q / (x * x * y);
        const double xyy = k.phi * p * q * (q - 1) / (x * y * y), yyy = k.phi * q * (q - 1) * (q - 2) / (y * y * y);
        cubic[0] = xxx * u[0] * v[0] + xxy * (u[0] * v[1] + u[1] * v[0]) + xyy * u[1] * v[1];
        cubic[1] = xxy * u[0] * v[0] + xyy * (u[0] * v[1] + u[1] * v[0]) + yyy * u[1] * v[1];
        cubic[2] = 0.0;
        const double ru = dot(k.d, u, 3), rv = dot(k.d, v, 3), ruv = dot(hu, v, 3), s = k.psi;
        for (int i = 0; i < 3; ++i)
            t[i] = -cubic[i] / s + (ruv * k.d[i] + ru * hv[i] + rv * hu[i]) / (s * s) - 2.0 * ru * rv * k.d[i] / (s * s * s);
        t[0] -= 2.0 * b_ * u[0] * v[0] / (x * x * x);
        t[1] -= 2.0 * a_ * u[1] * v[1] / (y * y * y);
    }

  private:
    double phi(const double* z) const { return std::exp(2 * a_ * std::log(z[0] / a_) + 2 * b_ * std::log(z[1] / b_)); }

    struct Terms {  // psi = phi - z2^2 and its derivatives
        double phi, psi, d[3], xx, xy, yy;
        Terms(const Power& cone, const double* z) {
            const double p = 2 * cone.a_, q = 2 * cone.b_;
            phi = cone.phi(z);
            psi = phi - z[2] * z[2];
            d[0] = p * phi / z[0];
            d[1] = q * phi / z[1];
            d[2] = -2.0 * z[2];
            xx = p * (p - 1) * phi / (z[0] * z[0]);
            xy = p * q * phi / (z[0] * z[1]);
            yy = q * (q - 1) * phi / (z[1] * z[1]);
        }
        double second(int i, int j) const {
            if (i == 2 || j == 2) return i == j ? -2.0 : 0.0;
            return i != j ? xy : i ? yy : xx;
        }
    };

    double a_, b_;
};

}  // namespace

std::unique_ptr<Barrier> power_barrier(double alpha) { return std::make_unique<Power>(alpha); }

}  // namespace optlayers
