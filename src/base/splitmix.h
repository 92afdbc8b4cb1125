/* The finaliser of splitmix64 (Steele, Lea and Flood 2014): 64 well-mixed bits of a counter. */
#ifndef RBE_BASE_SPLITMIX_H
#define RBE_BASE_SPLITMIX_H

#include <stdint.h>

/* What a splitmix64 generator adds to its state for each number. */
#define RBE_SPLITMIX_STEP 0x9E3779B97F4A7C15u

static inline uint64_t rbe_splitmix64(uint64_t z) {
    z += RBE_SPLITMIX_STEP;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

#endif
