// Kernels on the rows of matrices, and how Python calls them.
//
// A kernel is a class template of the row's type, `float` or `double`, that reads its arrays from a `Call`, and works on a
// range of rows:
//
//     template <class T>
//     struct Scale {  // y = factor * v
//         Rows<const T> v, factor;
//         Rows<T> y;
//
//         explicit Scale(Call& call) : v(call, call.n), factor(call, 1), y(call, call.n) {}
//
//         OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
//             for (std::int64_t i = first; i < last; ++i) {
//                 const T* x = v[i];
//                 T* target = y[i];
//                 const T f = factor[i][0];
//     #pragma GCC ivdep
//                 for (std::int64_t j = 0; j < v.n; ++j) target[j] = f * x[j];
//             }
//         }
//     };
//     OPTLAYERS_KERNEL(scale, Scale)
//
// A line `X(scale, 3)` in kernels.h makes it known, with the number of its arrays, and in Python `run("scale", y, v,
// factor, y)` calls it (optlayers/kernels/cpu/call.py), with one tensor or None for each array, in the order in which the
// constructor reads them. Rows are shared out among threads. Each kernel is compiled for several processors, so that all
// that it calls should be OPTLAYERS_INLINE.
//
// Sums may be taken in any order, and are then vectorised; a file that includes in_order.h first keeps the order written,
// `exactly` that of one expression. `#pragma GCC ivdep` says that the turns of a loop do not depend on each other, though
// `v` and `y` may be the same memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "clones.h"
#include "team.h"

namespace optlayers {

// An expression whose operations are not mixed with those around it, but in vectorised loops (see `hidden_minimum`).
template <class T>
OPTLAYERS_INLINE T exactly(T x) {
#if defined(__clang__) && defined(__x86_64__)
    return __arithmetic_fence(x);
#elif defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
    return __builtin_assoc_barrier(x);
#elif defined(__GNUC__)
    asm volatile("" : "+m"(x));
    return x;
#else
    return x;
#endif
}

// What Python hands over: how many rows of how many entries, and address and number of rows of each array.
struct Call {
    bool is_double;
    int threads;
    std::int64_t rows, n;
    const long long* next;  // array

    template <class T>
    T* take(std::int64_t& count) {
        T* data = reinterpret_cast<T*>(next[0]);
        count = next[1];
        next += 2;
        return data;
    }
};

// Rows of `n` entries, without gaps; fewer than the call has take turns. No rows, where Python passes None.
template <class T>
struct Rows {
    T* data;
    std::int64_t count, n;

    Rows(Call& call, std::int64_t n) : n(n) { data = call.take<T>(count); }

    OPTLAYERS_INLINE bool is_given() const { return data != nullptr; }
    OPTLAYERS_INLINE T* operator[](std::int64_t i) const { return data + (i < count ? i : i % count) * n; }
};

constexpr std::int64_t kGrain = 1 << 14;  // entries for which another thread is worth waking

template <class Kernel>
void run(Call& call, void (*over_rows)(const Kernel&, std::int64_t, std::int64_t)) {
    const Kernel kernel(call);
    const std::int64_t worth = std::max<std::int64_t>(1, call.rows * call.n / kGrain);
    const std::int64_t parts = std::min({static_cast<std::int64_t>(call.threads), call.rows, worth});
    share_out(call.threads, parts, [&](std::int64_t part) {
        over_rows(kernel, call.rows * part / parts, call.rows * (part + 1) / parts);
    });
}

// Defines `void name(Call&)`, which runs a kernel.
#define OPTLAYERS_KERNEL(name, Kernel)                                                                           \
    namespace {                                                                                                  \
    OPTLAYERS_CLONES void name##_of_float(const Kernel<float>& kernel, std::int64_t first, std::int64_t last) {  \
        kernel(first, last);                                                                                     \
    }                                                                                                            \
    OPTLAYERS_CLONES void name##_of_double(const Kernel<double>& kernel, std::int64_t first, std::int64_t last) { \
        kernel(first, last);                                                                                     \
    }                                                                                                            \
    }                                                                                                            \
    void name(Call& call) { call.is_double ? run(call, name##_of_double) : run(call, name##_of_float); }

}  // namespace optlayers
