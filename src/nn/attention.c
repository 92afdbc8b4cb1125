/* Attention and the block of a transformer as layers of layers, before which norms stand (pre-norm):
 *
 *     attention   y = dropout(project(attend(qkv(x))))
 *     block       x1 = x + attention(norm_1(x)),   y = x1 + feed(norm_2(x1))
 *
 * In inference with a context (tensor/context.h) attention sees the places that it remembers, too.
 */
#include "nn/layer.h"
#include "tensor/context.h"
#include "tensor/node.h"

/* Of the tape, that all children take, each of which is given so many columns. */
static size_t bytes_inside(const rbe_layer *layer, size_t rows, size_t columns) {
    size_t bytes = 0;
    for (size_t n = 0; n < layer->child_count; n++) {
        size_t given = columns;
        bytes += rbe_layer_tape_bytes(layer->children[n], rows, &given);
    }
    return bytes;
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

typedef struct attention_layer {
    rbe_layer base;
    rbe_attention_options options;
} attention_layer;

enum { QKV, PROJECT, PARTS };

static rbe_var *attention_forward(const rbe_layer *layer, rbe_var *x) {
    const rbe_attention_options *o = &((const attention_layer *)layer)->options;
    if (layer->child_count < PARTS)
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: expected two layers inside, found %zu", layer->path,
                             layer->child_count);
    const size_t first = rbe_context_places(x->tape);
    rbe_var *qkv = rbe_layer_forward(layer->children[QKV], x);
    if (o->rotary_base > 0.0) qkv = rbe_rotary(qkv, o->heads, o->rotary_base, first);
    rbe_var *y =
        x->tape->context ? rbe_attention_in_context(qkv, o->heads) : rbe_attention(qkv, o->heads, (float)o->dropout);
    return rbe_dropout(rbe_layer_forward(layer->children[PROJECT], y), (float)o->dropout);
}

static rbe_status attention_write(const rbe_layer *layer, rbe_writer *writer) {
    const rbe_attention_options *o = &((const attention_layer *)layer)->options;
    RBE_TRY(rbe_write_number(writer, "heads", (double)o->heads));
    RBE_TRY(rbe_write_number(writer, "dropout", o->dropout));
    return rbe_write_number(writer, "rotary_base", o->rotary_base);
}

static bool is_base(double base) { return base == 0.0 || (base > 1.0 && base < 1e30); }

static rbe_layer *bare_attention(const rbe_attention_options *o, const char *name) {
    if (o->heads < 1 || o->heads > RBE_MOST_COLUMNS || !(o->dropout >= 0.0 && (float)o->dropout < 1.0f) ||
        !is_base(o->rotary_base)) {
        rbe_fail(RBE_INVALID_ARGUMENT,
                 "attention: expected at least one head, 0 <= dropout < 1 and a rotary base of 0 or above 1, found "
                 "%zu, %g and %g",
                 o->heads, o->dropout, o->rotary_base);
        return NULL;
    }
    rbe_layer *layer = rbe_layer_make_named(&rbe_attention_type, sizeof(attention_layer), 0, 0, name);
    if (layer) ((attention_layer *)layer)->options = *o;
    return layer;
}

static rbe_layer *attention_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)type;
    rbe_attention_options o;
    if (rbe_read_count(reader, "heads", 1, RBE_MOST_COLUMNS, &o.heads) != RBE_OK ||
        rbe_read_number(reader, "dropout", 0.0, 1.0, &o.dropout) != RBE_OK ||
        rbe_read_number(reader, "rotary_base", 0.0, 1e30, &o.rotary_base) != RBE_OK)
        return NULL;
    if ((float)o.dropout < 1.0f && is_base(o.rotary_base)) return bare_attention(&o, NULL);
    rbe_read_fail(reader, "expected 0 <= dropout < 1 and a rotary_base of 0 or above 1");
    return NULL;
}

static rbe_status attention_adopt(rbe_layer *layer, const rbe_layer *child) {
    const attention_layer *a = (const attention_layer *)layer;
    const size_t pairs = a->options.rotary_base > 0.0 ? 2 : 1;
    if (layer->child_count == QKV) {
        if (child->in == 0 || child->out != 3 * child->in || child->in % (pairs * a->options.heads) != 0)
            return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                            "%s: expected three times as many outputs as inputs, and inputs that are a multiple of "
                            "%zu, found %zu -> %zu",
                            child->name, pairs * a->options.heads, child->in, child->out);
        layer->in = layer->out = child->in;
        return RBE_OK;
    }
    if (layer->child_count == PROJECT && child->in == layer->in && child->out == layer->in) return RBE_OK;
    return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: expected two layers, the second %zu -> %zu, found %zu -> %zu",
                    child->name, layer->in, layer->in, child->in, child->out);
}

/* What is inside, the result, its sums, and, with rotary positions, the turned rows. */
static size_t attention_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    const attention_layer *a = (const attention_layer *)layer;
    const size_t width = columns;
    size_t bytes = 2 * rbe_node_bytes(rows * width, true) + rbe_aligned(rows * a->options.heads * sizeof(float));
    if (a->options.rotary_base > 0.0) bytes += 2 * rbe_node_bytes(3 * rows * width, true);
    return bytes + bytes_inside(layer, rows, width);
}

const rbe_layer_type rbe_attention_type = {.kind = "attention",
                                           .role = RBE_CONTAINER,
                                           .forward = attention_forward,
                                           .write = RBE_FULL(attention_write),
                                           .read = attention_read,
                                           .adopt = attention_adopt,
                                           .tape_bytes = attention_tape_bytes,
                                           .scratch_bytes = rbe_layer_largest_scratch};

rbe_layer *rbe_attention_new(rbe_layer *qkv, rbe_layer *project, const rbe_attention_options *options,
                             const char *name) {
    static const rbe_attention_options one = {.heads = 1};
    rbe_layer *const inner[PARTS] = {qkv, project};
    return rbe_layer_around(bare_attention(options ? options : &one, name), inner, PARTS);
}

/* ---- block --------------------------------------------------------------------------------------------------- */

enum { NORM_1, ATTENTION, NORM_2, FEED, BLOCK_PARTS };

static rbe_var *branch(const rbe_layer *layer, rbe_var *x, size_t norm, size_t inner) {
    return rbe_add(x, rbe_layer_forward(layer->children[inner], rbe_layer_forward(layer->children[norm], x)));
}

static rbe_var *block_forward(const rbe_layer *layer, rbe_var *x) {
    if (layer->child_count < BLOCK_PARTS)
        return rbe_tape_fail(x, RBE_INVALID_ARGUMENT, "%s: expected four layers inside, found %zu", layer->path,
                             layer->child_count);
    return branch(layer, branch(layer, x, NORM_1, ATTENTION), NORM_2, FEED);
}

static rbe_status block_adopt(rbe_layer *layer, const rbe_layer *child) {
    const bool fits = child->in == child->out && (!layer->in || !child->in || child->in == layer->in);
    if (layer->child_count == BLOCK_PARTS || !fits)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH,
                        "%s: a block holds four layers of one width, found %zu -> %zu as number %zu", child->name,
                        child->in, child->out, layer->child_count + 1);
    if (child->in) layer->in = layer->out = child->in;
    return RBE_OK;
}

static size_t block_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    return 2 * rbe_node_bytes(rows * columns, true) + bytes_inside(layer, rows, columns);
}

const rbe_layer_type rbe_block_type = {.kind = "block",
                                       .role = RBE_CONTAINER,
                                       .forward = block_forward,
                                       .read = rbe_container_read,
                                       .adopt = block_adopt,
                                       .tape_bytes = block_tape_bytes,
                                       .scratch_bytes = rbe_layer_largest_scratch};

rbe_layer *rbe_block_new(rbe_layer *norm_1, rbe_layer *attention, rbe_layer *norm_2, rbe_layer *feed,
                         const char *name) {
    rbe_layer *const inner[BLOCK_PARTS] = {norm_1, attention, norm_2, feed};
    return rbe_layer_around(rbe_layer_make_named(&rbe_block_type, sizeof(rbe_layer), 0, 0, name), inner, BLOCK_PARTS);
}
