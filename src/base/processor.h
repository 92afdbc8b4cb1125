/* What this machine's processor can do. */
#ifndef RBE_BASE_PROCESSOR_H
#define RBE_BASE_PROCESSOR_H

#include <stdbool.h>

static inline bool rbe_processor_has_avx2(void) {
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static inline bool rbe_processor_has_avx512(void) {
#if defined(__x86_64__)
    return rbe_processor_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#else
    return false;
#endif
}

#endif
