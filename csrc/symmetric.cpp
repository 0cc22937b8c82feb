#include "symmetric.h"

#include <algorithm>
#include <cmath>

#include "dense.h"

namespace optlayers {

int order_of(int k) { return static_cast<int>(std::lround((std::sqrt(8.0 * k + 1.0) - 1.0) / 2.0)); }

void unpack(const double* triangle, int n, double* matrix) {
    for (int j = 0; j < n; ++j)
        for (int i = j; i < n; ++i, ++triangle) {
            const double value = i == j ? *triangle : *triangle / kRoot2;
            matrix[i * n + j] = matrix[j * n + i] = value;
        }
}

void pack(const double* matrix, int n, double* triangle) {
    for (int j = 0; j < n; ++j)
        for (int i = j; i < n; ++i, ++triangle)
            *triangle = i == j ? matrix[i * n + i] : (matrix[i * n + j] + matrix[j * n + i]) / kRoot2;
}

OPTLAYERS_CLONES bool cholesky(double* matrix, int n) {
    for (int i = 0; i < n; ++i) {
        double* row = matrix + i * n;
        for (int j = 0; j <= i; ++j) {
            const double sum = row[j] - dot(row, matrix + j * n, j);
            if (i == j) {
                if (!(sum > 0.0)) return false;
                row[i] = std::sqrt(sum);
            } else {
                row[j] = sum / matrix[j * n + j];
            }
        }
        std::fill(row + i + 1, row + n, 0.0);
    }
    return true;
}

namespace {

// Householder reflections to tridiagonal form: `a` becomes the product of the reflections, by rows, where vectors are
// wanted (Golub and Van Loan, "Matrix computations", 8.3; the arrangement of EISPACK's tred2).
OPTLAYERS_CLONES void tridiagonalise(double* a, int n, double* diagonal, double* beside, bool wants_vectors) {
    for (int i = n - 1; i > 0; --i) {
        double* row = a + i * n;
        double h = 0.0, scale = 0.0;
        for (int k = 0; k < i; ++k) scale += std::fabs(row[k]);
        if (i == 1 || scale == 0.0) {
            beside[i] = row[i - 1];
            diagonal[i] = 0.0;
            continue;
        }
        for (int k = 0; k < i; ++k) {
            row[k] /= scale;
            h += row[k] * row[k];
        }
        const double g = row[i - 1] >= 0.0 ? -std::sqrt(h) : std::sqrt(h);
        beside[i] = scale * g;
        h -= row[i - 1] * g;
        row[i - 1] -= g;
        double sum = 0.0;
        for (int j = 0; j < i; ++j) {
            if (wants_vectors) a[j * n + i] = row[j] / h;
            double product = dot(a + j * n, row, j + 1);
            for (int k = j + 1; k < i; ++k) product += a[k * n + j] * row[k];
            beside[j] = product / h;
            sum += beside[j] * row[j];
        }
        const double half = sum / (h + h);
        for (int j = 0; j < i; ++j) {
            const double f = row[j], q = beside[j] -= half * f;
            for (int k = 0; k <= j; ++k) a[j * n + k] -= f * beside[k] + q * row[k];
        }
        diagonal[i] = h;
    }
    diagonal[0] = beside[0] = 0.0;
    for (int i = 0; i < n; ++i) {
        if (!wants_vectors) {
            diagonal[i] = a[i * n + i];
            continue;
        }
        if (diagonal[i] != 0.0)
            for (int j = 0; j < i; ++j) {
                double sum = 0.0;
                for (int k = 0; k < i; ++k) sum += a[i * n + k] * a[k * n + j];
                for (int k = 0; k < i; ++k) a[k * n + j] -= sum * a[k * n + i];
            }
        diagonal[i] = a[i * n + i];
        a[i * n + i] = 1.0;
        for (int j = 0; j < i; ++j) a[j * n + i] = a[i * n + j] = 0.0;
    }
}

// QL steps with implicit shifts; `vectors` (may be null) are turned with them, eigenvectors in rows.
OPTLAYERS_CLONES void diagonalise(double* diagonal, double* beside, int n, double* vectors) {
    for (int i = 1; i < n; ++i) beside[i - 1] = beside[i];
    beside[n - 1] = 0.0;
    for (int l = 0; l < n; ++l)
        for (int step = 0; step < 60; ++step) {
            int m = l;
            for (; m < n - 1; ++m) {
                const double size = std::fabs(diagonal[m]) + std::fabs(diagonal[m + 1]);
                if (std::fabs(beside[m]) <= 1e-16 * size) break;
            }
            if (m == l) break;
            double g = (diagonal[l + 1] - diagonal[l]) / (2.0 * beside[l]);
            double r = std::hypot(g, 1.0);
            g = diagonal[m] - diagonal[l] + beside[l] / (g + std::copysign(r, g));
            double s = 1.0, c = 1.0, p = 0.0;
            int i = m - 1;
            for (; i >= l; --i) {
                const double f = s * beside[i], b = c * beside[i];
                r = std::hypot(f, g);
                beside[i + 1] = r;
                if (r == 0.0) {
                    diagonal[i + 1] -= p;
                    beside[m] = 0.0;
                    break;
                }
                s = f / r;
                c = g / r;
                g = diagonal[i + 1] - p;
                r = (diagonal[i] - g) * s + 2.0 * c * b;
                p = s * r;
                diagonal[i + 1] = g + p;
                g = c * r - b;
                if (!vectors) continue;
                double* one = vectors + i * n;
                double* two = one + n;
                for (int k = 0; k < n; ++k) {
                    const double t = two[k];
                    two[k] = s * one[k] + c * t;
                    one[k] = c * one[k] - s * t;
                }
            }
            if (r == 0.0 && i >= l) continue;
            diagonal[l] -= p;
            beside[l] = g;
            beside[m] = 0.0;
        }
}

}  // namespace

void eigen(double* a, int n, double* values, double* vectors) {
    if (n == 0) return;
    static thread_local std::vector<double> beside;
    beside.resize(n);
    tridiagonalise(a, n, values, beside.data(), vectors != nullptr);
    if (vectors)
        for (int i = 0; i < n; ++i)
            for (int j = 0; j < n; ++j) vectors[j * n + i] = a[i * n + j];
    diagonalise(values, beside.data(), n, vectors);
}

OPTLAYERS_CLONES void product(const double* a, bool a_transposed, const double* b, bool b_transposed, int n, double* result) {
    std::fill(result, result + n * n, 0.0);
    for (int i = 0; i < n; ++i)
        for (int k = 0; k < n; ++k) {
            const double x = a_transposed ? a[k * n + i] : a[i * n + k];
            if (x == 0.0) continue;
            if (b_transposed)
                for (int j = 0; j < n; ++j) result[i * n + j] += x * b[j * n + k];
            else
                axpy(x, b + k * n, result + i * n, n);
        }
}

}  // namespace optlayers
