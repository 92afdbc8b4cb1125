/* Tensors: views of contiguous row-major float32 values. */
#include <stdio.h>

#include "tensor/node.h"

rbe_tensor rbe_tensor_1d(float *data, size_t n) { return (rbe_tensor){data, 1, {n, 1, 1, 1}}; }

rbe_tensor rbe_tensor_2d(float *data, size_t rows, size_t columns) {
    return (rbe_tensor){data, 2, {rows, columns, 1, 1}};
}

rbe_tensor rbe_tensor_3d(float *data, size_t n0, size_t n1, size_t n2) {
    return (rbe_tensor){data, 3, {n0, n1, n2, 1}};
}

size_t rbe_tensor_count(const rbe_tensor *tensor) {
    size_t count = tensor->dims > 0;
    for (int d = 0; d < tensor->dims; d++) count *= tensor->shape[d];
    return count;
}

size_t rbe_tensor_columns(const rbe_tensor *tensor) { return tensor->dims > 0 ? tensor->shape[tensor->dims - 1] : 0; }

size_t rbe_tensor_rows(const rbe_tensor *tensor) {
    size_t rows = tensor->dims > 0;
    for (int d = 0; d + 1 < tensor->dims; d++) rows *= tensor->shape[d];
    return rows;
}

rbe_status rbe_tensor_check_shape(int dims, const size_t *shape) {
    if (dims < 1 || dims > RBE_MAX_DIMS)
        return rbe_fail(RBE_INVALID_ARGUMENT, "tensor: expected 1 .. %d dimensions, found %d", RBE_MAX_DIMS, dims);
    size_t count = 1;
    for (int d = 0; d < dims; d++) {
        if (shape[d] == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "tensor: extent %d: expected at least 1, found 0", d);
        if (shape[d] > PTRDIFF_MAX / sizeof(float) / count)
            return rbe_fail(RBE_INVALID_ARGUMENT, "tensor: the shape has more values than can be addressed");
        count *= shape[d];
    }
    return RBE_OK;
}

rbe_status rbe_tensor_new(rbe_tensor *tensor, int dims, const size_t *shape) {
    *tensor = (rbe_tensor){0};
    RBE_TRY(rbe_tensor_check_shape(dims, shape));
    rbe_tensor made = rbe_tensor_shaped(NULL, dims, shape);
    made.data = rbe_alloc_zeroed(rbe_tensor_count(&made), sizeof(float));
    if (!made.data) return rbe_last_status();
    *tensor = made;
    return RBE_OK;
}

void rbe_tensor_free(rbe_tensor *tensor) {
    if (!tensor) return;
    rbe_free(tensor->data);
    *tensor = (rbe_tensor){0};
}

rbe_tensor rbe_tensor_shaped(float *data, int dims, const size_t *shape) {
    rbe_tensor tensor = {data, dims, {1, 1, 1, 1}};
    for (int d = 0; d < dims; d++) tensor.shape[d] = shape[d];
    return tensor;
}

bool rbe_same_shape(const rbe_tensor *a, const rbe_tensor *b) {
    if (a->dims != b->dims) return false;
    for (int d = 0; d < a->dims; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

const char *rbe_shape_text(const rbe_tensor *tensor, char buffer[RBE_SHAPE_TEXT]) {
    int at = snprintf(buffer, RBE_SHAPE_TEXT, "(");
    for (int d = 0; d < tensor->dims; d++)
        at += snprintf(buffer + at, (size_t)(RBE_SHAPE_TEXT - at), d ? ", %zu" : "%zu", tensor->shape[d]);
    snprintf(buffer + at, (size_t)(RBE_SHAPE_TEXT - at), ")");
    return buffer;
}
