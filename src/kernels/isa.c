/* Which instruction set the kernels use: the best one the machine has, or a lower one named by RBE_ISA. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/processor.h"
#include "kernels/kernels.h"
#include "kernels/plan.h"

static const rbe_methods *_Atomic chosen;

/* NULL if there is none of this name that the machine can run. A NULL name: the best one. */
static const rbe_methods *methods_named(const char *name) {
#if defined(__x86_64__)
    if ((!name || strcmp(name, "avx512") == 0) && rbe_processor_has_avx512()) return &rbe_methods_avx512;
    if ((!name || strcmp(name, "avx2") == 0) && rbe_processor_has_avx2()) return &rbe_methods_avx2;
#endif
    return !name || strcmp(name, "portable") == 0 ? &rbe_methods_portable : NULL;
}

const rbe_methods *rbe_isa(void) {
    const rbe_methods *methods = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (methods) return methods;
    const char *name = getenv("RBE_ISA");
    methods = name ? methods_named(name) : NULL;
    if (!methods) methods = methods_named(NULL);
    atomic_store_explicit(&chosen, methods, memory_order_relaxed);
    return methods;
}

const rbe_backward_methods *rbe_isa_backward(void) {
#if defined(__x86_64__)
    const rbe_methods *methods = rbe_isa();
    if (methods == &rbe_methods_avx512) return &rbe_backward_avx512;
    if (methods == &rbe_methods_avx2) return &rbe_backward_avx2;
#endif
    return &rbe_backward_portable;
}

bool rbe_isa_select(const char *name) {
    const rbe_methods *methods = methods_named(name);
    if (methods) atomic_store_explicit(&chosen, methods, memory_order_relaxed);
    return methods != NULL;
}

rbe_small_product *rbe_isa_small_product(size_t group) {
    const rbe_methods *methods = rbe_isa();
#if defined(__x86_64__)
    if (methods == &rbe_methods_avx512 && group <= 4) return rbe_small_product_4_avx512;
    if (methods == &rbe_methods_avx512 && group <= 8) return rbe_small_product_8_avx512;
    if (methods == &rbe_methods_avx2 && group <= 4) return rbe_small_product_4_avx2;
#else
    (void)group;
#endif
    return methods->product_small;
}

const char *rbe_isa_name(void) { return rbe_isa()->name; }
