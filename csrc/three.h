// Exponential and power cones: three slacks, no symmetry, a scaling from both barriers.
#pragma once

#include "scaling.h"

namespace optlayers {

// The barrier F* of a dual cone of three entries, and the gradient of its conjugate, the barrier of the cone itself.
class Barrier {
  public:
    virtual ~Barrier() = default;
    virtual void start(double* s, double* z) const = 0;
    virtual bool is_inside(const double* s) const = 0;
    virtual bool is_inside_dual(const double* z) const = 0;
    virtual double value(const double* s) const = 0;
    virtual double value_dual(const double* z) const = 0;
    virtual void gradient(const double* s, double* g) const = 0;
    virtual void gradient_dual(const double* z, double* g, double* hessian) const = 0;  // hessian: 3 x 3
    virtual void third(const double* z, const double* u, const double* v, double* result) const = 0;  // F*'''[u, v]
};

class ThreeEntries final : public Scaling {
  public:
    explicit ThreeEntries(std::unique_ptr<Barrier> barrier) : barrier_(std::move(barrier)) {}

    double degree() const override { return 3.0; }
    void start(double* s, double* z) const override { barrier_->start(s, z); }
    double margin(const double*) override { return 0.0; }
    bool is_symmetric() const override { return false; }
    bool update(const double* s, const double* z) override;
    void times(const double* x, double* result) const override;
    void divide(const double* x, double* result) const override;
    void corrector(const double* ds, const double* dz, double target, double* d) const override;
    double longest(const double* s, const double* ds, const double* z, const double* dz, double most) override;
    double barrier(const double* s, const double* z) const override;
    void prepare(const double* rows, int n) override { columns_.read(rows, 3, n); }
    void add_normal(double* matrix, int size) override;

  private:
    std::unique_ptr<Barrier> barrier_;
    double s_[3], z_[3], gradient_[3], hessian_[9], h_[9], factor_[9], dual_factor_[9];
    Columns columns_;
};

}  // namespace optlayers
