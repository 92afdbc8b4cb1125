/* The loops of loops.h: see there. */
#include "tensor/loops_text.h"

const rbe_loops rbe_loops_avx512 = RBE_LOOPS;
