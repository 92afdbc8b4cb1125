/* The product of multiply_text.h with vectors of 8 floats. */
#if defined(__x86_64__)
#define LANES 8
#define MULTIPLY rbe_multiply_avx2
#include "infer/multiply_text.h"
#endif
