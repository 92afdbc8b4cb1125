/* How large checkpoints are, and how much memory saving and loading take. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_support.h"

static rbe_model *wide_model(double ratio, rbe_alpha_mode alpha) {
    rbe_model *model = rbe_model_new();
    const size_t widths[] = {784, 1024, 1024};
    for (size_t n = 0; n < 2; n++) {
        const rbe_linear_options options = {.ratio = ratio, .alpha = alpha, .group = 2, .seed = n};
        rbe_model_add(model, ratio > 1.0 ? rbe_linear_new(widths[n], widths[n + 1], &options)
                                         : rbe_dense_new(widths[n], widths[n + 1], NULL));
        rbe_model_apply(model, rbe_relu);
    }
    rbe_model_add(model, rbe_dense_new(1024, 10, NULL));
    ck_assert_ok(rbe_model_status(model));
    return model;
}

static const struct {
    double ratio; /* 1: dense */
    rbe_alpha_mode alpha;
    const char *method;
    float momentum;
    size_t companions;
    bool grown, pruned;
} sizes[] = {
    {.ratio = 16, .method = "adam", .companions = 2},
    {.ratio = 16, .method = "adam", .companions = 2, .grown = true},
    {.ratio = 16, .method = "adam", .companions = 2, .pruned = true},
    {.ratio = 16, .method = "sgd", .momentum = 0.9f, .companions = 1, .alpha = RBE_ALPHA_ON, .grown = true},
    {.ratio = 64, .method = "sgd", .companions = 0, .grown = true},
    {.ratio = 4, .method = "adamw", .companions = 2, .alpha = RBE_ALPHA_ON},
    {.ratio = 1, .method = "adam", .companions = 2},
};
#define SIZES (int)(sizeof sizes / sizeof *sizes)

/* Positions that no seed draws. */
static void move_positions(rbe_model *model, bool prune) {
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = 8, .every = 1});
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, NULL);
    rbe_tape *tape = rbe_tape_new(NULL);
    float x[784];
    for (size_t i = 0; i < 784; i++) x[i] = (float)(i % 13) - 6.0f;
    for (size_t step = 0; step < 2 && !prune; step++, rbe_tape_reset(tape)) {
        ck_assert_ok(rbe_backward(rbe_mean(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, 1, 784))))));
        ck_assert_ok(rbe_optim_step(optim));
        ck_assert_ok(rbe_growth_step(growth, step));
    }
    if (prune) ck_assert_ok(rbe_prune(model, &(rbe_prune_options){.amount = 0.3}, NULL));
    ck_assert(prune || rbe_growth_count(growth).values > 0);
    rbe_tape_free(tape);
    rbe_optim_free(optim);
    rbe_growth_free(growth);
}

static void count_values(const rbe_model *model, size_t *values, size_t *params, size_t *positions) {
    const rbe_param *p;
    const rbe_layer *layer;
    *values = *params = *positions = 0;
    for (; (p = rbe_model_param(model, *params)); ++*params) *values += p->count;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        *positions += rbe_blocks_describe(rbe_linear_blocks(layer)).position_bytes;
}

/* As the values, for each array of the optimiser once more, a fifth, the positions, and 300 bytes a tensor. Saving
 * takes no copy of the values; loading takes one. */
START_TEST(checkpoints_are_small) {
    rbe_model *model = wide_model(sizes[_i].ratio, sizes[_i].alpha);
    if (sizes[_i].grown || sizes[_i].pruned) move_positions(model, sizes[_i].pruned);
    rbe_optim *optim = rbe_optim_new(rbe_optim_method_named(sizes[_i].method), model,
                                     &(rbe_optim_options){.momentum = sizes[_i].momentum});
    const rbe_checkpoint c = {.model = model, .optim = optim};
    size_t values, params, positions, companions = sizes[_i].companions, before = rbe_memory().current;
    count_values(model, &values, &params, &positions);
    const size_t bytes_of_values = values * sizeof(float), tensors = params * (1 + companions) + 2;
    rbe_memory_reset_peak();
    ck_assert_ok(rbe_checkpoint_save(&c, scratch_path("c"), 1));
    size_t saving = rbe_memory().peak - before;
    bytes file = read_whole(scratch_path("c"));
    size_t most = (size_t)((1.2 + (double)companions) * (double)bytes_of_values) + positions + 300 * tensors;
    ck_assert_msg(file.count <= most, "%zu bytes, expected %zu", file.count, most);
    ck_assert_uint_ge(file.count, (1 + companions) * bytes_of_values);
    ck_assert_msg(saving <= 3 * positions + bytes_of_values / 4 + (64 << 10),
                  "saving takes %zu bytes beside %zu of values and %zu of positions", saving, bytes_of_values,
                  positions);
    rbe_memory_reset_peak();
    ck_assert_ok(rbe_checkpoint_load(&c, scratch_path("c")));
    ck_assert_uint_eq(rbe_memory().current, before);
    size_t loading = rbe_memory().peak - before;
    ck_assert_msg(loading <= (1 + companions) * bytes_of_values + 4 * positions + bytes_of_values + (1 << 20),
                  "loading takes %zu bytes", loading);
    free(file.data);
    rbe_optim_free(optim);
    rbe_model_free(model);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

TCase *checkpoint_size_case(void) {
    TCase *size = tcase_create("size");
    tcase_add_checked_fixture(size, scratch_clear, scratch_clear);
    tcase_add_loop_test(size, checkpoints_are_small, 0, SIZES);
    return size;
}
