// Rows onto {y : lower <= y <= upper, a @ y in [low, high]}, by the root of section_root.h. Where the root is so far that its
// own rounding counts, the row is moved there, and searched again from zero.
#pragma once

#include "section_root.h"

namespace optlayers {

template <class T>
class Section {
public:
    explicit Section(std::int64_t n) : n_(n), root_(n) {}

    // Writes the projection of a row into y, which may be its v; returns whether the total is at a bound. For `is_positive`
    // see `SectionRoot::search`. Where a total is out of reach, y is NaN.
    OPTLAYERS_INLINE bool project(SectionRow<T> row, bool is_positive, double low, double high, T* y) {
        root_.reset();
        bool is_tight = true;
        double inside = std::numeric_limits<double>::quiet_NaN();
        if (low != high) {
            inside = root_.total_at_zero(row);
            is_tight = !((inside > low || low == -kInfinity) && (inside < high || high == kInfinity));
            low = std::min(std::max(inside, low), high);
        }
        // a total that is met needs no multiplier, and entries at bounds stay there
        if (is_tight && inside != low && !find_root(row, is_positive, low, y)) {
            fill(y, 0, n_, std::numeric_limits<T>::quiet_NaN());
            return is_tight;
        }
        const T tau = static_cast<T>(root_.tau), step = static_cast<T>(root_.step), lowest = hidden_minimum<T>();
        std::int64_t written = 0;
        for (std::int64_t k = 0; k < root_.active_blocks(); ++k) {
            const std::int64_t start = root_.active_start(k), size = std::min(n_ - start, root_.width());
            fill(y, written, start, T(0));
            written = start + size;
            const auto e = row.from(start);
            T* target = y + start;
#pragma GCC ivdep
            for (std::int64_t j = 0; j < size; ++j)
                target[j] = e.clamped(j, std::max(e.moved(j, tau), lowest) - step * e.a[j]);
        }
        fill(y, written, n_, T(0));
        return is_tight;
    }

private:
    // Leaves the root in `root_`, of a row that may have been moved into y; returns whether there is one.
    OPTLAYERS_INLINE bool find_root(SectionRow<T>& row, bool is_positive, double total, T* y) {
        using Verdict = typename SectionRoot<T>::Verdict;
        auto start = root_.estimate(row, total, is_positive);
        int unreached = 0;
        for (int moves = 0; moves < kMostMoves; ++moves) {
            const Verdict verdict = root_.search(row, total, start, is_positive);
            if (verdict == Verdict::settled || verdict == Verdict::nearly) return true;
            unreached += verdict == Verdict::unreached;
            if (unreached > 1 || !std::isfinite(root_.tau)) return false;
            const T tau = static_cast<T>(root_.tau + root_.step);
            const std::int64_t width = root_.width();
            for (std::int64_t start = 0; start < n_; start += width) {
                const auto e = row.from(start);
                const std::int64_t size = std::min(width, n_ - start);
#pragma GCC ivdep
                for (std::int64_t j = 0; j < size; ++j) y[start + j] = e.moved(j, tau);
            }
            row.v = y;
            const double eps = std::numeric_limits<T>::epsilon();
            start = {0, eps * std::max(std::fabs(root_.tau), std::fabs(root_.step)), 0};
        }
        return false;
    }

    OPTLAYERS_INLINE static void fill(T* y, std::int64_t first, std::int64_t last, T value) {
        for (std::int64_t j = first; j < last; ++j) y[j] = value;
    }

    static constexpr int kMostMoves = 40;  // each takes a row nearer by its precision; from one end of the range to one takes 20

    std::int64_t n_;
    SectionRoot<T> root_;
};

}  // namespace optlayers
