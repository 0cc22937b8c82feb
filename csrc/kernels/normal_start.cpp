// A table over the logarithm of the expected excess E max(z - q, 0) = phi(q) - q Phi(-q) of a standard normal z, which
// decreases in the quantile q.
#include "normal_start.h"

#include <array>
#include <cmath>
#include <limits>

namespace optlayers {

namespace {

constexpr int kSize = 256;
constexpr double kFirst = -12.0, kLast = 2.0;  // logarithms

double log_excess(double q) {
    const double density = std::exp(-q * q / 2) / std::sqrt(2 * std::acos(-1.0));
    return std::log(density - q * std::erfc(q / std::sqrt(2.0)) / 2);
}

std::array<double, kSize> make_quantiles() {
    std::array<double, kSize> result{};
    for (int k = 0; k < kSize; ++k) {
        const double target = kFirst + (kLast - kFirst) * k / (kSize - 1);
        double low = -8.0, high = 8.0;
        while (high - low > 1e-6) {
            const double middle = (low + high) / 2;
            (log_excess(middle) > target ? low : high) = middle;
        }
        result[k] = low;
    }
    return result;
}

}  // namespace

double normal_start(double mean, double deviation, double room) {
    static const std::array<double, kSize> quantiles = make_quantiles();
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    if (!(deviation > 0) || !(room > 0)) return nan;
    const double position = (std::log(room / deviation) - kFirst) * ((kSize - 1) / (kLast - kFirst));
    if (!(position >= 0 && position < kSize - 1)) return nan;
    const int k = static_cast<int>(position);
    return mean + deviation * (quantiles[k] + (position - k) * (quantiles[k + 1] - quantiles[k]));
}

}  // namespace optlayers
