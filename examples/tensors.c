/* Matrices of safetensors files. */
#include "tensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

bool layer_has_matrix(const rbe_layer *layer) {
    const rbe_param *first = rbe_layer_param(layer, 0);
    return rbe_linear_blocks(layer) || (first && first->rows > 0 && strcmp(first->part, "weight") == 0);
}

/* Compares "3.0.1" with "3.10" number by number. */
static int compare_ways(const char *a, const char *b) {
    for (;;) {
        char *end_a, *end_b;
        unsigned long x = strtoul(a, &end_a, 10), y = strtoul(b, &end_b, 10);
        if (x != y) return x < y ? -1 : 1;
        if (*end_a != '.' || *end_b != '.') return (*end_a == '.') - (*end_b == '.');
        a = end_a + 1;
        b = end_b + 1;
    }
}

bool next_way(const rbe_tensor_file *file, char way[RBE_PATH_SIZE]) {
    const rbe_tensor_info *info;
    char found[RBE_PATH_SIZE] = "", owner[RBE_PATH_SIZE];
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        const char *dot = strrchr(info->name, '.');
        snprintf(owner, sizeof owner, "%.*s", dot ? (int)(dot - info->name) : 0, info->name);
        if ((!*way || compare_ways(owner, way) > 0) && (!*found || compare_ways(owner, found) < 0))
            strcpy(found, owner);
    }
    strcpy(way, found);
    return *found;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

void tensor_check_output(const char *out, const char *in) {
    if (!out) example_fail(2, "expected --out");
    if (in && same_file(in, out)) example_fail(2, "--out: %s is the input: expected another file", out);
}
