#pragma once

#include <memory>

#include "three.h"

namespace optlayers {

std::unique_ptr<Barrier> exponential_barrier();         // {y exp(x / y) <= z, y > 0}
std::unique_ptr<Barrier> power_barrier(double alpha);   // {x^alpha y^(1 - alpha) >= |z|}

}  // namespace optlayers
