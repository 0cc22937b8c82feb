// Where the search for a multiplier starts: the root that normally distributed entries would have.
#pragma once

namespace optlayers {

// `tau` with E max(x - tau, 0) = room for normal x; NaN where that is no use.
double normal_start(double mean, double deviation, double room);

}  // namespace optlayers
