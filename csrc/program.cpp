#include "program.h"

#include <algorithm>

#include "dense.h"

namespace optlayers {

void Program::evaluate(const double* x, double* values) const {
    if (box) std::copy(x, x + entries, values);
    for (int k = first_row(); k < slacks(); ++k) values[k] = dot(row(k), x, entries);
    for (int k = linear; k < slacks(); ++k) values[k] -= lower[k];
}

}  // namespace optlayers
