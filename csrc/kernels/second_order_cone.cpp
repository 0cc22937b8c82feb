// Second-order cones {y : ||z||_2 <= t}, t one entry of y, z the others: the projection, and its derivative, which is
// symmetric. (Boyd and Vandenberghe, "Convex Optimization", section 8.1.1)
#include "kernels.h"
#include "norms.h"

namespace optlayers {
namespace {

// The norm of all entries but one.
template <class T>
OPTLAYERS_INLINE double tail_norm(const T* x, std::int64_t n, std::int64_t head) {
    const double before = norm_of(x, head), after = norm_of(x + head + 1, n - head - 1);
    return before > 0 ? std::hypot(before, after) : after;
}

template <class T>
struct Cone {
    Rows<const T> v;
    Rows<const std::int64_t> head;
    Rows<T> y;

    explicit Cone(Call& call) : v(call, call.n), head(call, 1), y(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        for (std::int64_t i = first; i < last; ++i) {
            const T* x = v[i];
            T* target = y[i];
            const std::int64_t k = head.is_given() ? *head[i] : 0;
            const double t = x[k], norm = tail_norm(x, v.n, k);
            const double middle = norm <= t ? norm : std::max(t / 2 + norm / 2, 0.0);
            const T factor = static_cast<T>(norm > 0 ? middle / norm : 1.0);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < v.n; ++j) target[j] = factor * x[j];
            target[k] = static_cast<T>(norm <= t ? t : middle);
        }
    }
};

// A point on the cone counts as one inside, a point on its polar cone as one beyond it. On the boundary the derivative is
// that of (t + ||z||) / 2 * (1, z / ||z||).
template <class T>
struct ConePull {
    Rows<const T> gradient, v;
    Rows<const std::int64_t> head;
    Rows<T> result;

    explicit ConePull(Call& call) : gradient(call, call.n), v(call, call.n), head(call, 1), result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = v.n;
        for (std::int64_t i = first; i < last; ++i) {
            const T *g = gradient[i], *x = v[i];
            T* target = result[i];
            const std::int64_t k = head.is_given() ? *head[i] : 0;
            const double t = x[k], norm = tail_norm(x, n, k);
            const T unit = inverse_of<T>(norm);
            double factor = 1.0, along = 0.0, top = g[k];
            if (norm <= -t && norm > t) {
                factor = top = 0.0;
            } else if (norm > t) {
                const double slope = dot(g, x, unit, k) + dot(g + k + 1, x + k + 1, unit, n - k - 1);
                factor = t / (2 * norm) + 0.5;
                along = (slope + top) / 2 - factor * slope;
                top = (slope + top) / 2;
            }
            const T scale = static_cast<T>(factor), step = static_cast<T>(along);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < n; ++j) target[j] = scale * g[j] + step * (x[j] * unit);
            target[k] = static_cast<T>(top);
        }
    }
};

}  // namespace

OPTLAYERS_KERNEL(second_order_cone, Cone)
OPTLAYERS_KERNEL(second_order_cone_pull, ConePull)

}  // namespace optlayers
