// All kernels by name, each with the number of its arrays; how to add one is told in rows.h.
#pragma once

#include "rows.h"

#define OPTLAYERS_KERNELS(X)     \
    X(box_section, 9)            \
    X(box_section_pull, 7)       \
    X(difference_chain, 7)       \
    X(isotonic, 4)               \
    X(isotonic_pull, 4)          \
    X(l1_ball, 5)                \
    X(l1_ball_pull, 5)           \
    X(l2_ball, 4)                \
    X(l2_ball_pull, 5)           \
    X(second_order_cone, 3)      \
    X(second_order_cone_pull, 4) \
    X(total_variation, 4)

namespace optlayers {

#define OPTLAYERS_DECLARE(name, arrays) void name(Call& call);
OPTLAYERS_KERNELS(OPTLAYERS_DECLARE)
#undef OPTLAYERS_DECLARE

}  // namespace optlayers
