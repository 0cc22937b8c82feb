// Functions that are compiled for several processors, of which the best is taken when the library is loaded.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
#define OPTLAYERS_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=haswell", "default")))
#else
#define OPTLAYERS_CLONES
#endif

#if defined(__GNUC__)
#define OPTLAYERS_INLINE inline __attribute__((always_inline))
#define OPTLAYERS_LAMBDA __attribute__((always_inline))  // after the parameters
#else
#define OPTLAYERS_INLINE inline
#define OPTLAYERS_LAMBDA
#endif
