// From the neighbourhood of a solution to rounding.
//
// The active constraints of a solution are smooth surfaces g_i(A x) = 0, so that it solves
//
//     weight (x - v) = A' y,  y = sum_i multiplier_i grad g_i,  g_i = 0,
//
// whose Newton steps are quasi-definite systems
//
//     [W + A' C A   -E'] (dx)          E: rows grad g_i' A,  C: curvature, - sum_i multiplier_i Hess g_i.
//     [E             0 ] (multipliers)
//
//   interval       g = s - bound
//   second order   g = s0 - |s1|,              C = (multiplier / |s1|) (1 - t t'), t = s1 / |s1|
//   exponential    g = s1 log(s2 / s1) - s0,   C = (multiplier / s1) w w', w = (0, 1, -s1 / s2)
//   power          g = s0^a s1^b - |s2|,       C = a b s0^a s1^b multiplier w w', w = (1 / s0, -1 / s1, 0)
//   semidefinite   U2' S U2 = 0 for the eigenvectors U2 that Z spans: C = sum_ij (lambda_j / sigma_i) q_ij q_ij'
//                  with q_ij = (u_i u_j' + u_j u_i') / sqrt 2, i outside and j in the span
//   apex           s = 0
//   face           s1 = 0 of an exponential cone, where s0 < 0 < s2
//
// Which surfaces are active is guessed from the sizes of slacks and duals; guesses that a step proves wrong are turned.
#include "polish.h"

#include <algorithm>
#include <cmath>

#include "dense.h"
#include "symmetric.h"

namespace optlayers {

namespace {

constexpr double kProximal = 1e-7;  // of steps and changes of multipliers, so that dependent surfaces need no care
constexpr int kRefinements = 2;
constexpr double kFace = 1e-4, kFaint = 1e-3;  // slacks and duals, relative to the unit, next to the flat face

}  // namespace

void Polish::evaluate(const double* x, double* slacks) const {
    const Program& p = *program_;
    if (p.box) std::copy(x, x + n_, slacks);
    for (int k = p.first_row(); k < p.slacks(); ++k) slacks[k] = dot(p.row(k), x, n_);
    for (int k = p.linear; k < p.slacks(); ++k) slacks[k] -= p.lower[k];
}

// The only entry that a row depends on; -1 where there is none, or several.
int Polish::only_entry(const double* row) const {
    int result = -1;
    for (int j = 0; j < n_; ++j) {
        if (row[j] == 0.0) continue;
        if (result >= 0) return -1;
        result = j;
    }
    return result;
}

void Polish::classify(const double* slacks, const double* dual, const Guess& guess) {
    const Program& p = *program_;
    flags_.assign(p.linear, Flag::free);
    for (int k = 0; k < p.linear; ++k) {
        const double low = p.lower[k], high = p.upper[k];
        if (low == high) flags_[k] = Flag::equal;
        else if (dual[k] > guess.lead * (slacks[k] - low)) flags_[k] = Flag::lower;
        else if (-dual[k] > guess.lead * (high - slacks[k])) flags_[k] = Flag::upper;
    }
    if (guess.free_heads) {
        std::vector<char> is_head(n_, 0);
        for (int c = 0; c < p.cone_count; ++c) {
            const Cone& cone = p.cones[c];
            if (cone.kind != ConeKind::exponential && cone.kind != ConeKind::power) continue;
            for (int i = 0; i < 3; ++i) {
                const int entry = only_entry(p.row(cone.start + i));
                if (entry >= 0) is_head[entry] = 1;
            }
        }
        for (int k = 0; k < p.linear; ++k) {
            const int entry = k < p.first_row() ? k : only_entry(p.row(k));
            if (flags_[k] != Flag::equal && entry >= 0 && is_head[entry]) flags_[k] = Flag::free;
        }
    }
    regions_.assign(p.cone_count, Region::interior);
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (cone.kind == ConeKind::semidefinite) {
            regions_[c] = Region::spectral;
        } else if (cone.kind == ConeKind::second_order) {
            const double s1 = norm(s + 1, k - 1), z1 = norm(z + 1, k - 1);
            if (z[0] + z1 < s[0] - s1) regions_[c] = Region::interior;
            else if (s[0] + s1 < z[0] - z1) regions_[c] = Region::apex;
            else regions_[c] = Region::surface;
        } else {
            double margin = 0.0;
            if (cone.kind == ConeKind::exponential) margin = s[1] > 0 && s[2] > 0 ? s[1] * std::log(s[2] / s[1]) - s[0] : 0.0;
            else if (s[0] > 0 && s[1] > 0) margin = std::pow(s[0], cone.alpha) * std::pow(s[1], 1 - cone.alpha) - std::fabs(s[2]);
            regions_[c] = largest(z, 3) < margin ? Region::interior : Region::surface;
            if (guess.on_faces && cone.kind == ConeKind::exponential && s[1] < kFace * unit_ && -z[0] < kFaint * unit_)
                regions_[c] = Region::face;
        }
    }
}

// normal' A as an equation, with its value and the multiplier so far
void Polish::add_surface(double value, const double* normal, int start, int dimension, double multiplier) {
    const Program& p = *program_;
    rows_.resize(static_cast<size_t>(equations_ + 1) * n_);
    double* row = &rows_[static_cast<size_t>(equations_) * n_];
    std::fill(row, row + n_, 0.0);
    for (int i = 0; i < dimension; ++i) {
        const int slack = start + i;
        if (normal[i] == 0.0) continue;
        if (slack < p.first_row()) row[slack] += normal[i];
        else axpy(normal[i], p.row(slack), row, n_);
    }
    gaps_.push_back(value);
    multipliers_.push_back(multiplier);
    normal_start_.push_back(start);
    normal_dimension_.push_back(dimension);
    normal_at_.push_back(normals_.size());
    normals_.insert(normals_.end(), normal, normal + dimension);
    ++equations_;
}

void Polish::add_curvature(double weight, const double* normal, int start, int dimension) {
    if (!(weight > 0.0)) return;
    lifted_.assign(n_, 0.0);
    for (int i = 0; i < dimension; ++i)
        if (normal[i] != 0.0) axpy(normal[i], program_->row(start + i), lifted_.data(), n_);
    for (int i = 0; i < n_; ++i)
        if (lifted_[i] != 0.0) axpy(weight * lifted_[i], lifted_.data(), &hessian_[static_cast<size_t>(i) * n_], i + 1);
    curvatures_.push_back({weight, start, dimension, false, bends_.size()});
    bends_.insert(bends_.end(), normal, normal + dimension);
}

void Polish::surfaces_of_matrix(const Cone& cone, const double* s, const double* z) {
    const int k = cone.dimension, n = order_of(k);
    std::vector<double> matrix(n * n), other(n * n), vectors(n * n), values(n), image(n * n), normal(k);
    for (int i = 0; i < k; ++i) normal[i] = s[i] - z[i];
    unpack(normal.data(), n, matrix.data());
    eigen(matrix.data(), n, values.data(), nullptr);
    const int rank = static_cast<int>(std::count_if(values.begin(), values.end(), [](double t) { return t <= 0.0; }));
    unpack(s, n, matrix.data());
    image = matrix;
    eigen(image.data(), n, values.data(), vectors.data());
    std::vector<int> in(n), out;
    for (int i = 0; i < n; ++i) in[i] = i;
    std::sort(in.begin(), in.end(), [&](int i, int j) { return values[i] < values[j]; });
    out.assign(in.begin() + rank, in.end());
    in.resize(rank);
    unpack(z, n, other.data());
    auto form = [&](const std::vector<double>& m, int i, int j) {
        double sum = 0.0;
        for (int a = 0; a < n; ++a) sum += vectors[i * n + a] * dot(&m[a * n], &vectors[j * n], n);
        return sum;
    };
    // turn U2 until U2'Z U2 is diagonal
    std::vector<double> inner(rank * rank), turn(rank * rank), size(rank), turned(rank * n, 0.0);
    for (int i = 0; i < rank; ++i)
        for (int j = 0; j < rank; ++j) inner[i * rank + j] = form(other, in[i], in[j]);
    eigen(inner.data(), rank, size.data(), turn.data());
    for (int i = 0; i < rank; ++i)
        for (int j = 0; j < rank; ++j) axpy(turn[i * rank + j], &vectors[in[j] * n], &turned[i * n], n);
    for (int i = 0; i < rank; ++i) std::copy(&turned[i * n], &turned[i * n] + n, &vectors[in[i] * n]);
    auto mixed = [&](int i, int j) {
        for (int a = 0; a < n; ++a)
            for (int b = 0; b < n; ++b)
                image[a * n + b] = (vectors[i * n + a] * vectors[j * n + b] + vectors[j * n + a] * vectors[i * n + b]) / (i == j ? 2.0 : kRoot2);
        pack(image.data(), n, normal.data());
    };
    for (size_t a = 0; a < in.size(); ++a)
        for (size_t b = 0; b <= a; ++b) {
            const int i = in[a], j = in[b];
            mixed(i, j);
            const double scale = i == j ? 1.0 : kRoot2;
            add_surface(scale * form(matrix, i, j), normal.data(), cone.start, k, scale * form(other, i, j));
        }
    for (int i : out)
        for (int j : in) {
            mixed(i, j);
            add_curvature(std::fmax(form(other, j, j), 0.0) / std::fmax(values[i], 1e-12 * unit_), normal.data(), cone.start, k);
        }
}

OPTLAYERS_CLONES void Polish::surfaces(const double* slacks, const double* dual) {
    const Program& p = *program_;
    equations_ = 0;
    gaps_.clear();
    multipliers_.clear();
    normals_.clear();
    normal_at_.clear();
    normal_start_.clear();
    normal_dimension_.clear();
    curvatures_.clear();
    bends_.clear();
    hessian_.assign(static_cast<size_t>(n_) * n_, 0.0);
    for (int i = 0; i < n_; ++i) hessian_[static_cast<size_t>(i) * n_ + i] = p.weight[i];
    for (int k = 0; k < p.linear; ++k) {
        if (flags_[k] == Flag::free) continue;
        const double bound = flags_[k] == Flag::upper ? p.upper[k] : p.lower[k], one = 1.0;
        add_surface(slacks[k] - bound, &one, k, 1, dual[k]);
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (regions_[c] == Region::interior) continue;
        if (regions_[c] == Region::spectral) {
            surfaces_of_matrix(cone, s, z);
            continue;
        }
        one_.assign(k, 0.0);
        if (regions_[c] == Region::apex) {
            for (int i = 0; i < k; ++i) {
                one_[i] = 1.0;
                add_surface(s[i], one_.data(), cone.start, k, z[i]);
                one_[i] = 0.0;
            }
            continue;
        }
        if (regions_[c] == Region::face) {
            one_[1] = 1.0;
            add_surface(s[1], one_.data(), cone.start, k, z[1]);
            continue;
        }
        if (cone.kind == ConeKind::second_order) {
            const double length = norm(s + 1, k - 1), multiplier = std::fmax(z[0], 0.0);
            one_[0] = 1.0;
            for (int i = 1; i < k; ++i) one_[i] = -s[i] / length;
            const double weight = multiplier / length;
            // 1 - t t': all rows of the tail, less their combination t
            two_.assign(n_, 0.0);
            for (int i = 1; i < k; ++i) {
                const double* row = p.row(cone.start + i);
                for (int a = 0; a < n_; ++a)
                    if (row[a] != 0.0) axpy(weight * row[a], row, &hessian_[static_cast<size_t>(a) * n_], a + 1);
                axpy(one_[i], row, two_.data(), n_);
            }
            for (int a = 0; a < n_; ++a)
                if (two_[a] != 0.0) axpy(-weight * two_[a], two_.data(), &hessian_[static_cast<size_t>(a) * n_], a + 1);
            curvatures_.push_back({weight, cone.start + 1, k - 1, true, bends_.size()});
            bends_.insert(bends_.end(), one_.begin() + 1, one_.begin() + k);
            add_surface(s[0] - length, one_.data(), cone.start, k, multiplier);
        } else if (cone.kind == ConeKind::exponential) {
            const double ratio = s[2] / s[1], log_ratio = std::log(ratio), multiplier = std::fmax(-z[0], 0.0);
            one_ = {-1.0, log_ratio - 1.0, 1.0 / ratio};
            const double w[3] = {0.0, 1.0, -1.0 / ratio};
            add_curvature(multiplier / s[1], w, cone.start, 3);
            add_surface(s[1] * log_ratio - s[0], one_.data(), cone.start, 3, multiplier);
        } else {
            const double a = cone.alpha, b = 1.0 - a, phi = std::pow(s[0], a) * std::pow(s[1], b);
            const double multiplier = std::fabs(z[2]), sign = std::copysign(1.0, s[2]);
            one_ = {a * phi / s[0], b * phi / s[1], -sign};
            const double w[3] = {1.0 / s[0], -1.0 / s[1], 0.0};
            add_curvature(a * b * phi * multiplier, w, cone.start, 3);
            add_surface(phi - std::fabs(s[2]), one_.data(), cone.start, 3, multiplier);
        }
    }
}

// Turn flags of linear slacks that are wrong: multipliers of the wrong sign, bounds that are passed.
bool Polish::flip(const double* dual, double tolerance) {
    const Program& p = *program_;
    bool changed = false;
    for (int k = 0; k < p.linear; ++k) {
        Flag& flag = flags_[k];
        if (flag == Flag::free) {
            if (slacks_[k] < p.lower[k] - tolerance) flag = Flag::lower, changed = true;
            else if (slacks_[k] > p.upper[k] + tolerance) flag = Flag::upper, changed = true;
        } else if ((flag == Flag::lower && dual[k] < -tolerance) || (flag == Flag::upper && dual[k] > tolerance)) {
            flag = Flag::free;
            changed = true;
        }
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = &slacks_[cone.start];
        const double* z = dual + cone.start;
        if (cone.kind != ConeKind::second_order) continue;
        const double s1 = norm(s + 1, cone.dimension - 1);
        if (regions_[c] == Region::interior && s[0] < s1 - tolerance) regions_[c] = Region::surface, changed = true;
        else if (regions_[c] == Region::surface && z[0] < -tolerance) regions_[c] = Region::interior, changed = true;
    }
    return changed;
}

// Stationarity, feasibility, signs; complementarity holds by construction of the duals.
bool Polish::holds(const double* x, const double* slacks, const double* dual, double tolerance) {
    const Program& p = *program_;
    const double limit = tolerance * unit_;
    full_.assign(n_, 0.0);
    for (int i = 0; i < n_; ++i) full_[i] = p.weight[i] * (x[i] - p.v[i]) - (p.box ? dual[i] : 0.0);
    for (int k = p.first_row(); k < p.slacks(); ++k)
        if (dual[k] != 0.0) axpy(-dual[k], p.row(k), full_.data(), n_);
    if (!(largest(full_.data(), n_) <= limit)) return false;
    for (int k = 0; k < p.linear; ++k) {
        if (!(slacks[k] >= p.lower[k] - limit && slacks[k] <= p.upper[k] + limit)) return false;
        if (flags_[k] == Flag::lower && dual[k] < -limit) return false;
        if (flags_[k] == Flag::upper && dual[k] > limit) return false;
    }
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        const double* s = slacks + cone.start;
        const double* z = dual + cone.start;
        const int k = cone.dimension;
        if (cone.kind == ConeKind::second_order) {
            if (!(s[0] - norm(s + 1, k - 1) >= -limit && z[0] - norm(z + 1, k - 1) >= -limit)) return false;
        } else if (cone.kind == ConeKind::semidefinite) {
            const int n = order_of(k);
            one_.resize(n * n);
            two_.resize(n);
            for (const double* point : {s, z}) {
                unpack(point, n, one_.data());
                eigen(one_.data(), n, two_.data(), nullptr);
                if (!(*std::min_element(two_.begin(), two_.begin() + n) >= -limit)) return false;
            }
        } else if (cone.kind == ConeKind::exponential) {
            if (regions_[c] == Region::face) {
                if (!(s[0] <= limit && std::fabs(s[1]) <= limit && s[2] >= -limit && z[1] >= -limit)) return false;
                continue;
            }
            if (!(s[1] > 0.0 && s[2] > 0.0)) return false;
            const double log_ratio = std::log(s[2] / s[1]), multiplier = -z[0], slack = s[1] * log_ratio - s[0];
            if (!(slack >= -limit && multiplier >= -limit)) return false;
            const double bent = std::fmax(std::fabs(z[1] - multiplier * (log_ratio - 1.0)), std::fabs(z[2] - multiplier * s[1] / s[2]));
            if (!(bent <= limit + tolerance * largest(z, 3) && multiplier * slack <= limit * unit_)) return false;
        } else {
            if (!(s[0] > 0.0 && s[1] > 0.0)) return false;
            const double a = cone.alpha, phi = std::pow(s[0], a) * std::pow(s[1], 1 - a), slack = phi - std::fabs(s[2]);
            const double multiplier = -std::copysign(1.0, s[2]) * z[2];
            if (!(slack >= -limit && multiplier >= -limit)) return false;
            const double bent = std::fmax(std::fabs(z[0] - multiplier * a * phi / s[0]), std::fabs(z[1] - multiplier * (1 - a) * phi / s[1]));
            if (!(bent <= limit + tolerance * largest(z, 3) && multiplier * slack <= limit * unit_)) return false;
        }
    }
    return true;
}

// Keep the heads of cones, at whose zero surfaces are not smooth, above a tenth of what they are: by changing the step in
// the only entry that a head depends on, else by shortening it. Return the part of the step to take.
double Polish::shorten(double* step, bool& is_cut) const {
    const Program& p = *program_;
    double alpha = 1.0;
    for (int c = 0; c < p.cone_count; ++c) {
        const Cone& cone = p.cones[c];
        if (regions_[c] != Region::surface || cone.kind == ConeKind::second_order) continue;
        for (int i = 0; i < 3; ++i) {
            const bool is_positive = cone.kind == ConeKind::exponential ? i > 0 : i < 2;
            if (!is_positive) continue;
            const int slack = cone.start + i;
            const double* row = p.row(slack);
            const double change = dot(row, step, n_), most = 0.9 * slacks_[slack];
            if (!(-change > most)) continue;
            is_cut = true;
            const int entry = only_entry(row);
            if (entry >= 0) step[entry] = -most / row[entry];
            else alpha = std::fmin(alpha, -most / change);
        }
    }
    return alpha;
}

bool Polish::run(const Program& program, double* x, double* dual, const Guess& guess, double tolerance, int most_steps) {
    program_ = &program;
    n_ = program.entries;
    const Program& p = program;
    const int n = n_;
    unit_ = std::fmax(largest(p.v, n), largest(x, n));
    if (!(unit_ > 0.0)) unit_ = 1.0;
    slacks_.resize(p.slacks());
    evaluate(x, slacks_.data());
    classify(slacks_.data(), dual, guess);
    bool is_ordered = false;
    bool is_near = false;
    int flips = 0;
    for (steps_ = 0; steps_ < most_steps; ++steps_) {
        surfaces(slacks_.data(), dual);
        const int size = n + equations_;
        if (equations_ > 3 * n + 50) return false;
        matrix_.assign(static_cast<size_t>(size) * size, 0.0);
        double most = 0.0;
        for (int i = 0; i < n; ++i) {
            std::copy(&hessian_[static_cast<size_t>(i) * n], &hessian_[static_cast<size_t>(i) * n] + i + 1, &matrix_[static_cast<size_t>(i) * size]);
            most = std::fmax(most, matrix_[static_cast<size_t>(i) * size + i]);
        }
        if (!std::isfinite(most)) return false;
        for (int i = 0; i < n; ++i) matrix_[static_cast<size_t>(i) * size + i] += p.weight[i] > 0.0 ? 0.0 : kProximal;
        for (int e = 0; e < equations_; ++e) {
            double* target = &matrix_[static_cast<size_t>(n + e) * size];
            for (int j = 0; j < n; ++j) target[j] = -rows_[static_cast<size_t>(e) * n + j];
            target[n + e] = -kProximal;
        }
        if (!is_ordered || factor_.size() != size) factor_.order(matrix_.data(), size), is_ordered = true;
        factor_.factorise(matrix_.data(), n);
        // H dx - E'change = W (v - x) + E'multipliers, -E dx = gaps
        std::vector<double>& right = right_;
        std::vector<double> solution(size, 0.0), wanted(size);
        for (int i = 0; i < n; ++i) wanted[i] = p.weight[i] * (p.v[i] - x[i]);
        for (int e = 0; e < equations_; ++e) axpy(multipliers_[e], &rows_[static_cast<size_t>(e) * n], wanted.data(), n);
        for (int e = 0; e < equations_; ++e) wanted[n + e] = gaps_[e];
        for (int round = 0; round <= kRefinements; ++round) {
            right = wanted;
            if (round) {
                for (int i = 0; i < n; ++i) {
                    const double* row = &hessian_[static_cast<size_t>(i) * n];
                    for (int j = 0; j < i; ++j) right[i] -= row[j] * solution[j], right[j] -= row[j] * solution[i];
                    right[i] -= row[i] * solution[i];
                }
                for (int e = 0; e < equations_; ++e) {
                    const double* row = &rows_[static_cast<size_t>(e) * n];
                    axpy(solution[n + e], row, right.data(), n);
                    right[n + e] += dot(row, solution.data(), n);
                }
            }
            factor_.solve(right.data());
            for (int i = 0; i < size; ++i) solution[i] += right[i];
        }
        for (int i = 0; i < size; ++i)
            if (!std::isfinite(solution[i])) return false;
        bool is_cut = false;
        const double alpha = shorten(solution.data(), is_cut);
        axpy(alpha, solution.data(), x, n);
        std::fill(dual, dual + p.slacks(), 0.0);
        for (int e = 0; e < equations_; ++e) {
            const double multiplier = multipliers_[e] + alpha * solution[n + e];
            axpy(multiplier, &normals_[normal_at_[e]], dual + normal_start_[e], normal_dimension_[e]);
        }
        before_ = slacks_;
        evaluate(x, slacks_.data());
        for (const Curvature& bend : curvatures_) {  // how the normals turn
            const double* normal = &bends_[bend.at];
            double along = 0.0;
            for (int i = 0; i < bend.dimension; ++i) along += normal[i] * (slacks_[bend.start + i] - before_[bend.start + i]);
            for (int i = 0; i < bend.dimension; ++i) {
                const double change = slacks_[bend.start + i] - before_[bend.start + i];
                dual[bend.start + i] -= bend.weight * (bend.of_tail ? change - along * normal[i] : along * normal[i]);
            }
        }
        const double moved = largest(solution.data(), n);
        if (!(moved <= 1e3 * unit_)) return false;
        // errors are of second order in the last step; where surfaces bend much, that asks for one more
        if (!is_cut && (curvatures_.empty() || moved <= 1e-6 * unit_) && holds(x, slacks_.data(), dual, tolerance)) {
            if (curvatures_.empty() || moved <= 1e-11 * unit_ || is_near) {
                ++steps_;
                return true;
            }
            is_near = true;
        }
        if (moved < 1e-3 * unit_ && flips < 10 && flip(dual, 1e-12 * unit_)) ++flips;
    }
    return false;
}

}  // namespace optlayers
