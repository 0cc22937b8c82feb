// What the interior point asks of a cone: its scaling H with H z = s (or nearly), and what follows from it.
#pragma once

#include <memory>
#include <vector>

#include "program.h"

namespace optlayers {

class Scaling {
  public:
    virtual ~Scaling() = default;
    virtual double degree() const = 0;

    // A point well inside the cone and its dual, for both.
    virtual void start(double* s, double* z) const = 0;

    // How far along the unit the point is inside, negative outside; only of cones that are symmetric.
    virtual double margin(const double* s) = 0;
    virtual bool is_symmetric() const { return true; }

    // Take over s and z inside the cones; false where rounding has put them outside.
    virtual bool update(const double* s, const double* z) = 0;

    virtual void times(const double* x, double* result) const = 0;   // H x
    virtual void divide(const double* x, double* result) const = 0;  // H^-1 x

    // d of the corrected step: H dz + ds = -d.
    virtual void corrector(const double* ds, const double* dz, double target, double* d) const = 0;

    // The largest step up to `most` for which both stay inside.
    virtual double longest(const double* s, const double* ds, const double* z, const double* dz, double most) = 0;

    // The barriers of both points; their sum is -degree log mu on the central path.
    virtual double barrier(const double* s, const double* z) const = 0;

    // Rows of the cone, dimension x n: precompute, then add A' H^-1 A to the lower triangle of `matrix`, size x size.
    virtual void prepare(const double* rows, int n) = 0;
    virtual void add_normal(double* matrix, int size) = 0;
};

std::unique_ptr<Scaling> make_scaling(const Cone& cone);

// The columns in which some row of a cone has an entry, and these entries alone.
struct Columns {
    std::vector<int> index;
    std::vector<double> entries;  // dimension x index.size(), by rows

    void read(const double* rows, int dimension, int n) {
        index.clear();
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < dimension; ++i)
                if (rows[static_cast<size_t>(i) * n + j] != 0.0) {
                    index.push_back(j);
                    break;
                }
        const size_t count = index.size();
        entries.resize(count * dimension);
        for (int i = 0; i < dimension; ++i)
            for (size_t k = 0; k < count; ++k) entries[i * count + k] = rows[static_cast<size_t>(i) * n + index[k]];
    }
};

}  // namespace optlayers
