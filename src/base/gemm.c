/* Dense products through OpenBLAS: C = op(A) op(B), in strips of C's rows.
 *
 * OpenBLAS with two threads rounds differently from OpenBLAS with one. So each of its calls runs on one thread, and
 * the strips, whose height depends on the shape only, are shared out among threads of ours. 256 rows cost 2 %
 * against one call, 128 rows 4 %: shorter products take the latter, to have something to share.
 */
#include "base/gemm.h"

#include <cblas.h>
#include <stdatomic.h>

#include "rbe/base.h"

static size_t strip_rows(size_t m) { return m < 512 ? 128 : 256; }

void rbe_pin_blas(void) {
    static atomic_bool pinned;
    if (!atomic_exchange(&pinned, true)) openblas_set_num_threads(1);
}

void rbe_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, const float *a, const float *b,
              bool add, float *c) {
    rbe_pin_blas();
    size_t height = strip_rows(m), strips = (m + height - 1) / height;
    int threads = rbe_threads();
    if ((size_t)threads > strips) threads = (int)strips;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
    for (size_t s = 0; s < strips; s++) {
        size_t first = s * height, rows = m - first < height ? m - first : height;
        cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans,
                    (int)rows, (int)n, (int)k, 1.0f, a + first * (transpose_a ? 1 : k), (int)(transpose_a ? m : k), b,
                    (int)(transpose_b ? k : n), add ? 1.0f : 0.0f, c + first * n, (int)n);
    }
}
