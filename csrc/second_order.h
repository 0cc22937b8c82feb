#pragma once

#include "scaling.h"

namespace optlayers {

class SecondOrder final : public Scaling {
  public:
    explicit SecondOrder(int dimension)
        : k_(dimension), w_(dimension), s_(dimension), lambda_(dimension), one_(dimension), two_(dimension) {}

    double degree() const override { return 1.0; }
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
    void scale(const double* x, double* result) const;
    void unscale(const double* x, double* result) const;
    double longest_of(const double* s, const double* ds, double most) const;

    int k_;
    double eta2_ = 1.0;
    std::vector<double> w_, s_, lambda_;
    mutable std::vector<double> one_, two_;
    Columns columns_;
    std::vector<double> form_, lifted_;
};

}  // namespace optlayers
