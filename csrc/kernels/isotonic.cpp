// Isotonic regression of rows, argmin_y sum(weight * (y - v)^2) over nondecreasing y, and its derivative.
//
//   for each entry:  push it on a stack of blocks; while the block below is not smaller, merge the two
//   for each block:  refine its mean by that of the rest, and write it to its entries
//
// O(n) for a row, with sums in double precision. (Best and Chakravarti, "Active set algorithms for isotonic regression; a
// unifying framework", 1990)
#include "in_order.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.h"

namespace optlayers {
namespace {

struct Block {
    double mean, mass;
    std::int64_t first;
};

template <class T>
struct Isotonic {
    Rows<const T> v, weight;
    Rows<T> y;
    Rows<std::int64_t> starts;  // for each entry, its block's first one

    explicit Isotonic(Call& call) : v(call, call.n), weight(call, call.n), y(call, call.n), starts(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = v.n;
        std::vector<Block> blocks(n + 2);
        blocks[0].mean = std::numeric_limits<double>::quiet_NaN();  // below which none is
        for (std::int64_t r = first; r < last; ++r) {
            const T* x = v[r];
            const T* masses = weight.is_given() ? weight[r] : nullptr;
            const auto mass_of = [masses](std::int64_t i) { return masses ? static_cast<double>(masses[i]) : 1.0; };
            Block* top = blocks.data();
            for (std::int64_t i = 0; i < n; ++i) {
                Block block{x[i], mass_of(i), i};
                for (; top->mean >= block.mean; --top) {
                    block.mass += top->mass;
                    block.mean += (top->mean - block.mean) * (top->mass / block.mass);
                    block.first = top->first;
                }
                *++top = block;
            }
            top[1].first = n;
            for (const Block* block = blocks.data() + 1; block <= top; ++block) {
                const std::int64_t start = block->first, stop = block[1].first;
                double rest = 0.0;
                for (std::int64_t i = start; i < stop; ++i) rest += (x[i] - block->mean) * mass_of(i);
                std::fill(y[r] + start, y[r] + stop, static_cast<T>(block->mean + rest / block->mass));
                std::fill(starts[r] + start, starts[r] + stop, start);
            }
        }
    }
};

// The sum of the gradient over each block, in the shares that its entries have of its weight.
template <class T>
struct IsotonicPull {
    Rows<const T> gradient;
    Rows<const std::int64_t> starts;
    Rows<const T> weight;
    Rows<T> result;

    explicit IsotonicPull(Call& call)
        : gradient(call, call.n), starts(call, call.n), weight(call, call.n), result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = gradient.n;
        for (std::int64_t r = first; r < last; ++r) {
            const T* g = gradient[r];
            const T* masses = weight.is_given() ? weight[r] : nullptr;
            const std::int64_t* firsts = starts[r];
            T* shares = result[r];
            const auto mass_of = [masses](std::int64_t i) { return masses ? static_cast<double>(masses[i]) : 1.0; };
            for (std::int64_t start = 0, stop = 0; start < n; start = stop) {
                double total = 0.0, mass = 0.0;
                for (; stop < n && firsts[stop] == start; ++stop) {
                    total += g[stop];
                    mass += mass_of(stop);
                }
                for (std::int64_t i = start; i < stop; ++i) shares[i] = static_cast<T>(total / mass * mass_of(i));
            }
        }
    }
};

}  // namespace

OPTLAYERS_KERNEL(isotonic, Isotonic)
OPTLAYERS_KERNEL(isotonic_pull, IsotonicPull)

}  // namespace optlayers
