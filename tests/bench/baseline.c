/* The baseline: OpenBLAS's kernels, and the peak. */
#include "baseline.h"

#include <stddef.h>

#include "../../examples/common.h"
#include "base/processor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

void bench_require_kernels(void) {
    const char *better = rbe_blas_better_kernels();
    if (better)
        example_fail(1, "OpenBLAS uses its kernels for %s, older than this processor (%s): nothing to compare with",
                     rbe_blas_kernels(), better);
}

/* More chains than any processor's latency times its units. Each x -> x / 2 + 1 tends to 2. */
enum { TURNS = 50000, CHAINS = 12, PLAIN_WIDTH = 4 };

static volatile float result; /* so that the chains are not left out */

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void run_avx512(void) {
    __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1.0f), x[CHAINS];
    for (int k = 0; k < CHAINS; k++) x[k] = _mm512_set1_ps((float)k);
    for (int turn = 0; turn < TURNS; turn++)
        for (int k = 0; k < CHAINS; k++) x[k] = _mm512_fmadd_ps(x[k], half, one);
    for (int k = 0; k < CHAINS; k++) result = _mm512_cvtss_f32(x[k]);
}

__attribute__((target("avx2,fma"))) static void run_avx2(void) {
    __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1.0f), x[CHAINS];
    for (int k = 0; k < CHAINS; k++) x[k] = _mm256_set1_ps((float)k);
    for (int turn = 0; turn < TURNS; turn++)
        for (int k = 0; k < CHAINS; k++) x[k] = _mm256_fmadd_ps(x[k], half, one);
    for (int k = 0; k < CHAINS; k++) result = _mm256_cvtss_f32(x[k]);
}
#endif

static void run_plain(void) {
    float x[CHAINS][PLAIN_WIDTH];
    for (int k = 0; k < CHAINS; k++)
        for (int i = 0; i < PLAIN_WIDTH; i++) x[k][i] = (float)k;
    for (int turn = 0; turn < TURNS; turn++)
        for (int k = 0; k < CHAINS; k++)
            for (int i = 0; i < PLAIN_WIDTH; i++) x[k][i] = x[k][i] * 0.5f + 1.0f;
    for (int k = 0; k < CHAINS; k++) result = x[k][0];
}

double bench_multiply_add(void) {
    size_t width = PLAIN_WIDTH;
#if defined(__x86_64__)
    if (rbe_processor_has_avx512()) {
        run_avx512();
        width = 16;
    } else if (rbe_processor_has_avx2()) {
        run_avx2();
        width = 8;
    } else
#endif
        run_plain();
    return 2.0 * TURNS * CHAINS * (double)width;
}
