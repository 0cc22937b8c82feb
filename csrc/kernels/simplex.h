// Rows onto {y >= lower, sum(y) in [low, high]}, without sorting.
//
// The root `tau` of sum_i max(w_i - tau, 0) = room, w = v - lower, by Newton's method from the left, where it is monotone,
// so that the support only shrinks (Michelot, "A finite algorithm for finding the projection of a point onto the canonical
// simplex of R^n", 1986), over the blocks whose largest entry is above `tau` (after Condat, "Fast projection onto the
// simplex and the l1 ball", 2016, who filters entries). A first step leads to the left of the root from anywhere: it starts
// where the root were if entries were normally distributed. Where the root is so far that its own rounding counts, the row
// is moved to its largest entry, which is exact for all entries that may be free, and searched again.
#pragma once

#include <cstring>
#include <type_traits>

#include "blocks.h"
#include "normal_start.h"

namespace optlayers {

template <class T>
class Simplex {
public:
    explicit Simplex(std::int64_t n)
        : n_(n), width_(width_of(n)), peaks_((n + width_ - 1) / width_), active_(peaks_.size()) {}

    // Writes the projection of v into y, which may be v; returns whether the total is at a bound. `base` is the sum of the
    // lower bounds; where these are one number, v is searched as it is, and shifted by that number.
    OPTLAYERS_INLINE bool project(const T* v, Strip<T> lower, bool is_number, double base, double low, double high, T* y) {
        const T* w = v;
        if (!is_number) {
            const T* bound = lower.from(0);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < n_; ++j) y[j] = v[j] - bound[j];
            w = y;
        }
        const T floor = is_number && n_ > 0 ? lower.from(0)[0] : T(0);
        double room = low - base, inside = std::numeric_limits<double>::quiet_NaN();
        bool is_tight = true;
        if (low != high) {
            const double most = high - base;
            inside = 0;
            for (std::int64_t start = 0; start < n_; start += width_) inside += above(w + start, size(start), floor).amount;
            is_tight = !((inside > room || room == -kInfinity) && (inside < most || most == kInfinity));
            room = std::min(std::max(inside, room), most);
        }
        Root root{floor, 0, !is_tight || inside == room || n_ == 0};
        if (!root.is_exact) root = find_root(w, room);
        if (!root.is_exact) {
            const T highest = *std::max_element(peaks_.begin(), peaks_.end()), least = static_cast<T>(-room);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < n_; ++j) y[j] = std::max(w[j] - highest, least);  // what is least cannot be free
            w = y;
            root = find_root(w, room);
        }
        const T tau = static_cast<T>(root.tau), step = static_cast<T>(root.step), lowest = hidden_minimum<T>();
        for (std::int64_t start = 0; start < n_; start += width_) {
            const T *source = w + start, *bound = lower.from(start);
            T* target = y + start;
            const std::int64_t count = size(start);
#pragma GCC ivdep
            for (std::int64_t j = 0; j < count; ++j)
                target[j] = std::max(std::max(source[j] - tau, lowest) - step, T(0)) + bound[j];
        }
        return is_tight;
    }

private:
    struct Root {  // the sum of a number of the row's precision and a small one
        double tau, step;
        bool is_exact;
    };
    struct Above {
        double amount, count;
    };
    using Bits = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;

    OPTLAYERS_INLINE std::int64_t size(std::int64_t start) const { return std::min(width_, n_ - start); }

    OPTLAYERS_INLINE Root find_root(const T* w, double room) {
        double amount = 0, square = 0;
        for (std::size_t b = 0; b < peaks_.size(); ++b) {
            const T* x = w + b * width_;
            const std::int64_t count = size(b * width_);
            const auto sums = sums_of<T, 2>(count, [x](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                sum[0] += x[j];
                sum[1] += x[j] * x[j];
            });
            amount += sums[0];
            square += sums[1];
            peaks_[b] = peak(x, count);
            active_[b] = b;
        }
        count_ = peaks_.size();
        const T highest = *std::max_element(peaks_.begin(), peaks_.end());
        T tau = exactly(static_cast<T>(std::max(static_cast<double>(highest) - room, (amount - room) / n_)));
        if (n_ >= kShort) {
            const double mean = amount / n_, deviation = std::sqrt(std::max(square / n_ - mean * mean, 0.0));
            const T guess = static_cast<T>(normal_start(mean, deviation, room / n_));
            if (tau < guess && guess < highest) {
                const Above at = excess(w, room, guess, false);
                if (at.count > 0) tau = std::max(tau, exactly(static_cast<T>(guess + at.amount / at.count)));
            }
        }
        for (double support = 0;;) {
            Above at = excess(w, room, tau, true);
            if (at.count == 0) break;
            const T following = exactly(static_cast<T>(tau + at.amount / at.count));
            if (at.count == support || !(following > tau)) {
                const bool is_same = at.count == support;
                if (!is_same && at.amount < 0) at.count += equal(w, tau);  // the step before was rounded up, maybe to some
                const double rounding = std::numeric_limits<T>::epsilon() * std::fabs(static_cast<double>(tau)) * at.count;
                return {tau, at.amount / at.count, is_same || std::fabs(at.amount) <= rounding};
            }
            tau = following;
            support = at.count;
        }
        // the root lies between the largest entry and the number before it
        return {highest, -std::max(room, 0.0) / std::max(equal(w, highest), 1.0), true};
    }

    // By how much entries above `tau` exceed the room, and how many they are. Of the active blocks, only those with such
    // entries stay active if they are to shrink.
    OPTLAYERS_INLINE Above excess(const T* w, double room, T tau, bool shrinks) {
        Above result{-room, 0};
        std::int64_t kept = 0;
        for (std::int64_t k = 0; k < count_; ++k) {
            const std::int64_t b = active_[k];
            if (!(peaks_[b] > tau)) continue;
            if (shrinks) active_[kept] = b;
            ++kept;
            const Above part = above(w + b * width_, size(b * width_), tau);
            result.amount += part.amount;
            result.count += part.count;
        }
        if (shrinks) count_ = kept;
        return result;
    }

    OPTLAYERS_INLINE static Above above(const T* w, std::int64_t size, T tau) {
        const auto sums = sums_of<T, 2>(size, [w, tau](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
            const T d = w[j] - tau;
            sum[0] += std::max(d, T(0));
            sum[1] += d > T(0) ? T(1) : T(0);
        });
        return {sums[0], sums[1]};
    }

    OPTLAYERS_INLINE double equal(const T* w, T number) const {
        double count = 0;
        for (std::int64_t j = 0; j < n_; ++j) count += w[j] == number ? 1.0 : 0.0;
        return count;
    }

    // The largest of some entries, by their bits, for extremes of integers are vectorised.
    OPTLAYERS_INLINE static T peak(const T* w, std::int64_t size) {
        Bits largest = std::numeric_limits<Bits>::min(), least = -1;
        for (std::int64_t j = 0; j < size; ++j) largest = std::max(largest, bits(w + j));
        if (largest < 0) {  // of negative numbers, the largest has the least bits
            for (std::int64_t j = 0; j < size; ++j) least = std::min(least, bits(w + j));
            largest = least;
        }
        T result;
        std::memcpy(&result, &largest, sizeof(T));
        return result;
    }

    OPTLAYERS_INLINE static Bits bits(const T* number) {
        Bits result;
        std::memcpy(&result, number, sizeof(T));
        return result;
    }

    static constexpr std::int64_t kShort = 128;  // entries of rows that are not worth a guess

    std::int64_t n_, width_, count_ = 0;
    std::vector<T> peaks_;
    std::vector<std::int64_t> active_;  // blocks, the first `count_`
};

}  // namespace optlayers
