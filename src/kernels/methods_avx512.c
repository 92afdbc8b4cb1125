/* The kernels for AVX-512: 16 floats a vector. */
#include "kernels/plan.h"

#if defined(__x86_64__)
#define LANES 16
#define METHODS rbe_methods_avx512
#define BACKWARD rbe_backward_avx512
#define METHODS_NAME "avx512"
#include "kernels/methods.h"
#endif
