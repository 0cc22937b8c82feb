// The derivative of the projection onto {y >= lower, sum(y) in total}, times a gradient: the gradient of free entries,
// which are above their bound, less its mean over these where the total is tight.
#include "blocks.h"
#include "kernels.h"

namespace optlayers {
namespace {

template <class T>
struct SimplexPull {
    Rows<const T> gradient, y;
    Rows<const bool> tight;
    Data<T> lower;
    Rows<T> result;

    explicit SimplexPull(Call& call)
        : gradient(call, call.n), y(call, call.n), tight(call, 1), lower(call, -kInfinity), result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = y.n, width = width_of(n);
        for (std::int64_t i = first; i < last; ++i) {
            double total = 0, count = 0;
            for (std::int64_t start = 0; start < n && tight[i][0]; start += width) {
                const T *g = gradient[i] + start, *x = y[i] + start, *bound = lower.at(i, start);
                const std::int64_t size = std::min(width, n - start);
                T sum = 0, free = 0;
                for (std::int64_t j = 0; j < size; ++j) {
                    const bool is_free = x[j] > bound[j];
                    sum += is_free ? g[j] : T(0);
                    free += is_free ? T(1) : T(0);
                }
                total += sum;
                count += free;
            }
            const T mean = static_cast<T>(count > 0 ? total / count : 0.0);
            for (std::int64_t start = 0; start < n; start += width) {
                const T *g = gradient[i] + start, *x = y[i] + start, *bound = lower.at(i, start);
                T* target = result[i] + start;
                const std::int64_t size = std::min(width, n - start);
#pragma GCC ivdep
                for (std::int64_t j = 0; j < size; ++j) target[j] = x[j] > bound[j] ? g[j] - mean : T(0);
            }
        }
    }
};

}  // namespace

OPTLAYERS_KERNEL(simplex_pull, SimplexPull)

}  // namespace optlayers
