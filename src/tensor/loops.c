/* Which of the loops this processor can run, and what they share. */
#include "tensor/loops.h"

#include "base/processor.h"
#include "tensor/exponential.h"

const float rbe_exponential_bounds[2] = {-87.0f, 88.0f};

const rbe_loops *rbe_loops_here(void) {
#if defined(__x86_64__)
    if (rbe_processor_has_avx512()) return &rbe_loops_avx512;
    if (rbe_processor_has_avx2()) return &rbe_loops_avx2;
#endif
    return &rbe_loops_portable;
}
