// Dense vectors and small matrices, by rows.
#pragma once

#include <cmath>
#include <cstdint>

#include "clones.h"

namespace optlayers {

OPTLAYERS_INLINE double dot(const double* a, const double* b, int n) {
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int i = 0;
    for (; i + 3 < n; i += 4) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
    }
    for (; i < n; ++i) s0 += a[i] * b[i];
    return (s0 + s1) + (s2 + s3);
}

OPTLAYERS_INLINE void axpy(double t, const double* a, double* b, int n) {
    for (int i = 0; i < n; ++i) b[i] += t * a[i];
}

OPTLAYERS_INLINE double largest(const double* a, int n) {
    double result = 0;
    for (int i = 0; i < n; ++i) result = std::fmax(result, std::fabs(a[i]));
    return result;
}

OPTLAYERS_INLINE double norm(const double* a, int n) { return std::sqrt(dot(a, a, n)); }

}  // namespace optlayers
