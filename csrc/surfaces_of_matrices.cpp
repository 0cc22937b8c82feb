// A positive semidefinite S whose dual Z spans the eigenvectors U2 stays on the surface U2' S U2 = 0, of curvature
// C = sum_ij (lambda_j / sigma_i) q_ij q_ij' with q_ij = (u_i u_j' + u_j u_i') / sqrt 2, i outside and j in the span,
// sigma the eigenvalues of S and lambda those of Z.
#include <algorithm>
#include <cmath>

#include "dense.h"
#include "surfaces.h"
#include "symmetric.h"

namespace optlayers {

namespace {

constexpr double kSmallest = 1e-12;  // eigenvalue outside the span, relative to the unit

}  // namespace

void Surfaces::add_matrix(const Cone& cone, const double* s, const double* z) {
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
            add_curvature(std::fmax(form(other, j, j), 0.0) / std::fmax(values[i], kSmallest * unit_), normal.data(), cone.start, k);
        }
}

}  // namespace optlayers
