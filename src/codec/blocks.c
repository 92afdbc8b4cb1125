/* The compressed matrix: its making, its view by blocks, its cost. */
#include "codec/blocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"

/* ---- geometry and budget ------------------------------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The ratio that would leave one coefficient is rounded down to what the text shows. */
static rbe_status no_budget(const rbe_block_plan *plan, double ratio) {
    size_t values = plan->out * plan->in;
    size_t alphas = plan->has_alpha ? RBE_BASIS_COUNT * plan->grid_rows * plan->grid_cols : 0;
    if (values <= alphas)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "alpha: a %zu x %zu matrix is too small: its %zu values leave none beside %zu alphas; "
                        "expected alpha off",
                        plan->out, plan->in, values, alphas);
    double most = floor(100.0 * (double)values / (double)(alphas + 1)) / 100.0;
    return rbe_fail(RBE_INVALID_ARGUMENT,
                    "ratio: a %zu x %zu matrix is too small for %g: %zu / %g values leave no coefficients beside %zu "
                    "alphas; expected at most %.10g",
                    plan->out, plan->in, ratio, values, ratio, alphas, most);
}

/* Fills value_limit and has_alpha. */
static rbe_status plan_budget(rbe_block_plan *plan, const rbe_compress_options *o) {
    size_t blocks = plan->grid_rows * plan->grid_cols, alphas = RBE_BASIS_COUNT * blocks;
    size_t square = plan->block * plan->block;
    if (o->coeffs > square)
        return rbe_fail(RBE_INVALID_ARGUMENT, "coeffs: expected 1 .. %zu (block size squared), found %zu", square,
                        o->coeffs);
    if (o->coeffs > 0 && o->ratio != 0.0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "expected coeffs or ratio, found both (%zu and %g)", o->coeffs, o->ratio);
    if (o->ratio != 0.0 && !(o->ratio >= 1.0 && isfinite(o->ratio)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "ratio: expected at least 1, found %g", o->ratio);

    double ratio = o->ratio != 0.0 ? o->ratio : 16.0;
    double budget = o->coeffs > 0 ? (double)(o->coeffs * blocks) : floor((double)plan->out * (double)plan->in / ratio);
    bool automatic = plan->image_height == 0 && (double)alphas <= budget / 5.0;
    plan->has_alpha = o->alpha == RBE_ALPHA_ON || (o->alpha == RBE_ALPHA_AUTO && automatic);
    plan->coeffs = o->coeffs;
    if (plan->has_alpha && o->coeffs == 0) budget -= (double)alphas;
    if (o->target_error > 0.0) budget = (double)(square * blocks); /* it is searched for */
    if (budget < 1.0) return no_budget(plan, ratio);
    plan->value_limit = (size_t)fmin(budget, (double)(square * blocks));
    return RBE_OK;
}

rbe_status rbe_block_plan_make(rbe_block_plan *plan, size_t out, size_t in, const rbe_compress_options *options,
                               size_t default_group) {
    static const rbe_compress_options defaults = {0};
    const rbe_compress_options *o = options ? options : &defaults;
    const size_t most = (size_t)1 << 24;
    if (out < 1 || out > most || in < 1 || in > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "matrix: expected extents of 1 .. %zu, found %zu x %zu", most, out, in);
    size_t block = o->block ? o->block : 32;
    if (!rbe_block_size_valid(block))
        return rbe_fail(RBE_INVALID_ARGUMENT, "block size: expected a power of two, 8 .. 256, found %zu", block);
    if (o->alpha != RBE_ALPHA_AUTO && o->alpha != RBE_ALPHA_ON && o->alpha != RBE_ALPHA_OFF)
        return rbe_fail(RBE_INVALID_ARGUMENT, "alpha: expected auto, on or off, found %d", (int)o->alpha);
    bool image = o->image_height > 0 || o->image_width > 0;
    if (image && (o->image_height > most || o->image_width > most || o->image_height * o->image_width != in))
        return rbe_fail(RBE_INVALID_ARGUMENT, "image: expected height x width of %zu inputs, found %zu x %zu", in,
                        o->image_height, o->image_width);
    if (o->overlap > block / 2)
        return rbe_fail(RBE_INVALID_ARGUMENT, "overlap: expected 0 .. %zu (half a block), found %zu", block / 2,
                        o->overlap);
    size_t column_overlap = image ? 0 : o->overlap;
    size_t padded_out = o->overlap ? rbe_overlap_mapped(out, block, o->overlap) : out;
    size_t padded_in = column_overlap ? rbe_overlap_mapped(in, block, column_overlap) : in;
    *plan = (rbe_block_plan){
        .out = out,
        .in = in,
        .block = block,
        .grid_rows = (padded_out + block - 1) / block,
        .grid_cols = (padded_in + block - 1) / block,
        .overlap = o->overlap,
        .image_height = o->image_height,
        .image_width = o->image_width,
        .row_transform = o->row_transform ? o->row_transform : rbe_transform_named("dct"),
        .column_transform = o->column_transform ? o->column_transform : rbe_transform_named(image ? "identity" : "dct"),
    };
    plan->group = smaller(o->group ? o->group : default_group, plan->grid_rows);
    return plan_budget(plan, o);
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

static rbe_status make_axes(rbe_blocks *b, const rbe_block_plan *plan) {
    b->output_axis = rbe_axis_none(plan->out);
    b->input_axis = rbe_axis_none(plan->in);
    if (plan->overlap) RBE_TRY(rbe_axis_overlap(&b->output_axis, plan->out, plan->block, plan->overlap));
    if (plan->image_height) return rbe_axis_image(&b->input_axis, plan->image_height, plan->image_width);
    return plan->overlap ? rbe_axis_overlap(&b->input_axis, plan->in, plan->block, plan->overlap) : RBE_OK;
}

rbe_blocks *rbe_blocks_new(const rbe_block_plan *plan) {
    rbe_blocks *b = rbe_alloc_zeroed(1, sizeof *b);
    if (!b) return NULL;
    bool whole = make_axes(b, plan) == RBE_OK;
    b->out = b->output_axis.mapped;
    b->in = b->input_axis.mapped;
    b->block = plan->block;
    while (((size_t)1 << b->log2_block) < b->block) b->log2_block++;
    b->grid_rows = plan->grid_rows;
    b->grid_cols = plan->grid_cols;
    b->group = plan->group;
    b->groups = (b->grid_rows + b->group - 1) / b->group;
    b->row_transform = plan->row_transform;
    b->column_transform = plan->column_transform;
    b->list_start = rbe_alloc_zeroed(b->groups * b->block + 1, sizeof *b->list_start);
    whole = whole && b->list_start;
    if (plan->has_alpha) {
        b->alpha = rbe_alloc_zeroed(RBE_BASIS_COUNT * b->grid_rows * b->grid_cols, sizeof *b->alpha);
        b->moments = rbe_moments_new(b->block);
        whole = whole && b->alpha && b->moments;
    }
    if (whole) return b;
    rbe_blocks_free(b);
    return NULL;
}

rbe_status rbe_blocks_allocate(rbe_blocks *b) {
    size_t lists = b->groups * b->block;
    uint64_t entries = 0;
    b->value_count = 0;
    for (size_t list = 0; list < lists; list++) {
        uint32_t count = b->list_start[list + 1];
        b->value_count += count * rbe_group_rows(b, list / b->block);
        entries += count;
        if (entries > UINT32_MAX)
            return rbe_fail(RBE_INVALID_ARGUMENT, "a compressed matrix has at most %u positions", UINT32_MAX);
        b->list_start[list + 1] = (uint32_t)entries;
    }
    b->entries = entries;
    if (b->grid_cols * b->block <= 65536)
        b->columns16 = rbe_alloc_zeroed(b->entries + RBE_COLUMN_PADDING, sizeof *b->columns16);
    else
        b->columns32 = rbe_alloc_zeroed(b->entries + RBE_COLUMN_PADDING, sizeof *b->columns32);
    b->values = rbe_alloc_zeroed(b->value_count, sizeof *b->values);
    return (b->columns16 || b->columns32) && b->values ? RBE_OK : rbe_last_status();
}

void rbe_blocks_free(rbe_blocks *b) {
    if (!b) return;
    rbe_free(b->list_start);
    rbe_free(b->columns16);
    rbe_free(b->columns32);
    rbe_free(b->values);
    rbe_free(b->alpha);
    rbe_free(b->moments);
    rbe_axis_free(&b->output_axis);
    rbe_axis_free(&b->input_axis);
    rbe_free(b);
}

/* ---- from and to blocks -------------------------------------------------------------------------------------- */

static rbe_status check_block(const rbe_block *source, size_t index, size_t block, uint8_t *seen) {
    memset(seen, 0, block * block);
    for (int k = 0; k < RBE_BASIS_COUNT; k++)
        if (!isfinite(source->alpha[k]))
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: alpha %d is %g", index, k, source->alpha[k]);
    if (source->count > block * block)
        return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: promises %zu coefficients, expected at most %zu", index,
                        source->count, block * block);
    if (source->count > 0 && !source->coefficients)
        return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: promises %zu coefficients, the list is NULL", index,
                        source->count);
    for (size_t n = 0; n < source->count; n++) {
        const rbe_coefficient *c = &source->coefficients[n];
        if (c->freq_i >= block || c->freq_j >= block)
            return rbe_fail(RBE_CORRUPTED_BLOCK,
                            "block %zu: coefficient %zu has frequency (%u, %u), expected below %zu", index, n,
                            c->freq_i, c->freq_j, block);
        if (!isfinite(c->value))
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: coefficient %zu is %g", index, n, (double)c->value);
        if (seen[c->freq_i * block + c->freq_j]++)
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: frequency (%u, %u) stands twice", index, c->freq_i,
                            c->freq_j);
    }
    return RBE_OK;
}

/* Marks in `mask` (B x B) the positions that any block row of group g uses in block column q. */
static void union_of_positions(const rbe_blocks *b, const rbe_block *source, size_t g, size_t q, uint8_t *mask) {
    memset(mask, 0, b->block * b->block);
    for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
        const rbe_block *one = &source[(g * b->group + m) * b->grid_cols + q];
        for (size_t n = 0; n < one->count; n++)
            mask[one->coefficients[n].freq_i * b->block + one->coefficients[n].freq_j] = 1;
    }
}

/* The alphas of block (p, q), in orthonormal coordinates. */
static rbe_status fill_alpha(rbe_blocks *b, const rbe_block *source, size_t p, size_t q) {
    double orthonormal[RBE_BASIS_COUNT];
    rbe_moments_to_orthonormal(b->moments, source->alpha, orthonormal);
    for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
        float *alpha = rbe_block_alpha(b, p, q, l);
        *alpha = (float)orthonormal[l];
        if (!isfinite(*alpha))
            return rbe_fail(RBE_NUMERICAL_INSTABILITY,
                            "block %zu: alpha %zu (orthonormal) would be %g, expected at most %g", p * b->grid_cols + q,
                            l, orthonormal[l], (double)FLT_MAX);
    }
    return RBE_OK;
}

/* Appends the marked positions of block column q to the group's lists: list i continues at next[i]. Then writes the
 * values: at[i * B + j] remembers the entry of a position. */
static rbe_status fill_block_column(rbe_blocks *b, const rbe_block *source, size_t g, size_t q, const uint8_t *mask,
                                    uint32_t *next, uint32_t *at) {
    for (size_t i = 0; i < b->block; i++)
        for (size_t j = 0; j < b->block; j++)
            if (mask[i * b->block + j]) {
                at[i * b->block + j] = next[i];
                rbe_set_column(b, next[i]++, q * b->block + j);
            }
    for (size_t m = 0; m < rbe_group_rows(b, g); m++) {
        size_t p = g * b->group + m;
        const rbe_block *one = &source[p * b->grid_cols + q];
        for (size_t n = 0; n < one->count; n++) {
            const rbe_coefficient *c = &one->coefficients[n];
            *rbe_entry_value(b, g, at[c->freq_i * b->block + c->freq_j], m) = c->value;
        }
        if (b->alpha) RBE_TRY(fill_alpha(b, one, p, q));
    }
    return RBE_OK;
}

static rbe_status fill_from_blocks(rbe_blocks *b, const rbe_block *source, uint8_t *mask, uint32_t *at,
                                   uint32_t *next) {
    size_t block = b->block;
    for (size_t g = 0; g < b->groups; g++)
        for (size_t q = 0; q < b->grid_cols; q++) {
            union_of_positions(b, source, g, q, mask);
            for (size_t i = 0; i < block; i++)
                for (size_t j = 0; j < block; j++) b->list_start[g * block + i + 1] += mask[i * block + j];
        }
    RBE_TRY(rbe_blocks_allocate(b));
    for (size_t g = 0; g < b->groups; g++) {
        memcpy(next, b->list_start + g * block, block * sizeof *next);
        for (size_t q = 0; q < b->grid_cols; q++) {
            union_of_positions(b, source, g, q, mask);
            RBE_TRY(fill_block_column(b, source, g, q, mask, next, at));
        }
    }
    return RBE_OK;
}

static bool any_alpha(const rbe_block *source, size_t block_count) {
    for (size_t n = 0; n < block_count; n++)
        for (int k = 0; k < RBE_BASIS_COUNT; k++)
            if (source[n].alpha[k] != 0.0) return true;
    return false;
}

rbe_status rbe_blocks_build(rbe_blocks **blocks, size_t out, size_t in, const rbe_block *source, size_t block_count,
                            const rbe_compress_options *options) {
    if (!blocks || !source) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_blocks_build: a pointer is NULL");
    *blocks = NULL;
    rbe_compress_options o = options ? *options : (rbe_compress_options){0};
    o.coeffs = 1; /* the budget is what the blocks hold */
    o.ratio = 0.0;
    rbe_block_plan plan;
    RBE_TRY(rbe_block_plan_make(&plan, out, in, &o, 1));
    if (block_count != plan.grid_rows * plan.grid_cols)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "a %zu x %zu matrix has %zu x %zu blocks of %zu, found %zu", out,
                        in, plan.grid_rows, plan.grid_cols, plan.block, block_count);
    if (o.alpha == RBE_ALPHA_AUTO) plan.has_alpha = any_alpha(source, block_count);

    size_t square = plan.block * plan.block;
    rbe_blocks *b = rbe_blocks_new(&plan);
    uint8_t *mask = rbe_alloc(square, 1);
    uint32_t *at = rbe_alloc(square + plan.block, sizeof *at);
    rbe_status status = b && mask && at ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < block_count && status == RBE_OK; n++) status = check_block(&source[n], n, plan.block, mask);
    if (status == RBE_OK) status = fill_from_blocks(b, source, mask, at, at + square);
    rbe_free(mask);
    rbe_free(at);
    if (status == RBE_OK)
        *blocks = b;
    else
        rbe_blocks_free(b);
    return status;
}

size_t rbe_blocks_get_from(const rbe_blocks *b, const float *values, size_t p, size_t q, rbe_coefficient *coefficients,
                           size_t capacity) {
    if (!b || p >= b->grid_rows || q >= b->grid_cols) return 0;
    size_t count = 0;
    for (rbe_walk at = rbe_walk_group(b, p / b->group); rbe_walk_next(&at);) {
        if (at.column >> b->log2_block != q) continue;
        if (coefficients && count < capacity)
            coefficients[count] = (rbe_coefficient){(uint16_t)at.list.frequency, (uint16_t)(at.column & (b->block - 1)),
                                                    values[at.value + p % b->group]};
        count++;
    }
    return count;
}

size_t rbe_blocks_get(const rbe_blocks *b, size_t p, size_t q, double alpha[RBE_BASIS_COUNT],
                      rbe_coefficient *coefficients, size_t capacity) {
    if (!b || p >= b->grid_rows || q >= b->grid_cols) return 0;
    if (alpha) {
        double orthonormal[RBE_BASIS_COUNT] = {0};
        for (size_t l = 0; b->alpha && l < RBE_BASIS_COUNT; l++) orthonormal[l] = *rbe_block_alpha(b, p, q, l);
        if (b->alpha)
            rbe_moments_to_raw(b->moments, orthonormal, alpha);
        else
            memset(alpha, 0, RBE_BASIS_COUNT * sizeof *alpha);
    }
    return rbe_blocks_get_from(b, b->values, p, q, coefficients, capacity);
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

/* Block row p of group g, the block that column lies in. */
static size_t block_index(const rbe_blocks *b, size_t p, size_t column) {
    return p * b->grid_cols + smaller(column >> b->log2_block, b->grid_cols - 1);
}

/* The lists follow each other and hold all entries and values. */
static rbe_status check_starts(const rbe_blocks *b) {
    size_t lists = b->groups * b->block, values = 0;
    for (size_t n = 0; n < lists; n++) {
        size_t first = b->list_start[n], last = b->list_start[n + 1], g = n / b->block;
        if (last < first || last > b->entries || (n == 0 && first != 0) || (n == lists - 1 && last != b->entries))
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: list %zu spans entries %zu .. %zu of %zu",
                            block_index(b, g * b->group, 0), n % b->block, first, last, b->entries);
        values += (last - first) * rbe_group_rows(b, g);
    }
    if (values == b->value_count) return RBE_OK;
    return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: the lists hold %zu values, expected %zu",
                    block_index(b, (b->groups - 1) * b->group, 0), values, b->value_count);
}

rbe_status rbe_blocks_check_positions(const rbe_blocks *b) {
    RBE_TRY(check_starts(b));
    const size_t most = b->grid_cols * b->block;
    size_t next = 0; /* the smallest column that may follow */
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at); next = at.column + 1)
        if (at.column >= most || (at.entry > at.list.first && at.column < next))
            return rbe_fail(RBE_CORRUPTED_BLOCK,
                            "block %zu: entry %zu of list %zu has column %zu, expected ascending below %zu",
                            block_index(b, at.list.group * b->group, at.column), at.entry - at.list.first,
                            at.list.frequency, at.column, most);
    return RBE_OK;
}

static rbe_status check_values(const rbe_blocks *b) {
    for (rbe_walk at = rbe_walk_all(b); rbe_walk_next(&at);)
        for (size_t m = 0; m < at.list.rows; m++) {
            float value = b->values[at.value + m];
            if (!isfinite(value))
                return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: coefficient (%zu, %zu) is %g",
                                block_index(b, at.list.group * b->group + m, at.column), at.list.frequency,
                                at.column & (b->block - 1), (double)value);
        }
    return RBE_OK;
}

rbe_status rbe_blocks_check(const rbe_blocks *b) {
    if (!b) return rbe_fail(RBE_INVALID_ARGUMENT, "the compressed matrix is NULL");
    RBE_TRY(rbe_blocks_check_positions(b));
    RBE_TRY(check_values(b));
    for (size_t n = 0; b->alpha && n < b->grid_rows * b->grid_cols; n++)
        for (size_t l = 0; l < RBE_BASIS_COUNT; l++) {
            float alpha = *rbe_block_alpha(b, n / b->grid_cols, n % b->grid_cols, l);
            if (!isfinite(alpha))
                return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: alpha %zu (orthonormal) is %g", n, l, (double)alpha);
        }
    return RBE_OK;
}

rbe_blocks_info rbe_blocks_describe(const rbe_blocks *b) {
    if (!b) return (rbe_blocks_info){0};
    size_t alphas = b->alpha ? RBE_BASIS_COUNT * b->grid_rows * b->grid_cols : 0;
    return (rbe_blocks_info){
        .out = b->output_axis.length,
        .in = b->input_axis.length,
        .block = b->block,
        .grid_rows = b->grid_rows,
        .grid_cols = b->grid_cols,
        .group = b->group,
        .overlap = b->output_axis.overlap,
        .image_height = b->input_axis.height,
        .image_width = b->input_axis.width,
        .row_transform = b->row_transform,
        .column_transform = b->column_transform,
        .has_alpha = b->alpha != NULL,
        .coefficients = b->value_count,
        .alphas = alphas,
        .value_bytes = b->value_count * sizeof(float),
        .position_bytes =
            (b->entries + RBE_COLUMN_PADDING) * (b->columns16 ? sizeof *b->columns16 : sizeof *b->columns32) +
            (b->groups * b->block + 1) * sizeof *b->list_start,
        .alpha_bytes = alphas * sizeof(float),
    };
}
