#include "quasi_definite.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "clones.h"

namespace optlayers {

namespace {

constexpr double kRounding = 1e-14;  // of the diagonal; smaller pivots are noise
constexpr double kReplacement = 1e-8;  // their least size: refinement takes out what this changes

}  // namespace

void QuasiDefinite::order(const double* matrix, int size) {
    size_ = size;
    order_.resize(size);
    std::vector<std::vector<char>> linked(size, std::vector<char>(size, 0));
    std::vector<int> degree(size, 0);
    for (int i = 0; i < size; ++i)
        for (int j = 0; j < i; ++j)
            if (matrix[static_cast<size_t>(i) * size + j] != 0.0) {
                linked[i][j] = linked[j][i] = 1;
                ++degree[i];
                ++degree[j];
            }
    std::vector<char> done(size, 0);
    std::vector<int> neighbours;
    for (int k = 0; k < size; ++k) {
        int least = -1;
        for (int i = 0; i < size; ++i)
            if (!done[i] && (least < 0 || degree[i] < degree[least])) least = i;
        order_[k] = least;
        done[least] = 1;
        neighbours.clear();
        for (int i = 0; i < size; ++i)
            if (!done[i] && linked[least][i]) neighbours.push_back(i);
        if (static_cast<int>(neighbours.size()) == size - k - 1) {  // what is left is dense
            int next = k + 1;
            for (int i = 0; i < size; ++i)
                if (!done[i]) order_[next] = i, done[i] = 1, ++next;
            break;
        }
        for (int i : neighbours) {
            --degree[i];
            for (int j : neighbours)
                if (i != j && !linked[i][j]) linked[i][j] = 1, ++degree[i];
        }
    }
}

OPTLAYERS_CLONES void QuasiDefinite::factorise(const double* matrix, int positive) {
    const int n = size_;
    scratch_.resize(static_cast<size_t>(n) * n);
    double* a = scratch_.data();  // lower triangle by columns, in the order of elimination
    for (int k = 0; k < n; ++k) {
        const int i = order_[k];
        for (int l = k; l < n; ++l) {
            const int j = order_[l];
            a[static_cast<size_t>(k) * n + l] = i >= j ? matrix[static_cast<size_t>(i) * n + j] : matrix[static_cast<size_t>(j) * n + i];
        }
    }
    pivots_.resize(n);
    start_.assign(1, 0);
    index_.clear();
    values_.clear();
    for (int k = 0; k < n; ++k) {
        double* column = a + static_cast<size_t>(k) * n;
        const int unknown = order_[k];
        const double sign = unknown < positive ? 1.0 : -1.0;
        const double given = std::fabs(matrix[static_cast<size_t>(unknown) * n + unknown]);
        double pivot = column[k];
        const double least = kRounding * given + std::numeric_limits<double>::min();
        if (!(sign * pivot > least)) pivot = sign * std::fmax(given, kReplacement);
        pivots_[k] = pivot;
        const size_t first = index_.size();
        for (int l = k + 1; l < n; ++l)
            if (column[l] != 0.0) {
                index_.push_back(l);
                values_.push_back(column[l] / pivot);
            }
        const size_t last = index_.size();
        for (size_t p = first; p < last; ++p) {
            double* other = a + static_cast<size_t>(index_[p]) * n;
            const double t = values_[p] * pivot;
            if (last - p == static_cast<size_t>(n - index_[p])) {  // dense from here on
                const int from = index_[p];
                const double* ratio = &values_[p];
                for (int l = from; l < n; ++l) other[l] -= t * ratio[l - from];
            } else {
                for (size_t q = p; q < last; ++q) other[index_[q]] -= t * values_[q];
            }
        }
        start_.push_back(static_cast<int>(last));
    }
    work_.resize(n);
}

OPTLAYERS_CLONES void QuasiDefinite::solve(double* right) const {
    const int n = size_;
    for (int k = 0; k < n; ++k) work_[k] = right[order_[k]];
    for (int k = 0; k < n; ++k) {
        const double t = work_[k];
        if (t == 0.0) continue;
        for (int p = start_[k]; p < start_[k + 1]; ++p) work_[index_[p]] -= t * values_[p];
    }
    for (int k = n - 1; k >= 0; --k) {
        double t = work_[k] / pivots_[k];
        for (int p = start_[k]; p < start_[k + 1]; ++p) t -= values_[p] * work_[index_[p]];
        work_[k] = t;
    }
    for (int k = 0; k < n; ++k) right[order_[k]] = work_[k];
}

}  // namespace optlayers
