// To be included first, by files where the order of sums matters: it is as written, here and in what is included after.
#pragma once

#if defined(__clang__)
#pragma clang fp reassociate(off)
#elif defined(__GNUC__)
#pragma GCC optimize("no-associative-math")
#endif
