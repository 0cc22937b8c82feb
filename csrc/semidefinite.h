#pragma once

#include "scaling.h"

namespace optlayers {

class Semidefinite final : public Scaling {
  public:
    explicit Semidefinite(int dimension);

    double degree() const override { return n_; }
    void start(double* s, double* z) const override;
    double margin(const double* s) override;
    bool update(const double* s, const double* z) override;
    void times(const double* x, double* result) const override;
    void divide(const double* x, double* result) const override;
    void corrector(const double* ds, const double* dz, double target, double* d) const override;
    double longest(const double* s, const double* ds, const double* z, const double* dz, double most) override;
    double barrier(const double* s, const double* z) const override;
    void prepare(const double* rows, int n) override;
    void add_normal(double* matrix, int size) override;

  private:
    void congruence(const double* x, const std::vector<double>& factor, bool transposed, double* result) const;
    double longest_scaled(const double* x, const std::vector<double>& factor, bool transposed, double most);

    int n_, k_;
    std::vector<double> r_, inverse_, lambda_, s_;  // R, R^-1
    mutable std::vector<double> a_, b_, c_, d_;
    std::vector<double> eigenvalues_;
    Columns columns_;
    std::vector<double> lifted_;
};

}  // namespace optlayers
