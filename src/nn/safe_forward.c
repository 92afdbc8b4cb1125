/* Inference that trusts nothing: neither the input, nor the memory, nor the stored blocks, nor its own result.
 *
 * The compressed product comes first; if it fails, Y = X W^T + b is computed from block rows of W, decompressed one
 * at a time.
 */
#include "nn/safe_forward.h"

#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/strip.h"
#include "nn/linear_product.h"
#include "tensor/node.h"

#define DEFAULT_INPUT_LIMIT 1e6f
#define MEGABYTE 1048576.0
#define ROWS_OF_A_CALL ((size_t)1 << 20) /* OpenBLAS counts in int */

static _Thread_local rbe_safe_fault injected_fault;
static _Thread_local void *injected_user;

void rbe_safe_set_fault(rbe_safe_fault fault, void *user) {
    injected_fault = fault;
    injected_user = user;
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

static rbe_status check_shapes(const rbe_layer *layer, const rbe_tensor *x, const rbe_tensor *y) {
    const rbe_tensor *tensors[] = {x, y};
    for (int n = 0; n < 2; n++) {
        if (!tensors[n] || !tensors[n]->data)
            return rbe_fail(RBE_INVALID_ARGUMENT, "%s: the %s has no data", layer->name, n ? "output" : "input");
        RBE_TRY(rbe_tensor_check_shape(tensors[n]->dims, tensors[n]->shape));
    }
    if (rbe_tensor_columns(x) != layer->in)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: input has %zu columns, expected %zu", layer->name,
                        rbe_tensor_columns(x), layer->in);
    if (rbe_tensor_columns(y) != layer->out || rbe_tensor_rows(y) != rbe_tensor_rows(x))
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: output is %zu x %zu, expected %zu x %zu", layer->name,
                        rbe_tensor_rows(y), rbe_tensor_columns(y), rbe_tensor_rows(x), layer->out);
    return RBE_OK;
}

/* Finite, and of a magnitude of at most `limit`. */
static rbe_status check_values(const char *layer, const char *what, const rbe_tensor *t, float limit) {
    size_t count = rbe_tensor_count(t), columns = rbe_tensor_columns(t);
    for (size_t n = 0; n < count; n++)
        if (!(fabsf(t->data[n]) <= limit))
            return rbe_fail(RBE_NUMERICAL_INSTABILITY,
                            "%s: %s %zu (row %zu, column %zu) is %g, expected a magnitude of at most %g", layer, what,
                            n, n / columns, n % columns, (double)t->data[n], (double)limit);
    return RBE_OK;
}

size_t rbe_memory_available(const char *meminfo) {
    FILE *file = fopen(meminfo, "r");
    if (!file) return SIZE_MAX;
    char line[128];
    unsigned long long kilobytes;
    size_t bytes = SIZE_MAX;
    while (bytes == SIZE_MAX && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1) bytes = (size_t)kilobytes * 1024;
    fclose(file);
    return bytes;
}

static rbe_status check_memory(const rbe_linear_layer *layer, size_t required, const char *what, size_t available) {
    if (required <= available) return RBE_OK;
    return rbe_fail(RBE_INSUFFICIENT_MEMORY, "%s: required %.2f MB%s, available %.2f MB", layer->base.name,
                    (double)required / MEGABYTE, what, (double)available / MEGABYTE);
}

/* ---- the two products ---------------------------------------------------------------------------------------- */

/* What was injected, then whether the outputs are finite. */
static rbe_status check_result(const rbe_linear_layer *layer, rbe_safe_path path, const rbe_tensor *y) {
    if (injected_fault) RBE_TRY(injected_fault(injected_user, path, y->data, rbe_tensor_count(y)));
    return check_values(layer->base.name, "output", y, FLT_MAX);
}

static rbe_status run_compressed(const rbe_linear_layer *layer, const rbe_tensor *x, rbe_tensor *y) {
    rbe_arena arena = {0};
    rbe_status status = rbe_arena_reserve(&arena, rbe_linear_forward_bytes(layer, rbe_tensor_rows(x)));
    if (status == RBE_OK)
        status = rbe_linear_forward_product(layer, &arena, x->data, rbe_tensor_rows(x), y->data, NULL);
    rbe_arena_free(&arena);
    return status == RBE_OK ? check_result(layer, RBE_SAFE_COMPRESSED, y) : status;
}

static size_t fallback_bytes(const rbe_linear_layer *layer) {
    return rbe_block_reader_bytes(layer->blocks) + layer->blocks->block * layer->base.in * sizeof(float);
}

static rbe_status run_fallback(const rbe_linear_layer *layer, const rbe_tensor *x, rbe_tensor *y) {
    size_t in = layer->base.in, out = layer->base.out, rows = rbe_tensor_rows(x), step = layer->blocks->block;
    rbe_block_reader reader;
    RBE_TRY(rbe_block_reader_new(&reader, layer->blocks));
    float *weights = rbe_alloc(step * in, sizeof *weights);
    for (size_t n = 0; weights && n < rows; n++) {
        if (layer->bias)
            memcpy(y->data + n * out, layer->bias->value, out * sizeof(float));
        else
            memset(y->data + n * out, 0, out * sizeof(float));
    }
    for (size_t first = 0; weights && first < out; first += step) {
        size_t count = out - first < step ? out - first : step;
        rbe_block_reader_read(&reader, first, count, weights);
        for (size_t n = 0, some; n < rows; n += some) {
            some = rows - n < ROWS_OF_A_CALL ? rows - n : ROWS_OF_A_CALL;
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)some, (int)count, (int)in, 1.0f, x->data + n * in,
                        (int)in, weights, (int)in, 1.0f, y->data + n * out + first, (int)out);
        }
    }
    rbe_block_reader_free(&reader);
    rbe_free(weights);
    return weights ? check_result(layer, RBE_SAFE_FALLBACK, y) : RBE_INSUFFICIENT_MEMORY;
}

static void warn_of_fallback(const rbe_linear_layer *layer, const rbe_safe_options *o) {
    char text[640];
    atomic_fetch_add(&layer->count->fallbacks, 1);
    if (!o->warn) return;
    snprintf(text, sizeof text, "%s: the compressed product failed (%s: %s); decompressing block rows instead",
             layer->base.name, rbe_status_name(rbe_last_status()), rbe_last_error());
    o->warn(o->user, text);
}

rbe_status rbe_linear_forward_safe(const rbe_layer *base, const rbe_tensor *x, rbe_tensor *y,
                                   const rbe_safe_options *options) {
    static const rbe_safe_options defaults = {0};
    const rbe_safe_options *o = options ? options : &defaults;
    const rbe_linear_layer *layer = rbe_layer_as_linear(base);
    if (!layer) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_linear_forward_safe: not a compressed layer");
    if (!(o->input_limit >= 0.0f))
        return rbe_fail(RBE_INVALID_ARGUMENT, "input_limit: expected at least 0, found %g", (double)o->input_limit);
    RBE_TRY(check_shapes(base, x, y));
    RBE_TRY(check_values(base->name, "input", x, o->input_limit > 0.0f ? o->input_limit : DEFAULT_INPUT_LIMIT));
    size_t available = o->memory_limit ? o->memory_limit : rbe_memory_available("/proc/meminfo");
    RBE_TRY(check_memory(layer, rbe_linear_forward_bytes(layer, rbe_tensor_rows(x)), "", available));
    RBE_TRY(rbe_blocks_check(layer->blocks));
    if (run_compressed(layer, x, y) == RBE_OK) return RBE_OK;
    warn_of_fallback(layer, o);
    RBE_TRY(check_memory(layer, fallback_bytes(layer), " to decompress block rows", available));
    return run_fallback(layer, x, y);
}
