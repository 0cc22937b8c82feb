// Boxes with a total, {y : lower <= y <= upper, normal @ y in total}: the projection of rows, and its derivative.
#include "kernels.h"
#include "section.h"
#include "simplex.h"

namespace optlayers {
namespace {

template <class T>
struct Project {
    Rows<const T> v;
    Data<T> normal, lower, upper;
    Rows<const T> total_lower, total_upper;
    Rows<T> y;
    Rows<bool> is_tight, is_finite;  // rows whose sum is not finite are left out, where these are told
    bool is_simplex, is_positive = false;

    explicit Project(Call& call)
        : v(call, call.n),
          normal(call, 1.0),
          lower(call, -kInfinity),
          upper(call, kInfinity),
          total_lower(call, 1),
          total_upper(call, 1),
          y(call, call.n),
          is_tight(call, 1),
          is_finite(call, 1) {
        is_simplex = !normal.is_given() && !upper.is_given() && lower.all([](T x) { return x - x == T(0); });
        if (is_simplex) return;
        const T least = std::sqrt(std::numeric_limits<T>::min());  // products of two larger numbers do not vanish
        is_positive = lower.all([](T x) { return x == T(0); }) && normal.all([least](T a) { return a > least; });
    }

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        is_simplex ? project_simplex(first, last) : project_section(first, last);
    }

private:
    OPTLAYERS_INLINE void project_simplex(std::int64_t first, std::int64_t last) const {
        Simplex<T> simplex(v.n);
        double base = base_of(0);
        for (std::int64_t i = first; i < last; ++i) {
            if (!is_taken(i)) continue;
            if (lower.count() > 1) base = base_of(i);
            *is_tight[i] = simplex.project(v[i], lower[i], lower.is_number(), base, low(i), high(i), y[i]);
        }
    }

    OPTLAYERS_INLINE void project_section(std::int64_t first, std::int64_t last) const {
        Section<T> section(v.n);
        for (std::int64_t i = first; i < last; ++i) {
            if (!is_taken(i)) continue;
            const SectionRow<T> row{v[i], normal[i], lower[i], upper[i]};
            *is_tight[i] = section.project(row, is_positive, low(i), high(i), y[i]);
        }
    }

    OPTLAYERS_INLINE bool is_taken(std::int64_t i) const {
        return !is_finite.is_given() || (*is_finite[i] = std::isfinite(total(v[i], v.n)));
    }

    OPTLAYERS_INLINE double base_of(std::int64_t i) const {
        return lower.is_number() ? static_cast<double>(v.n) * *lower[i].data : total(lower[i].data, v.n);
    }

    OPTLAYERS_INLINE double low(std::int64_t i) const { return total_lower.is_given() ? *total_lower[i] : -kInfinity; }
    OPTLAYERS_INLINE double high(std::int64_t i) const { return total_upper.is_given() ? *total_upper[i] : kInfinity; }
};

// Entries strictly between their bounds are free: their part of the gradient loses its component along the normal where the
// total is tight. All others are zero.
template <class T>
struct Pull {
    Rows<const T> gradient, y;
    Rows<const bool> is_tight;
    Data<T> normal, lower, upper;
    Rows<T> result;

    explicit Pull(Call& call)
        : gradient(call, call.n),
          y(call, call.n),
          is_tight(call, 1),
          normal(call, 1.0),
          lower(call, -kInfinity),
          upper(call, kInfinity),
          result(call, call.n) {}

    OPTLAYERS_INLINE void operator()(std::int64_t first, std::int64_t last) const {
        if (normal.is_given() || upper.is_given())
            pull<true>(first, last);
        else
            pull<false>(first, last);
    }

private:
    // Without normal and upper bounds, these are not read.
    template <bool is_general>
    OPTLAYERS_INLINE void pull(std::int64_t first, std::int64_t last) const {
        const std::int64_t n = y.n, width = width_of(n);
        for (std::int64_t i = first; i < last; ++i) {
            const SectionRow<T> row{y[i], normal[i], lower[i], upper[i]};
            double product = 0, square = 0;
            for (std::int64_t start = 0; start < n && *is_tight[i]; start += width) {
                const auto e = row.from(start);
                const T* g = gradient[i] + start;
                const auto part = sums_of<T, 2>(std::min(width, n - start), [e, g](std::int64_t j, T* sum) OPTLAYERS_LAMBDA {
                    const T one = is_general ? e.a[j] : T(1), a = is_free<is_general>(e, j) ? one : T(0);
                    sum[0] += a * g[j];
                    sum[1] += a * a;
                });
                product += part[0];
                square += part[1];
            }
            const T slope = static_cast<T>(square > 0 ? product / square : 0.0);
            for (std::int64_t start = 0; start < n; start += width) {
                const auto e = row.from(start);
                const T* g = gradient[i] + start;
                T* target = result[i] + start;
                const std::int64_t size = std::min(width, n - start);
#pragma GCC ivdep
                for (std::int64_t j = 0; j < size; ++j) {
                    const T h = g[j] - slope * (is_general ? e.a[j] : T(1));
                    target[j] = is_free<is_general>(e, j) ? h : T(0);
                }
            }
        }
    }

    template <bool is_general>
    OPTLAYERS_INLINE static bool is_free(const typename SectionRow<T>::Entries& e, std::int64_t j) {
        return (e.v[j] > e.low[j]) & (!is_general || e.v[j] < e.high[j]);
    }
};

}  // namespace

OPTLAYERS_KERNEL(box_section, Project)
OPTLAYERS_KERNEL(box_section_pull, Pull)

}  // namespace optlayers
