// L1 balls {y : sum_i weights_i |y_i| <= radius}: the projection of rows, and its derivative. Magnitudes are projected onto
// a section of the nonnegative orthant.
#include "kernels.h"
#include "section.h"
#include "simplex.h"

namespace optlayers {
namespace {

template <class T>
struct Project {
    Rows<const T> v;
    Data<T> weights;
    Rows<const T> radius;
    Rows<T> y;
    Rows<bool> is_tight;
    Data<T> zero, infinity;
    bool is_positive;

    explicit Project(Call& call)
        : v(call, call.n),
          weights(call, 1.0),
          radius(call, 1),
          y(call, call.n),
          is_tight(call, 1),
          zero(call.n, 0.0),
          infinity(call.n, kInfinity) {
        const T least = std::sqrt(std::numeric_limits<T>::min());  // products of two larger numbers do not vanish
        is_positive = weights.all([least](T a) { return a > least; });
    }

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        if (weights.is_given()) {
            Section<T> section(v.n);
            project(first, last, [&](std::int64_t i, double total, T* row) OPTLAYERS_LAMBDA {
                return section.project({row, weights[i], zero[i], infinity[i]}, is_positive, -kInfinity, total, row);
            });
        } else {
            Simplex<T> simplex(v.n);
            project(first, last, [&](std::int64_t i, double total, T* row) OPTLAYERS_LAMBDA {
                return simplex.project(row, zero[i], true, 0.0, -kInfinity, total, row);
            });
        }
    }

private:
    template <class OntoSection>
    OPTLAYERS_INLINE void project(std::int64_t first, std::int64_t last, OntoSection onto_section) const {
        for (std::int64_t i = first; i < last; ++i) {
            const T* x = v[i];
            T* row = y[i];
            for (std::int64_t j = 0; j < v.n; ++j) row[j] = std::fabs(x[j]);
            *is_tight[i] = onto_section(i, std::max(static_cast<double>(*radius[i]), 0.0), row);
            for (std::int64_t j = 0; j < v.n; ++j) row[j] = x[j] < T(0) ? -row[j] : row[j];
        }
    }
};

// On rows that are not inside the ball, entries that are not zero, or have no weight, are free: their part of the gradient
// loses its component along the signed weights.
template <class T>
struct Pull {
    Rows<const T> gradient, y;
    Rows<const bool> is_tight;
    Data<T> weights;
    Rows<T> result;

    explicit Pull(Call& call)
        : gradient(call, call.n), y(call, call.n), is_tight(call, 1), weights(call, 1.0), result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = y.n, width = width_of(n);
        for (std::int64_t i = first; i < last; ++i) {
            if (!*is_tight[i]) {
                std::copy(gradient[i], gradient[i] + n, result[i]);
                continue;
            }
            double product = 0, square = 0;
            for (std::int64_t start = 0; start < n; start += width) {
                const T *g = gradient[i] + start, *x = y[i] + start, *w = weights[i].from(start);
                const auto part = sums_of<T, 2>(std::min(width, n - start), [g, x, w](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                    const T d = direction(x[j], w[j]);
                    sum[0] += d * g[j];
                    sum[1] += d * d;
                });
                product += part[0];
                square += part[1];
            }
            const T slope = static_cast<T>(square > 0 ? product / square : 0.0);
            for (std::int64_t start = 0; start < n; start += width) {
                const T *g = gradient[i] + start, *x = y[i] + start, *w = weights[i].from(start);
                T* target = result[i] + start;
                const std::int64_t size = std::min(width, n - start);
#pragma GCC ivdep
                for (std::int64_t j = 0; j < size; ++j) {
                    const T h = g[j] - slope * direction(x[j], w[j]);
                    target[j] = (x[j] != T(0)) | (w[j] == T(0)) ? h : T(0);
                }
            }
        }
    }

private:
    OPTLAYERS_INLINE static T direction(T x, T w) { return (x > T(0)) | (x < T(0)) ? std::copysign(w, x) : T(0); }
};

}  // namespace

OPTLAYERS_KERNEL(l1_ball, Project)
OPTLAYERS_KERNEL(l1_ball_pull, Pull)

}  // namespace optlayers
