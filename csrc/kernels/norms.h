// Norms and products of rows, block by block.
#pragma once

#include <cmath>

#include "blocks.h"

namespace optlayers {

// The Euclidean norm of n numbers; squares are taken of what is of moderate size.
template <class T>
OPTLAYERS_INLINE double norm_of(const T* x, std::int64_t n) {
    const std::int64_t width = width_of(n);
    double square = 0;
    for (std::int64_t start = 0; start < n; start += width) {
        T part = 0;
        for (std::int64_t j = start; j < std::min(n, start + width); ++j) part += x[j] * x[j];
        square += part;
    }
    if ((square > 1e-30 && square < 1e30) || std::isnan(square)) return std::sqrt(square);
    double largest = 0;
    for (std::int64_t j = 0; j < n; ++j) largest = std::max(largest, std::fabs(static_cast<double>(x[j])));
    if (largest == 0 || std::isinf(largest)) return largest;
    square = 0;
    for (std::int64_t j = 0; j < n; ++j) square += (x[j] / largest) * (x[j] / largest);
    return largest * std::sqrt(square);
}

// The product of g with v / length.
template <class T>
OPTLAYERS_INLINE double dot(const T* g, const T* v, T length, std::int64_t n) {
    const std::int64_t width = width_of(n);
    double result = 0;
    for (std::int64_t start = 0; start < n; start += width) {
        T part = 0;
        for (std::int64_t j = start; j < std::min(n, start + width); ++j) part += g[j] * (v[j] / length);
        result += part;
    }
    return result;
}

}  // namespace optlayers
