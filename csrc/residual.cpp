// For exponential and power cones, whose projection is itself iterative, the residual is bounded from above: for any pair
// p in K, d in K* with p'd = 0, p is the projection of p - d, so that
//
//     |s - P(s - z)| <= |s - p| + |(p - d) - (s - z)|,
//
// as projections are nonexpansive. Near a solution there is such a pair within its own error: a point of the boundary and
// its normal, the point itself and no dual, no point and the dual itself, or a pair on a flat face.
#include "residual.h"

#include <algorithm>
#include <cmath>

#include "dense.h"
#include "symmetric.h"

namespace optlayers {

namespace {

double bound(const double* s, const double* z, const double* p, const double* d) {
    double near = 0.0, apart = 0.0;
    for (int i = 0; i < 3; ++i) {
        near = std::fmax(near, std::fabs(s[i] - p[i]));
        const double e = (p[i] - s[i]) - (d[i] - z[i]);
        apart += e * e;
    }
    const double result = near + std::sqrt(apart);
    return std::isfinite(result) ? result : HUGE_VAL;
}

// K: s1 exp(s0 / s1) <= s2, s1 > 0, and its closure; K*: -z0 exp(z1 / z0 - 1) <= z2, z0 < 0, and its closure.
double of_exponential(const double* s, const double* z) {
    double result = HUGE_VAL;
    const double zero[3] = {0.0, 0.0, 0.0};
    const double lifted[3] = {s[0], s[1], s[1] > 0.0 ? std::fmax(s[2], s[1] * std::exp(s[0] / s[1])) : HUGE_VAL};
    result = std::fmin(result, bound(s, z, lifted, zero));
    const double raised[3] = {z[0], z[1], z[0] < 0.0 ? std::fmax(z[2], -z[0] * std::exp(z[1] / z[0] - 1.0)) : HUGE_VAL};
    result = std::fmin(result, bound(s, z, zero, raised));
    const double multiplier = std::fmax(-z[0], 0.0);
    if (s[1] > 0.0) {  // the boundary, by the ratio of the first entries, or of the others
        for (const double log_ratio : {s[2] > 0.0 ? std::log(s[2] / s[1]) : HUGE_VAL, s[0] / s[1]}) {
            const double ratio = std::exp(log_ratio);
            const double p[3] = {s[1] * log_ratio, s[1], s[1] * ratio};
            const double d[3] = {-multiplier, multiplier * (log_ratio - 1.0), multiplier / ratio};
            result = std::fmin(result, bound(s, z, p, d));
        }
    }
    if (z[0] < 0.0) {  // the boundary, by the ratio of the duals: the first slacks may be too small to say
        const double log_ratio = 1.0 - z[1] / z[0], head = std::fmax(s[2], 0.0) * std::exp(-log_ratio);
        const double p[3] = {head * log_ratio, head, std::fmax(s[2], 0.0)};
        const double d[3] = {z[0], z[1], multiplier * std::exp(-log_ratio)};
        result = std::fmin(result, bound(s, z, p, d));
    }
    const double flat[3] = {std::fmin(s[0], 0.0), 0.0, std::fmax(s[2], 0.0)}, across[3] = {0.0, std::fmax(z[1], 0.0), 0.0};
    result = std::fmin(result, bound(s, z, flat, across));
    const double edge[3] = {flat[0], 0.0, 0.0}, beyond[3] = {0.0, across[1], std::fmax(z[2], 0.0)};
    return std::fmin(result, bound(s, z, edge, beyond));
}

// K: |s2| <= s0^a s1^b, s0, s1 >= 0; K*: |z2| <= (z0 / a)^a (z1 / b)^b, z0, z1 >= 0; with a + b = 1.
double of_power(double a, const double* s, const double* z) {
    const double b = 1.0 - a, zero[3] = {0.0, 0.0, 0.0};
    const double s0 = std::fmax(s[0], 0.0), s1 = std::fmax(s[1], 0.0), z0 = std::fmax(z[0], 0.0), z1 = std::fmax(z[1], 0.0);
    const double most = std::pow(s0, a) * std::pow(s1, b), most_dual = std::pow(z0 / a, a) * std::pow(z1 / b, b);
    const double inside[3] = {s0, s1, std::fmin(std::fmax(s[2], -most), most)};
    const double inside_dual[3] = {z0, z1, std::fmin(std::fmax(z[2], -most_dual), most_dual)};
    double result = std::fmin(bound(s, z, inside, zero), bound(s, z, zero, inside_dual));
    const double multiplier = std::fabs(z[2]), sign = std::copysign(1.0, s[2]);
    if (s0 > 0.0 && s1 > 0.0) {
        const double p[3] = {s0, s1, sign * most};
        const double d[3] = {multiplier * a * most / s0, multiplier * b * most / s1, -sign * multiplier};
        result = std::fmin(result, bound(s, z, p, d));
    }
    const double first[3] = {s0, 0.0, 0.0}, second_dual[3] = {0.0, z1, 0.0};
    const double second[3] = {0.0, s1, 0.0}, first_dual[3] = {z0, 0.0, 0.0};
    return std::fmin(result, std::fmin(bound(s, z, first, second_dual), bound(s, z, second, first_dual)));
}

double of_second_order(const double* s, const double* z, int k) {
    const double head = s[0] - z[0];
    double length = 0.0;
    for (int i = 1; i < k; ++i) length += (s[i] - z[i]) * (s[i] - z[i]);
    length = std::sqrt(length);
    double first = 0.0, factor = 0.0;  // of the projection: its head, and its tail as a part of that of s - z
    if (length <= head) first = head, factor = 1.0;
    else if (length > -head) first = 0.5 * (head + length), factor = first / length;
    double result = std::fabs(s[0] - first);
    for (int i = 1; i < k; ++i) result = std::fmax(result, std::fabs(s[i] - factor * (s[i] - z[i])));
    return result;
}

}  // namespace

double Residual::of_cone(const Cone& cone, const double* s, const double* z) {
    const int k = cone.dimension;
    if (cone.kind == ConeKind::second_order) return of_second_order(s, z, k);
    if (cone.kind == ConeKind::exponential) return of_exponential(s, z);
    if (cone.kind == ConeKind::power) return of_power(cone.alpha, s, z);
    const int n = order_of(k);
    image_.resize(k);
    matrix_.resize(n * n);
    vectors_.resize(n * n);
    values_.resize(n);
    for (int i = 0; i < k; ++i) image_[i] = s[i] - z[i];
    unpack(image_.data(), n, matrix_.data());
    eigen(matrix_.data(), n, values_.data(), vectors_.data());
    std::fill(matrix_.begin(), matrix_.end(), 0.0);
    for (int e = 0; e < n; ++e) {
        if (!(values_[e] > 0.0)) continue;
        const double* u = &vectors_[e * n];
        for (int i = 0; i < n; ++i) axpy(values_[e] * u[i], u, &matrix_[i * n], n);
    }
    pack(matrix_.data(), n, image_.data());
    double result = 0.0;
    for (int i = 0; i < k; ++i) result = std::fmax(result, std::fabs(s[i] - image_[i]));
    return result;
}

double Residual::of(const Program& p, const double* x, const double* slacks, const double* dual) {
    const int n = p.entries, m = p.slacks();
    const double size = std::fmax(largest(x, n), 1.0), scale = std::fmax(largest(p.v, n), 1.0);
    rest_.resize(n);
    for (int i = 0; i < n; ++i) rest_[i] = p.weight[i] * (x[i] - p.v[i]) - (p.box ? dual[i] : 0.0);
    for (int k = p.first_row(); k < m; ++k)
        if (dual[k] != 0.0) axpy(-dual[k], p.row(k), rest_.data(), n);
    const double smaller = std::fmax(largest(dual, m) / size, 1.0);  // large duals are scaled down
    double gap = 0.0;
    for (int k = 0; k < p.linear; ++k) {
        const double z = slacks[k] - dual[k] / smaller;
        gap = std::fmax(gap, std::fabs(slacks[k] - std::fmin(std::fmax(z, p.lower[k]), p.upper[k])));
    }
    dual_.resize(m);
    for (int k = p.linear; k < m; ++k) dual_[k] = dual[k] / smaller;
    for (int c = 0; c < p.cone_count; ++c)
        gap = std::fmax(gap, of_cone(p.cones[c], slacks + p.cones[c].start, dual_.data() + p.cones[c].start));
    const double result = std::fmax(gap / size, largest(rest_.data(), n) / scale);
    double finite = 0.0;  // fmax passes over NaN
    for (int i = 0; i < n; ++i) finite += x[i] + rest_[i];
    for (int k = 0; k < m; ++k) finite += dual[k];
    return std::isfinite(finite) ? result : HUGE_VAL;
}

void Residual::distances(const Program& p, const double* slacks, std::vector<double>& result) {
    zero_.assign(p.slacks(), 0.0);
    result.resize(p.slacks());
    for (int k = 0; k < p.linear; ++k) result[k] = std::fmax(std::fmax(p.lower[k] - slacks[k], slacks[k] - p.upper[k]), 0.0);
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        std::fill_n(result.begin() + cone.start, cone.dimension, of_cone(cone, slacks + cone.start, zero_.data() + cone.start));
    }
}

}  // namespace optlayers
