/* The codec room against its formulas: the eight functions and their orthonormal coordinates, the transforms
 * (against GSL's wavelets where GSL has them), compression to a number of coefficients or a ratio, and what a
 * compressed matrix says about itself. The reference works in double precision on dense matrices. */
#include <gsl/gsl_wavelet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"
#include "suites.h"
#include "support.h"

static const double pi = 3.14159265358979323846;
static const size_t block_sizes[] = {8, 16, 32, 64, 128, 256};
static const size_t bad_block_sizes[] = {0, 1, 4, 7, 12, 48, 255, 512};
enum { BLOCK_SIZES = sizeof block_sizes / sizeof *block_sizes };
enum { BAD_BLOCK_SIZES = sizeof bad_block_sizes / sizeof *bad_block_sizes };

/* ---- transforms ---------------------------------------------------------------------------------------------- */

static double *new_matrix(const rbe_transform *transform, size_t b) {
    double *matrix = test_memory(b * b, sizeof *matrix);
    ck_assert_ok(rbe_transform_matrix(transform, b, matrix));
    return matrix;
}

static const char *const orthonormal[] = {"dct",  "haar", "db4",  "db6",  "db8", "db10",    "db12",
                                          "db14", "db16", "db18", "db20", "wht", "identity"};
enum { ORTHONORMAL = sizeof orthonormal / sizeof *orthonormal };

/* Largest |M M^T - 1|. */
static double distance_from_orthonormal(const double *m, size_t b) {
    double worst = 0.0;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j <= i; j++) {
            double dot = i == j ? -1.0 : 0.0;
            for (size_t c = 0; c < b; c++) dot += m[i * b + c] * m[j * b + c];
            worst = fmax(worst, fabs(dot));
        }
    return worst;
}

START_TEST(transforms_are_orthonormal) {
    for (size_t n = 0; n < ORTHONORMAL; n++) {
        const rbe_transform *t = rbe_transform_named(orthonormal[n]);
        ck_assert_ptr_nonnull(t);
        for (size_t s = 0; s < BLOCK_SIZES; s++) {
            double *matrix = new_matrix(t, block_sizes[s]);
            const double distance = distance_from_orthonormal(matrix, block_sizes[s]);
            ck_assert_msg(distance < 1e-10, "%s, B = %zu: %g", rbe_transform_name(t), block_sizes[s], distance);
            free(matrix);
        }
    }
}
END_TEST

START_TEST(transform_names_resolve) {
    static const char *const listed[] = {"dct", "haar", "db4", "db20", "wht", "identity"}; /* and what is between */
    static const char *const unknown[] = {"", "DCT", "db2", "db5", "db22", "fft"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        ck_assert_ptr_null(rbe_transform_named(unknown[i]));
        ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
        for (size_t n = 0; n < sizeof listed / sizeof *listed; n++)
            ck_assert_msg(strstr(rbe_last_error(), listed[n]), "\"%s\": no %s", rbe_last_error(), listed[n]);
    }
    for (size_t n = 0; n < ORTHONORMAL; n++)
        ck_assert_str_eq(rbe_transform_name(rbe_transform_named(orthonormal[n])), orthonormal[n]);
    size_t count = 0;
    for (const rbe_transform *t; (t = rbe_transform_at(count)); count++)
        ck_assert_ptr_eq(rbe_transform_named(rbe_transform_name(t)), t);
    ck_assert_uint_ge(count, ORTHONORMAL);
}
END_TEST

START_TEST(dct_is_its_formula) {
    for (size_t s = 0; s < BLOCK_SIZES; s++) {
        const size_t b = block_sizes[s];
        double *matrix = new_matrix(rbe_transform_named("dct"), b), worst = 0.0;
        for (size_t k = 0; k < b; k++)
            for (size_t n = 0; n < b; n++) {
                const double scale = sqrt((k == 0 ? 1.0 : 2.0) / (double)b);
                const double expected = scale * cos(pi * ((double)n + 0.5) * (double)k / (double)b);
                worst = fmax(worst, fabs(matrix[k * b + n] - expected));
            }
        ck_assert_double_lt(worst, 1e-12);
        free(matrix);
    }
}
END_TEST

/* Coefficients = matrix . signal must be what GSL makes of random signals, order and signs included. */
static void compare_with_gsl(const char *name, const gsl_wavelet_type *type, size_t length, size_t b) {
    gsl_wavelet *wavelet = gsl_wavelet_alloc(type, length);
    gsl_wavelet_workspace *workspace = gsl_wavelet_workspace_alloc(b);
    double *matrix = new_matrix(rbe_transform_named(name), b), *signal = test_memory(b, sizeof *signal);
    rbe_rng *rng = rbe_rng_new(b + length, 0);
    double worst = 0.0;
    for (int trial = 0; trial < 3; trial++) {
        double *expected = test_memory(b, sizeof *expected);
        for (size_t i = 0; i < b; i++) expected[i] = signal[i] = rbe_rng_normal(rng);
        gsl_wavelet_transform_forward(wavelet, expected, 1, b, workspace);
        for (size_t k = 0; k < b; k++) {
            double found = 0.0;
            for (size_t n = 0; n < b; n++) found += matrix[k * b + n] * signal[n];
            worst = fmax(worst, fabs(found - expected[k]));
        }
        free(expected);
    }
    ck_assert_msg(worst < 1e-9, "%s, B = %zu: %g", name, b, worst);
    rbe_rng_free(rng);
    free(signal);
    free(matrix);
    gsl_wavelet_workspace_free(workspace);
    gsl_wavelet_free(wavelet);
}

START_TEST(wavelets_are_those_of_gsl) {
    for (size_t s = 0; s < BLOCK_SIZES; s++) {
        compare_with_gsl("haar", gsl_wavelet_haar, 2, block_sizes[s]);
        for (size_t length = 4; length <= 20; length += 2) {
            char name[8];
            snprintf(name, sizeof name, "db%zu", length);
            compare_with_gsl(name, gsl_wavelet_daubechies, length, block_sizes[s]);
        }
    }
}
END_TEST

START_TEST(wht_row_k_changes_sign_k_times) {
    for (size_t s = 0; s < BLOCK_SIZES; s++) {
        const size_t b = block_sizes[s];
        double *matrix = new_matrix(rbe_transform_named("wht"), b), worst = 0.0;
        for (size_t k = 0; k < b; k++) {
            size_t changes = 0;
            for (size_t n = 0; n < b; n++) {
                worst = fmax(worst, fabs(fabs(matrix[k * b + n]) - 1.0 / sqrt((double)b)));
                changes += n > 0 && matrix[k * b + n] * matrix[k * b + n - 1] < 0.0;
            }
            ck_assert_uint_eq(changes, k);
        }
        ck_assert_double_lt(worst, 1e-14);
        free(matrix);
    }
}
END_TEST

START_TEST(transforms_refuse_bad_block_sizes) {
    double *matrix = test_memory(512 * 512, sizeof *matrix);
    for (size_t n = 0; rbe_transform_at(n); n++)
        for (size_t s = 0; s < BAD_BLOCK_SIZES; s++)
            ck_assert_int_eq(rbe_transform_matrix(rbe_transform_at(n), bad_block_sizes[s], matrix),
                             RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_transform_matrix(NULL, 8, matrix), RBE_INVALID_ARGUMENT);
    free(matrix);
}
END_TEST

/* ---- basis functions ----------------------------------------------------------------------------------------- */

START_TEST(basis_is_its_formula) {
    for (size_t s = 0; s < BLOCK_SIZES; s++) {
        const size_t b = block_sizes[s];
        double worst = 0.0;
        for (size_t r = 0; r < b; r++)
            for (size_t c = 0; c < b; c++) {
                const double x = 2.0 * (double)c / (double)(b - 1) - 1.0;
                const double y = 2.0 * (double)r / (double)(b - 1) - 1.0;
                const double d = sqrt(x * x + y * y);
                const double phi[] = {1.0,
                                      d,
                                      d * d,
                                      cos(pi * x),
                                      cos(pi * y),
                                      cos(2 * pi * x),
                                      cos(2 * pi * y),
                                      cos(pi * x) * cos(pi * y)};
                for (int k = 0; k < RBE_BASIS_COUNT; k++)
                    worst = fmax(worst, fabs(rbe_basis_value(k, r, c, b) - phi[k]));
            }
        ck_assert_double_lt(worst, 1e-13);
        /* the corner itself is sampled: x = y = -1 */
        ck_assert_double_eq_tol(rbe_basis_value(1, 0, b - 1, b), sqrt(2.0), 1e-14);
        ck_assert_double_eq_tol(rbe_basis_value(2, b - 1, 0, b), 2.0, 1e-14);
        ck_assert_double_eq_tol(rbe_basis_value(7, b - 1, b - 1, b), 1.0, 1e-14);
        ck_assert_double_nan(rbe_basis_value(-1, 0, 0, b));
        ck_assert_double_nan(rbe_basis_value(RBE_BASIS_COUNT, 0, 0, b));
        ck_assert_double_nan(rbe_basis_value(0, b, 0, b));
        ck_assert_double_nan(rbe_basis_value(0, 0, b, b));
    }
    for (size_t s = 0; s < BAD_BLOCK_SIZES; s++) ck_assert_double_nan(rbe_basis_value(0, 0, 0, bad_block_sizes[s]));
}
END_TEST

static double norm(const double *v, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) sum += v[i] * v[i];
    return sqrt(sum);
}

START_TEST(alpha_converts_both_ways) {
    rbe_rng *rng = rbe_rng_new(1, 0);
    for (size_t s = 0; s < BLOCK_SIZES; s++)
        for (int trial = 0; trial < (block_sizes[s] < 64 ? 50 : 3); trial++) { /* large ones take long */
            double first[RBE_BASIS_COUNT], there[RBE_BASIS_COUNT], back[RBE_BASIS_COUNT];
            for (int k = 0; k < RBE_BASIS_COUNT; k++) first[k] = rbe_rng_normal(rng);
            for (int direction = 0; direction < 2; direction++) {
                rbe_status (*go)(size_t, const double *, double *) =
                    direction ? rbe_alpha_to_orthonormal : rbe_alpha_to_raw;
                rbe_status (*go_back)(size_t, const double *, double *) =
                    direction ? rbe_alpha_to_raw : rbe_alpha_to_orthonormal;
                ck_assert_ok(go(block_sizes[s], first, there));
                ck_assert_ok(go_back(block_sizes[s], there, back));
                for (int k = 0; k < RBE_BASIS_COUNT; k++) back[k] -= first[k];
                ck_assert_double_lt(norm(back, RBE_BASIS_COUNT), 1e-10 * norm(first, RBE_BASIS_COUNT));
            }
        }
    rbe_rng_free(rng);
    double alpha[RBE_BASIS_COUNT] = {0};
    for (size_t s = 0; s < BAD_BLOCK_SIZES; s++) {
        ck_assert_int_eq(rbe_alpha_to_orthonormal(bad_block_sizes[s], alpha, alpha), RBE_INVALID_ARGUMENT);
        ck_assert_int_eq(rbe_alpha_to_raw(bad_block_sizes[s], alpha, alpha), RBE_INVALID_ARGUMENT);
    }
}
END_TEST

/* The Frobenius norm of the field equals the norm of the new coordinates, and Phi in the k-th place of the order
 * has none beyond the k-th: this is Gram-Schmidt in the order given, but for signs. */
START_TEST(alpha_coordinates_are_orthonormal) {
    static const int order[RBE_BASIS_COUNT] = {0, 3, 4, 5, 6, 7, 2, 1};
    rbe_rng *rng = rbe_rng_new(2, 0);
    for (size_t s = 0; s < BLOCK_SIZES; s++) {
        const size_t b = block_sizes[s];
        double *field = test_memory(b * b, sizeof *field);
        for (int trial = 0; trial < (b < 64 ? 20 : 10); trial++) {
            double raw[RBE_BASIS_COUNT] = {0}, coordinates[RBE_BASIS_COUNT];
            for (int k = 0; k < RBE_BASIS_COUNT; k++)
                raw[k] = trial < RBE_BASIS_COUNT ? order[trial] == k : rbe_rng_normal(rng);
            for (size_t i = 0; i < b * b; i++) {
                field[i] = 0.0;
                for (int k = 0; k < RBE_BASIS_COUNT; k++) field[i] += raw[k] * rbe_basis_value(k, i / b, i % b, b);
            }
            ck_assert_ok(rbe_alpha_to_orthonormal(b, raw, coordinates));
            const double size = norm(field, b * b);
            ck_assert_double_eq_tol(norm(coordinates, RBE_BASIS_COUNT) / size, 1.0, 1e-6);
            for (int l = trial + 1; l < RBE_BASIS_COUNT; l++)
                ck_assert_double_eq_tol(coordinates[l] / size, 0.0, 1e-10);
        }
        free(field);
    }
    rbe_rng_free(rng);
}
END_TEST

/* ---- compress and decompress --------------------------------------------------------------------------------- */

static rbe_blocks *compressed(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = NULL;
    ck_assert_ok(rbe_compress(&blocks, w, out, in, options));
    ck_assert_ptr_nonnull(blocks);
    return blocks;
}

/* Relative error of compressing and decompressing; the decompressed matrix itself is checked against the
 * reference on the way. */
static double round_trip(const float *w, size_t out, size_t in, const rbe_compress_options *options) {
    rbe_blocks *blocks = compressed(w, out, in, options);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    reference *r = reference_new(&info);
    float *found = test_memory(out * in, sizeof *found);
    double *expected = test_memory(out * in, sizeof *expected);
    ck_assert_ok(rbe_decompress(blocks, found));
    reference_dense(r, blocks, expected);
    ck_assert_double_lt(relative_error(found, expected, out * in), 2e-6);
    const double error = relative_difference(found, w, out * in);
    reference_free(r);
    rbe_blocks_free(blocks);
    free(found);
    free(expected);
    return error;
}

/* A matrix that K coefficients and the alphas represent comes back. The eight functions are even about the block's
 * centre: DCT coefficients with an odd frequency are orthogonal to them, so the least-squares alphas leave them
 * alone. Other transforms have no such coefficients: they are tried without alpha. */
START_TEST(representable_matrices_come_back) {
    const rbe_transform *t = rbe_transform_named(orthonormal[_i]);
    const bool dct = strcmp(orthonormal[_i], "dct") == 0;
    for (size_t b = 8; b <= 64; b *= 2) {
        const size_t rows = 3, columns = 2, k = b;
        rbe_coefficient *list = test_memory(rows * columns * k, sizeof *list);
        rbe_block source[6] = {{.count = 0}};
        rbe_rng *rng = rbe_rng_new(b, 0);
        for (size_t n = 0; n < rows * columns * k; n++) {
            const size_t at = n % k; /* distinct: every freq_i once */
            const size_t freq_j = (at * 5 + 3) % b | (dct && at % 2 == 0);
            list[n] = (rbe_coefficient){(uint16_t)at, (uint16_t)freq_j, (float)rbe_rng_normal(rng)};
        }
        for (size_t n = 0; n < rows * columns; n++) {
            source[n] = (rbe_block){.coefficients = &list[n * k], .count = k};
            for (int a = 0; dct && a < RBE_BASIS_COUNT; a++) source[n].alpha[a] = rbe_rng_normal(rng);
        }
        rbe_compress_options options = {.block = b, .row_transform = t, .column_transform = t};
        options.alpha = dct ? RBE_ALPHA_ON : RBE_ALPHA_OFF;
        rbe_blocks *blocks = NULL;
        float *w = test_memory(rows * columns * b * b, sizeof *w);
        ck_assert_ok(rbe_blocks_build(&blocks, rows * b, columns * b, source, rows * columns, &options));
        ck_assert_ok(rbe_decompress(blocks, w));
        rbe_blocks_free(blocks);
        options.coeffs = k;
        ck_assert_double_lt(round_trip(w, rows * b, columns * b, &options), 1e-5);
        rbe_rng_free(rng);
        free(list);
        free(w);
    }
}
END_TEST

static const struct {
    size_t out, in, block, group;
    const char *left, *right;
    rbe_alpha_mode alpha;
} shapes[] = {
    {16, 16, 8, 1, "dct", "dct", RBE_ALPHA_ON},    {7, 10, 8, 1, "dct", "haar", RBE_ALPHA_ON},
    {3, 5, 32, 1, "haar", "dct", RBE_ALPHA_OFF},   {65, 33, 16, 3, "wht", "db4", RBE_ALPHA_ON},
    {100, 70, 32, 16, "dct", "dct", RBE_ALPHA_ON}, {1, 1, 8, 1, "identity", "wht", RBE_ALPHA_OFF},
    {70, 130, 64, 2, "db20", "db8", RBE_ALPHA_ON}, {130, 257, 128, 1, "dct", "wht", RBE_ALPHA_AUTO},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static rbe_compress_options shape_options(int i) {
    return (rbe_compress_options){.block = shapes[i].block,
                                  .row_transform = rbe_transform_named(shapes[i].left),
                                  .column_transform = rbe_transform_named(shapes[i].right),
                                  .alpha = shapes[i].alpha,
                                  .group = shapes[i].group};
}

/* Of ragged matrices too, the error falls with K and vanishes at K = B^2; every block holds exactly K. */
START_TEST(error_falls_with_coefficients) {
    const size_t out = shapes[_i].out, in = shapes[_i].in, b = shapes[_i].block;
    rbe_compress_options options = shape_options(_i);
    float *w = normals(out * in, (uint64_t)_i);
    double before = INFINITY;
    for (size_t k = 1; k <= b * b; k = k * 2 <= b * b || k == b * b ? k * 2 : b * b) {
        options.coeffs = k;
        const double error = round_trip(w, out, in, &options);
        /* blocks of a group share positions: the error of the group falls, measured on its padded blocks */
        ck_assert_msg(error <= before * (1.0 + 1e-6) + 1e-6, "K = %zu: %g after %g", k, error, before);
        before = error;
    }
    ck_assert_double_lt(before, 1e-6);
    free(w);
}
END_TEST

START_TEST(every_block_holds_its_coefficients) {
    const size_t b = 16, out = 160, in = 96, k = 37;
    static const size_t groups[] = {0, 1, 2, 3, 10, 16};
    float *w = normals(out * in, 5);
    for (size_t n = 0; n < sizeof groups / sizeof *groups; n++) {
        rbe_blocks *blocks = compressed(w, out, in, &(rbe_compress_options){b, k, .group = groups[n]});
        const rbe_blocks_info info = rbe_blocks_describe(blocks);
        ck_assert_uint_eq(info.coefficients, info.grid_rows * info.grid_cols * k);
        ck_assert_uint_eq(info.group, groups[n] == 0 ? 1 : groups[n] > 10 ? 10 : groups[n]); /* cut to grid_rows */
        reference_views views;
        reference_read(&views, blocks);
        for (size_t index = 0; index < views.blocks; index++) {
            ck_assert_uint_eq(views.start[index + 1] - views.start[index], k);
            if (index / info.grid_cols % info.group == 0) continue;
            for (size_t i = 0; i < k; i++) { /* the positions are those of the block above */
                const rbe_coefficient *mine = &views.coefficients[index * k + i], *above = mine - info.grid_cols * k;
                ck_assert(mine->freq_i == above->freq_i && mine->freq_j == above->freq_j);
            }
        }
        reference_views_free(&views);
        rbe_blocks_free(blocks);
    }
    free(w);
}
END_TEST

static int descending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* With a ratio the budget is the matrix's: kept is the energy of the globally largest coefficients (of a group:
 * the largest sums over its rows), and nearly all of the budget is used. */
START_TEST(ratio_keeps_the_globally_largest) {
    const size_t b = 16, out = 128, in = 96, group = _i ? 4 : 1;
    const double ratio = 11.0;
    float *w = normals(out * in, 6);
    for (size_t i = 0; i < out * in; i++) w[i] *= 1.0F + (float)(i % in / b); /* some blocks deserve more */
    rbe_blocks *blocks =
        compressed(w, out, in, &(rbe_compress_options){b, .ratio = ratio, .alpha = RBE_ALPHA_OFF, .group = group});
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    const double budget = (double)(out * in) / ratio;
    ck_assert_double_le((double)info.coefficients, budget);
    ck_assert_double_gt((double)info.coefficients, budget - (double)group);
    ck_assert_uint_eq(info.alphas, 0);

    double *wide = widened(w, out * in), *energy = test_memory(out * in / group, sizeof *energy);
    double tile[16 * 16], s[16 * 16], expected = 0.0, kept = 0.0;
    reference *r = reference_new(&info);
    for (size_t p = 0; p < info.grid_rows; p++)
        for (size_t q = 0; q < info.grid_cols; q++) {
            reference_cut(r, wide, p, q, tile);
            reference_analyse(r, tile, s);
            for (size_t i = 0; i < b * b; i++) energy[(p / group * info.grid_cols + q) * b * b + i] += s[i] * s[i];
        }
    qsort(energy, out * in / group, sizeof *energy, descending);
    for (size_t i = 0; i < info.coefficients / group; i++) expected += energy[i];
    reference_views views;
    reference_read(&views, blocks);
    for (size_t i = 0; i < views.total; i++) kept += (double)views.coefficients[i].value * views.coefficients[i].value;
    ck_assert_double_eq_tol(kept / expected, 1.0, 1e-5);
    reference_views_free(&views);
    reference_free(r);
    rbe_blocks_free(blocks);
    free(wide);
    free(energy);
    free(w);
}
END_TEST

/* alphas count too; ragged sizes count out * in, not the padded size */
START_TEST(ratio_bounds_all_values) {
    static const double ratios[] = {1.0, 2.0, 8.0, 15.5, 20.0};
    for (size_t n = 0; n < sizeof ratios / sizeof *ratios; n++)
        for (int mode = RBE_ALPHA_AUTO; mode <= RBE_ALPHA_OFF; mode++) {
            const size_t out = 75, in = 110;
            float *w = normals(out * in, n);
            rbe_compress_options options = {16, .ratio = ratios[n], .alpha = (rbe_alpha_mode)mode, .group = 2};
            rbe_blocks *blocks = compressed(w, out, in, &options);
            const rbe_blocks_info info = rbe_blocks_describe(blocks);
            const double budget = (double)(out * in) / ratios[n];
            ck_assert_double_le((double)(info.coefficients + info.alphas), budget);
            ck_assert_double_gt((double)(info.coefficients + info.alphas), 0.98 * budget - 2.0);
            rbe_blocks_free(blocks);
            free(w);
        }
}
END_TEST

/* An i.i.d. Gaussian matrix is incompressible in every orthonormal basis: its coefficients are i.i.d. Gaussian as
 * well, and the largest fraction p of them holds the energy E(p) = p + 2 t phi(t), 2 (1 - Phi(t)) = p. What is
 * left, sqrt(1 - E), is 0.8218 at p = 1/16: not a weakness of the codec but a fact about the matrix. */
START_TEST(random_matrices_do_not_compress) {
    static const struct {
        size_t coeffs;
        double error;
    } facts[] = {{256, 0.8218}, {512, 0.7054}, {1024, 0.5257}};
    static const char *const names[] = {"dct", "identity", "haar", "wht"};
    const rbe_transform *t = rbe_transform_named(names[_i]);
    float *w = normals((size_t)512 * 256, 9);
    for (size_t n = 0; n < sizeof facts / sizeof *facts; n++) {
        rbe_compress_options options = {.block = 64, .coeffs = facts[n].coeffs, .alpha = RBE_ALPHA_OFF};
        options.row_transform = options.column_transform = t;
        ck_assert_double_eq_tol(round_trip(w, 512, 256, &options), facts[n].error, 0.01);
    }
    free(w);
}
END_TEST

START_TEST(smooth_matrices_do_compress) {
    const size_t out = 512, in = 256;
    const double width = 40.0;
    float *w = test_memory(out * in, sizeof *w);
    for (size_t i = 0; i < out; i++)
        for (size_t j = 0; j < in; j++) {
            const double distance = (double)i / 2.0 - (double)j;
            w[i * in + j] = (float)exp(-distance * distance / (2.0 * width * width));
        }
    for (size_t group = 1; group <= 4; group *= 4) {
        rbe_compress_options options = {.block = 64, .coeffs = 256, .group = group};
        ck_assert_double_lt(round_trip(w, out, in, &options), 1e-3);
        options.coeffs = 0; /* the default: a sixteenth of all values */
        ck_assert_double_lt(round_trip(w, out, in, &options), 1e-3);
    }
    free(w);
}
END_TEST

/* At equal numbers: eight alphas and one coefficient against nine coefficients. */
START_TEST(alpha_pays_on_its_own_span) {
    for (size_t b = 8; b <= 64; b *= 2) {
        float *w = test_memory(4 * b * b, sizeof *w);
        for (size_t i = 0; i < 4 * b * b; i++)
            for (int k = 0; k < RBE_BASIS_COUNT; k++)
                w[i] += (float)((k - 3.5) * rbe_basis_value(k, i / (2 * b) % b, i % b, b));
        rbe_compress_options with = {.block = b, .coeffs = 1, .alpha = RBE_ALPHA_ON};
        rbe_compress_options without = {.block = b, .coeffs = 9, .alpha = RBE_ALPHA_OFF};
        ck_assert_double_lt(round_trip(w, 2 * b, 2 * b, &with), 1e-5);
        ck_assert_double_gt(round_trip(w, 2 * b, 2 * b, &without), 1e-2);
        free(w);
    }
}
END_TEST

START_TEST(alpha_auto_follows_its_rule) {
    static const struct {
        size_t coeffs;
        double ratio;
        bool on;
    } rules[] = {{0, 0.0, true},  {0, 16.0, true},  {0, 25.5, true},  {0, 25.7, false}, {0, 64.0, false},
                 {64, 0.0, true}, {256, 0.0, true}, {16, 0.0, false}, {1, 0.0, false}};
    const size_t size = 128; /* 16 blocks of 32 x 32, 128 alphas; ratio 25.6 makes them a fifth */
    float *w = normals(size * size, 3);
    for (size_t n = 0; n < sizeof rules / sizeof *rules; n++) {
        rbe_blocks *blocks =
            compressed(w, size, size, &(rbe_compress_options){.coeffs = rules[n].coeffs, .ratio = rules[n].ratio});
        const rbe_blocks_info info = rbe_blocks_describe(blocks);
        ck_assert_uint_eq(info.block, 32);
        ck_assert_msg(info.has_alpha == rules[n].on, "rule %zu", n);
        ck_assert_uint_eq(info.alphas, rules[n].on ? 128 : 0);
        rbe_blocks_free(blocks);
    }
    free(w);
}
END_TEST

START_TEST(weights_must_be_finite) {
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t n = 0; n < 3; n++) {
        float *w = normals(40 * 50, n);
        w[1234] = values[n];
        w[1900] = NAN; /* a later one: the first is to be named */
        rbe_blocks *blocks = (rbe_blocks *)w;
        ck_assert_int_eq(rbe_compress(&blocks, w, 40, 50, NULL), RBE_NUMERICAL_INSTABILITY);
        ck_assert_ptr_null(blocks);
        ck_assert_msg(strstr(rbe_last_error(), "24, 34"), "%s", rbe_last_error()); /* 1234 = 24 * 50 + 34 */
        free(w);
    }
}
END_TEST

START_TEST(bad_options_are_refused) {
    static const struct {
        size_t out, in;
        rbe_compress_options options;
    } bad[] = {
        {0, 32, {0}},
        {32, 0, {0}},
        {32, 32, {.block = 7}},
        {32, 32, {.block = 12}},
        {32, 32, {.block = 4}},
        {32, 32, {.block = 512}},
        {32, 32, {.block = 16, .coeffs = 257}},
        {32, 32, {.block = 16, .coeffs = SIZE_MAX}},
        {32, 32, {.coeffs = 16, .ratio = 8.0}},
        {32, 32, {.ratio = 0.5}},
        {32, 32, {.ratio = -16.0}},
        {32, 32, {.ratio = NAN}},
        {32, 32, {.ratio = INFINITY}},
        {32, 32, {.block = 8, .ratio = 8.0, .alpha = RBE_ALPHA_ON}},  /* 8 of 8 values are alphas */
        {32, 32, {.block = 8, .ratio = 40.0, .alpha = RBE_ALPHA_ON}}, /* more than there are */
        {32, 32, {.ratio = 5000.0}},                                  /* less than one value */
    };
    float *w = normals(32 * 32, 4);
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        rbe_blocks *blocks = (rbe_blocks *)w;
        const rbe_status status = rbe_compress(&blocks, w, bad[n].out, bad[n].in, &bad[n].options);
        ck_assert_msg(status == RBE_INVALID_ARGUMENT, "case %zu: %s", n, rbe_status_name(status));
        ck_assert_ptr_null(blocks);
        ck_assert_uint_gt(strlen(rbe_last_error()), 0);
    }
    rbe_blocks *blocks = (rbe_blocks *)w;
    ck_assert_int_eq(rbe_compress(&blocks, NULL, 32, 32, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(blocks);
    ck_assert_uint_eq(rbe_memory().current, 0);
    free(w);
}
END_TEST

/* ---- building from views, and what it costs ------------------------------------------------------------------ */

/* Every block with positions, counts and alphas of its own; block 0 is empty. */
typedef struct random_source {
    rbe_block *blocks;
    rbe_coefficient *list;
    size_t count;
} random_source;

static random_source source_new(size_t count, size_t b, uint64_t seed) {
    random_source source = {test_memory(count, sizeof(rbe_block)), test_memory(count * b, sizeof(rbe_coefficient)),
                            count};
    rbe_rng *rng = rbe_rng_new(seed, 0);
    for (size_t n = 0; n < count; n++) {
        rbe_coefficient *mine = &source.list[n * b];
        source.blocks[n] = (rbe_block){.coefficients = mine, .count = n == 0 ? 0 : rbe_rng_below(rng, (uint32_t)b)};
        for (int k = 0; k < RBE_BASIS_COUNT; k++) source.blocks[n].alpha[k] = n == 0 ? 0.0 : rbe_rng_normal(rng);
        const uint32_t turn = rbe_rng_below(rng, (uint32_t)b);
        for (size_t i = 0; i < source.blocks[n].count; i++) /* descending rows: any order will do */
            mine[i] = (rbe_coefficient){(uint16_t)(b - 1 - i / 2), (uint16_t)((turn + i * 3) % b),
                                        (float)rbe_rng_normal(rng)};
    }
    rbe_rng_free(rng);
    return source;
}

static void source_free(random_source *source) {
    free(source->blocks);
    free(source->list);
}

/* What a view must show of its source: everything, in order, and beyond it only zeros of the group's others. */
static void check_view(const rbe_blocks *blocks, size_t p, size_t q, const rbe_block *source, bool alone) {
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    double alpha[RBE_BASIS_COUNT], found_alpha[RBE_BASIS_COUNT], expected[RBE_BASIS_COUNT];
    const size_t count = rbe_blocks_get(blocks, p, q, alpha, NULL, 0);
    rbe_coefficient *view = test_memory(count + 1, sizeof *view);
    view[count].value = 77.0F;
    ck_assert_uint_eq(rbe_blocks_get(blocks, p, q, NULL, view, count), count);
    ck_assert_uint_eq(rbe_blocks_get(blocks, p, q, NULL, view, count / 2), count);
    ck_assert_float_eq(view[count].value, 77.0F); /* not beyond the capacity */
    size_t found = 0;
    for (size_t n = 0; n < count; n++) {
        const size_t key = view[n].freq_i * info.block + view[n].freq_j;
        ck_assert(n == 0 || key > view[n - 1].freq_i * info.block + view[n - 1].freq_j);
        float value = 0.0F;
        for (size_t s = 0; s < source->count; s++)
            if (source->coefficients[s].freq_i == view[n].freq_i && source->coefficients[s].freq_j == view[n].freq_j) {
                value = source->coefficients[s].value;
                found++;
            }
        ck_assert_float_eq(view[n].value, value);
    }
    ck_assert_uint_eq(found, source->count);
    if (alone) ck_assert_uint_eq(count, source->count);

    /* alphas are kept in float32 orthonormal coordinates: exact there to 2^-24 */
    ck_assert_ok(rbe_alpha_to_orthonormal(info.block, alpha, found_alpha));
    ck_assert_ok(rbe_alpha_to_orthonormal(info.block, source->alpha, expected));
    for (int k = 0; k < RBE_BASIS_COUNT; k++) ck_assert_double_eq_tol(found_alpha[k], expected[k], 1e-6 * info.block);
    free(view);
}

START_TEST(views_come_back) {
    static const size_t groups[] = {0, 1, 3, 16};
    const size_t b = 16, out = 7 * 16 - 5, in = 3 * 16 - 15, rows = 7, columns = 3;
    random_source source = source_new(rows * columns, b, 11);
    for (size_t n = 0; n < sizeof groups / sizeof *groups; n++) {
        rbe_blocks *blocks = NULL;
        rbe_compress_options options = {.block = b, .group = groups[n]};
        ck_assert_ok(rbe_blocks_build(&blocks, out, in, source.blocks, source.count, &options));
        const rbe_blocks_info info = rbe_blocks_describe(blocks);
        ck_assert(info.out == out && info.in == in && info.grid_rows == rows && info.grid_cols == columns);
        ck_assert(info.has_alpha); /* AUTO: some alpha is not zero */
        for (size_t index = 0; index < source.count; index++)
            check_view(blocks, index / columns, index % columns, &source.blocks[index], groups[n] <= 1);
        ck_assert_uint_eq(rbe_blocks_get(blocks, rows, 0, NULL, NULL, 0), 0);
        ck_assert_uint_eq(rbe_blocks_get(blocks, 0, columns, NULL, NULL, 0), 0);
        rbe_blocks_free(blocks);
    }
    for (size_t n = 0; n < source.count; n++) memset(source.blocks[n].alpha, 0, sizeof source.blocks[n].alpha);
    rbe_blocks *blocks = NULL;
    ck_assert_ok(rbe_blocks_build(&blocks, out, in, source.blocks, source.count, &(rbe_compress_options){.block = b}));
    ck_assert(!rbe_blocks_describe(blocks).has_alpha);
    rbe_blocks_free(blocks);
    source_free(&source);
}
END_TEST

/* One defect in block 13 of 21. */
static const struct {
    const char *reason;
    rbe_coefficient first, second;
    double alpha;
    bool no_list;
} defects[] = {
    {"freq", {16, 0, 1.0F}, {1, 1, 1.0F}, 0.0, false},    {"freq", {0, 16, 1.0F}, {1, 1, 1.0F}, 0.0, false},
    {"freq", {0, 0, 1.0F}, {65535, 3, 1.0F}, 0.0, false}, {"twice", {3, 4, 1.0F}, {3, 4, 2.0F}, 0.0, false},
    {"nan", {3, 4, NAN}, {3, 5, 2.0F}, 0.0, false},       {"inf", {3, 4, 1.0F}, {3, 5, -INFINITY}, 0.0, false},
    {"nan", {3, 4, 1.0F}, {3, 5, 1.0F}, NAN, false},      {"inf", {3, 4, 1.0F}, {3, 5, 1.0F}, INFINITY, false},
    {"", {3, 4, 1.0F}, {3, 5, 1.0F}, 0.0, true},
};
enum { DEFECTS = sizeof defects / sizeof *defects };

START_TEST(defects_are_named) {
    const size_t b = 16, at = 13;
    random_source source = source_new(21, b, 12);
    const rbe_coefficient list[] = {{7, 7, 1.0F}, defects[_i].first, {0, 1, 1.0F}, defects[_i].second};
    source.blocks[at].coefficients = defects[_i].no_list ? NULL : list;
    source.blocks[at].count = 4;
    source.blocks[at].alpha[2] = defects[_i].alpha;
    for (size_t group = 1; group <= 4; group *= 4)
        for (int mode = RBE_ALPHA_AUTO; mode <= RBE_ALPHA_ON; mode++) {
            rbe_blocks *blocks = (rbe_blocks *)&source;
            rbe_compress_options options = {.block = b, .group = group, .alpha = (rbe_alpha_mode)mode};
            const rbe_status status = rbe_blocks_build(&blocks, 7 * b, 3 * b, source.blocks, 21, &options);
            ck_assert_msg(status == RBE_CORRUPTED_BLOCK, "%s: %s", rbe_status_name(status), rbe_last_error());
            ck_assert_ptr_null(blocks);
            ck_assert_msg(strstr(rbe_last_error(), "13"), "no index in \"%s\"", rbe_last_error());
            ck_assert_msg(strstr(rbe_last_error(), defects[_i].reason), "not the reason: \"%s\"", rbe_last_error());
        }
    ck_assert_uint_eq(rbe_memory().current, 0);
    source_free(&source);
}
END_TEST

START_TEST(block_count_must_fit) {
    random_source source = source_new(22, 16, 13);
    static const size_t counts[] = {0, 1, 20, 22};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        rbe_blocks *blocks = (rbe_blocks *)&source;
        ck_assert_int_eq(
            rbe_blocks_build(&blocks, 112, 48, source.blocks, counts[n], &(rbe_compress_options){.block = 16}),
            RBE_INPUT_DIMENSION_MISMATCH);
        ck_assert_ptr_null(blocks);
        ck_assert_msg(strstr(rbe_last_error(), "7 x 3"), "%s", rbe_last_error());
    }
    source_free(&source);
}
END_TEST

START_TEST(bytes_add_up) {
    for (int i = 0; i < SHAPES; i++) {
        const size_t start = rbe_memory().current;
        rbe_compress_options options = shape_options(i);
        float *w = normals(shapes[i].out * shapes[i].in, 1);
        options.coeffs = shapes[i].block;
        rbe_blocks *blocks = compressed(w, shapes[i].out, shapes[i].in, &options);
        const rbe_blocks_info info = rbe_blocks_describe(blocks);
        const size_t b = shapes[i].block, group = info.group, groups = (info.grid_rows + group - 1) / group;
        ck_assert_uint_eq(info.block, b);
        ck_assert_uint_eq(info.grid_rows, (shapes[i].out + b - 1) / b);
        ck_assert_uint_eq(info.grid_cols, (shapes[i].in + b - 1) / b);
        ck_assert_ptr_eq(info.row_transform, options.row_transform);
        ck_assert_ptr_eq(info.column_transform, options.column_transform);
        ck_assert_uint_eq(info.value_bytes, 4 * info.coefficients);
        ck_assert_uint_eq(info.alphas, info.has_alpha ? 8 * info.grid_rows * info.grid_cols : 0);
        ck_assert_uint_eq(info.alpha_bytes, 4 * info.alphas);
        ck_assert_uint_ge(info.position_bytes, 2 * groups * info.grid_cols * b); /* K = B entries per group */
        ck_assert_uint_ge(rbe_memory().current - start,
                          info.value_bytes + info.alpha_bytes + info.position_bytes); /* nothing is made up */
        rbe_blocks_free(blocks);
        free(w);
    }
}
END_TEST

/* The size this library promises: 1024 x 1024 at 256 of 4096 coefficients, all bytes counted. */
START_TEST(a_tenth_of_the_dense_bytes) {
    rbe_compress_options options = {.block = 64, .coeffs = 256, .group = 16, .alpha = RBE_ALPHA_ON};
    const size_t start = rbe_memory().current;
    rbe_blocks *blocks = random_blocks(1024, 1024, 256, &options, 1);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    const size_t bias = 1024 * sizeof(float);
    const size_t bytes = info.value_bytes + info.position_bytes + info.alpha_bytes + bias;
    ck_assert_uint_eq(info.coefficients, 65536);
    ck_assert_uint_le(bytes, 4 * 1024 * 1024 / 10);
    ck_assert_uint_le(bytes, 290000);
    ck_assert_uint_le(rbe_memory().current - start, 330000); /* whatever else is held is small */
    rbe_blocks_free(blocks);
}
END_TEST

/* ---- memory that runs out ------------------------------------------------------------------------------------ */

static rbe_status attempt(int what, const float *w, float *found, const random_source *source) {
    rbe_blocks *blocks = NULL;
    rbe_compress_options options = {.block = 16, .group = 1 + 2 * (size_t)(what & 1), .alpha = RBE_ALPHA_ON};
    options.row_transform = rbe_transform_named(what & 1 ? "db4" : "dct");
    rbe_status status = RBE_OK;
    if (what < 2)
        status = rbe_compress(&blocks, w, 7 * 16, 3 * 16, &options);
    else
        status = rbe_blocks_build(&blocks, 7 * 16, 3 * 16, source->blocks, source->count, &options);
    ck_assert((status == RBE_OK) == (blocks != NULL));
    if (blocks) status = rbe_decompress(blocks, found);
    rbe_blocks_free(blocks);
    return status;
}

/* Either the call fails, or, where only the second of two workers is missing, the result is that of one. */
START_TEST(memory_may_run_out_anywhere) {
    const size_t count = (size_t)7 * 16 * 3 * 16;
    float *w = normals(count, 1), *found = test_memory(count, sizeof *found),
          *whole = test_memory(count, sizeof *found);
    const int threads = _i % 2 + 1;
    const bool compresses = _i / 2 < 2;
    size_t survived = 0;
    random_source source = source_new(21, 16, 14);
    ck_assert_int_eq(rbe_set_threads(threads), RBE_OK);
    ck_assert_int_eq(attempt(_i / 2, w, whole, &source), RBE_OK);
    for (size_t fail_at = 1;; fail_at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, fail_at);
        const rbe_status status = attempt(_i / 2, w, found, &source);
        const bool reached = failing_allocator_remove(&allocator);
        if (reached && status == RBE_OK)
            survived++;
        else
            ck_assert_msg(status == (reached ? RBE_INSUFFICIENT_MEMORY : RBE_OK), "request %zu: %s", fail_at,
                          rbe_status_name(status));
        if (status == RBE_OK) ck_assert_mem_eq(found, whole, count * sizeof *found);
        ck_assert_uint_eq(rbe_memory().current, 0);
        if (!reached) break;
        ck_assert_uint_lt(fail_at, 1000);
    }
    if (threads == 1 || !compresses) ck_assert_uint_eq(survived, 0);
    if (threads == 2 && compresses) ck_assert_uint_gt(survived, 0);
    rbe_set_threads(1);
    source_free(&source);
    free(whole);
    free(found);
    free(w);
}
END_TEST

/* ---- the suite ----------------------------------------------------------------------------------------------- */

Suite *codec_suite(void) {
    Suite *suite = suite_create("codec");

    TCase *transforms = tcase_create("transforms");
    tcase_add_test(transforms, transforms_are_orthonormal);
    tcase_add_test(transforms, transform_names_resolve);
    tcase_add_test(transforms, dct_is_its_formula);
    tcase_add_test(transforms, wavelets_are_those_of_gsl);
    tcase_add_test(transforms, wht_row_k_changes_sign_k_times);
    tcase_add_test(transforms, transforms_refuse_bad_block_sizes);
    suite_add_tcase(suite, transforms);

    TCase *basis = tcase_create("basis");
    tcase_add_test(basis, basis_is_its_formula);
    tcase_add_test(basis, alpha_converts_both_ways);
    tcase_add_test(basis, alpha_coordinates_are_orthonormal);
    suite_add_tcase(suite, basis);

    TCase *compress = tcase_create("compress");
    tcase_add_loop_test(compress, representable_matrices_come_back, 0, ORTHONORMAL);
    tcase_add_loop_test(compress, error_falls_with_coefficients, 0, SHAPES);
    tcase_add_test(compress, every_block_holds_its_coefficients);
    tcase_add_loop_test(compress, ratio_keeps_the_globally_largest, 0, 2);
    tcase_add_test(compress, ratio_bounds_all_values);
    tcase_add_loop_test(compress, random_matrices_do_not_compress, 0, 4);
    tcase_add_test(compress, smooth_matrices_do_compress);
    tcase_add_test(compress, alpha_pays_on_its_own_span);
    tcase_add_test(compress, alpha_auto_follows_its_rule);
    tcase_add_test(compress, weights_must_be_finite);
    tcase_add_test(compress, bad_options_are_refused);
    suite_add_tcase(suite, compress);

    TCase *views = tcase_create("blocks");
    tcase_add_test(views, views_come_back);
    tcase_add_loop_test(views, defects_are_named, 0, DEFECTS);
    tcase_add_test(views, block_count_must_fit);
    tcase_add_test(views, bytes_add_up);
    tcase_add_test(views, a_tenth_of_the_dense_bytes);
    suite_add_tcase(suite, views);

    TCase *memory = tcase_create("memory");
    tcase_add_loop_test(memory, memory_may_run_out_anywhere, 0, 8);
    suite_add_tcase(suite, memory);

    return suite;
}
