// All kernels by name, each with the number of its arrays; how to add one is told in rows.h.
#pragma once

#include "rows.h"

#define OPTLAYERS_KERNELS(X) \
    X(simplex_pull, 5)

namespace optlayers {

#define OPTLAYERS_DECLARE(name, arrays) void name(Call& call);
OPTLAYERS_KERNELS(OPTLAYERS_DECLARE)
#undef OPTLAYERS_DECLARE

}  // namespace optlayers
