/* Matrices of safetensors files; and back from this library's files to plain ones. */
#include "tensors.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tensor_is_float(const rbe_tensor_info *info) {
    return info->dtype == RBE_F64 || info->dtype == RBE_F32 || info->dtype == RBE_F16 || info->dtype == RBE_BF16;
}

bool tensor_is_matrix(const rbe_tensor_info *info) {
    return info->dims == 2 && info->count > 0 && tensor_is_float(info);
}

float *tensor_read(const rbe_tensor_file *file, size_t n) {
    float *values = example_take(rbe_tensor_file_at(file, n)->count, sizeof *values);
    example_require(rbe_tensor_file_read_f32(file, n, values));
    return values;
}

float *dense_matrix(const rbe_layer *layer) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    size_t count = rbe_layer_outputs(layer) * rbe_layer_inputs(layer);
    float *w = example_take(count, sizeof *w);
    if (blocks)
        example_require(rbe_decompress(blocks, w));
    else
        memcpy(w, rbe_layer_param(layer, 0)->value, count * sizeof *w);
    return w;
}

long next_stage(const rbe_tensor_file *file, long first) {
    const rbe_tensor_info *info;
    long stage = LONG_MAX;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        long number = strtol(info->name, NULL, 10);
        if (number >= first && number < stage) stage = number;
    }
    return stage;
}

/* ---- expansion ----------------------------------------------------------------------------------------------- */

/* The tensors of the new file, with names and values of their own. */
typedef struct expansion {
    rbe_stored_tensor *tensors;
    size_t count;
} expansion;

/* Takes the values over. columns 0: a vector. */
static void add(expansion *e, const char *name, const char *suffix, float *values, size_t rows, size_t columns) {
    char *full = example_take(strlen(name) + strlen(suffix) + 1, 1);
    strcat(strcpy(full, name), suffix);
    if (columns > 0) printf("%-32s %6zu x %-6zu float32\n", full, rows, columns);
    e->tensors[e->count++] = (rbe_stored_tensor){
        .name = full, .dtype = RBE_F32, .dims = columns > 0 ? 2 : 1, .shape = {rows, columns}, .values = values};
}

static void add_layers(expansion *e, const rbe_tensor_file *file, const char *path) {
    rbe_model *model = example_need(rbe_model_load(path));
    const rbe_layer *layer;
    long stage = -1;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (!rbe_layer_param(layer, 0)) continue; /* dropout */
        char owner[24], bias[32];
        snprintf(owner, sizeof owner, "%ld", stage = next_stage(file, stage + 1));
        snprintf(bias, sizeof bias, "%s.bias", owner);
        add(e, owner, ".weight", dense_matrix(layer), rbe_layer_outputs(layer), rbe_layer_inputs(layer));
        size_t at = rbe_tensor_file_find(file, bias);
        if (at < rbe_tensor_file_count(file))
            add(e, owner, ".bias", tensor_read(file, at), rbe_layer_outputs(layer), 0);
    }
    rbe_model_free(model);
}

/* Whether a tensor is a part of a compressed matrix. */
static bool belongs_to_matrix(const rbe_tensor_file *file, const char *tensor) {
    static const char *const parts[] = {"values", "scales", "alpha", "lists", "columns", "deltas"};
    const char *dot = strrchr(tensor, '.'), *name;
    for (size_t n = 0; dot && (name = rbe_tensor_file_matrix(file, n)); n++) {
        if (strlen(name) != (size_t)(dot - tensor) || strncmp(name, tensor, strlen(name)) != 0) continue;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            if (strcmp(dot + 1, parts[p]) == 0) return true;
    }
    return false;
}

static void add_matrices(expansion *e, const rbe_tensor_file *file) {
    const char *name;
    for (size_t n = 0; (name = rbe_tensor_file_matrix(file, n)); n++) {
        rbe_blocks *blocks;
        example_require(rbe_tensor_file_read_blocks(file, name, &blocks));
        rbe_blocks_info info = rbe_blocks_describe(blocks);
        float *values = example_take(info.out * info.in, sizeof *values);
        example_require(rbe_decompress(blocks, values));
        rbe_blocks_free(blocks);
        add(e, name, "", values, info.out, info.in);
    }
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        if (belongs_to_matrix(file, info->name)) continue;
        rbe_stored_tensor *t = &e->tensors[e->count++];
        *t = (rbe_stored_tensor){.dtype = info->dtype, .dims = info->dims, .source = file, .source_index = n};
        memcpy(t->shape, info->shape, sizeof t->shape);
        t->name = strcpy(example_take(strlen(info->name) + 1, 1), info->name);
    }
}

void expand_file(const rbe_tensor_file *file, const char *path, const char *out) {
    /* At most one dense tensor for each that there is. */
    expansion e = {.tensors = example_take(rbe_tensor_file_count(file), sizeof *e.tensors)};
    const char *made_by = rbe_tensor_file_metadata(file, "format");
    const rbe_metadata format = {"format", made_by ? made_by : "pt"}; /* what PyTorch's tools look for */
    printf("%-32s %15s\n", "matrix", "out x in");
    if (strcmp(rbe_tensor_file_metadata(file, "rbe.format"), "model") == 0)
        add_layers(&e, file, path);
    else
        add_matrices(&e, file);
    example_require(rbe_tensor_file_save(out, e.tensors, e.count, &format, 1, false));
    for (size_t n = 0; n < e.count; n++) {
        free((char *)e.tensors[n].name);
        free((void *)e.tensors[n].values);
    }
    free(e.tensors);
}
