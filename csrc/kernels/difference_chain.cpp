// The active bounds of chains of differences, lower <= y <= upper, low_step <= y[i+1] - y[i] <= high_step.
//
// Dynamic programming along the chain (Johnson, "A dynamic programming algorithm for the fused lasso and
// L0-segmentation", 2013, for its dual). The least cost of the first entries, as a function of the last of them, is
// convex and piecewise quadratic:
//
//   forth, for each entry:  cut the derivative at its root, move the left part by the least step, the right part by the
//                           largest, and join them by zero; add the line y - v[i]; find the root of the sum
//   back, from the last:    an entry is at its root, or as far from the next one as a step allows
//
// So the knots left and right of the root are two stacks, each moved as a whole, and finding the next root takes knots
// from one to the other. A knot keeps by how much the slope turns there, a whole number, and how far the derivative
// jumps, where a bound has cut it. A block of tight steps has at most one pinned entry.

#include "in_order.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels.h"

namespace optlayers {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTie = 16 * std::numeric_limits<double>::epsilon();  // roots as close to a jump, relative to the data, are there

struct Knot {
    double at, bend, jump;  // the change of slope, and of value
    std::int64_t source;    // the bound on a step that made it: 2 i + side for step i; -1 for none
};

// What is left (0) or right (1) of the root.
struct Side {
    std::vector<Knot> knots;  // of which the first one is infinitely far away
    Knot* nearest;
    double shift, bound;  // of the knots; the farthest that the entry can be, for the bounds on entries so far
    std::int64_t origin;  // the entry whose bound that is
    double slope, edge;   // of the derivative next to the root; how far it is from zero there

    double next() const { return nearest->at + shift; }
};

struct Entry {
    double root;
    std::int64_t pinned;  // the bound that the root is at: 2 i + side for entry i; -1 for none
    std::int64_t kink;    // the source of the knot that the root is at; -1 for none
};

// One chain of the batch.
struct Row {
    std::int64_t n;
    const double *v, *bounds[2], *steps[2];
    std::int64_t *tight, *pinned;
};

class Search {
  public:
    explicit Search(std::int64_t n) : entries_(n) {
        for (int k = 0; k < 2; ++k) sides_[k].knots.assign(2 * n + 1, {k == 1 ? kInfinity : -kInfinity, 0.0, 0.0, -1});
    }

    void run(const Row& row) {
        row_ = row;
        for (int k = 0; k < 2; ++k) {
            sides_[k].nearest = sides_[k].knots.data();
            sides_[k].shift = 0.0;
            sides_[k].bound = k == 1 ? kInfinity : -kInfinity;
        }
        set_tie();
        for (std::int64_t i = 0; i < row_.n; ++i) {
            if (i > 0) move(i - 1);
            bound(i);
            find_root(i);
        }
        go_back();
    }

  private:
    void set_tie();
    void move(std::int64_t step);
    void bound(std::int64_t i);
    void find_root(std::int64_t i);
    void follow(int side, double x);
    void meet_bound(int side, double steepness, double value);
    void go_back();

    Row row_;
    Side sides_[2];
    std::vector<Entry> entries_;
    double tie_, root_;
    int pin_;            // the side whose bound the root is at; -1 for none
    std::int64_t kink_;  // the source of the knot that it is at; -1 for none
};

void Search::set_tie() {
    double size = 0.0, shift[2] = {0.0, 0.0};
    for (std::int64_t i = 0; i < row_.n; ++i) {
        for (int side = 0; side < 2; ++side) {
            if (i > 0) shift[side] = std::isinf(row_.steps[side][i - 1]) ? 0.0 : shift[side] + row_.steps[side][i - 1];
            size = std::max(size, std::abs(shift[side]));
        }
        size = std::max(size, std::abs(row_.v[i]));
    }
    tie_ = kTie * size;
}

// Cut the derivative at its root, and move both parts by the bounds on a step.
void Search::move(std::int64_t step) {
    for (int k = 0; k < 2; ++k) {
        Side& side = sides_[k];
        const double length = row_.steps[k][step];
        const bool is_free = std::isinf(length);
        side.nearest[1] = {root_ - side.shift, k == 1 ? side.slope : -side.slope, side.edge, 2 * step + k};
        side.nearest = is_free ? side.knots.data() : side.nearest + 1;
        side.shift = is_free ? 0.0 : side.shift + length;
        side.bound += length;
    }
}

void Search::bound(std::int64_t i) {
    for (int k = 0; k < 2; ++k) {
        const double bound = row_.bounds[k][i];
        const bool is_tighter = k == 0 ? bound > sides_[0].bound : bound < sides_[1].bound;
        sides_[k].bound = is_tighter ? bound : sides_[k].bound;
        sides_[k].origin = is_tighter ? i : sides_[k].origin;
    }
}

// Add the line y - v[i] to the derivative, and find the root of the sum.
void Search::find_root(std::int64_t i) {
    Side &left = sides_[0], &right = sides_[1];
    const double x = row_.v[i];
    root_ = std::min(std::max(x, left.bound), right.bound);
    pin_ = -1;
    kink_ = -1;
    left.slope = right.slope = 1.0;
    left.edge = right.edge = 0.0;
    const double near = root_ == x ? 2 * tie_ : 0.0;
    if (root_ > right.next() - near) {
        follow(1, x);
    } else if (root_ < left.next() + near) {
        follow(0, x);
    } else if (root_ != x) {
        pin_ = root_ > x ? 0 : 1;
        sides_[pin_].edge = kInfinity;
        sides_[1 - pin_].edge = std::abs(root_ - x);
    }
    entries_[i] = {root_, pin_ >= 0 ? 2 * sides_[pin_].origin + pin_ : -1, kink_};
}

// Go from knot to knot towards one side until the derivative changes its sign; what is passed goes to the other side.
void Search::follow(int k, double x) {
    Side &side = sides_[k], &other = sides_[1 - k];
    const double sign = k == 1 ? 1.0 : -1.0;  // in what follows the side is the right one
    const double behind = sign * other.bound, ahead = sign * side.bound;
    double at = sign * side.next(), value = at - sign * x, steepness = 1.0;
    while (true) {
        const Knot& knot = *side.nearest--;
        const double after = value + knot.jump, bend = sign * knot.bend;
        if (after == kInfinity) {
            meet_bound(k, steepness, value);
            return;
        }
        if (knot.jump > 0 && at >= behind && after >= -2 * tie_ * (steepness + bend)) {
            root_ = sign * at;
            kink_ = knot.source;
            other.edge = std::max(-value, 0.0);
            side.edge = std::max(after, 0.0);
            other.slope = steepness;
            side.slope = steepness + bend;
            return;
        }
        value = after;
        steepness += bend;
        *++other.nearest = {sign * at - other.shift, knot.bend, knot.jump, knot.source};
        const double zero = std::max(at - value / steepness, behind);
        const double following = sign * side.next();
        if (zero <= std::min(following, ahead) && zero < following - 2 * tie_) {
            root_ = sign * zero;
            side.slope = other.slope = steepness;
            if (behind > at - value / steepness) {
                pin_ = 1 - k;
                other.edge = kInfinity;
                side.edge = value + steepness * (behind - at);
            }
            return;
        }
        const double next = std::min(following, ahead);
        value += steepness * (next - at);
        at = next;
        if (ahead <= following) {
            meet_bound(k, steepness, value);
            return;
        }
    }
}

void Search::meet_bound(int k, double steepness, double value) {
    root_ = sides_[k].bound;
    pin_ = k;
    sides_[0].slope = sides_[1].slope = steepness;
    sides_[1 - k].edge = std::max(-value, 0.0);
    sides_[k].edge = kInfinity;
}

// From the last entry back, tell which steps are tight and which entries are pinned.
void Search::go_back() {
    std::int64_t i = row_.n - 1, forced = -1;  // the tight step that the last kink tells of
    double y = 0.0;
    for (bool is_free = true;;) {
        if (is_free) {  // of the entries after it
            y = entries_[i].root;
            forced = entries_[i].kink;
            is_free = false;
            if (entries_[i].pinned >= 0) {
                const std::int64_t origin = entries_[i].pinned / 2, side = entries_[i].pinned % 2;
                std::fill(row_.tight + origin, row_.tight + i, side + 1);
                row_.pinned[origin] = side + 1;
                i = origin;
                y = row_.bounds[side][origin];
            }
        }
        if (--i < 0) return;
        const Entry& entry = entries_[i];
        const double most = y - row_.steps[0][i], least = y - row_.steps[1][i];
        const double margin = entry.pinned >= 0 || entry.kink >= 0 ? tie_ : 0.0;
        if (forced >= 0 && i == forced / 2) {
            row_.tight[i] = forced % 2 + 1;
            is_free = true;
        } else if (entry.root >= (forced >= 0 ? most / 2 + least / 2 : most + margin)) {
            y = most;
            row_.tight[i] = 1;
        } else if (forced >= 0 || entry.root <= least - margin) {
            y = least;
            row_.tight[i] = 2;
        } else {
            is_free = true;
        }
    }
}

struct DifferenceChain {
    Rows<const double> v, lower, upper, low_step, high_step;
    Rows<std::int64_t> tight, pinned;

    explicit DifferenceChain(Call& call)
        : v(call, call.n),
          lower(call, call.n),
          upper(call, call.n),
          low_step(call, call.n - 1),
          high_step(call, call.n - 1),
          tight(call, call.n - 1),
          pinned(call, call.n) {}
};

void run_rows(const DifferenceChain& chains, std::int64_t first, std::int64_t last) {
    const std::int64_t n = chains.v.n;
    Search search(n);
    for (std::int64_t r = first; r < last; ++r) {
        std::fill_n(chains.tight[r], n - 1, 0);
        std::fill_n(chains.pinned[r], n, 0);
        search.run({n,
                    chains.v[r],
                    {chains.lower[r], chains.upper[r]},
                    {chains.low_step[r], chains.high_step[r]},
                    chains.tight[r],
                    chains.pinned[r]});
    }
}

}  // namespace

void difference_chain(Call& call) { run<DifferenceChain>(call, run_rows); }

}  // namespace optlayers
