/* Layers of layers: one after the other, around a shortcut, several times, or only together under their names.
 *
 *     sequential   y = f_n(... f_1(x))        residual   y = x + f(x)        repeat   y = f(... f(x))
 */
#include "base/alloc.h"
#include "nn/layer.h"
#include "tensor/node.h"

static rbe_layer *container(const rbe_layer_type *type, size_t bytes, const char *name) {
    return rbe_layer_make_named(type, bytes, 0, 0, name);
}

/* Whether layer number n stands before, too: then it has been freed already, or has a place. */
static bool stands_before(rbe_layer *const *layers, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (layers[k] == layers[n]) return true;
    return false;
}

rbe_layer *rbe_layer_around(rbe_layer *made, rbe_layer *const *inner, size_t count) {
    bool whole = made != NULL;
    for (size_t n = 0; n < count; n++) {
        if (whole && !inner[n])
            rbe_fail(RBE_INVALID_ARGUMENT, "a layer for a container is NULL (last failure: %s)", rbe_last_error());
        if (!whole && inner[n] && !stands_before(inner, n) && inner[n]->places == 0) rbe_layer_free(inner[n]);
        whole = whole && inner[n] && rbe_layer_adopt(made, inner[n]) == RBE_OK;
    }
    if (whole) return made;
    rbe_layer_free(made);
    return NULL;
}

rbe_layer *rbe_container_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)reader;
    return container(type, sizeof(rbe_layer), NULL);
}

/* ---- sequential ---------------------------------------------------------------------------------------------- */

static rbe_var *sequential_forward(const rbe_layer *layer, rbe_var *x) {
    for (size_t n = 0; n < layer->child_count; n++) x = rbe_layer_forward(layer->children[n], x);
    return x;
}

static rbe_status sequential_adopt(rbe_layer *layer, const rbe_layer *child) {
    if (layer->out && child->in && child->in != layer->out)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: takes %zu columns, the layer before gives %zu", child->name,
                        child->in, layer->out);
    if (!layer->in && !layer->out) layer->in = child->in;
    if (child->out) layer->out = child->out;
    return RBE_OK;
}

static size_t sequential_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    size_t bytes = 0;
    for (size_t n = 0; n < layer->child_count; n++) bytes += rbe_layer_tape_bytes(layer->children[n], rows, &columns);
    return bytes;
}

/* Scratch memory is given back, so that the largest counts. */
size_t rbe_layer_largest_scratch(const rbe_layer *layer, size_t rows) {
    size_t most = 0;
    for (size_t n = 0; n < layer->child_count; n++) {
        size_t own = rbe_layer_scratch_bytes(layer->children[n], rows);
        if (own > most) most = own;
    }
    return most;
}

const rbe_layer_type rbe_sequential_type = {.kind = "sequential",
                                            .role = RBE_CONTAINER,
                                            .forward = sequential_forward,
                                            .read = rbe_container_read,
                                            .adopt = sequential_adopt,
                                            .tape_bytes = sequential_tape_bytes,
                                            .scratch_bytes = rbe_layer_largest_scratch};

rbe_layer *rbe_sequential_new(const char *name) { return container(&rbe_sequential_type, sizeof(rbe_layer), name); }

/* ---- residual ------------------------------------------------------------------------------------------------ */

static rbe_var *residual_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_add(x, sequential_forward(layer, x));
}

/* One layer, whose result can be added to what it takes. */
static rbe_status square_adopt(rbe_layer *layer, const rbe_layer *child) {
    if (layer->child_count > 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: a %s layer holds one layer, found another", layer->name,
                        layer->type->kind);
    if (child->in && child->out && child->in != child->out)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: expected as many outputs as inputs, found %zu -> %zu",
                        child->name, child->in, child->out);
    layer->in = child->in;
    layer->out = child->out;
    return RBE_OK;
}

static size_t residual_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    size_t inner = sequential_tape_bytes(layer, rows, columns);
    return inner + rbe_node_bytes(rows * (layer->out ? layer->out : columns), true);
}

const rbe_layer_type rbe_residual_type = {.kind = "residual",
                                          .role = RBE_CONTAINER,
                                          .forward = residual_forward,
                                          .read = rbe_container_read,
                                          .adopt = square_adopt,
                                          .tape_bytes = residual_tape_bytes,
                                          .scratch_bytes = rbe_layer_largest_scratch};

rbe_layer *rbe_residual_new(rbe_layer *inner, const char *name) {
    return rbe_layer_around(container(&rbe_residual_type, sizeof(rbe_layer), name), &inner, 1);
}

/* ---- repeat -------------------------------------------------------------------------------------------------- */

typedef struct repeat_layer {
    rbe_layer base;
    size_t times;
} repeat_layer;

enum { MOST_TIMES = 1000000 };

static size_t times_of(const rbe_layer *layer) { return ((const repeat_layer *)layer)->times; }

size_t rbe_layer_times(const rbe_layer *layer) { return layer->type == &rbe_repeat_type ? times_of(layer) : 1; }

static rbe_var *repeat_forward(const rbe_layer *layer, rbe_var *x) {
    for (size_t n = 0; n < times_of(layer); n++) x = sequential_forward(layer, x);
    return x;
}

static size_t repeat_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    return times_of(layer) * sequential_tape_bytes(layer, rows, columns);
}

static rbe_layer *bare_repeat(size_t times, const char *name) {
    rbe_layer *layer = container(&rbe_repeat_type, sizeof(repeat_layer), name);
    if (layer) ((repeat_layer *)layer)->times = times;
    return layer;
}

static rbe_status repeat_write(const rbe_layer *layer, rbe_writer *writer) {
    return rbe_write_number(writer, "times", (double)times_of(layer));
}

static rbe_layer *repeat_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    size_t times;
    if (rbe_read_count(reader, "times", 1, MOST_TIMES, &times) != RBE_OK) return NULL;
    reader->repeats(reader, times);
    return bare_repeat(times, NULL);
}

const rbe_layer_type rbe_repeat_type = {.kind = "repeat",
                                        .role = RBE_CONTAINER,
                                        .forward = repeat_forward,
                                        .write = RBE_FULL(repeat_write),
                                        .read = repeat_read,
                                        .adopt = square_adopt,
                                        .tape_bytes = repeat_tape_bytes,
                                        .scratch_bytes = rbe_layer_largest_scratch};

rbe_layer *rbe_repeat_new(rbe_layer *inner, size_t times, const char *name) {
    if (times < 1 || times > MOST_TIMES) {
        rbe_fail(RBE_INVALID_ARGUMENT, "repeat: expected 1 .. %d times, found %zu", MOST_TIMES, times);
        rbe_layer_free(inner);
        return NULL;
    }
    return rbe_layer_around(bare_repeat(times, name), &inner, 1);
}

/* ---- bag ----------------------------------------------------------------------------------------------------- */

static rbe_var *bag_forward(const rbe_layer *layer, rbe_var *x) {
    return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: a bag of layers has no forward pass of its own", layer->path);
}

static size_t bag_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    (void)layer, (void)rows, (void)columns;
    return 0;
}

const rbe_layer_type rbe_bag_type = {.kind = "bag",
                                     .role = RBE_CONTAINER,
                                     .forward = bag_forward,
                                     .read = rbe_container_read,
                                     .tape_bytes = bag_tape_bytes};

rbe_layer *rbe_bag_new(const char *name) { return container(&rbe_bag_type, sizeof(rbe_layer), name); }

/* ---- adding -------------------------------------------------------------------------------------------------- */

rbe_status rbe_layer_add(rbe_layer *layer, rbe_layer *child) {
    if (!layer || layer->type->role != RBE_CONTAINER) {
        rbe_status status = rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_add: expected a container, found %s",
                                     layer ? layer->name : "NULL");
        if (child && child->places == 0) rbe_layer_free(child);
        return status;
    }
    if (!child)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_add: the layer is NULL (last failure: %s)", rbe_last_error());
    return rbe_layer_adopt(layer, child);
}
