// L2 balls around the origin, {y : ||y||_2 <= radius}: the projection, and its derivative, which is symmetric.
#include "kernels.h"
#include "norms.h"

namespace optlayers {
namespace {

template <class T>
struct L2Ball {
    Rows<const T> v;
    Rows<const double> radius;
    Rows<T> y;
    Rows<double> norm;

    explicit L2Ball(Call& call) : v(call, call.n), radius(call, 1), y(call, call.n), norm(call, 1) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        for (std::int64_t i = first; i < last; ++i) {
            const T* x = v[i];
            T* target = y[i];
            const double length = norm_of(x, v.n), limit = std::max(*radius[i], 0.0);
            *norm[i] = length;
            const T factor = static_cast<T>(length >= limit && length > 0 ? limit / length : 1.0);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < v.n; ++j) target[j] = factor * x[j];
        }
    }
};

// A point on the sphere counts as one outside.
template <class T>
struct L2BallPull {
    Rows<const T> gradient, v;
    Rows<const double> norm, radius;
    Rows<T> result;

    explicit L2BallPull(Call& call)
        : gradient(call, call.n), v(call, call.n), norm(call, 1), radius(call, 1), result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        for (std::int64_t i = first; i < last; ++i) {
            const T *g = gradient[i], *x = v[i];
            T* target = result[i];
            const double size = *norm[i], limit = std::max(*radius[i], 0.0);
            const T unit = inverse_of<T>(size);
            T factor = 1, along = 0;
            if (size >= limit) {
                factor = static_cast<T>(size > 0 ? limit / size : 0.0);
                along = static_cast<T>(dot(g, x, unit, v.n));
            }
#pragma GCC ivdep
            for (std::int64_t j = 0; j < v.n; ++j) target[j] = factor * (g[j] - along * (x[j] * unit));
        }
    }
};

}  // namespace

OPTLAYERS_KERNEL(l2_ball, L2Ball)
OPTLAYERS_KERNEL(l2_ball_pull, L2BallPull)

}  // namespace optlayers
