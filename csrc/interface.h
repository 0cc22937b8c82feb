// Many programs of one structure, on several threads.
#pragma once

#include <cstdint>

#include "program.h"

namespace optlayers {

struct Batch {
    std::int64_t samples;
    int threads;  // at most
    int entries, row_count;
    bool box;
    int linear, cone_count;
    const Cone* cones;
    const double* weight;
    const double* rows;
    std::int64_t row_stride;  // from sample to sample; 0 where all samples share the rows
    const double* lower;
    const double* upper;
    std::int64_t bound_stride;  // the same of the bounds
    const double* v;
    double* x;
    double* y;
    std::int64_t* status;
    std::int64_t* steps;
};

void solve(const Batch& batch);

}  // namespace optlayers
