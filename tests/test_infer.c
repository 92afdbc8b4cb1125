/* The small library gives what the full one gives: the same bits, or dense products to their rounding. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpt_support.h"
#include "infer/multiply.h"
#include "infer_support.h"
#include "kernels/plan.h"
#include "nn/layer.h"
#include "packed_support.h"
#include "suites.h"
#include "support.h"

static const char *const isas[] = {"portable", "avx2", "avx512"};
enum { ISAS = sizeof isas / sizeof *isas };

static rbe_model *model_of(rbe_layer *layer) {
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, layer));
    return model;
}

/* Values as large as those of a trained layer, alphas too. */
static rbe_model *compressed(size_t in, size_t out, rbe_linear_options o) {
    o.ratio = 4;
    rbe_model *model = model_of(rbe_linear_new(in, out, &o));
    rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(model, n)); n++) fill_normal(param->value, param->count, 0.3, n + 5);
    return model;
}

static void check_compressed(size_t in, size_t out, rbe_linear_options o, exactness wanted) {
    char what[120];
    snprintf(what, sizeof what, "%zu -> %zu, block %zu, group %zu, overlap %zu, alpha %d, %s and %s", in, out, o.block,
             o.group, o.overlap, (int)o.alpha, rbe_transform_name(o.row_transform),
             rbe_transform_name(o.column_transform));
    rbe_model *model = compressed(in, out, o);
    check_same_outputs(model, &(rbe_save_options){0}, wanted, what);
    rbe_model_free(model);
}

/* ---- compressed layers --------------------------------------------------------------------------------------- */

/* Each transform in each block size, with another one on the other side; ragged widths. */
START_TEST(transforms_give_the_same_bits) {
    if (!small_library_load(isas[_i % ISAS])) return;
    const size_t block = (size_t)8 << _i / ISAS;
    const rbe_transform *transform;
    for (size_t n = 0; (transform = rbe_transform_at(n)); n++) {
        const rbe_transform *next = rbe_transform_at(n + 1);
        check_compressed(block + 5, 2 * block + 3,
                         (rbe_linear_options){.block = block,
                                              .group = 1 + n % 3,
                                              .row_transform = transform,
                                              .column_transform = next ? next : rbe_transform_at(0),
                                              .alpha = n % 2 ? RBE_ALPHA_ON : RBE_ALPHA_OFF,
                                              .seed = n},
                         SAME_BITS);
    }
}
END_TEST

START_TEST(alphas_give_the_same_bits) {
    if (!small_library_load(isas[_i])) return;
    const rbe_transform *transform;
    for (size_t n = 0; (transform = rbe_transform_at(n)); n++)
        for (size_t block = 8; block <= 32; block *= 2)
            check_compressed(50, 75,
                             (rbe_linear_options){.block = block,
                                                  .group = 4,
                                                  .row_transform = transform,
                                                  .column_transform = transform,
                                                  .alpha = RBE_ALPHA_ON},
                             SAME_BITS);
}
END_TEST

START_TEST(groups_and_widths_give_the_same_bits) {
    static const size_t groups[] = {1, 2, 3, 4, 5, 8, 11, 16, 20}, widths[] = {1, 7, 8, 30, 64, 97};
    if (!small_library_load(isas[_i])) return;
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
            check_compressed(widths[w], 170, (rbe_linear_options){.block = 8, .group = groups[g], .seed = g},
                             SAME_BITS);
}
END_TEST

START_TEST(overlaps_give_the_same_bits) {
    if (!small_library_load(NULL)) return;
    for (size_t overlap = 1; overlap <= 8; overlap++)
        check_compressed(61, 45, (rbe_linear_options){.block = 16, .overlap = overlap, .alpha = RBE_ALPHA_ON},
                         SAME_BITS);
}
END_TEST

/* Their transform is two dense products. */
START_TEST(images_give_the_same) {
    static const size_t shapes[][2] = {{28, 28}, {1, 40}, {40, 1}, {7, 13}, {33, 5}};
    if (!small_library_load(isas[_i])) return;
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++)
        check_compressed(shapes[n][0] * shapes[n][1], 60,
                         (rbe_linear_options){.block = 16,
                                              .group = 4,
                                              .image_height = shapes[n][0],
                                              .image_width = shapes[n][1],
                                              .alpha = n % 2 ? RBE_ALPHA_ON : RBE_ALPHA_OFF},
                         ROUNDED);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------------- */

static rbe_model *plain_small_model(void) { return small_model(RBE_ALPHA_ON, 3, "dct", "db6"); }

static rbe_model *few_bits(void) {
    rbe_model *model = grown_digits(8, 4, 3);
    give_bits(model, 4, 9);
    return model;
}

static rbe_model *few_bits_of_all(void) {
    rbe_model *model = plain_small_model();
    give_bits(model, 2, 3);
    return model;
}

START_TEST(every_store_gives_the_same) {
    static rbe_model *(*const models[])(void) = {plain_small_model, grown_model, nested_model, few_bits,
                                                 few_bits_of_all};
    if (!small_library_load(NULL)) return;
    rbe_model *model = models[_i]();
    for (int store = RBE_STORE_F32; store <= RBE_STORE_INT8; store++)
        for (int positions = RBE_POSITIONS_SMALLEST; positions <= RBE_POSITIONS_DELTA; positions++) {
            char what[60];
            snprintf(what, sizeof what, "model %d, store %d, positions %d", _i, store, positions);
            check_same_outputs(model, &(rbe_save_options){(rbe_store)store, (rbe_store_positions)positions}, ROUNDED,
                               what);
        }
    rbe_model_free(model);
}
END_TEST

START_TEST(metadata_are_the_same) {
    if (!small_library_load(NULL)) return;
    rbe_model *model = plain_small_model();
    ck_assert_ok(rbe_model_set_metadata(model, "input.mean", "0.25"));
    ck_assert_ok(rbe_model_set_metadata(model, "names", "\"\\\n\t\x01 \xc3\xa4 \xf0\x9f\x98\x80"));
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = small.rbe_model_load_memory(file.data, file.count);
    ck_assert_str_eq(small.rbe_model_metadata(again, "input.mean"), "0.25");
    ck_assert_str_eq(small.rbe_model_metadata(again, "names"), rbe_model_metadata(model, "names"));
    ck_assert_ptr_null(small.rbe_model_metadata_at(again, 2));
    small.rbe_model_free(again);
    rbe_model_free(model);
    free(file.data);
}
END_TEST

/* ---- layers of all kinds ------------------------------------------------------------------------------------- */

static rbe_layer *dense_of(size_t in, size_t out) {
    return rbe_dense_new(in, out, &(rbe_dense_options){.seed = in + out});
}

/* Norms, a bag, a residual, a repeat and all operations that a file can hold, around compressed layers. */
static rbe_model *every_kind(void) {
    static rbe_operation *const operations[] = {rbe_relu,    rbe_gelu,    rbe_gelu_tanh,  rbe_tanh,
                                                rbe_sigmoid, rbe_softmax, rbe_log_softmax};
    rbe_model *model = rbe_model_new();
    const rbe_linear_options o = {.block = 8, .ratio = 2, .seed = 4};
    for (size_t n = 0; n < sizeof operations / sizeof *operations; n++) {
        rbe_layer *inner = rbe_sequential_new("inner");
        ck_assert_ok(rbe_layer_add(inner, rbe_linear_new(24, 24, &o)));
        ck_assert_ok(rbe_layer_add(inner, rbe_operation_new(operations[n])));
        ck_assert_ok(rbe_model_add(model, n % 2 ? rbe_repeat_new(inner, 3, NULL) : rbe_residual_new(inner, NULL)));
        ck_assert_ok(
            rbe_model_add(model, n % 2 ? rbe_rms_norm_new(24, 0, NULL) : rbe_layer_norm_new(24, 0, n % 4 == 0, NULL)));
    }
    ck_assert_ok(rbe_model_add(model, rbe_dropout_new(0.3f)));
    return model;
}

START_TEST(every_kind_of_layer_gives_the_same) {
    if (!small_library_load(isas[_i])) return;
    rbe_model *model = every_kind();
    check_same_outputs(model, &(rbe_save_options){0}, SAME_BITS, "every kind");
    ck_assert_ok(rbe_model_add(model, dense_of(24, 33)));
    check_same_outputs(model, &(rbe_save_options){0}, ROUNDED, "every kind, and dense");
    rbe_model_free(model);
}
END_TEST

/* ---- transformers -------------------------------------------------------------------------------------------- */

static rbe_model *load_small(const rbe_model *model) {
    bytes file = saved(model, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    rbe_model *again = small.rbe_model_load_memory(file.data, file.count);
    ck_assert_msg(again != NULL, "%s", small.rbe_last_error());
    free(file.data);
    return again;
}

/* The whole sequence at once, then one id after the other. */
START_TEST(transformers_give_the_same) {
    static const size_t pieces[] = {CONTEXT, 1, 5};
    if (!small_library_load(NULL)) return;
    const kind *k = &kinds[_i % KINDS];
    const size_t piece = pieces[_i / KINDS];
    rbe_model *model = stirred_gpt(k), *again = load_small(model);
    rbe_generator *a = rbe_generator_new(model, CONTEXT, NULL, 0);
    rbe_generator *b = small.rbe_generator_new(again, CONTEXT, NULL, 0);
    for (size_t n = 0; n < CONTEXT; n += piece) {
        const size_t count = n + piece < CONTEXT ? piece : CONTEXT - n;
        const float *logits, *other;
        ck_assert_ok(rbe_generator_feed(a, some_ids + n, count, &logits));
        ck_assert_ok(small.rbe_generator_feed(b, some_ids + n, count, &other));
        check_close(logits, other, VOCABULARY, k->name);
    }
    ck_assert_uint_eq(small.rbe_generator_places(b), CONTEXT);
    ck_assert_int_eq(small.rbe_generator_feed(b, some_ids, 1, NULL), rbe_generator_feed(a, some_ids, 1, NULL));
    rbe_generator_free(a);
    small.rbe_generator_free(b);
    rbe_model_free(model);
    small.rbe_model_free(again);
    ck_assert_uint_eq(small.rbe_memory().current, 0);
}
END_TEST

/* From the same logits, with generators of the same seed. */
START_TEST(samples_are_the_same) {
    enum { COUNT = 50 };
    const rbe_sample_options options = {.temperature = 0.9, .top_k = 40, .top_p = 0.95};
    float logits[COUNT];
    if (!small_library_load(NULL)) return;
    rbe_rng *a = rbe_rng_new(7, 3), *b = small.rbe_rng_new(7, 3);
    for (uint64_t n = 0; n < 1000; n++) {
        int32_t x, y;
        fill_normal(logits, COUNT, 2.0, n);
        ck_assert_ok(rbe_sample(logits, COUNT, &options, NULL, 0, a, &x));
        ck_assert_ok(small.rbe_sample(logits, COUNT, &options, NULL, 0, b, &y));
        ck_assert_int_eq(x, y);
    }
    rbe_rng_free(a);
    small.rbe_rng_free(b);
}
END_TEST

/* The last one becomes the seed 0 of MT19937, in the place of which GSL has another. */
START_TEST(random_numbers_are_the_same) {
    static const uint64_t seeds[] = {0, 1, 2, 977, UINT64_MAX, 0xaaf1a8e3adb96562};
    if (!small_library_load(NULL)) return;
    rbe_rng *a = rbe_rng_new(seeds[_i], 0), *b = small.rbe_rng_new(seeds[_i], 0);
    for (uint32_t n = 0; n < 5000; n++) {
        const uint32_t bound = (1 + n * 1000003) % 0x80000001u;
        ck_assert_double_eq(rbe_rng_uniform(a), small.rbe_rng_uniform(b));
        ck_assert_uint_eq(rbe_rng_below(a, bound), small.rbe_rng_below(b, bound));
    }
    rbe_rng_free(a);
    small.rbe_rng_free(b);
    ck_assert(small.rbe_rng_uniform(NULL) == 0.0 && small.rbe_rng_below(NULL, 3) == 0);
}
END_TEST

START_TEST(vocabularies_are_the_same) {
    static const char text[] = "abc \xc3\xa4\xe2\x82\xac z";
    int32_t ids[20];
    size_t count;
    char character[RBE_CHARACTER_SIZE];
    if (!small_library_load(NULL)) return;
    rbe_vocabulary *v = small.rbe_vocabulary_of_text(text, strlen(text));
    ck_assert_ok(small.rbe_vocabulary_encode(v, text, strlen(text), ids, &count));
    ck_assert_uint_eq(count, 8);
    ck_assert_uint_eq(small.rbe_vocabulary_size(v), 7);
    ck_assert_uint_eq(small.rbe_vocabulary_decode(v, ids[5], character), 3);
    ck_assert_str_eq(character, "\xe2\x82\xac");
    small.rbe_vocabulary_free(v);
}
END_TEST

/* ---- products ------------------------------------------------------------------------------------------------ */

static rbe_multiply_function *product_of(const char *isa) {
    if (!rbe_isa_select(isa)) return NULL;
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0) return rbe_multiply_avx512;
    if (strcmp(isa, "avx2") == 0) return rbe_multiply_avx2;
#endif
    return rbe_multiply_portable;
}

/* Rows lie further apart than they are long; what is between them stays. With keep 0 NaNs of C are not read. */
static void check_product(rbe_multiply_function *multiply, size_t m, size_t n, size_t k, unsigned transposed,
                          float keep) {
    const bool ta = transposed & 1, tb = transposed & 2;
    const size_t lda = (ta ? m : k) + 2, ldb = (tb ? k : n) + 1, ldc = n + 3;
    float *a = normals((ta ? k : m) * lda, 1), *b = normals((tb ? n : k) * ldb, 2), *c = normals(m * ldc, 3);
    float *before = normals(m * ldc, 3);
    for (size_t i = 0; keep == 0.0f && i < m; i++)
        for (size_t j = 0; j < n; j++) c[i * ldc + j] = NAN;
    multiply(&(rbe_one_product){ta, tb, m, n, k, 0.5f, a, lda, b, ldb, keep, c, ldc});
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ldc; j++) {
            double sum = 0.0, size = 1.0;
            for (size_t t = 0; j < n && t < k; t++) {
                double term = (double)a[ta ? t * lda + i : i * lda + t] * (double)b[tb ? j * ldb + t : t * ldb + j];
                sum += term;
                size += fabs(term);
            }
            const double old = (double)before[i * ldc + j], expected = j < n ? 0.5 * sum + (double)keep * old : old;
            ck_assert_msg(fabs((double)c[i * ldc + j] - expected) <= 1e-6 * (size + fabs(old)),
                          "%zu x %zu x %zu, transposed %u: (%zu, %zu)", m, n, k, transposed, i, j);
        }
    free(a);
    free(b);
    free(c);
    free(before);
}

START_TEST(dense_products_are_right) {
    static const size_t extents[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 70};
    enum { EXTENTS = sizeof extents / sizeof *extents };
    rbe_multiply_function *multiply = product_of(isas[_i]);
    for (size_t n = 0; multiply && n < EXTENTS * EXTENTS * EXTENTS; n++)
        for (unsigned transposed = 0; transposed < 4; transposed++)
            check_product(multiply, extents[n % EXTENTS], extents[n / EXTENTS % EXTENTS],
                          extents[n / EXTENTS / EXTENTS], transposed,
                          n % 3 == 0   ? 0.0f
                          : n % 3 == 1 ? 1.0f
                                       : -0.5f);
}
END_TEST

Suite *infer_suite(void) {
    Suite *suite = suite_create("infer");
    TCase *results = tcase_create("results");
    tcase_set_timeout(results, 300);
    tcase_add_loop_test(results, transforms_give_the_same_bits, 0, 6 * ISAS);
    tcase_add_loop_test(results, alphas_give_the_same_bits, 0, ISAS);
    tcase_add_loop_test(results, groups_and_widths_give_the_same_bits, 0, ISAS);
    tcase_add_test(results, overlaps_give_the_same_bits);
    tcase_add_loop_test(results, images_give_the_same, 0, ISAS);
    tcase_add_loop_test(results, every_store_gives_the_same, 0, 5);
    tcase_add_test(results, metadata_are_the_same);
    tcase_add_loop_test(results, every_kind_of_layer_gives_the_same, 0, ISAS);
    tcase_add_loop_test(results, transformers_give_the_same, 0, 3 * KINDS);
    tcase_add_test(results, samples_are_the_same);
    tcase_add_loop_test(results, random_numbers_are_the_same, 0, 6);
    tcase_add_test(results, vocabularies_are_the_same);
    tcase_add_loop_test(results, dense_products_are_right, 0, ISAS);
    suite_add_tcase(suite, results);
    suite_add_tcase(suite, infer_files_case());
    return suite;
}
