/* Which kernels OpenBLAS has chosen, and whether they use what the processor has.
 *
 * OpenBLAS knows a processor by family and model, and takes the kernels of a very old one for those that are newer than
 * itself. The names are compared by the vectors that their kernels use. AVX2 counts as a fallback on Intel's processors
 * with AVX-512 only: on a Zen 4 it does as much.
 */
#include <cblas.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>

#include "base/blas.h"
#include "base/processor.h"
#include "base/warning.h"

/* The names of OpenBLAS 0.3 for x86-64. Of other names nothing is said. */
static const struct {
    const char *name;
    rbe_vector_level level;
} known[] = {
    {"Generic", RBE_VECTOR_OLD},
    {"Prescott", RBE_VECTOR_OLD},
    {"Core2", RBE_VECTOR_OLD},
    {"Penryn", RBE_VECTOR_OLD},
    {"Dunnington", RBE_VECTOR_OLD},
    {"Atom", RBE_VECTOR_OLD},
    {"Nehalem", RBE_VECTOR_OLD},
    {"Sandybridge", RBE_VECTOR_OLD},
    {"Nano", RBE_VECTOR_OLD},
    {"Athlon", RBE_VECTOR_OLD},
    {"Opteron", RBE_VECTOR_OLD},
    {"Opteron_SSE3", RBE_VECTOR_OLD},
    {"Barcelona", RBE_VECTOR_OLD},
    {"Bobcat", RBE_VECTOR_OLD},
    {"Bulldozer", RBE_VECTOR_OLD},
    {"Piledriver", RBE_VECTOR_OLD},
    {"Steamroller", RBE_VECTOR_OLD},
    {"Excavator", RBE_VECTOR_AVX2},
    {"Haswell", RBE_VECTOR_AVX2},
    {"Zen", RBE_VECTOR_AVX2},
    {"SkylakeX", RBE_VECTOR_AVX512},
    {"Cooperlake", RBE_VECTOR_AVX512},
    {"SapphireRapids", RBE_VECTOR_AVX512},
};

static rbe_vector_level processor_level(void) {
#if defined(__x86_64__)
    if (rbe_processor_has_avx512() && __builtin_cpu_is("intel")) return RBE_VECTOR_AVX512;
#endif
    return rbe_processor_has_avx2() ? RBE_VECTOR_AVX2 : RBE_VECTOR_OLD;
}

const char *rbe_blas_kernels_above(const char *chosen, rbe_vector_level processor) {
    for (size_t n = 0; n < sizeof known / sizeof *known; n++)
        if (strcasecmp(chosen, known[n].name) == 0 && known[n].level < processor)
            return processor == RBE_VECTOR_AVX512 ? "SkylakeX" : "Haswell";
    return NULL;
}

const char *rbe_blas_kernels(void) { return openblas_get_corename(); }

/* A user who names AVX2 kernels in the environment has reasons: some builds of OpenBLAS compute wrongly with newer
 * ones. */
static bool are_wanted(const char *chosen) {
    const char *named = getenv("OPENBLAS_CORETYPE");
    return named && *named && !rbe_blas_kernels_above(chosen, RBE_VECTOR_AVX2);
}

const char *rbe_blas_better_kernels(void) {
    const char *chosen = rbe_blas_kernels();
    return are_wanted(chosen) ? NULL : rbe_blas_kernels_above(chosen, processor_level());
}

/* Without a handler it stays unsaid, until a call finds one. */
void rbe_blas_check_kernels(void) {
    static atomic_bool said;
    if (atomic_load_explicit(&said, memory_order_relaxed) || atomic_exchange(&said, true)) return;
    const char *better = rbe_blas_better_kernels();
    if (better && !rbe_warn("OpenBLAS uses its kernels for %s, older than this processor: dense products take several "
                            "times as long as with OPENBLAS_CORETYPE=%s in the environment of the program",
                            rbe_blas_kernels(), better))
        atomic_store(&said, false);
}
