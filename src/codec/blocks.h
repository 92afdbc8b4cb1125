/* Compressed matrices (grouped.h): how they are made, and what stands where in them. */
#ifndef RBE_CODEC_BLOCKS_H
#define RBE_CODEC_BLOCKS_H

#include "codec/basis.h"
#include "codec/geometry.h"
#include "codec/grouped.h"

static inline void rbe_set_column(rbe_blocks *b, size_t entry, size_t column) {
    if (b->columns16)
        b->columns16[entry] = (uint16_t)column;
    else
        b->columns32[entry] = (uint32_t)column;
}

/* The value of entry `k` of group g for the group's m-th block row. */
static inline float *rbe_entry_value(const rbe_blocks *b, size_t g, size_t k, size_t m) {
    return &b->values[rbe_group_values(b, g) + (k - b->list_start[g * b->block]) * rbe_group_rows(b, g) + m];
}

/* Orthonormal coordinate l of block (p, q); only with alpha. */
static inline float *rbe_block_alpha(const rbe_blocks *b, size_t p, size_t q, size_t l) {
    size_t g = p / b->group, m = p % b->group;
    return &b->alpha[rbe_group_alpha(b, g) + (l * b->grid_cols + q) * rbe_group_rows(b, g) + m];
}

/* rbe_blocks_get for another array in the layout of b->values: gradients, scores. */
size_t rbe_blocks_get_from(const rbe_blocks *b, const float *values, size_t p, size_t q, rbe_coefficient *coefficients,
                           size_t capacity);

/* ---- making one: new, the lengths of the lists, rbe_blocks_allocate, columns and values ---------------------- */

/* A matrix of this geometry with empty lists; alphas 0. NULL when memory is short. */
rbe_blocks *rbe_blocks_new(const rbe_geometry *geometry);

/* Until rbe_blocks_allocate list_start[n + 1] holds the length of list n = g * B + i. */
static inline void rbe_set_list_length(rbe_blocks *blocks, size_t n, size_t length) {
    blocks->list_start[n + 1] = (uint32_t)length;
}

/* Turns the lengths of the lists into their starts and allocates columns and values, all 0.
 * INVALID_ARGUMENT for more than 2^32 - 1 entries. */
rbe_status rbe_blocks_allocate(rbe_blocks *blocks);

/* The part of rbe_blocks_check that looks at the lists: CORRUPTED_BLOCK unless they hold all entries and values, and
 * ascend within the matrix. */
rbe_status rbe_blocks_check_positions(const rbe_blocks *blocks);

#endif
