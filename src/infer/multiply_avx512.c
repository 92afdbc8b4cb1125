/* The product of multiply_text.h with vectors of 16 floats. */
#if defined(__x86_64__)
#define LANES 16
#define MULTIPLY rbe_multiply_avx512
#include "infer/multiply_text.h"
#endif
