#include "export_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_support.h"
#include "packed_support.h"
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

static rbe_layer *any_matrix(rbe_rng *rng, size_t in, size_t out) {
    if (chance(rng, 4)) return rbe_dense_new(in, out, &(rbe_dense_options){.no_bias = chance(rng, 3)});
    return any_linear(rng, in, out);
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

rbe_model *random_model(uint64_t seed, rbe_export_options *options, size_t *inputs) {
    rbe_rng *rng = rbe_rng_new(seed, 77);
    rbe_model *model = rbe_model_new();
    size_t width = *inputs = between(rng, 1, chance(rng, 5) ? 300 : 90);
    const size_t count = between(rng, 1, 3);
    if (chance(rng, 8)) ck_assert_ok(rbe_model_add(model, any_operation(rng)));
    for (size_t n = 0; n < count; n++) {
        const size_t next = between(rng, 1, chance(rng, 5) ? 300 : 60);
        ck_assert_ok(rbe_model_add(model, any_matrix(rng, width, next)));
        width = next;
        if (chance(rng, 2)) ck_assert_ok(rbe_model_add(model, any_square(rng, width, 0)));
    }
    fill(model, rng);
    *options = (rbe_export_options){.values = (rbe_export_values)(chance(rng, 2) ? 0 : rbe_rng_below(rng, 4)),
                                    .speed = chance(rng, 2)};
    rbe_rng_free(rng);
    return model;
}

/* ---- exported, compiled, run --------------------------------------------------------------------------------- */

enum { SAMPLES = 3 };

void export_random(uint64_t seed, size_t number) {
    rbe_export_options options;
    char name[24], file[32];
    size_t in;
    rbe_model *model = random_model(seed, &options, &in);
    float *x = malloc(SAMPLES * in * sizeof *x);
    fill_normal(x, SAMPLES * in, 1.0, seed);
    if (seed % 3 == 0)
        for (size_t n = 0; n < SAMPLES * in; n++) x[n] = (float)(n * seed % 256) / 255.0f;
    snprintf(name, sizeof name, "m%zu", number);
    snprintf(file, sizeof file, "m%zu.c", number);
    options.name = name;
    options.samples = x;
    options.sample_count = SAMPLES;
    ck_assert_msg(rbe_export_c(model, scratch_path(file), &options) == RBE_OK, "seed %llu: %s",
                  (unsigned long long)seed, rbe_last_error());
    free(x);
    rbe_model_free(model);
}

void export_compile_and_run(size_t count, uint64_t seed, const char *flags) {
    char command[2000];
    FILE *all = fopen(scratch_path("all.c"), "w");
    fprintf(all, "#include <stdio.h>\n#include <stdlib.h>\n");
    for (size_t n = 0; n < count; n++) {
        char file[32];
        snprintf(file, sizeof file, "w%zu.c", n);
        FILE *one = fopen(scratch_path(file), "w");
        fprintf(one, "#define M%zu_TEST\n#define main m%zu_main\nint main(void);\n#include \"m%zu.c\"\n", n, n, n);
        fclose(one);
        fprintf(all, "int m%zu_main(void);\n", n);
    }
    fprintf(all, "int main(void)\n{\nint failed = 0;\n");
    for (size_t n = 0; n < count; n++)
        fprintf(all, "if (m%zu_main() != 0) { failed = 1; printf(\"SEED %llu\\n\"); }\n", n,
                (unsigned long long)(seed + n));
    fprintf(all, "return failed;\n}\n");
    fclose(all);
    snprintf(command, sizeof command,
             "cd '%.300s' && cc -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Werror %s w*.c all.c -lm -o all && "
             "./all > log || { cp log /tmp/export_log; grep -B2 SEED log; false; }",
             scratch_path("."), flags);
    ck_assert_msg(system(command) == 0, "exported models do not compile, or give other outputs (seeds from %llu)",
                  (unsigned long long)seed);
}
