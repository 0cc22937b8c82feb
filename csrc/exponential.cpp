// The exponential cone {(x, y, z) : y exp(x / y) <= z, y > 0} and the barrier of its dual,
// F*(z) = -log r - log(-z0) - log z2 with r = z1 - z0 - z0 log(-z2 / z0).
#include <algorithm>
#include <cmath>

#include "barriers.h"
#include "dense.h"

namespace optlayers {

namespace {

// The root w > 0 of w + log w = x: Wright's omega (Corless and Jeffrey, "The Wright omega function", 2002).
double wright_omega(double x) {
    double w = x < 1.0 ? std::exp(x < -2.0 ? x : -2.0 + (x + 2.0) * 0.6) : x - std::log(x);
    for (int k = 0; k < 60; ++k) {
        const double r = x - w - std::log(w);
        const double step = w * r / (1.0 + w);
        const double next = w + step > 0.0 ? w + step : w / 2.0;
        if (std::fabs(next - w) <= 2e-16 * w) return next;
        w = next;
    }
    return w;
}

class Exponential final : public Barrier {
  public:
    void start(double* s, double* z) const override {
        const double unit[3] = {-1.051383945322714, 0.556409619469370, 1.258967884768947};
        std::copy(unit, unit + 3, s);
        std::copy(unit, unit + 3, z);
    }

    bool is_inside(const double* s) const override {
        return s[1] > 0.0 && s[2] > 0.0 && s[1] * std::log(s[2] / s[1]) - s[0] > 0.0;
    }

    bool is_inside_dual(const double* z) const override {
        return z[0] < 0.0 && z[2] > 0.0 && z[1] - z[0] - z[0] * std::log(-z[2] / z[0]) > 0.0;
    }

    double value(const double* s) const override {
        double w = omega(s);
        w = (w - 1.0) * (w - 1.0) / w;
        return -std::log(w) - 2.0 * std::log(s[1]) - std::log(s[2]) - 3.0;
    }

    double value_dual(const double* z) const override {
        return -std::log(z[1] - z[0] - z[0] * std::log(-z[2] / z[0])) - std::log(-z[0]) - std::log(z[2]);
    }

    void gradient(const double* s, double* g) const override {
        const double w = omega(s);
        g[0] = 1.0 / ((w - 1.0) * s[1]);
        g[1] = g[0] + g[0] * std::log(w * s[1] / s[2]) - 1.0 / s[1];
        g[2] = w / ((1.0 - w) * s[2]);
    }

    void gradient_dual(const double* z, double* g, double* h) const override {
        const double l = std::log(-z[2] / z[0]), r = z[1] - z[0] - z[0] * l;
        const double d[3] = {-l, 1.0, -z[0] / z[2]};
        for (int i = 0; i < 3; ++i) g[i] = -d[i] / r;
        g[0] -= 1.0 / z[0];
        g[2] -= 1.0 / z[2];
        for (int i = 0; i < 3; ++i)
            for (int j = 0; j < 3; ++j) h[3 * i + j] = d[i] * d[j] / (r * r);
        h[0] += 1.0 / (z[0] * z[0]) - 1.0 / (z[0] * r);
        h[2] += 1.0 / (z[2] * r);
        h[6] = h[2];
        h[8] += 1.0 / (z[2] * z[2]) - z[0] / (z[2] * z[2] * r);
    }

    void third(const double* z, const double* u, const double* v, double* t) const override {
        const double l = std::log(-z[2] / z[0]), r = z[1] - z[0] - z[0] * l;
        const double a = z[0], b = z[2];
        const double d[3] = {-l, 1.0, -a / b};
        const double ru = dot(d, u, 3), rv = dot(d, v, 3);
        // second derivatives of r: r00 = 1/a, r02 = -1/b, r22 = a/b^2; third: r000 = -1/a^2, r022 = 1/b^2, r222 = -2a/b^3
        const double hu[3] = {u[0] / a - u[2] / b, 0.0, -u[0] / b + a * u[2] / (b * b)};
        const double hv[3] = {v[0] / a - v[2] / b, 0.0, -v[0] / b + a * v[2] / (b * b)};
        const double ruv = dot(hu, v, 3);
        const double cubic[3] = {-u[0] * v[0] / (a * a) + u[2] * v[2] / (b * b), 0.0,
                                 (u[0] * v[2] + u[2] * v[0]) / (b * b) - 2.0 * a * u[2] * v[2] / (b * b * b)};
        for (int i = 0; i < 3; ++i)
            t[i] = -cubic[i] / r + (ruv * d[i] + ru * hv[i] + rv * hu[i]) / (r * r) - 2.0 * ru * rv * d[i] / (r * r * r);
        t[0] -= 2.0 * u[0] * v[0] / (a * a * a);
        t[2] -= 2.0 * u[2] * v[2] / (b * b * b);
    }

  private:
    static double omega(const double* s) { return wright_omega(1.0 - s[0] / s[1] - std::log(s[1] / s[2])); }
};

}  // namespace

std::unique_ptr<Barrier> exponential_barrier() { return std::make_unique<Exponential>(); }

}  // namespace optlayers
