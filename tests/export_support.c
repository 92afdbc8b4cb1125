#include "export_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "packed_support.h"
#include "rbe/op.h"
#include "support.h"

/* ---- random models ------------------------------------------------------------------------------------------- */

static size_t between(rbe_rng *rng, uint32_t least, uint32_t most) {
    return least + rbe_rng_below(rng, most - least + 1);
}

static bool chance(rbe_rng *rng, uint32_t of) { return rbe_rng_below(rng, of) == 0; }

static const rbe_transform *any_transform(rbe_rng *rng) {
    size_t count = 0;
    while (rbe_transform_at(count)) count++;
    if (chance(rng, 3)) return rbe_transform_named(chance(rng, 2) ? "dct" : "identity");
    return rbe_transform_at(rbe_rng_below(rng, (uint32_t)count));
}

static rbe_layer *any_linear(rbe_rng *rng, size_t in, size_t out) {
    rbe_linear_options o = {.block = (size_t)8 << between(rng, 0, chance(rng, 8) ? 5 : 2),
                            .row_transform = any_transform(rng),
                            .column_transform = any_transform(rng),
                            .alpha = chance(rng, 3) ? RBE_ALPHA_ON : RBE_ALPHA_OFF,
                            .group = between(rng, 0, 6),
                            .no_bias = chance(rng, 5),
                            .seed = rbe_rng_below(rng, 1000)};
    o.coeffs = between(rng, 1, (uint32_t)(o.block * o.block / (chance(rng, 4) ? 1 : 8)));
    if (chance(rng, 3)) o.overlap = between(rng, 1, (uint32_t)o.block / 2);
    if (chance(rng, 3))
        for (size_t height = between(rng, 2, 12); height > 1 && !o.image_height; height--)
            if (in % height == 0) {
                o.image_height = height;
                o.image_width = in / height;
            }
    rbe_layer *layer = rbe_linear_new(in, out, &o);
    ck_assert_msg(layer != NULL, "%s", rbe_last_error());
    if (chance(rng, 3)) layer = scattered_layer(layer, chance(rng, 4) ? 0.0 : 0.1, rbe_rng_below(rng, 1000));
    return layer;
}

/* Adds what rounding might, ten times over, to the values of each row. */
static rbe_var *add_noise(void *user, rbe_var *x) {
    const rbe_tensor *value = rbe_value(x);
    const size_t count = rbe_tensor_count(value), width = rbe_tensor_columns(value);
    uint32_t *state = user;
    rbe_tensor noise = *value;
    noise.data = rbe_tape_take(x, count, sizeof(float));
    for (size_t n = 0; n < count; n += width) {
        float largest = 0.0f;
        for (size_t i = 0; i < width; i++) largest = fmaxf(largest, fabsf(value->data[n + i]));
        for (size_t i = 0; i < width; i++) {
            *state = *state * 1664525 + 1013904223;
            noise.data[n + i] = *state >> 31 ? 1e-6f * largest : -1e-6f * largest;
        }
    }
    return rbe_add(x, rbe_input(x->tape, noise));
}

/* Whether random models have noise behind their matrices. */
static bool noisy;
static uint32_t noise_state;

static rbe_layer *any_matrix(rbe_rng *rng, size_t in, size_t out) {
    const bool dense = chance(rng, 4);
    rbe_layer *layer =
        dense ? rbe_dense_new(in, out, &(rbe_dense_options){.no_bias = chance(rng, 3)}) : any_linear(rng, in, out);
    if (!noisy) return layer;
    rbe_layer *both = rbe_sequential_new(NULL);
    ck_assert_ok(rbe_layer_add(both, layer));
    ck_assert_ok(rbe_layer_add(both, rbe_function_new(add_noise, &noise_state)));
    return both;
}

static rbe_layer *any_operation(rbe_rng *rng) {
    static const char *const names[] = {"relu", "gelu", "gelu_tanh", "tanh", "sigmoid", "softmax", "log_softmax"};
    return rbe_operation_new(rbe_operation_named(names[rbe_rng_below(rng, chance(rng, 3) ? 7 : 5)]));
}

static rbe_layer *any_norm(rbe_rng *rng, size_t width) {
    return chance(rng, 2) ? rbe_rms_norm_new(width, 1e-5f, NULL)
                          : rbe_layer_norm_new(width, 0.0f, chance(rng, 2), NULL);
}

static rbe_layer *any_square(rbe_rng *rng, size_t width, size_t depth);

/* A sequence that keeps the width; a layer in it may stand there twice. */
static rbe_layer *any_sequence(rbe_rng *rng, size_t width, size_t depth) {
    rbe_layer *sequence = rbe_sequential_new(NULL);
    const size_t count = between(rng, 1, 3);
    for (size_t n = 0; n < count; n++) {
        rbe_layer *layer = any_square(rng, width, depth + 1);
        ck_assert_ok(rbe_layer_add(sequence, layer));
        if (chance(rng, 4)) ck_assert_ok(rbe_layer_add(sequence, layer));
    }
    return sequence;
}

static rbe_layer *any_square(rbe_rng *rng, size_t width, size_t depth) {
    switch (rbe_rng_below(rng, depth > 2 ? 4 : 8)) {
    case 0: return any_operation(rng);
    case 1: return any_norm(rng, width);
    case 2: return chance(rng, 2) ? rbe_dropout_new(0.5f) : any_operation(rng);
    case 3: return any_matrix(rng, width, width);
    case 4: return any_sequence(rng, width, depth);
    case 5: return rbe_repeat_new(any_square(rng, width, depth + 1), between(rng, 1, 3), NULL);
    default: return rbe_residual_new(any_square(rng, width, depth + 1), NULL);
    }
}

/* Values of a size that keeps outputs moderate, in few bits for some. */
static void fill(rbe_model *model, rbe_rng *rng) {
    rbe_layer *layer;
    const bool bits = chance(rng, 2);
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (bits && !chance(rng, 4)) ck_assert_ok(rbe_layer_set_bits(layer, (unsigned)between(rng, 2, 8)));
        rbe_param *param;
        for (size_t k = 0; (param = rbe_layer_param(layer, k)); k++)
            fill_normal(param->value, param->count, 0.3, rbe_rng_below(rng, 1000000));
    }
}

/* ---- sequences ----------------------------------------------------------------------------------------------- */

static rbe_layer *any_attention(rbe_rng *rng, size_t width, size_t heads) {
    const rbe_attention_options o = {
        .heads = heads, .dropout = chance(rng, 2) ? 0.5 : 0.0, .rotary_base = chance(rng, 2) ? 10000.0 : 0.0};
    return rbe_attention_new(any_matrix(rng, width, 3 * width), any_matrix(rng, width, width), &o, NULL);
}

/* Ids, or rows of numbers, and one to three blocks, one of which may stand twice. */
static rbe_model *any_sequence_model(rbe_rng *rng, size_t *places) {
    rbe_model *model = rbe_model_new();
    const size_t heads = between(rng, 1, 3), width = 2 * heads * between(rng, 1, 6), vocabulary = between(rng, 2, 40);
    rbe_layer *table = chance(rng, 4) ? NULL : rbe_embedding_new(vocabulary, width, 1, NULL);
    *places = between(rng, 1, 9);
    if (table) ck_assert_ok(rbe_model_add(model, table));
    if (chance(rng, 2)) ck_assert_ok(rbe_model_add(model, rbe_positions_new(*places, width, 2, NULL)));
    for (size_t n = between(rng, 1, 3); n > 0; n--) {
        rbe_layer *attention = any_attention(rng, width, heads);
        if (chance(rng, 3)) attention = rbe_residual_new(attention, NULL);
        rbe_layer *layer = chance(rng, 3) ? attention
                                          : rbe_block_new(any_norm(rng, width), attention, any_norm(rng, width),
                                                          any_square(rng, width, 1), NULL);
        ck_assert_ok(rbe_model_add(model, layer));
        if (chance(rng, 4)) ck_assert_ok(rbe_model_add(model, layer));
    }
    if (chance(rng, 2)) ck_assert_ok(rbe_model_add(model, any_norm(rng, width)));
    if (table && chance(rng, 2)) ck_assert_ok(rbe_model_add(model, rbe_unembedding_new(table, NULL)));
    return model;
}

static rbe_model *any_plain_model(rbe_rng *rng) {
    rbe_model *model = rbe_model_new();
    size_t width = between(rng, 1, chance(rng, 5) ? 300 : 90);
    if (chance(rng, 8)) ck_assert_ok(rbe_model_add(model, any_operation(rng)));
    for (size_t n = between(rng, 1, 3); n > 0; n--) {
        const size_t next = between(rng, 1, chance(rng, 5) ? 300 : 60);
        ck_assert_ok(rbe_model_add(model, any_matrix(rng, width, next)));
        width = next;
        if (chance(rng, 2)) ck_assert_ok(rbe_model_add(model, any_square(rng, width, 0)));
    }
    return model;
}

rbe_model *random_model(uint64_t seed, rbe_export_options *options) {
    rbe_rng *rng = rbe_rng_new(seed, 77);
    *options = (rbe_export_options){.values = (rbe_export_values)(chance(rng, 2) ? 0 : rbe_rng_below(rng, 4)),
                                    .speed = chance(rng, 2)};
    rbe_model *model = chance(rng, 4) ? any_sequence_model(rng, &options->places) : any_plain_model(rng);
    fill(model, rng);
    rbe_rng_free(rng);
    return model;
}

/* ---- exported, compiled, run --------------------------------------------------------------------------------- */

enum { SAMPLES = 3 };

float *random_samples(const rbe_model *model, const rbe_export_options *options, uint64_t seed, size_t count) {
    rbe_export_sample_shape shape;
    ck_assert_ok(rbe_export_sample(model, options, &shape));
    const size_t values = count * shape.places * shape.inputs;
    float *x = malloc(values * sizeof *x);
    fill_normal(x, values, 1.0, seed);
    for (size_t n = 0; n < values; n++) {
        if (shape.vocabulary)
            x[n] = (float)((n * seed + n / 3) % shape.vocabulary);
        else if (seed % 3 == 0)
            x[n] = (float)(n * seed % 256) / 255.0f;
    }
    return x;
}

float *outputs_of(const rbe_model *model, const rbe_export_sample_shape *shape, const float *x, size_t samples,
                  size_t *count) {
    const size_t of_ids[] = {samples, shape->places}, of_places[] = {samples, shape->places, shape->inputs};
    rbe_tensor in = new_tensor(shape->vocabulary ? 2 : 3, shape->vocabulary ? of_ids : of_places);
    memcpy(in.data, x, rbe_tensor_count(&in) * sizeof *x);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    const rbe_tensor *out = rbe_value(rbe_model_forward(model, rbe_input(tape, in)));
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    *count = rbe_tensor_count(out);
    float *y = malloc(*count * sizeof *y);
    memcpy(y, out->data, *count * sizeof *y);
    rbe_tape_free(tape);
    rbe_tensor_free(&in);
    return y;
}

/* The same for the model of this seed. */
static float *outputs_of_random(uint64_t seed, const float *x, size_t *count) {
    rbe_export_options options;
    rbe_export_sample_shape shape;
    rbe_model *model = random_model(seed, &options);
    ck_assert_ok(rbe_export_sample(model, &options, &shape));
    float *y = outputs_of(model, &shape, x, SAMPLES, count);
    rbe_model_free(model);
    return y;
}

/* How far noise of 1e-6 behind each matrix drives the outputs, over the largest of them. */
static double effect_of_noise(uint64_t seed, const float *x) {
    size_t count;
    float largest = 0.0f, off = 0.0f, *plain = outputs_of_random(seed, x, &count);
    noisy = true;
    noise_state = (uint32_t)seed;
    float *with_noise = outputs_of_random(seed, x, &count);
    noisy = false;
    for (size_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(plain[i]));
        off = fmaxf(off, fabsf(plain[i] - with_noise[i]));
    }
    free(plain);
    free(with_noise);
    return largest > 0.0f ? (double)(off / largest) : 0.0;
}

bool export_random(uint64_t seed, size_t number) {
    rbe_export_options options;
    char name[24], file[32];
    rbe_model *model = random_model(seed, &options);
    float *x = random_samples(model, &options, seed, SAMPLES);
    snprintf(name, sizeof name, "m%zu", number);
    snprintf(file, sizeof file, "m%zu.c", number);
    options.name = name;
    options.samples = x;
    options.sample_count = SAMPLES;
    options.tolerance = fmax(1e-5, effect_of_noise(seed, x) / 2);
    ck_assert_msg(rbe_export_c(model, scratch_path(file), &options) == RBE_OK, "seed %llu: %s",
                  (unsigned long long)seed, rbe_last_error());
    free(x);
    rbe_model_free(model);
    return options.tolerance == 1e-5;
}

/* all.c, which runs the test of each. */
static void write_runner(const uint64_t *seeds, size_t count) {
    FILE *all = fopen(scratch_path("all.c"), "w");
    fprintf(all, "#include <stdio.h>\n");
    for (size_t n = 0; n < count; n++) fprintf(all, "int m%zu_main(void);\n", n);
    fprintf(all, "int main(void)\n{\n    int failed = 0;\n");
    for (size_t n = 0; n < count; n++)
        fprintf(all, "    if (m%zu_main() != 0) { failed = 1; printf(\"SEED %llu\\n\"); }\n", n,
                (unsigned long long)seeds[n]);
    fprintf(all, "    return failed;\n}\n");
    fclose(all);
}

/* wK.c, whose main has another name. */
static void write_wrapper(size_t number) {
    char file[32];
    snprintf(file, sizeof file, "w%zu.c", number);
    FILE *one = fopen(scratch_path(file), "w");
    fprintf(one, "#define M%zu_TEST\n#define main m%zu_main\nint main(void);\n#include \"m%zu.c\"\n", number, number,
            number);
    fclose(one);
}

#define WARNINGS "-Wall -Wextra -Wpedantic -Wconversion -Werror"

void export_compile_and_run(const uint64_t *seeds, size_t count, const char *compiler) {
    char command[1000];
    write_runner(seeds, count);
    for (size_t n = 0; n < count; n++) write_wrapper(n);
    snprintf(command, sizeof command,
             "cd '%.300s' && %s " WARNINGS " w*.c all.c -lm -o all && ./all > log || { grep -B2 SEED log; false; }",
             scratch_path("."), compiler);
    ck_assert_msg(system(command) == 0, "%s: exported models do not compile, or give other outputs (seeds from %llu)",
                  compiler, (unsigned long long)seeds[0]);
}

bool export_test_passes(void) {
    char command[1000];
    snprintf(command, sizeof command,
             "cd '%.300s' && cc -std=c99 -O1 " WARNINGS " -DM0_TEST m0.c -lm -o m0 && ./m0 > log", scratch_path("."));
    return system(command) == 0;
}
