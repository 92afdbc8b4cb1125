/* Matrices of safetensors files. */
#include "tensors.h"

#include <limits.h>
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

long next_stage(const rbe_tensor_file *file, long first) {
    const rbe_tensor_info *info;
    long stage = LONG_MAX;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        long number = strtol(info->name, NULL, 10);
        if (number >= first && number < stage) stage = number;
    }
    return stage;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

void tensor_check_output(const char *out, const char *in) {
    if (!out) example_fail(2, "expected --out");
    if (in && same_file(in, out)) example_fail(2, "--out: %s is the input: expected another file", out);
}
