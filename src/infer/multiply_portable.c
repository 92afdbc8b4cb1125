/* The product of multiply_text.h with vectors of 4 floats. */
#define LANES 4
#define MULTIPLY rbe_multiply_portable
#include "infer/multiply_text.h"
