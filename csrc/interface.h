// Many samples of one structure, on several threads.
#pragma once

#include <cstdint>

#include "units.h"

namespace optlayers {

struct Batch {
    std::int64_t samples;
    int threads;  // at most
    Structure structure;
    const double* matrix;
    std::int64_t matrix_stride;  // from sample to sample; 0 where all samples share it
    const double* lower;
    const double* upper;
    std::int64_t bound_stride;  // the same of both bounds
    const double* v;
    double* x;     // samples x entries
    double* dual;  // samples x slacks
};

// What a sample's answer is worth.
struct Verdicts {
    double* error;      // the relative KKT residual
    double* violation;  // the largest distance of a slack to its range, in the user's units
    std::int64_t* steps;
};

// `start`, if given, holds duals and points of nearby programs, samples x (slacks + entries); NaN where there are none.
void project(const Batch& batch, const double* start, const Verdicts& verdicts);

// What the derivative makes of gradients in the points found: see derivative.h. Without matrix or bounds, these get none.
struct Gradients {
    const double* of_x;  // samples x entries
    double* of_v;        // samples x size
    double* of_matrix;   // samples x rows x entries
    double* of_lower;    // samples x slacks
    double* of_upper;
    std::int64_t* failed;  // by sample
};

void pull(const Batch& batch, const Gradients& gradients);

}  // namespace optlayers
