/* A transformer made of layers: its names, its formula, its gradients. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpt_support.h"
#include "io_support.h"
#include "suites.h"
#include "support.h"

/* nanoGPT's names, in its order; the head has no weights of its own. */
START_TEST(names_are_nanogpts) {
    static const char *const parts[] = {"ln_1.weight", "attn.c_attn.weight", "attn.c_proj.weight",
                                        "ln_2.weight", "mlp.c_fc.weight",    "mlp.c_proj.weight"};
    const kind *k = &kinds[_i];
    rbe_model *model = new_gpt(k);
    size_t n = 0;
    ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.wte.weight");
    if (!k->rotary) ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.wpe.weight");
    for (int layer = 0; layer < LAYERS; layer++)
        for (int part = 0; part < 6; part++) {
            char expected[100];
            snprintf(expected, sizeof expected, "transformer.h.%d.%s", layer, parts[part]);
            char *compressed = k->dense || part % 3 == 0 ? NULL : strstr(expected, "weight");
            if (compressed) strcpy(compressed, "coefficients");
            ck_assert_str_eq(rbe_model_param(model, n++)->name, expected);
        }
    ck_assert_str_eq(rbe_model_param(model, n++)->name, "transformer.ln_f.weight");
    ck_assert_ptr_null(rbe_model_param(model, n));
    ck_assert_ptr_nonnull(rbe_model_find(model, "lm_head"));
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(it_computes_its_formula) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    for (size_t places = 1; places <= CONTEXT; places += 1 + places / 2) {
        float *found = logits_of(model, some_ids, CONTEXT / places, places);
        for (size_t s = 0; s < CONTEXT / places; s++) {
            double *expected = reference_logits(model, kinds[_i].rotary, some_ids + s * places, places);
            const double error = relative_error(found + s * places * VOCABULARY, expected, places * VOCABULARY);
            ck_assert_msg(error < 1e-5, "%s, %zu places: error %g", kinds[_i].name, places, error);
            free(expected);
        }
        free(found);
    }
    rbe_model_free(model);
}
END_TEST

static double deviation_of(const rbe_model *model, const char *path) {
    const rbe_param *param = rbe_model_find_param(model, path);
    ck_assert_msg(param != NULL, "%s", path);
    double sum = 0.0;
    for (size_t n = 0; n < param->count; n++) sum += (double)param->value[n] * (double)param->value[n];
    return sqrt(sum / (double)param->count);
}

/* N(0, 0.02^2), and what writes into the sum smaller by sqrt(2 layers); norms begin at 1. */
START_TEST(values_begin_as_they_should) {
    rbe_gpt_options o = {
        .vocabulary = 60, .layers = 8, .heads = 4, .width = 64, .dense = _i == 0, .ratio = 2, .seed = 9};
    rbe_model *model = rbe_gpt_new(&o);
    ck_assert_ptr_nonnull(model);
    const char *const part = _i == 0 ? "weight" : "coefficients";
    static const char *const matrices[] = {"attn.c_attn", "mlp.c_fc", "attn.c_proj", "mlp.c_proj"};
    double found[4];
    for (int n = 0; n < 4; n++) {
        char path[100];
        snprintf(path, sizeof path, "transformer.h.5.%s.%s", matrices[n], part);
        found[n] = deviation_of(model, path);
        if (_i == 0) ck_assert_double_eq_tol(found[n], n < 2 ? 0.02 : 0.005, n < 2 ? 1e-3 : 2.5e-4);
    }
    if (_i == 1) ck_assert_double_eq_tol(found[0] / found[2], 4.0, 0.3); /* of equal inputs */
    if (_i == 1) ck_assert_double_eq_tol(found[1] / found[0], 1.0, 0.1);
    ck_assert_double_eq_tol(deviation_of(model, "transformer.wte.weight"), 0.02, 1e-3);
    ck_assert_double_eq_tol(deviation_of(model, "transformer.wpe.weight"), 0.02, 1e-3);
    ck_assert_double_eq(deviation_of(model, "transformer.h.7.ln_2.weight"), 1.0);
    rbe_model *again = rbe_gpt_new(&o);
    ck_assert(same_models(model, again));
    rbe_model_free(again);
    o.seed = 10;
    again = rbe_gpt_new(&o);
    ck_assert(!same_models(model, again));
    rbe_model_free(again);
    rbe_model_free(model);
}
END_TEST

static const struct {
    rbe_gpt_options options;
    rbe_status status;
    const char *text;
} bad_options[] = {
    {{.vocabulary = 0}, RBE_INVALID_ARGUMENT, "expected a vocabulary"},
    {{.vocabulary = SIZE_MAX}, RBE_INVALID_ARGUMENT, "embedding"},
    {{.vocabulary = 5, .width = 30}, RBE_INVALID_ARGUMENT, "multiple of 4 heads, found 30"},
    {{.vocabulary = 5, .heads = 300}, RBE_INVALID_ARGUMENT, "multiple of 300 heads"},
    {{.vocabulary = 5, .heads = SIZE_MAX}, RBE_INVALID_ARGUMENT, "heads"},
    {{.vocabulary = 5, .width = (size_t)1 << 40}, RBE_INVALID_ARGUMENT, "at most 2^20"},
    {{.vocabulary = 5, .context = SIZE_MAX}, RBE_INVALID_ARGUMENT, "positions"},
    {{.vocabulary = 5, .dropout = 1}, RBE_INVALID_ARGUMENT, "0 <= dropout < 1, found 1"},
    {{.vocabulary = 5, .dropout = 1 - 1e-12}, RBE_INVALID_ARGUMENT, "dropout"},
    {{.vocabulary = 5, .dropout = -0.1}, RBE_INVALID_ARGUMENT, "found -0.1"},
    {{.vocabulary = 5, .dropout = NAN}, RBE_INVALID_ARGUMENT, "found nan"},
    {{.vocabulary = 5, .ratio = 0.5}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .ratio = -2}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .ratio = NAN}, RBE_INVALID_ARGUMENT, "ratio"},
    {{.vocabulary = 5, .block = 12}, RBE_INVALID_ARGUMENT, "block"},
    {{.vocabulary = 5, .heads = 4, .width = 20, .rotary = true}, RBE_INPUT_DIMENSION_MISMATCH, "multiple of 8"},
};
enum { BAD_OPTIONS = sizeof bad_options / sizeof *bad_options };

START_TEST(bad_options_are_refused) {
    rbe_model *model = rbe_gpt_new(&bad_options[_i].options);
    ck_assert_ptr_null(model);
    ck_assert_msg(rbe_last_status() == bad_options[_i].status, "%s: %s", rbe_status_name(rbe_last_status()),
                  rbe_last_error());
    ck_assert_msg(strstr(rbe_last_error(), bad_options[_i].text) != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(defaults) {
    ck_assert_ptr_null(rbe_gpt_new(NULL));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_model *model = rbe_gpt_new(&(rbe_gpt_options){.vocabulary = 65});
    ck_assert_ptr_nonnull(model);
    ck_assert_ptr_nonnull(rbe_model_find(model, "transformer.h.3.mlp.c_fc"));
    ck_assert_ptr_null(rbe_model_find(model, "transformer.h.4"));
    ck_assert_uint_eq(rbe_model_find_param(model, "transformer.wpe.weight")->count, 64 * 256);
    const rbe_layer *fc = rbe_model_find(model, "transformer.h.0.mlp.c_fc");
    ck_assert_str_eq(rbe_layer_kind(fc), "rbe");
    ck_assert_uint_eq(rbe_layer_describe_cost(fc).values, 256 * 1024 / 16);
    ck_assert_uint_eq(rbe_blocks_describe(rbe_linear_blocks(fc)).block, 32);
    rbe_model_free(model);
}
END_TEST

static rbe_status make_and_speak(void *user) {
    const rbe_gpt_options options = options_of(user);
    rbe_model *model = rbe_gpt_new(&options);
    rbe_status status = model ? RBE_OK : rbe_last_status();
    rbe_generator *g = model ? rbe_generator_new(model, CONTEXT, NULL, 0) : NULL;
    const float *logits;
    int32_t id;
    if (model && !g) status = rbe_last_status();
    if (g) status = rbe_generator_feed(g, some_ids, 5, &logits);
    if (status == RBE_OK) status = rbe_sample(logits, VOCABULARY, NULL, NULL, 0, NULL, &id);
    rbe_generator_free(g);
    rbe_model_free(model);
    return status;
}

START_TEST(allocations_that_fail) { ck_assert_uint_gt(fail_each_allocation(make_and_speak, (void *)&kinds[_i]), 50); }
END_TEST

START_TEST(gradients_are_those_of_differences) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    rbe_param *params[40];
    size_t count = 0;
    while ((params[count] = rbe_model_param(model, count))) count++;
    rbe_gradient_report report;
    ck_assert_ok(rbe_check_gradients(loss_of, model, params, count, &(rbe_gradient_options){.entries = 8}, &report));
    ck_assert_uint_eq(report.checked, 8 * count);
    ck_assert_uint_lt(report.unresolved, count);
    rbe_model_free(model);
}
END_TEST

/* The table's gradient is that of both of its places: what the head alone gives is another. */
START_TEST(tied_weights_get_both_gradients) {
    rbe_model *model = stirred_gpt(&kinds[0]);
    rbe_param *wte = rbe_model_find_param(model, "transformer.wte.weight");
    rbe_tape *tape = rbe_tape_new(NULL);
    ck_assert_ok(rbe_backward(loss_of(tape, model)));
    /* An id that the text has not is in the head's gradient alone, where the rows add up to zero: softmax - label. */
    double sum[WIDTH] = {0}, size = 0.0;
    for (size_t n = 0; n < wte->count; n++) {
        sum[n % WIDTH] += (double)wte->grad[n];
        size += fabs((double)wte->grad[n]);
    }
    double largest = 0.0;
    for (size_t n = 0; n < WIDTH; n++) largest = fmax(largest, fabs(sum[n]));
    ck_assert_double_gt(largest, 1e-3 * size);      /* the embedding's part does not add up to zero */
    ck_assert_float_ne(wte->grad[4 * WIDTH], 0.0f); /* id 4 is none of the text */
    rbe_tape_free(tape);
    rbe_model_free(model);
}
END_TEST

/* Gradients of one step, of which some are not wanted: those that are, are the same bits. */
START_TEST(frozen_parts) {
    rbe_model *model = stirred_gpt(&kinds[_i]);
    static float kept[20][WIDTH * WIDTH * 4];
    rbe_param *param;
    for (int frozen = 0; frozen < 2; frozen++) {
        if (frozen) rbe_layer_freeze(rbe_model_find(model, "transformer.h.0"), true);
        rbe_tape *tape = rbe_tape_new(NULL);
        ck_assert_ok(rbe_backward(loss_of(tape, model)));
        for (size_t n = 0; (param = rbe_model_param(model, n)); n++) {
            const bool is_frozen = frozen && strstr(param->name, "h.0.");
            ck_assert_int_eq(param->grad_set, !is_frozen);
            if (!frozen) memcpy(kept[n], param->grad, param->count * sizeof(float));
            if (!is_frozen) ck_assert_mem_eq(kept[n], param->grad, param->count * sizeof(float));
        }
        rbe_zero_grad(model);
        rbe_tape_free(tape);
    }
    rbe_model_free(model);
}
END_TEST

Suite *gpt_suite(void) {
    Suite *suite = suite_create("gpt");
    TCase *model = tcase_create("model");
    tcase_add_loop_test(model, names_are_nanogpts, 0, KINDS);
    tcase_add_loop_test(model, it_computes_its_formula, 0, KINDS);
    tcase_add_loop_test(model, values_begin_as_they_should, 0, 2);
    tcase_add_loop_test(model, bad_options_are_refused, 0, BAD_OPTIONS);
    tcase_add_test(model, defaults);
    tcase_add_loop_test(model, allocations_that_fail, 0, KINDS);
    suite_add_tcase(suite, model);
    TCase *gradients = tcase_create("gradients");
    tcase_add_loop_test(gradients, gradients_are_those_of_differences, 0, KINDS);
    tcase_add_test(gradients, tied_weights_get_both_gradients);
    tcase_add_loop_test(gradients, frozen_parts, 0, KINDS);
    suite_add_tcase(suite, gradients);
    suite_add_tcase(suite, gpt_layers_case());
    suite_add_tcase(suite, gpt_files_case());
    suite_add_tcase(suite, gpt_generator_case());
    suite_add_tcase(suite, gpt_sampling_case());
    suite_add_tcase(suite, gpt_training_case());
    return suite;
}
