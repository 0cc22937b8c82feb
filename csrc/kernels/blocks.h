// Rows in blocks: sums over a block are taken in the row's precision, sums of blocks in double precision.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "rows.h"

namespace optlayers {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kLargest = 256;  // entries of a block; few enough that a sum of floats is right to a few units

// The length of blocks of about equal size, a multiple of 64 but for short rows.
OPTLAYERS_INLINE std::int64_t width_of(std::int64_t n) {
    const std::int64_t blocks = (n + kLargest - 1) / kLargest;
    return blocks <= 1 ? std::max<std::int64_t>(n, 1) : std::min((n / blocks + 63) / 64 * 64, kLargest);
}

// Several sums over a block, to which `add(j, sums)` adds for j = 0, ..., size - 1. In one stream: memory is read ahead of it.
template <class T, int count, class Add>
OPTLAYERS_INLINE std::array<double, count> sums_of(std::int64_t size, Add add) {
    T sums[count] = {};
    for (std::int64_t j = 0; j < size; ++j) add(j, sums);
    std::array<double, count> result;
    for (int k = 0; k < count; ++k) result[k] = static_cast<double>(sums[k]);
    return result;
}

// The same over the blocks of a row: `add_from(start)` is what adds for the block that starts there.
template <class T, int count, class Add>
OPTLAYERS_INLINE std::array<double, count> sums_of_blocks(std::int64_t n, Add add_from) {
    const std::int64_t width = width_of(n);
    std::array<double, count> result = {};
    for (std::int64_t start = 0; start < n; start += width) {
        const auto part = sums_of<T, count>(std::min(width, n - start), add_from(start));
        for (int k = 0; k < count; ++k) result[k] += part[k];
    }
    return result;
}

// Minus infinity, unknown to the compiler: max(x - a, it) - b is not taken for x - (a + b), and is vectorised.
template <class T>
OPTLAYERS_INLINE T hidden_minimum() {
    const volatile T result = static_cast<T>(-kInfinity);
    return result;
}

// The sum of n numbers.
template <class T>
OPTLAYERS_INLINE double total(const T* x, std::int64_t n) {
    return sums_of_blocks<T, 1>(n, [x](std::int64_t start) OPTLAYERS_LAMBDA {
        return [x = x + start](std::int64_t j, T* sum) OPTLAYERS_LAMBDA { sum[0] += x[j]; };
    })[0];
}

// A row of a set's data; where all are the same number, one block of them.
template <class T>
struct Strip {
    const T* data;
    bool is_block;

    OPTLAYERS_INLINE const T* from(std::int64_t start) const { return is_block ? data : data + start; }
};

// Rows of a set's data, which take turns. A row that is one number throughout is one block, which stays in the nearest
// cache; so are data that are absent.
template <class T>
class Data {
public:
    Data(std::int64_t n, double value) : n_(n) { fill(static_cast<T>(value)); }
    Data(Call& call, double absent) : n_(call.n), data_(call.take<const T>(count_)), is_given_(data_ != nullptr) {
        if (!is_given_)
            fill(static_cast<T>(absent));
        else if (count_ == 1 && n_ > 0 && is_uniform())
            fill(data_[0]);
    }
    Data(const Data&) = delete;

    bool is_given() const { return is_given_; }
    bool is_number() const { return is_block_; }
    std::int64_t count() const { return count_; }

    OPTLAYERS_INLINE Strip<T> operator[](std::int64_t i) const {
        return {data_ + (i < count_ ? i : i % count_) * n_, is_block_};
    }

    // Whether something holds for all numbers; the test should be quick.
    template <class Test>
    bool all(Test test) const {
        const std::int64_t size = is_block_ ? 1 : count_ * n_;
        bool result = true;
        for (std::int64_t start = 0; start < size && result; start += kLargest) {
            const std::int64_t stop = std::min(size, start + kLargest);
            for (std::int64_t j = start; j < stop; ++j) result &= test(data_[j]);
        }
        return result;
    }

private:
    bool is_uniform() const {
        const T first = data_[0];
        return all([first](T x) { return x == first; });
    }

    void fill(T value) {
        block_.assign(std::min(n_, kLargest) + kLine / sizeof(T), value);
        const auto address = reinterpret_cast<std::uintptr_t>(block_.data());
        data_ = reinterpret_cast<const T*>((address + kLine - 1) / kLine * kLine);
        count_ = 1;
        is_block_ = true;
    }

    static constexpr std::size_t kLine = 64;  // bytes of the cache, across which loads are slower

    std::int64_t n_, count_ = 1;
    const T* data_ = nullptr;
    bool is_given_ = false, is_block_ = false;
    std::vector<T> block_;
};

}  // namespace optlayers
