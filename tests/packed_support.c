#include "packed_support.h"

#include <stdlib.h>
#include <string.h>

#include "codec/entries.h"
#include "nn/model.h"
#include "rbe/adapt.h"
#include "rbe/train.h"
#include "support.h"

void round_to_bits(const rbe_layer *layer, rbe_param *param) {
    const rbe_rows rows = rbe_param_rows(layer, param);
    float *steps = calloc(rows.count + 1, sizeof *steps);
    ck_assert_uint_eq(rbe_quantise_steps(&rows, param->bits, param->value, steps), param->count);
    rbe_quantise(&rows, param->value, steps, param->value);
    rbe_dequantise(&rows, steps, param->value);
    free(steps);
}

typedef struct giver {
    unsigned bits;
    uint64_t seed;
} giver;

static bool give(void *user, rbe_layer *layer) {
    giver *g = user;
    ck_assert_ok(rbe_layer_set_bits(layer, g->bits));
    for (size_t n = 0; n < layer->param_count; n++) {
        rbe_param *param = &layer->params[n];
        fill_normal(param->value, param->count, 0.3, g->seed++);
        for (size_t k = 0; k < param->count; k += 7) param->value[k] = 0.0f;
        round_to_bits(layer, param);
    }
    return true;
}

void give_bits(rbe_model *model, unsigned bits, uint64_t seed) {
    rbe_layer_walk(model->root, give, &(giver){bits, seed});
}

rbe_layer *scattered_layer(rbe_layer *layer, double density, uint64_t seed) {
    const rbe_blocks *old = rbe_linear_blocks(layer);
    const rbe_blocks_info info = rbe_blocks_describe(old);
    const rbe_geometry geometry = {.out = info.out,
                                   .in = info.in,
                                   .block = info.block,
                                   .grid_rows = info.grid_rows,
                                   .grid_cols = info.grid_cols,
                                   .group = info.group,
                                   .overlap = info.overlap,
                                   .image_height = info.image_height,
                                   .image_width = info.image_width,
                                   .row_transform = info.row_transform,
                                   .column_transform = info.column_transform,
                                   .has_alpha = info.has_alpha};
    rbe_blocks *b = rbe_blocks_new(&geometry);
    const size_t width = info.grid_cols * info.block, lists = rbe_list_count(b);
    uint8_t *taken = calloc(lists * width, 1);
    rbe_rng *rng = rbe_rng_new(seed, 0);
    for (size_t n = 0; n < lists; n++) {
        size_t length = 0;
        for (size_t c = 0; c < width; c++) length += taken[n * width + c] = rbe_rng_uniform(rng) < density;
        rbe_set_list_length(b, n, length);
    }
    ck_assert_ok(rbe_blocks_allocate(b));
    for (size_t n = 0, k = 0; n < lists; n++)
        for (size_t c = 0; c < width; c++)
            if (taken[n * width + c]) rbe_set_column(b, k++, c);
    const rbe_param *bias = &layer->params[layer->param_count - 1];
    const bool has_bias = rbe_layer_has_bias(layer);
    rbe_layer *made = rbe_linear_from_blocks(b, has_bias ? bias->value : NULL, has_bias ? bias->count : 0, NULL);
    ck_assert_msg(made != NULL, "%s", rbe_last_error());
    rbe_layer_free(layer);
    rbe_rng_free(rng);
    free(taken);
    return made;
}

rbe_model *grown_digits(double ratio, size_t group, size_t steps) {
    enum { ROWS = 32, IN = 784 };
    static float x[ROWS * IN];
    int32_t labels[ROWS];
    rbe_model *model = rbe_model_new();
    const rbe_linear_options options = {.block = 16,
                                        .ratio = ratio,
                                        .group = group,
                                        .image_height = 28,
                                        .image_width = 28,
                                        .row_transform = rbe_transform_named("identity"),
                                        .column_transform = rbe_transform_named("identity"),
                                        .seed = 1};
    rbe_model_add(model, rbe_linear_new(IN, 300, &options));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(300, 10, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = steps, .every = 5});
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_step step = {.model = model, .optim = optim, .tape = tape};
    for (size_t n = 0; n < steps; n++) {
        for (size_t r = 0; r < ROWS; r++) { /* blots: what is smooth has few frequencies */
            labels[r] = (int32_t)((r + n) % 10);
            for (size_t c = 0; c < IN; c++) {
                const long down = (long)(c / 28) - 5 - 2 * labels[r],
                           right = (long)(c % 28) - 8 - (long)((r + 3 * n) % 12);
                x[r * IN + c] = 1.0f / (1.0f + 0.1f * (float)(down * down + right * right));
            }
        }
        const rbe_batch batch = {.x = rbe_tensor_2d(x, ROWS, IN), .labels = labels, .label_width = 1, .rows = ROWS};
        ck_assert_ok(rbe_train_step(&step, &batch));
        ck_assert_ok(rbe_growth_step(growth, n));
    }
    rbe_tape_free(tape);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return model;
}

bytes check_packed_round_trip(const rbe_model *model, rbe_store_positions positions) {
    bytes b = saved(model, RBE_STORE_F32, positions);
    size_t promised = 0;
    ck_assert_ok(rbe_model_stored_bytes(model, &(rbe_save_options){.positions = positions}, &promised));
    ck_assert_uint_eq(promised, b.count);
    rbe_model *again = load_bytes(b);
    ck_assert_msg(again != NULL, "%s", rbe_last_error());
    ck_assert(same_models(model, again));
    bytes second = saved(again, RBE_STORE_F32, RBE_POSITIONS_SMALLEST);
    ck_assert_uint_eq(second.count, b.count);
    ck_assert_mem_eq(second.data, b.data, b.count);
    rbe_model_free(again);
    free(second.data);
    return b;
}
