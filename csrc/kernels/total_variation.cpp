// Blocks of the nearest points of bounded total variation, argmin_y ||y - v|| with sum |y[i+1] - y[i]| <= radius.
//
//   Newton's method for the multiplier, the blocks of each step being entries of the next one:
//   the total variation is a convex, decreasing, piecewise linear function of the multiplier, so that the steps fall
//   short of the root until the last one meets it. Each step takes the proximal map of the total variation, by dynamic
//   programming (Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation", 2013):
//     forth:  the derivative of the least cost of the first blocks, a piecewise linear function of the last of them, is
//             cut at -step and step; its knots are a queue, of which either end is cut
//     back:   each block is the one after it, clamped to where its derivative was cut
//
// Inside the set, each entry is a block, and no step has a sign.
#include "in_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels.h"

namespace optlayers {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Block {
    double mean, mass;
    std::int64_t first;
    double low, high;  // where its derivative is cut
};

struct Knot {
    double at, bend;
};

class Search {
  public:
    explicit Search(std::int64_t n) : n_(n), blocks_(n + 1), knots_(2 * n + 2) {}

    bool is_inside(const double* v, double radius) const;
    void run(const double* v, double radius);
    void write(std::int64_t* starts, std::int64_t* sign) const;

  private:
    bool merge(bool is_first);
    double longest_step(double radius) const;
    void shrink(double step);
    double cut_low(const Block& block, double value, double target, double& slope);
    double cut_high(const Block& block, double& slope);

    std::int64_t n_, count_ = 0, left_ = 0, right_ = 0;  // the knots in the queue are those from left_ to right_ - 1
    std::vector<Block> blocks_;
    std::vector<Knot> knots_;
};

bool Search::is_inside(const double* v, double radius) const {
    double total = 0.0;
    for (std::int64_t i = 0; i + 1 < n_; ++i) total += std::abs(v[i + 1] - v[i]);
    return total < radius;
}

void Search::run(const double* v, double radius) {
    for (std::int64_t i = 0; i < n_; ++i) blocks_[i] = {v[i], 1.0, i, 0.0, 0.0};
    count_ = n_;
    for (bool is_first = true; merge(is_first); is_first = false) {
        const double step = longest_step(radius);
        if (step == 0.0) break;
        shrink(step);
    }
    blocks_[count_].first = n_;
}

// Join equal neighbours; return whether there is a step left to take.
bool Search::merge(bool is_first) {
    const std::int64_t before = count_;
    count_ = 0;
    for (std::int64_t k = 0; k < before; ++k) {
        if (count_ > 0 && blocks_[k].mean == blocks_[count_ - 1].mean)
            blocks_[count_ - 1].mass += blocks_[k].mass;
        else
            blocks_[count_++] = blocks_[k];
    }
    return count_ > 1 && (count_ < before || is_first);
}

// Return the Newton step; zero if no blocks would meet on the way to its end.
double Search::longest_step(double radius) const {
    double total = 0.0, slope = 0.0, event = kInfinity, left = 0.0, rate = 0.0;
    for (std::int64_t k = 0; k < count_; ++k) {
        const Block& block = blocks_[k];
        const double right = k + 1 == count_ ? 0.0 : blocks_[k + 1].mean > block.mean ? 1.0 : -1.0;
        const double rate_before = rate;
        rate = (right - left) / block.mass;
        slope += rate * (right - left);
        if (k > 0) {
            const double gap = std::abs(block.mean - blocks_[k - 1].mean), closing = left * (rate_before - rate);
            total += gap;
            if (closing > 0) event = std::min(event, gap / closing);
        }
        left = right;
    }
    const double step = (total - radius) / slope;
    return step < event ? 0.0 : step;
}

// Move the blocks' means to the proximal map of `step` times the total variation.
void Search::shrink(double step) {
    left_ = right_ = n_;
    for (std::int64_t k = 0; k < count_; ++k) {
        Block& block = blocks_[k];
        const bool is_last = k + 1 == count_;
        Knot low{}, high{};
        if (k == 0) {
            low = {block.mean - step / block.mass, block.mass};
            high = {block.mean + step / block.mass, -block.mass};
        } else {
            low.at = cut_low(block, -step, is_last ? 0.0 : -step, low.bend);
            high.at = is_last ? low.at : cut_high(block, high.bend);
        }
        block.low = low.at;
        block.high = high.at;
        knots_[--left_] = low;
        knots_[right_++] = high;
    }
    double next = blocks_[count_ - 1].low;
    for (std::int64_t k = count_; k-- > 0;) next = blocks_[k].mean = std::min(std::max(next, blocks_[k].low), blocks_[k].high);
}

// Return where the derivative, `value` at the block's mean left of all knots, meets the target; drop the knots before.
double Search::cut_low(const Block& block, double value, double target, double& slope) {
    slope = block.mass;
    if (left_ == right_ || block.mass * (knots_[left_].at - block.mean) + value >= target)
        return block.mean + (target - value) / block.mass;
    double at = knots_[left_].at, cut;
    value += block.mass * (at - block.mean);
    while (true) {
        slope += knots_[left_++].bend;
        cut = at + (target - value) / slope;
        if (left_ == right_ || cut <= knots_[left_].at) return cut;
        value += slope * (knots_[left_].at - at);
        at = knots_[left_].at;
    }
}

// The same from the right, where the derivative is `step` at the block's mean, and is cut there.
double Search::cut_high(const Block& block, double& slope) {
    slope = -block.mass;
    if (left_ == right_ || block.mean >= knots_[right_ - 1].at) return block.mean;
    double at = knots_[right_ - 1].at, value = block.mass * (at - block.mean), cut;
    while (true) {
        slope += knots_[--right_].bend;
        cut = at + value / slope;
        if (left_ == right_ || cut >= knots_[right_ - 1].at) return cut;
        value -= slope * (knots_[right_ - 1].at - at);
        at = knots_[right_ - 1].at;
    }
}

void Search::write(std::int64_t* starts, std::int64_t* sign) const {
    for (std::int64_t k = 0; k < count_; ++k) {
        const std::int64_t first = blocks_[k].first;
        std::fill(starts + first, starts + blocks_[k + 1].first, first);
        if (k > 0) sign[first - 1] = blocks_[k].mean > blocks_[k - 1].mean ? 1 : -1;
    }
}

struct TotalVariation {
    Rows<const double> v, radius;
    Rows<std::int64_t> starts, sign;

    explicit TotalVariation(Call& call) : v(call, call.n), radius(call, 1), starts(call, call.n), sign(call, call.n - 1) {}
};

void run_rows(const TotalVariation& balls, std::int64_t first, std::int64_t last) {
    const std::int64_t n = balls.v.n;
    Search search(n);
    for (std::int64_t r = first; r < last; ++r) {
        std::fill_n(balls.sign[r], n - 1, 0);
        if (search.is_inside(balls.v[r], *balls.radius[r])) {
            std::iota(balls.starts[r], balls.starts[r] + n, 0);
        } else {
            search.run(balls.v[r], *balls.radius[r]);
            search.write(balls.starts[r], balls.sign[r]);
        }
    }
}

}  // namespace

void total_variation(Call& call) { run<TotalVariation>(call, run_rows); }

}  // namespace optlayers
