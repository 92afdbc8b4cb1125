/* The matrix of a layer as whole numbers: which columns its lists choose from, the gaps between them, values, steps. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"
#include "export/integer.h"
#include "nn/bits.h"

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* ---- cosines ------------------------------------------------------------------------------------------------- */

/* Sums of both directions are below 7/8 of 2^31: the rest is for biases and rounding. */
double rbe_int_cosines(size_t n, int16_t *cosines) {
    const double most = 0.875 * 2147483648.0, of_row = 2.0 * RBE_INT_FOLDED * ((double)n / 2.0 + 1.0) * M_SQRT1_2,
                 of_column = RBE_INT_FOLDED * (M_2_PI * (double)n + 2.0);
    const double limit = floor(most / fmax(of_row, of_column)), c = fmin(limit, 32767.0);
    for (size_t k = 0; cosines && k <= n; k++)
        cosines[k] = (int16_t)lrint(k == n ? 0.0 : c * cos(M_PI_2 * (double)k / (double)n));
    return c;
}

/* ---- columns ------------------------------------------------------------------------------------------------- */

static rbe_status check(const rbe_layer *layer, const rbe_blocks *b) {
    const bool image = b->input_side.kind == RBE_SIDE_IMAGE;
    const char *what = NULL;
    if (b->alpha) what = "alphas";
    if (b->output_side.kind != RBE_SIDE_PLAIN || b->input_side.kind == RBE_SIDE_OVERLAP) what = "blocks that overlap";
    for (int k = 0; k < 2; k++) {
        const rbe_transform *t = k ? b->column_transform : b->row_transform;
        if (t->kind != RBE_TRANSFORM_IDENTITY && t->kind != RBE_TRANSFORM_DCT) what = t->name;
    }
    if (image && b->column_transform->kind != RBE_TRANSFORM_IDENTITY) what = "an image with a transform of its blocks";
    if (image && (b->input_side.height % 2 || b->input_side.width % 2)) what = "an image of odd height or width";
    if (!what) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected identity or dct and no more for integer arithmetic, found %s",
                    layer->path, what);
}

/* Of a DCT of n: even frequencies come before odd ones, an even number of each. SIZE_MAX: there is none. */
static size_t frequency_of(size_t row, size_t n) {
    const size_t half = rbe_int_half(n), frequency = row < half ? 2 * row : 2 * (row - half) + 1;
    return frequency < n ? frequency : SIZE_MAX;
}

/* Of bits that tell which of them are used. */
static size_t bytes_of(size_t n) { return (rbe_int_half(n) + 7) / 8 * 2; }

static void set_bit(uint8_t *bits, size_t row, size_t n) {
    const size_t half = rbe_int_half(n), at = row < half ? row : bytes_of(n) * 4 + row - half;
    bits[at / 8] |= (uint8_t)(1U << at % 8);
}

/* Columns in the order in which a list finds them. */
typedef struct columns {
    bool *used;
    size_t *place; /* of a column that is used */
} columns;

/* Of an image: frequencies along its lines, and for each that is used those along the columns. The number of column (u, v)
 * is v * height + u in `numbers`. */
static void choose_image(rbe_int_layer *l, const size_t *numbers, columns *c) {
    uint8_t *bits = l->used + bytes_of(l->width);
    for (size_t row = 0; row < 2 * rbe_int_half(l->width); row++) {
        const size_t v = frequency_of(row, l->width), before = l->columns;
        for (size_t k = 0; v < l->width && k < 2 * rbe_int_half(l->height); k++) {
            const size_t u = frequency_of(k, l->height);
            if (u >= l->height || !c->used[numbers[v * l->height + u]]) continue;
            set_bit(bits, k, l->height);
            c->place[numbers[v * l->height + u]] = l->columns++;
        }
        if (l->columns == before) continue;
        set_bit(l->used, row, l->width);
        bits += bytes_of(l->height);
    }
    l->used_bytes = (size_t)(bits - l->used);
}

static void choose_blocks(rbe_int_layer *l, columns *c) {
    for (size_t first = 0; first < l->in; first += l->input_block)
        for (size_t k = 0; k < l->input_block; k++) {
            const size_t column = first + frequency_of(k, l->input_block);
            if (!c->used[column]) continue;
            set_bit(l->used + first / l->input_block * bytes_of(l->input_block), k, l->input_block);
            c->place[column] = l->columns++;
        }
    l->used_bytes = (l->in + l->input_block - 1) / l->input_block * bytes_of(l->input_block);
}

static rbe_status choose(rbe_int_layer *l, const rbe_blocks *b, columns *c) {
    const size_t width = b->grid_cols * b->block, pixels = l->height * l->width;
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at);) c->used[at.column] = true;
    if (pixels == 0 && l->input_block == 0) {
        for (size_t n = 0; n < width; n++) c->place[n] = n;
        l->columns = l->in;
        return RBE_OK;
    }
    l->used = rbe_alloc_zeroed(bytes_of(l->width) + l->width * bytes_of(l->height) + width / 4, 1);
    size_t *numbers = rbe_alloc(pixels + 1, sizeof *numbers);
    if (l->used && numbers) {
        for (size_t n = 0; n < pixels; n++)
            numbers[b->input_side.order[n].v * l->height + b->input_side.order[n].u] = n;
        if (pixels > 0)
            choose_image(l, numbers, c);
        else
            choose_blocks(l, c);
    }
    rbe_free(numbers);
    return l->used && numbers ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

/* ---- lists --------------------------------------------------------------------------------------------------- */

/* An entry of a list, with its place among the columns. */
typedef struct entry {
    size_t place, value;
} entry;

static int by_place(const void *a, const void *b) {
    const size_t one = ((const entry *)a)->place, other = ((const entry *)b)->place;
    return (one > other) - (one < other);
}

/* Entries in columns of the padding, which are 0, are left out. */
static size_t sorted_list(const rbe_int_layer *l, const rbe_blocks *b, const rbe_list *list, const size_t *place,
                          entry *entries) {
    const size_t wide = l->height > 0 ? l->height * l->width : l->input_block > 0 ? SIZE_MAX : l->in;
    size_t count = 0;
    for (size_t k = list->first; k < list->end; k++) {
        const size_t column = rbe_column_at(b, k);
        if (column < wide) entries[count++] = (entry){place[column], list->value + (k - list->first) * list->rows};
    }
    qsort(entries, count, sizeof *entries, by_place);
    return count;
}

static void put_gap(uint16_t *gaps, size_t at, size_t value) {
    gaps[at / 5] = (uint16_t)(gaps[at / 5] | value << (at % 5 * 3 + 1));
}

/* Writes the gaps, as snippets/int_lists.c reads them. Returns how many numbers they are. */
static size_t put_gaps(const entry *entries, size_t count, uint16_t *gaps) {
    size_t at = 0, next = 0;
    for (size_t n = 0; n < count; n++) {
        size_t gap = entries[n].place - next;
        for (; gap >= 7; gap -= 7) put_gap(gaps, at++, 7);
        put_gap(gaps, at++, gap);
        next = entries[n].place + 1;
    }
    while (at % 5 || at == 0) put_gap(gaps, at++, 7);
    gaps[at / 5 - 1] |= 1;
    return at / 5;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* Numbers of some rows, row after row, as the routines of snippets/int_rows_4.c and int_rows_8.c read them. */
static void put_values(rbe_int_layer *l, const int8_t *numbers, size_t rows, size_t count) {
    uint16_t *to = l->values + l->value_count;
    const unsigned bits = l->wide ? 8 : 4;
    for (size_t row = 0, made; row < rows; row += made, numbers += made * count) {
        const size_t left = rows - row;
        made = l->wide || left < 2 ? 1 : left < 4 ? 2 : 4;
        for (size_t n = 0, wide = 16 / bits / made; n < count; n += wide) {
            unsigned all = 0;
            for (size_t k = n; k < n + wide; k++)
                for (size_t r = 0; r < made; r++)
                    all = all << bits | (k < count ? (unsigned)(numbers[r * count + k] + (1 << (bits - 1))) : 0U);
            *to++ = (uint16_t)all;
        }
    }
    l->value_count = (size_t)(to - l->values);
}

/* Notes a row: its step, and how much it weighs. */
static void note_row(rbe_int_layer *l, const int8_t *numbers, size_t count, float step) {
    uint32_t weight = 0;
    for (size_t n = 0; n < count; n++) weight += (uint32_t)abs(numbers[n]);
    if (weight > l->heaviest) l->heaviest = weight;
    l->weights[l->scale_count] = weight;
    l->steps[l->scale_count++] = count > 0 ? step : 0.0f;
}

/* ---- a matrix ------------------------------------------------------------------------------------------------ */

typedef struct whole {
    rbe_rows rows;
    float *numbers, *steps;
} whole;

static rbe_status make_whole(const rbe_layer *layer, const rbe_param *param, unsigned bits, whole *w) {
    *w = (whole){.rows = rbe_param_rows(layer, param)};
    w->numbers = rbe_alloc(param->count + 1, sizeof *w->numbers);
    w->steps = rbe_alloc(w->rows.count, sizeof *w->steps);
    if (!w->numbers || !w->steps) return RBE_INSUFFICIENT_MEMORY;
    rbe_quantise_steps(&w->rows, bits, param->value, w->steps);
    rbe_quantise(&w->rows, param->value, w->steps, w->numbers);
    return RBE_OK;
}

static void code_dense(rbe_int_layer *l, const whole *w, int8_t *numbers) {
    for (size_t n = 0; n < l->in * l->out; n++) numbers[n] = (int8_t)w->numbers[n];
    for (size_t row = 0; row < l->out; row++) note_row(l, numbers + row * l->in, l->in, w->steps[row]);
    put_values(l, numbers, l->out, l->in);
}

static void code_list(rbe_int_layer *l, const rbe_list *list, const whole *w, const entry *entries, size_t count,
                      int8_t *numbers) {
    for (size_t k = 0; k < list->rows; k++) {
        for (size_t n = 0; n < count; n++) numbers[k * count + n] = (int8_t)w->numbers[entries[n].value + k];
        note_row(l, numbers + k * count, count, w->steps[(list->group * l->group + k) * l->block + list->frequency]);
    }
    put_values(l, numbers, list->rows, count);
}

static rbe_status code_lists(rbe_int_layer *l, const rbe_blocks *b, const whole *w, const size_t *place,
                             int8_t *numbers) {
    entry *entries = rbe_alloc(b->grid_cols * b->block, sizeof *entries);
    const size_t lists = rbe_list_count(b);
    /* a gap for every entry and for every 7 columns of each list */
    l->gaps = rbe_alloc_zeroed(b->entries / 5 + lists * (l->columns / 35 + 2), sizeof *l->gaps);
    for (size_t n = 0; n < lists && entries && l->gaps; n++) {
        const rbe_list list = rbe_list_at(b, n);
        const size_t count = sorted_list(l, b, &list, place, entries);
        l->gap_count += put_gaps(entries, count, l->gaps + l->gap_count);
        l->longest = larger(l->longest, count);
        code_list(l, &list, w, entries, count, numbers);
    }
    l->longest = larger(l->longest + 3, l->back ? 2 * l->block + 1 : l->block);
    rbe_free(entries);
    return entries && l->gaps ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
}

static rbe_status code_compressed(rbe_int_layer *l, const rbe_blocks *b, const whole *w, int8_t *numbers) {
    const size_t width = b->grid_cols * b->block;
    l->block = b->block;
    l->blocks = b->grid_rows;
    l->group = b->group;
    l->back = b->row_transform->kind == RBE_TRANSFORM_DCT;
    l->height = b->input_side.height;
    l->width = b->input_side.width;
    if (b->column_transform->kind == RBE_TRANSFORM_DCT) l->input_block = b->block;
    columns c = {.used = rbe_alloc_zeroed(width, sizeof *c.used), .place = rbe_alloc(width, sizeof *c.place)};
    rbe_status status = c.used && c.place ? choose(l, b, &c) : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK) status = code_lists(l, b, w, c.place, numbers);
    rbe_free(c.used);
    rbe_free(c.place);
    return status;
}

/* ---- biases -------------------------------------------------------------------------------------------------- */

/* In its own bits, or in 16. */
static rbe_status code_bias(const rbe_exporter *x, rbe_int_layer *l, const rbe_param *bias) {
    const unsigned bits = rbe_export_bits(x, l->layer, bias);
    whole w = {.numbers = NULL};
    float most = 0.0f;
    l->bias = rbe_alloc(l->out, sizeof *l->bias);
    rbe_status status = !l->bias ? RBE_INSUFFICIENT_MEMORY : bits ? make_whole(l->layer, bias, bits, &w) : RBE_OK;
    for (size_t n = 0; n < bias->count; n++) most = fmaxf(most, fabsf(bias->value[n]));
    l->bias_step = bits && status == RBE_OK ? (double)w.steps[0] : (double)most / 32767.0;
    for (size_t n = 0; n < bias->count && status == RBE_OK; n++)
        l->bias[n] = (int16_t)(bits ? w.numbers[n] : most > 0.0f ? lrint((double)bias->value[n] / l->bias_step) : 0);
    rbe_free(w.numbers);
    rbe_free(w.steps);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------- */

static rbe_status make_cosines(rbe_int_layer *l) {
    const size_t sizes[] = {l->width > 0 ? l->width : l->input_block, l->height, l->back ? l->block : 0};
    for (size_t n = 0; n < 3; n++) {
        if (sizes[n] == 0) continue;
        l->cosines[n] = rbe_alloc(sizes[n] + 1, sizeof *l->cosines[n]);
        if (!l->cosines[n]) return rbe_last_status();
        rbe_int_cosines(sizes[n], l->cosines[n]);
    }
    return RBE_OK;
}

rbe_status rbe_int_code(const rbe_exporter *x, rbe_int_layer *l) {
    const rbe_layer *layer = l->layer;
    const rbe_blocks *b = rbe_layer_blocks(layer);
    const rbe_param *matrix = &layer->params[0], *bias = NULL;
    for (size_t n = 1; n < layer->param_count; n++)
        if (strcmp(layer->params[n].part, "bias") == 0) bias = &layer->params[n];
    if (b) RBE_TRY(check(layer, b));
    const unsigned bits = rbe_export_bits(x, layer, matrix);
    const size_t rows = b ? b->grid_rows * b->block : layer->out;
    l->in = layer->in;
    l->out = layer->out;
    l->wide = bits > 4;
    l->values = rbe_alloc(matrix->count + rows, sizeof *l->values);
    l->steps = rbe_alloc(rows, sizeof *l->steps);
    l->weights = rbe_alloc(rows, sizeof *l->weights);
    l->scales = rbe_alloc(rows, sizeof *l->scales);
    int8_t *numbers = rbe_alloc(matrix->count + 1, 1);
    whole w = {.numbers = NULL};
    rbe_status status = RBE_INSUFFICIENT_MEMORY;
    if (l->values && l->steps && l->weights && l->scales && numbers) status = make_whole(layer, matrix, bits, &w);
    if (status == RBE_OK) {
        if (b)
            status = code_compressed(l, b, &w, numbers);
        else
            code_dense(l, &w, numbers);
    }
    if (status == RBE_OK) status = make_cosines(l);
    if (status == RBE_OK && bias) status = code_bias(x, l, bias);
    rbe_free(w.numbers);
    rbe_free(w.steps);
    rbe_free(numbers);
    return status;
}
