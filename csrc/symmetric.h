// Small symmetric matrices: eigenvalues, Cholesky factors, and their scaled triangles.
#pragma once

#include <vector>

namespace optlayers {

constexpr double kRoot2 = 1.4142135623730951;

// The order n of a matrix whose scaled triangle has k entries.
int order_of(int k);

// Between scaled lower triangles by columns (off-diagonal entries times sqrt 2) and full matrices, n x n.
void unpack(const double* triangle, int n, double* matrix);
void pack(const double* matrix, int n, double* triangle);

// matrix = L L', lower; return whether it is positive definite. The upper part becomes zero.
bool cholesky(double* matrix, int n);

// Eigenvalues, in no order, of a symmetric matrix, which is overwritten; eigenvectors are the rows of `vectors` (may be null).
void eigen(double* matrix, int n, double* values, double* vectors);

// one = a b (n x n), with transposes where asked.
void product(const double* a, bool a_transposed, const double* b, bool b_transposed, int n, double* result);

}  // namespace optlayers
