// Norms and products of rows, block by block.
#pragma once

#include <cmath>
#include <limits>

#include "blocks.h"

namespace optlayers {

// The sum of term(j), of type T, for j = 0, ..., n - 1: in double precision from block to block.
template <class T, class Term>
OPTLAYERS_INLINE double sum_of(std::int64_t n, const Term& term) {
    constexpr int kLanes = 256 / sizeof(T);  // several vectors of sums, as each addition waits for the one before
    const std::int64_t width = width_of(n);
    double result = 0;
    for (std::int64_t start = 0; start < n; start += width) {
        const std::int64_t stop = std::min(n, start + width);
        T lanes[kLanes] = {};
        std::int64_t j = start;
        for (; j + kLanes <= stop; j += kLanes)
            for (int k = 0; k < kLanes; ++k) lanes[k] += term(j + k);
        T part = 0;
        for (int k = 0; k < kLanes; ++k) part += lanes[k];
        for (; j < stop; ++j) part += term(j);
        result += part;
    }
    return result;
}

// The Euclidean norm of n numbers; squares are taken of what is of moderate size.
template <class T>
OPTLAYERS_INLINE double norm_of(const T* x, std::int64_t n) {
    const double square = sum_of<T>(n, [x](std::int64_t j) { return x[j] * x[j]; });
    if ((square > 1e-30 && square < 1e30) || std::isnan(square)) return std::sqrt(square);
    double largest = 0;
    for (std::int64_t j = 0; j < n; ++j) largest = std::max(largest, std::fabs(static_cast<double>(x[j])));
    if (largest == 0 || std::isinf(largest)) return largest;
    return largest * std::sqrt(sum_of<double>(n, [x, largest](std::int64_t j) {
        const double share = x[j] / largest;
        return share * share;
    }));
}

// The factor that makes a vector of such a norm one of norm one; finite for all norms.
template <class T>
OPTLAYERS_INLINE T inverse_of(double norm) {
    return static_cast<T>(norm > 0 ? 1.0 / std::max<double>(norm, std::numeric_limits<T>::min()) : 1.0);
}

// The product of g with unit * v.
template <class T>
OPTLAYERS_INLINE double dot(const T* g, const T* v, T unit, std::int64_t n) {
    return sum_of<T>(n, [g, v, unit](std::int64_t j) { return g[j] * (v[j] * unit); });
}

}  // namespace optlayers
