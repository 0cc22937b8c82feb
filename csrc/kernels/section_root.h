// The root `tau` of a @ clamp(v - tau * a, lower, upper) = total for one row, without sorting.
//
// Newton's method on a decreasing, piecewise linear function, safeguarded by a bracket (Cominetti, Mascarenhas and Silva, "A
// Newton's method for the continuous quadratic knapsack problem", 2014), with secants where narrow bounds make the function
// a staircase. Long rows start from the root of a part of their entries. Where the normal is positive, and the lower bounds
// are zero, blocks that are zero to the left of the root stay zero, and are left out.
#pragma once

#include "blocks.h"
#include "normal_start.h"

namespace optlayers {

// A row of points and its data.
template <class T>
struct SectionRow {
    const T* v;
    Strip<T> normal, lower, upper;

    // clamp(v - tau * a, lower, upper) for the entries from `start` on, as the loops take it.
    struct Entries {
        const T *v, *a, *low, *high;

        OPTLAYERS_INLINE T moved(std::int64_t j, T tau) const { return v[j] - tau * a[j]; }
        OPTLAYERS_INLINE T clamped(std::int64_t j, T x) const { return std::min(std::max(x, low[j]), high[j]); }
    };
    OPTLAYERS_INLINE Entries from(std::int64_t start) const {
        return {v + start, normal.from(start), lower.from(start), upper.from(start)};
    }
};

template <class T>
class SectionRoot {
public:
    enum class Verdict { settled, unsettled, nearly, unreached };

    // Where a search starts, how far the root may be, and the slope there, or 0.
    struct Start {
        double tau, reach, slope;
    };

    explicit SectionRoot(std::int64_t n)
        : n_(n), width_(width_of(n)), active_((n + width_ - 1) / width_), products_(active_.size()) {}

    // The root, as the sum of a number of the row's precision and a small one; the last step is exact.
    double tau = 0, step = 0;
    double slope = 0;  // the mean one near the root

    // The blocks that are not zero throughout.
    std::int64_t width() const { return width_; }
    std::int64_t active_blocks() const { return count_; }
    std::int64_t active_start(std::int64_t k) const { return active_[k] * width_; }

    OPTLAYERS_INLINE void reset() {
        count_ = active_.size();
        for (std::int64_t b = 0; b < count_; ++b) active_[b] = b;
        tau = step = slope = 0;
    }

    // The total of the row's projection onto the box.
    OPTLAYERS_INLINE double total_at_zero(const SectionRow<T>& row) { return sums(row, 0, 1).product; }

    OPTLAYERS_INLINE Start estimate(const SectionRow<T>& row, double goal, bool is_positive) {
        const int share = n_ < kShort ? 1 : kShare;
        const Scale scale = scale_of(row, share);
        double start = std::numeric_limits<double>::quiet_NaN();
        if (is_positive && scale.square > 0) start = normal_start(scale.center, scale.spread, goal / (share * scale.square));
        if (!std::isfinite(start)) start = scale.center;
        if (share == 1) return {start, scale.spread, 0};
        search(row, goal, {start, scale.spread, 0}, share, false, kFirstSteps);
        const double far = kFar * scale.spread;
        return {tau + std::min(std::max(step, -far), far), scale.spread, slope};
    }

    // Searches for the root, and tells whether the total, `goal`, is met but for rounding; where no entry can move, it is
    // `nearly` met if that is a matter of tolerance, else `unreached`. `is_positive` says that the normal is, so much that
    // products do not vanish, and that the lower bounds are zero: in blocks that are not active, the projection is then zero.
    OPTLAYERS_INLINE Verdict search(const SectionRow<T>& row, double goal, Start start, bool is_positive) {
        return search(row, goal, start, 1, is_positive, kMostSteps);
    }

private:
    struct Sums {
        double product, free;
    };
    struct Scale {
        double center, spread, square;
    };

    // Does so for a share of the entries, all counted. A `reach` is a step to try where nothing tells how far the root is.
    OPTLAYERS_INLINE Verdict search(const SectionRow<T>& row, double goal, Start start, int share, bool is_positive,
                                    int most_steps) {
        const double eps = std::numeric_limits<T>::epsilon();
        const auto number = [](double x) { return exactly(static_cast<T>(x)); };
        T at = number(start.tau);
        double left = -kInfinity, right = kInfinity, above = 0, below = 0;
        double support = -1, change = 0, before = 0, excess = 0, reach = start.reach;
        bool is_bracketed = false, is_out_of_reach = false;
        Sums now{0, 0};
        reset();
        slope = start.slope;
        for (int count = 0; count < most_steps; ++count) {
            is_out_of_reach = count == most_steps - 1 || !std::isfinite(number(kFar * reach));
            now = sums(row, at, share);
            now.product *= share;
            now.free *= share;
            excess = now.product - goal;
            step = now.free > 0 ? excess / now.free : 0.0;
            if (excess == 0 || count == most_steps - 1 || (now.free > 0 && number(at + step) == at)) break;
            if (now.free == support || now.free == 0) {  // the same entries are free as before: is this step rounding?
                if (now.free > 0 && std::fabs(step) <= 8 * eps * std::fabs(change)) break;
                const double size = is_positive ? now.product : share * size_of(row, at, share);
                if (std::fabs(excess) <= 4 * eps * (size + std::fabs(goal))) break;
            }
            if (excess > 0) {
                left = at;
                above = excess;
                if (is_positive) drop_zeros();
            } else {
                right = at;
                below = excess;
            }
            is_bracketed = std::isfinite(left) && std::isfinite(right);
            if (is_bracketed) slope = (above - below) / (right - left);
            const double sign = excess > 0 ? 1.0 : excess < 0 ? -1.0 : excess;
            const auto is_inside = [&](T x) { return left < x && x < right; };
            T following = number(at + step);
            if (now.free == 0 || (std::fabs(excess) > 0.5 * std::fabs(before) && before != 0)) {
                const double secant = change != 0 ? (before - excess) / change : start.slope;
                following = secant > 0 ? number(at + excess / secant) : at;
            }
            if (!is_bracketed && std::fabs(following - at) > kFar * reach) {  // slopes of faint entries alone lead too far
                following = number(at + sign * kFar * reach);
                reach = kFar * reach;
            }
            if (!is_inside(following)) following = is_bracketed ? number(left + above / slope) : at;
            if (!is_inside(following) || count % 8 == 7) {
                following = is_bracketed ? number(left / 2 + right / 2) : number(at + sign * reach);
                reach = is_bracketed ? reach : 2 * reach;
            }
            if (!is_inside(following)) break;
            support = now.free;
            before = excess;
            change = static_cast<double>(following) - static_cast<double>(at);
            at = following;
        }
        tau = at;
        double size = std::fabs(now.product) + std::fabs(goal);
        if (std::fabs(excess) > kSettled * eps * size && !is_positive) size = share * size_of(row, at, share) + std::fabs(goal);
        if (std::fabs(excess) <= kSettled * eps * size) return Verdict::settled;
        if (now.free != 0 || is_bracketed || !is_out_of_reach) return Verdict::unsettled;
        return std::fabs(excess) <= kNearly * size ? Verdict::nearly : Verdict::unreached;
    }

    OPTLAYERS_INLINE void drop_zeros() {
        std::int64_t kept = 0;
        for (std::int64_t k = 0; k < count_; ++k)
            if (products_[k] != 0) active_[kept++] = active_[k];
        count_ = kept;
    }

    OPTLAYERS_INLINE std::int64_t length(std::int64_t start, int share) const {
        return std::min(n_ - start, std::max<std::int64_t>(1, width_ / share));
    }

    // a @ y for y = clamp(v - tau * a, lower, upper), and a @ a where y is free, of a share of the active blocks.
    OPTLAYERS_INLINE Sums sums(const SectionRow<T>& row, T tau, int share) {
        const bool are_numbers = row.lower.is_block && row.upper.is_block;  // bounds, which then stay in registers
        Sums result{0, 0};
        for (std::int64_t k = 0; k < count_; ++k) {
            const std::int64_t start = active_[k] * width_, size = length(start, share);
            const auto e = row.from(start);
            const auto with_numbers = [e, tau, low = e.low[0], high = e.high[0]](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                add(e.a[j], e.moved(j, tau), low, high, sum);
            };
            const auto with_rows = [e, tau](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                add(e.a[j], e.moved(j, tau), e.low[j], e.high[j], sum);
            };
            const auto part = are_numbers ? sums_of<T, 2>(size, with_numbers) : sums_of<T, 2>(size, with_rows);
            products_[k] = part[0];
            result.product += part[0];
            result.free += part[1];
        }
        return result;
    }

    OPTLAYERS_INLINE static void add(T a, T x, T low, T high, T* sum) {
        const T free = (x >= low) & (x <= high) ? a : T(0);
        sum[0] += a * std::min(std::max(x, low), high);
        sum[1] += free * free;
    }

    // The sum of the absolute products, of which the rounding of their sum is a small part.
    OPTLAYERS_INLINE double size_of(const SectionRow<T>& row, T tau, int share) const {
        double result = 0;
        for (std::int64_t start = 0; start < n_; start += width_) {
            const auto e = row.from(start);
            result += sums_of<T, 1>(length(start, share), [e, tau](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                sum[0] += std::fabs(e.a[j] * e.clamped(j, e.moved(j, tau)));
            })[0];
        }
        return result;
    }

    // The multiplier that brings the largest part of `v` to zero, by how much it is off, and a @ a: mean and deviation of the
    // multipliers that bring each entry to zero.
    OPTLAYERS_INLINE Scale scale_of(const SectionRow<T>& row, int share) const {
        double product = 0, square = 0, rest = 0;
        for (std::int64_t start = 0; start < n_; start += width_) {
            const auto e = row.from(start);
            const auto part = sums_of<T, 3>(length(start, share), [e](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                sum[0] += e.a[j] * e.v[j];
                sum[1] += e.a[j] * e.a[j];
                sum[2] += e.v[j] * e.v[j];
            });
            product += part[0];
            square += part[1];
            rest += part[2];
        }
        double center = square > 0 ? product / square : 0.0;
        if (!std::isfinite(center)) {  // sums overflow
            const auto e = row.from(0);
            center = e.a[0] != 0 ? static_cast<double>(e.v[0]) / e.a[0] : 0.0;
        }
        const double spread = square > 0 ? std::sqrt(std::max(rest / square - center * center, 0.0)) : 0.0;
        return {center, spread > 0 && spread < kInfinity ? spread : std::max(std::fabs(center), 1.0), square};
    }

    static constexpr int kMostSteps = 200;
    static constexpr int kShare = 8;  // the start is near the root of every so many entries, with the total in proportion
    static constexpr int kFirstSteps = 3;       // on these
    static constexpr double kNearly = 1e-3;     // of the products: totals out of reach by more are told before
    static constexpr double kSettled = 16;      // roundings by which the total may be missed: the last step mends the rest
    static constexpr double kFar = 16;          // deviations of the multipliers that bring each entry to zero
    static constexpr std::int64_t kShort = 4096;  // shorter rows are taken as they are

    std::int64_t n_, width_, count_ = 0;
    std::vector<std::int64_t> active_;  // blocks, the first `count_`
    std::vector<double> products_;      // of these
};

}  // namespace optlayers
