/* Tables of vectors, one for each id or place, and the way back from a vector to ids:
 *
 *     embedding     y_i = W[id_i]           ids enter as floats: whole numbers below 2^24 are exact
 *     positions     y_t = x_t + W[t]        t: the place in the sequence
 *     unembedding   y = x W^T               W of an embedding that stands elsewhere in the model: its weights are tied
 *
 * Values of a new table are N(0, 0.02^2), as GPT-2 has them.
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "nn/layer.h"
#include "tensor/context.h"
#include "tensor/node.h"

typedef struct table_layer {
    rbe_layer base;
    rbe_param params[1]; /* weight: rows x width */
} table_layer;

#define INITIAL_DEVIATION 0.02

static rbe_var *table_of(const rbe_layer *layer, rbe_var *x) {
    const rbe_param *weight = &layer->params[0];
    const size_t shape[2] = {weight->rows, weight->count / weight->rows};
    return rbe_parameter(x->tape, &layer->params[0], 2, shape);
}

static void table_destroy(rbe_layer *layer) { rbe_free(layer->params[0].value); }

static rbe_status table_write(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_number(writer, "rows", (double)layer->params[0].rows));
    return rbe_write_number(writer, "width", (double)layer->out);
}

static rbe_layer *make_table(const rbe_layer_type *type, size_t rows, size_t in, size_t width, const char *name) {
    if (rbe_layer_check_size(type->kind, rows, width) != RBE_OK) return NULL;
    table_layer *layer = (table_layer *)rbe_layer_make_named(type, sizeof *layer, in, width, NULL);
    if (!layer) return NULL;
    layer->params[0] =
        (rbe_param){.part = "weight", .count = rows * width, .rows = rows, .lr_scale = 1.0f, .decays = true};
    layer->base.params = layer->params;
    layer->base.param_count = 1;
    if (!(layer->params[0].value = rbe_alloc_zeroed(rows * width, sizeof(float)))) {
        rbe_layer_free(&layer->base);
        return NULL;
    }
    rbe_layer_set_default_name(&layer->base, name);
    return &layer->base;
}

static rbe_layer *draw_table(rbe_layer *layer, uint64_t seed) {
    rbe_rng *rng = layer ? rbe_rng_new(seed, 0) : NULL;
    if (!rng) {
        rbe_layer_free(layer);
        return NULL;
    }
    for (size_t n = 0; n < layer->params[0].count; n++)
        layer->params[0].value[n] = (float)(INITIAL_DEVIATION * rbe_rng_normal(rng));
    rbe_rng_free(rng);
    return layer;
}

static bool read_table(rbe_reader *reader, size_t *rows, size_t *width) {
    return rbe_read_count(reader, "rows", 1, RBE_MOST_COLUMNS, rows) == RBE_OK &&
           rbe_read_count(reader, "width", 1, RBE_MOST_COLUMNS, width) == RBE_OK &&
           rbe_read_matrix(reader, "weight", *rows, *width) == RBE_OK;
}

/* ---- embedding ----------------------------------------------------------------------------------------------- */

/* Whole numbers, on the tape. */
static int32_t *ids_of(const rbe_layer *layer, rbe_var *x, size_t count) {
    const size_t rows = layer->params[0].rows;
    int32_t *ids = rbe_tape_take(x, count, sizeof *ids);
    if (!ids) rbe_tape_fail_last(x);
    for (size_t n = 0; ids && n < count; n++) {
        const float id = x->value.data[n];
        if (!(id >= 0.0f && id < (float)rows) || id != floorf(id)) {
            rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: id %zu: expected a whole number in 0 .. %zu, found %g",
                          layer->path, n, rows - 1, (double)id);
            return NULL;
        }
        ids[n] = (int32_t)id;
    }
    return ids;
}

static rbe_var *embedding_forward(const rbe_layer *layer, rbe_var *x) {
    const size_t count = rbe_tensor_count(&x->value);
    const int dims = x->value.dims;
    size_t shape[RBE_MAX_DIMS];
    if (dims == RBE_MAX_DIMS)
        return rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "%s: expected ids of at most %d dimensions", layer->path,
                             RBE_MAX_DIMS - 1);
    const int32_t *ids = ids_of(layer, x, count);
    if (!ids) return &x->tape->inert;
    memcpy(shape, x->value.shape, sizeof shape);
    shape[dims] = layer->out;
    return rbe_reshape(rbe_gather_rows(table_of(layer, x), ids, count), dims + 1, shape);
}

static rbe_layer *embedding_read(const rbe_layer_type *type, rbe_reader *reader) {
    size_t rows, width;
    return read_table(reader, &rows, &width) ? make_table(type, rows, 0, width, NULL) : NULL;
}

/* Ids, what is gathered, its view, and the table's variable. */
static size_t embedding_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)columns;
    return rbe_aligned(rows * sizeof(int32_t)) + 2 * rbe_node_bytes(rows * layer->out, true) +
           rbe_node_bytes(layer->params[0].count, true);
}

const rbe_layer_type rbe_embedding_type = {.kind = "embedding",
                                           .forward = embedding_forward,
                                           .destroy = table_destroy,
                                           .write = RBE_FULL(table_write),
                                           .read = embedding_read,
                                           .tape_bytes = embedding_tape_bytes};

rbe_layer *rbe_embedding_new(size_t vocabulary, size_t width, uint64_t seed, const char *name) {
    return draw_table(make_table(&rbe_embedding_type, vocabulary, 0, width, name), seed);
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

static rbe_var *positions_forward(const rbe_layer *layer, rbe_var *x) {
    const size_t first = rbe_context_places(x->tape), rows = layer->params[0].rows;
    const size_t places = x->value.dims > 1 ? x->value.shape[x->value.dims - 2] : 1;
    if (places > rows - (first < rows ? first : rows))
        return rbe_tape_fail(x, RBE_INPUT_DIMENSION_MISMATCH, "%s: expected at most %zu places, found %zu", layer->path,
                             rows, first + places);
    return rbe_add(x, rbe_slice(table_of(layer, x), 0, first, places));
}

static rbe_layer *positions_read(const rbe_layer_type *type, rbe_reader *reader) {
    size_t rows, width;
    return read_table(reader, &rows, &width) ? make_table(type, rows, width, width, NULL) : NULL;
}

/* The sum, the table, and the part of it. */
static size_t positions_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)columns;
    return rbe_node_bytes(rows * layer->out, true) + 2 * rbe_node_bytes(layer->params[0].count, true);
}

const rbe_layer_type rbe_positions_type = {.kind = "positions",
                                           .forward = positions_forward,
                                           .destroy = table_destroy,
                                           .write = RBE_FULL(table_write),
                                           .read = positions_read,
                                           .tape_bytes = positions_tape_bytes};

rbe_layer *rbe_positions_new(size_t places, size_t width, uint64_t seed, const char *name) {
    return draw_table(make_table(&rbe_positions_type, places, width, width, name), seed);
}

/* ---- unembedding --------------------------------------------------------------------------------------------- */

static rbe_var *unembedding_forward(const rbe_layer *layer, rbe_var *x) {
    if (layer->child_count == 0)
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: it holds no embedding", layer->path);
    const size_t flat[2] = {rbe_tensor_rows(&x->value), layer->in};
    const int dims = x->value.dims;
    size_t shape[RBE_MAX_DIMS];
    memcpy(shape, x->value.shape, sizeof shape);
    shape[dims - 1] = layer->out;
    rbe_var *table = table_of(layer->children[0], x);
    return rbe_reshape(rbe_matmul(rbe_reshape(x, 2, flat), false, table, true), dims, shape);
}

static rbe_status unembedding_adopt(rbe_layer *layer, const rbe_layer *child) {
    if (layer->child_count > 0 || child->type != &rbe_embedding_type)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected one embedding, found %s%s", layer->name,
                        layer->child_count > 0 ? "another " : "", child->type->kind);
    layer->in = child->out;
    layer->out = child->params[0].rows;
    return RBE_OK;
}

static size_t unembedding_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    size_t table = layer->child_count > 0 ? layer->children[0]->params[0].count : 0;
    return 2 * rbe_node_bytes(rows * layer->out, true) + rbe_node_bytes(rows * columns, true) +
           rbe_node_bytes(table, true);
}

const rbe_layer_type rbe_unembedding_type = {.kind = "unembedding",
                                             .role = RBE_CONTAINER,
                                             .forward = unembedding_forward,
                                             .read = rbe_container_read,
                                             .adopt = unembedding_adopt,
                                             .tape_bytes = unembedding_tape_bytes};

rbe_layer *rbe_unembedding_new(rbe_layer *embedding, const char *name) {
    return rbe_layer_around(rbe_layer_make_named(&rbe_unembedding_type, sizeof(rbe_layer), 0, 0, name), &embedding, 1);
}
