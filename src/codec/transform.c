/* The transforms as matrices, rows = atoms in order of rising frequency: coefficients = A x, x = C^T coefficients
 * with A = C for the orthonormal ones.
 *
 *   dct        C[k][n] = s_k cos(pi (2n + 1) k / 2B),  s_0 = sqrt(1/B), s_k = sqrt(2/B) (DCT-II)
 *
 *   haar, db   the full periodic pyramid: one step maps x to averages a_i = sum_k h_k x[(2i + k) mod n] and details
 *              d_i = sum_k g_k x[(2i + k) mod n], and goes on with the averages; order: the last average, then
 *              details from the coarsest to the finest. Filters from GSL; its gsl_wavelet_transform gives the same.
 *
 *   bspline    the same with two pairs of filters, A by the one and C by the other: every step back is the
 *              transpose of a step with the synthesis filters.
 *
 *   wht        the Hadamard matrix / sqrt(B), rows sorted by their number of sign changes (sequency)
 *
 *   identity
 */
#include "codec/filters.h"

#include <math.h>
#include <string.h>

bool rbe_block_size_valid(size_t block) { return block >= 8 && block <= 256 && (block & (block - 1)) == 0; }

double rbe_dct_value(size_t length, size_t k, size_t n) {
    /* The phase within one period: exact for any length. */
    double phase = M_PI * (double)((2 * n + 1) * k % (4 * length)) / (double)(2 * length);
    return sqrt((k == 0 ? 1.0 : 2.0) / (double)length) * cos(phase);
}

static void fill_dct(const rbe_transform *self, size_t block, double *matrix) {
    (void)self;
    for (size_t at = 0; at < block * block; at++) matrix[at] = rbe_dct_value(block, at / block, at % block);
}

/* The pyramid in place. The taps may exceed the length of the coarse levels: indices then wrap round more than once.
 */
static void pyramid(const rbe_filters *f, size_t length, double *x) {
    double level[256];
    for (size_t n = length; n >= 2; n /= 2) {
        for (size_t i = 0; i < n / 2; i++) {
            double average = 0.0, detail = 0.0;
            for (size_t k = 0; k < f->taps; k++) {
                double sample = x[(2 * i + k) % n];
                average += f->low[k] * sample;
                detail += f->high[k] * sample;
            }
            level[i] = average;
            level[n / 2 + i] = detail;
        }
        memcpy(x, level, n * sizeof *x);
    }
}

/* Column n of the matrix is the transform of the n-th unit impulse. */
static void pyramid_matrix(const rbe_filters *f, size_t block, double *matrix) {
    double impulse[256];
    for (size_t n = 0; n < block; n++) {
        memset(impulse, 0, sizeof impulse);
        impulse[n] = 1.0;
        pyramid(f, block, impulse);
        for (size_t k = 0; k < block; k++) matrix[k * block + n] = impulse[k];
    }
}

static void fill_pyramid(const rbe_transform *self, size_t block, double *matrix) {
    rbe_filters analysis, synthesis;
    rbe_transform_filters(self, &analysis, &synthesis);
    pyramid_matrix(&synthesis, block, matrix);
}

static void fill_pyramid_analysis(const rbe_transform *self, size_t block, double *matrix) {
    rbe_filters analysis, synthesis;
    rbe_transform_filters(self, &analysis, &synthesis);
    pyramid_matrix(&analysis, block, matrix);
}

static void fill_walsh(const rbe_transform *self, size_t block, double *matrix) {
    (void)self;
    unsigned bits = 0;
    while (((size_t)1 << bits) < block) bits++;
    double scale = 1.0 / sqrt((double)block);
    for (size_t k = 0; k < block; k++) {
        /* Row k in sequency order is the Hadamard row of the bit-reversed Gray code of k. */
        size_t gray = k ^ (k >> 1), row = 0;
        for (unsigned b = 0; b < bits; b++) row |= ((gray >> b) & 1) << (bits - 1 - b);
        for (size_t n = 0; n < block; n++)
            matrix[k * block + n] = __builtin_parityll((unsigned long long)(row & n)) ? -scale : scale;
    }
}

static void fill_identity(const rbe_transform *self, size_t block, double *matrix) {
    (void)self;
    memset(matrix, 0, block * block * sizeof *matrix);
    for (size_t k = 0; k < block; k++) matrix[k * block + k] = 1.0;
}

static const rbe_transform transforms[] = {
    {"dct", RBE_TRANSFORM_DCT, 0, fill_dct, NULL},
    {"haar", RBE_TRANSFORM_HAAR, 2, fill_pyramid, NULL},
    {"db4", RBE_TRANSFORM_DAUBECHIES, 4, fill_pyramid, NULL},
    {"db6", RBE_TRANSFORM_DAUBECHIES, 6, fill_pyramid, NULL},
    {"db8", RBE_TRANSFORM_DAUBECHIES, 8, fill_pyramid, NULL},
    {"db10", RBE_TRANSFORM_DAUBECHIES, 10, fill_pyramid, NULL},
    {"db12", RBE_TRANSFORM_DAUBECHIES, 12, fill_pyramid, NULL},
    {"db14", RBE_TRANSFORM_DAUBECHIES, 14, fill_pyramid, NULL},
    {"db16", RBE_TRANSFORM_DAUBECHIES, 16, fill_pyramid, NULL},
    {"db18", RBE_TRANSFORM_DAUBECHIES, 18, fill_pyramid, NULL},
    {"db20", RBE_TRANSFORM_DAUBECHIES, 20, fill_pyramid, NULL},
    {"wht", RBE_TRANSFORM_WALSH, 0, fill_walsh, NULL},
    {"identity", RBE_TRANSFORM_IDENTITY, 0, fill_identity, NULL},
    {"bspline103", RBE_TRANSFORM_BSPLINE, 103, fill_pyramid, fill_pyramid_analysis},
    {"bspline105", RBE_TRANSFORM_BSPLINE, 105, fill_pyramid, fill_pyramid_analysis},
    {"bspline202", RBE_TRANSFORM_BSPLINE, 202, fill_pyramid, fill_pyramid_analysis},
    {"bspline204", RBE_TRANSFORM_BSPLINE, 204, fill_pyramid, fill_pyramid_analysis},
    {"bspline206", RBE_TRANSFORM_BSPLINE, 206, fill_pyramid, fill_pyramid_analysis},
    {"bspline208", RBE_TRANSFORM_BSPLINE, 208, fill_pyramid, fill_pyramid_analysis},
    {"bspline301", RBE_TRANSFORM_BSPLINE, 301, fill_pyramid, fill_pyramid_analysis},
    {"bspline303", RBE_TRANSFORM_BSPLINE, 303, fill_pyramid, fill_pyramid_analysis},
    {"bspline305", RBE_TRANSFORM_BSPLINE, 305, fill_pyramid, fill_pyramid_analysis},
    {"bspline307", RBE_TRANSFORM_BSPLINE, 307, fill_pyramid, fill_pyramid_analysis},
    {"bspline309", RBE_TRANSFORM_BSPLINE, 309, fill_pyramid, fill_pyramid_analysis},
};

const rbe_transform *rbe_transform_at(size_t n) {
    return n < sizeof transforms / sizeof transforms[0] ? &transforms[n] : NULL;
}

const rbe_transform *rbe_transform_named(const char *name) {
    const rbe_transform *transform;
    for (size_t n = 0; (transform = rbe_transform_at(n)); n++)
        if (name && strcmp(transform->name, name) == 0) return transform;
    rbe_fail(RBE_INVALID_ARGUMENT,
             "transform: expected dct, haar, db4, db6 .. db20, wht, identity, bspline103, 105, 202, 204, 206, 208, "
             "301, 303, 305, 307 or 309, found %s",
             name ? name : "NULL");
    return NULL;
}

const char *rbe_transform_name(const rbe_transform *transform) { return transform ? transform->name : ""; }

bool rbe_transform_is_orthonormal(const rbe_transform *transform) { return transform && !transform->fill_analysis; }

static rbe_status check(const rbe_transform *transform, size_t block, const double *matrix) {
    if (!transform || !matrix) return rbe_fail(RBE_INVALID_ARGUMENT, "transform matrix: a pointer is NULL");
    if (!rbe_block_size_valid(block))
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected a power of two, 8 .. 256, found %zu", block);
    return RBE_OK;
}

rbe_status rbe_transform_matrix(const rbe_transform *transform, size_t block, double *matrix) {
    RBE_TRY(check(transform, block, matrix));
    transform->fill(transform, block, matrix);
    return RBE_OK;
}

rbe_status rbe_transform_analysis_matrix(const rbe_transform *transform, size_t block, double *matrix) {
    RBE_TRY(check(transform, block, matrix));
    (transform->fill_analysis ? transform->fill_analysis : transform->fill)(transform, block, matrix);
    return RBE_OK;
}
