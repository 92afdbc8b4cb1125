/* A compressed matrix block by block: made of blocks that stand for themselves, and read as such. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"

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
            return rbe_fail(RBE_CORRUPTED_BLOCK, "block %zu: frequency (%u, %u) occurs twice", index, c->freq_i,
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
    rbe_basis_to_orthonormal(b->basis, source->alpha, orthonormal);
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
    rbe_geometry geometry;
    RBE_TRY(rbe_geometry_make(&geometry, out, in, &o, 1));
    if (block_count != geometry.grid_rows * geometry.grid_cols)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "a %zu x %zu matrix has %zu x %zu blocks of %zu, found %zu", out,
                        in, geometry.grid_rows, geometry.grid_cols, geometry.block, block_count);
    if (o.alpha == RBE_ALPHA_AUTO) geometry.has_alpha = any_alpha(source, block_count);

    size_t square = geometry.block * geometry.block;
    rbe_blocks *b = rbe_blocks_new(&geometry);
    uint8_t *mask = rbe_alloc(square, 1);
    uint32_t *at = rbe_alloc(square + geometry.block, sizeof *at);
    rbe_status status = b && mask && at ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < block_count && status == RBE_OK; n++)
        status = check_block(&source[n], n, geometry.block, mask);
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
            rbe_basis_to_raw(b->basis, orthonormal, alpha);
        else
            memset(alpha, 0, RBE_BASIS_COUNT * sizeof *alpha);
    }
    return rbe_blocks_get_from(b, b->values, p, q, coefficients, capacity);
}
