/* The kernels for AVX2 with fused multiply-add: 8 floats a vector. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 8
#define METHODS rbe_methods_avx2
#define BACKWARD rbe_backward_avx2
#define METHODS_NAME "avx2"
#include "kernels/methods.h"
#endif
