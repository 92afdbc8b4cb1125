/* The function of a compressed layer: x is cut into blocks and transformed, each group of block rows has the products of
 * its lists, and its blocks of outputs are transformed back and put together.
 *
 * Scratch memory: h, the transformed inputs; found, their moments, with alpha; then g, the sums of a group; t and u, a
 * block; sums, moments of the outputs. An image needs its lines only before there are g, t and sums.
 */
#include <math.h>
#include <stdio.h>

#include "codec/blocks.h"
#include "codec/filters.h"
#include "export/exporter.h"
#include "export/positions.h"
#include "nn/bits.h"

/* What the parts of one function are told. */
typedef struct linear {
    rbe_exporter *x;
    rbe_c_text *text;
    const rbe_layer *layer;
    const rbe_blocks *b;
    size_t number;
    size_t functions; /* of alpha; 0 without */
    bool copies;      /* h is not x itself */
} linear;

static size_t functions_of(const rbe_blocks *b) { return b->alpha ? rbe_smooth_count(b) : 0; }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Inputs that stand in whole blocks and are not transformed need no copy. */
static bool needs_copy(const rbe_blocks *b) {
    return b->input_side.kind != RBE_SIDE_PLAIN || b->column_transform->kind != RBE_TRANSFORM_IDENTITY ||
           b->in % b->block != 0;
}

/* Without values there is nothing in the transforms' domains. */
static bool transforms_inputs(const rbe_blocks *b) {
    return b->value_count > 0 && b->column_transform->kind != RBE_TRANSFORM_IDENTITY;
}

static bool transforms_outputs(const rbe_blocks *b) {
    return b->value_count > 0 && b->row_transform->kind != RBE_TRANSFORM_IDENTITY;
}

static size_t inputs_size(const rbe_blocks *b) { return needs_copy(b) ? b->grid_cols * b->block : 0; }

static size_t work_size(const rbe_blocks *b) {
    return larger(b->block, larger(b->input_side.height, b->input_side.width));
}

size_t rbe_c_linear_work(const rbe_layer *layer) {
    const rbe_blocks *b = rbe_layer_blocks(layer);
    const size_t functions = functions_of(b), image = b->input_side.height * b->input_side.width;
    const size_t group = b->group * b->block + b->block + functions;
    return inputs_size(b) + functions * b->grid_cols + work_size(b) + larger(group, image);
}

/* ---- transforms ---------------------------------------------------------------------------------------------- */

static void dct(linear *l, const char *at, bool back) {
    const size_t block = l->b->block;
    if (l->x->o.speed) {
        rbe_need(l->x, RBE_SNIPPET_dct_fast);
        if (back) rbe_need(l->x, RBE_SNIPPET_dct_fast_back);
        rbe_need_table(l->x, RBE_TURNS, block, NULL);
        rbe_c_print(l->text, "dct_halves%s(%s, %zu, turns_%zu, u);\n", back ? "_back" : "", at, block, block);
        return;
    }
    rbe_need(l->x, RBE_SNIPPET_cosine);
    rbe_need(l->x, back ? RBE_SNIPPET_dct_direct_back : RBE_SNIPPET_dct_direct);
    rbe_need_table(l->x, RBE_COSINES, block, NULL);
    rbe_c_print(l->text, "%s(%s, %s%zu, cosines_%zu, u);\n", back ? "dct_back" : "dct", at, back ? "" : "1, ", block,
                block);
}

/* Of a wavelet. */
static size_t taps_of(const rbe_transform *t) {
    rbe_filters analysis, synthesis;
    rbe_transform_filters(t, &analysis, &synthesis);
    return synthesis.taps;
}

/* A call for the block at `at`. */
static void transform(linear *l, const rbe_transform *t, const char *at, bool back) {
    const size_t block = l->b->block;
    switch (t->kind) {
    case RBE_TRANSFORM_IDENTITY: return;
    case RBE_TRANSFORM_DCT: dct(l, at, back); return;
    case RBE_TRANSFORM_WALSH: {
        char scale[40];
        rbe_need(l->x, RBE_SNIPPET_walsh);
        rbe_c_float_digits((float)(1.0 / sqrt((double)block)), scale);
        rbe_c_print(l->text, "walsh(%s, %zu, %s, u);\n", at, block, scale);
        return;
    }
    default: {
        rbe_need(l->x, back ? RBE_SNIPPET_wavelet_back : RBE_SNIPPET_wavelet);
        rbe_need_table(l->x, RBE_FILTERS, 0, t);
        rbe_c_print(l->text, "%s(%s, %zu, %s_low, %s_high, %zu, u);\n", back ? "wavelet_back" : "wavelet", at, block,
                    t->name, t->name, taps_of(t));
    }
    }
}

static double transform_operations(const rbe_transform *t, size_t block, bool speed) {
    const double n = (double)block;
    switch (t->kind) {
    case RBE_TRANSFORM_IDENTITY: return 0.0;
    case RBE_TRANSFORM_DCT: return speed ? 3.0 * n * log2(n) : n * n;
    case RBE_TRANSFORM_WALSH: return n * log2(n);
    default: return 2.0 * n * (double)taps_of(t);
    }
}

/* ---- inputs -------------------------------------------------------------------------------------------------- */

static void cut(linear *l) {
    const rbe_blocks *b = l->b;
    const rbe_side *side = &b->input_side;
    const size_t padded = b->grid_cols * b->block;
    if (side->kind == RBE_SIDE_OVERLAP) {
        rbe_need(l->x, RBE_SNIPPET_overlap_cut);
        rbe_need_table(l->x, RBE_RAMP, side->overlap, NULL);
        rbe_c_print(l->text, "    overlap_cut(x, %zu, h, %zu, %zu, ramp_%zu, %zu);\n", side->length, b->grid_cols,
                    b->block, side->overlap, side->overlap);
        return;
    }
    if (side->kind == RBE_SIDE_IMAGE) {
        rbe_need(l->x, RBE_SNIPPET_cosine);
        rbe_need(l->x, RBE_SNIPPET_dct_direct);
        rbe_need(l->x, RBE_SNIPPET_image);
        rbe_need_table(l->x, RBE_COSINES, side->height, NULL);
        rbe_need_table(l->x, RBE_COSINES, side->width, NULL);
        rbe_c_print(l->text, "    image(x, %zu, %zu, cosines_%zu, cosines_%zu, h, g, u);\n", side->height, side->width,
                    side->height, side->width);
    } else
        rbe_c_print(l->text, "    memcpy(h, x, %zu * sizeof *h);\n", b->in);
    if (padded > b->in) rbe_c_print(l->text, "    for (size_t i = %zu; i < %zu; i++) h[i] = 0.0f;\n", b->in, padded);
}

static void inputs(linear *l) {
    const rbe_blocks *b = l->b;
    char at[40];
    if (l->copies) cut(l);
    snprintf(at, sizeof at, "%s + %zu * q", l->copies ? "h" : "x", b->block);
    if (l->functions) {
        rbe_need(l->x, RBE_SNIPPET_smooth);
        rbe_need_table(l->x, RBE_SMOOTH, b->block, NULL);
        rbe_c_print(l->text,
                    "    for (size_t q = 0; q < %zu; q++) moments(%s, %zu, smooth_%zu, %zu, found + %zu * q);\n",
                    b->grid_cols, at, b->block, b->block, l->functions, l->functions);
    }
    if (!transforms_inputs(b)) return;
    rbe_c_print(l->text, "    for (size_t q = 0; q < %zu; q++) ", b->grid_cols);
    transform(l, b->column_transform, at, false);
}

/* ---- groups -------------------------------------------------------------------------------------------------- */

static void bias(linear *l) {
    const rbe_linear_layer *layer = rbe_layer_as_linear(l->layer);
    char element[160] = "0.0f";
    if (layer->bias) rbe_c_element(l->x, l->layer, layer->bias, l->number, "i", element);
    rbe_c_print(l->text, "    for (size_t i = 0; i < %zu; i++) y[i] = %s;\n", l->b->output_side.length, element);
}

/* Where the lists are read from. */
static void readers(linear *l) {
    const size_t n = l->number;
    const unsigned bits = rbe_export_bits(l->x, l->layer, &l->layer->params[0]);
    rbe_need(l->x, l->x->o.speed ? RBE_SNIPPET_positions_bytes : RBE_SNIPPET_positions_bits);
    rbe_need(l->x, bits ? RBE_SNIPPET_lists_packed : RBE_SNIPPET_lists_f32);
    if (l->x->o.speed)
        rbe_c_print(l->text, "    positions p = {positions_%zu};\n", n);
    else {
        rbe_c_positions p = {0};
        rbe_c_positions_measure(&p, l->b);
        rbe_c_print(l->text, "    positions p = {positions_%zu, widths_%zu, %zu, %u, 0};\n", n, n, p.mean, p.shift);
    }
    if (bits)
        rbe_c_print(l->text, "    packed values = {values_%zu, steps_%zu, %u, 0};\n", n, n, bits);
    else
        rbe_c_print(l->text, "    const float *values = values_%zu;\n", n);
}

static void smooth_part(linear *l) {
    const rbe_blocks *b = l->b;
    char element[160], index[80];
    snprintf(index, sizeof index, "((first + k) * %zu + q) * %d + i", b->grid_cols, RBE_ALPHA_FUNCTIONS);
    rbe_c_element(l->x, l->layer, rbe_layer_as_linear(l->layer)->alpha, l->number, index, element);
    rbe_c_print(l->text,
                "            for (size_t i = 0; i < %zu; i++) sums[i] = 0.0f;\n"
                "            for (size_t q = 0; q < %zu; q++) {\n"
                "                float a[%d];\n"
                "                for (size_t i = 0; i < %d; i++) a[i] = %s;\n"
                "                smooth(a, found + %zu * q, factors_%zu, %zu, sums);\n"
                "            }\n"
                "            expand(sums, %zu, smooth_%zu, %zu, t);\n",
                l->functions, b->grid_cols, RBE_ALPHA_FUNCTIONS, RBE_ALPHA_FUNCTIONS, element, l->functions, b->block,
                l->functions, b->block, b->block, l->functions);
}

static void paste(linear *l) {
    const rbe_blocks *b = l->b;
    const rbe_side *side = &b->output_side;
    if (side->kind == RBE_SIDE_OVERLAP) {
        rbe_need(l->x, RBE_SNIPPET_overlap_paste);
        rbe_need_table(l->x, RBE_RAMP, side->overlap, NULL);
        rbe_c_print(l->text, "            overlap_paste(t, first + k, %zu, %zu, ramp_%zu, %zu, y, %zu);\n",
                    b->grid_rows, b->block, side->overlap, side->overlap, side->length);
        return;
    }
    rbe_c_print(l->text, "            for (size_t i = 0, at = (first + k) * %zu; i < %zu", b->block, b->block);
    if (b->out % b->block) rbe_c_print(l->text, " && at < %zu", b->out);
    rbe_c_put(l->text, "; i++) y[at++] += t[i];\n");
}

static void groups(linear *l) {
    const rbe_blocks *b = l->b;
    const bool lists = b->value_count > 0;
    rbe_c_print(l->text, "    for (size_t first = 0; first < %zu; first += %zu) {\n", b->grid_rows, b->group);
    if (b->grid_rows % b->group)
        rbe_c_print(l->text, "        const size_t rows = first + %zu < %zu ? %zu : %zu - first;\n", b->group,
                    b->grid_rows, b->group, b->grid_rows);
    else
        rbe_c_print(l->text, "        const size_t rows = %zu;\n", b->group);
    if (lists) {
        const bool packed = rbe_export_bits(l->x, l->layer, &l->layer->params[0]) > 0;
        rbe_c_print(l->text, "        for (size_t i = 0; i < %zu * rows; i++) g[i] = 0.0f;\n", b->block);
        rbe_c_print(l->text, "        %slists_%s(&p, %svalues, %s, g, %zu, rows);\n",
                    packed ? "" : "values = ", packed ? "packed" : "f32", packed ? "&" : "", l->copies ? "h" : "x",
                    b->block);
    }
    rbe_c_print(l->text,
                "        for (size_t k = 0; k < rows; k++) {\n"
                "            for (size_t i = 0; i < %zu; i++) t[i] = %s;\n",
                b->block, lists ? "g[i * rows + k]" : "0.0f");
    if (transforms_outputs(b)) {
        rbe_c_put(l->text, "            ");
        transform(l, b->row_transform, "t", true);
    }
    if (l->functions) smooth_part(l);
    paste(l);
    rbe_c_put(l->text, "        }\n    }\n");
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static bool uses_work(const rbe_blocks *b) {
    return b->input_side.kind == RBE_SIDE_IMAGE || transforms_inputs(b) || transforms_outputs(b);
}

static void describe(linear *l) {
    const rbe_blocks *b = l->b;
    char comment[64];
    rbe_c_print(l->text,
                "\n/* %s: %zu inputs, %zu outputs; blocks of %zu, %zu x %zu of them, groups of %zu; %s along outputs, "
                "%s along inputs%s%s%s. */\n",
                rbe_comment(l->layer->path, comment), b->input_side.length, b->output_side.length, b->block,
                b->grid_rows, b->grid_cols, b->group, b->row_transform->name, b->column_transform->name,
                b->input_side.kind == RBE_SIDE_IMAGE ? ", which are an image" : "",
                b->output_side.kind == RBE_SIDE_OVERLAP ? "; blocks overlap" : "",
                b->alpha ? "; smooth functions" : "");
}

/* Pointers into scratch memory, those that are used. */
static void pointers(linear *l) {
    const rbe_blocks *b = l->b;
    size_t at = 0;
    if (l->copies) rbe_c_put(l->text, "    float *const h = s;\n");
    at += inputs_size(b);
    if (l->functions) rbe_c_print(l->text, "    float *const found = s + %zu;\n", at);
    at += l->functions * b->grid_cols;
    if (uses_work(b)) rbe_c_print(l->text, "    float *const u = s + %zu;\n", at);
    at += work_size(b);
    if (b->value_count > 0 || b->input_side.kind == RBE_SIDE_IMAGE)
        rbe_c_print(l->text, "    float *const g = s + %zu;\n", at);
    at += b->group * b->block;
    rbe_c_print(l->text, "    float *const t = s + %zu;\n", at);
    at += b->block;
    if (l->functions) rbe_c_print(l->text, "    float *const sums = s + %zu;\n", at);
}

void rbe_c_linear(rbe_exporter *x, const rbe_layer *layer, size_t number) {
    const rbe_blocks *b = rbe_layer_blocks(layer);
    linear l = {.x = x,
                .text = &x->text,
                .layer = layer,
                .b = b,
                .number = number,
                .functions = functions_of(b),
                .copies = needs_copy(b)};
    const bool blocks = b->value_count > 0 || l.functions; /* otherwise there is nothing but a bias */
    describe(&l);
    rbe_c_print(l.text, "static void layer_%zu(const float *x, float *y, float *s)\n{\n", number);
    if (blocks) {
        pointers(&l);
        if (b->value_count > 0) readers(&l);
        inputs(&l);
    }
    bias(&l);
    if (blocks) groups(&l);
    if (!blocks) rbe_c_put(l.text, "    (void)x;\n    (void)s;\n");
    rbe_c_put(l.text, "}\n");
}

double rbe_linear_operations(const rbe_layer *layer, bool speed) {
    const rbe_blocks *b = rbe_layer_blocks(layer);
    const double rows = (double)b->grid_rows, columns = (double)b->grid_cols, functions = (double)functions_of(b);
    const double pixels = (double)(b->input_side.height * b->input_side.width);
    return (double)b->value_count + columns * transform_operations(b->column_transform, b->block, speed) +
           rows * transform_operations(b->row_transform, b->block, speed) +
           pixels * (double)(b->input_side.height + b->input_side.width) +
           functions * ((rows + columns) * (double)b->block + rows * columns);
}
