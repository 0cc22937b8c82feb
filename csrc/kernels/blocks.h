// Rows in blocks: sums over a block are taken in the row's precision, sums of blocks in double precision.
#pragma once

#include <limits>

#include "rows.h"

namespace optlayers {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kLargest = 1024;  // entries of a block; few enough that a sum of floats is right to a few units

// The length of blocks of about equal size, a multiple of 64 but for short rows.
OPTLAYERS_INLINE std::int64_t width_of(std::int64_t n) {
    const std::int64_t blocks = (n + kLargest - 1) / kLargest;
    return blocks <= 1 ? std::max<std::int64_t>(n, 1) : std::min((n / blocks + 63) / 64 * 64, kLargest);
}

// Rows of data of a set. One that is the same number throughout, or absent, is held as one block, which then stays in the
// nearest cache.
template <class T>
class Data {
public:
    Data(Call& call, T absent) {
        data_ = call.take<const T>(count_);
        width_ = call.n;
        const bool is_number = data_ != nullptr && count_ == 1 && width_ > kLargest && is_uniform();
        if (data_ == nullptr || is_number) {
            width_ = std::min(call.n, kLargest);
            block_.assign(width_, is_number ? data_[0] : absent);
            data_ = block_.data();
            count_ = 1;
        }
        step_ = width_ == call.n ? 1 : 0;
    }
    Data(const Data&) = delete;

    std::int64_t count() const { return count_; }

    // A row's entries from `start` on, of a block.
    OPTLAYERS_INLINE const T* at(std::int64_t i, std::int64_t start) const {
        return data_ + (i < count_ ? i : i % count_) * width_ + step_ * start;
    }

private:
    bool is_uniform() const {
        for (std::int64_t start = 0; start < width_; start += kLargest) {
            const std::int64_t stop = std::min(width_, start + kLargest);
            bool differs = false;
            for (std::int64_t j = start; j < stop; ++j) differs |= data_[j] != data_[0];
            if (differs) return false;
        }
        return true;
    }

    const T* data_;
    std::int64_t count_, width_, step_;
    std::vector<T> block_;
};

}  // namespace optlayers
