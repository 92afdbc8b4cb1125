/* The compressed matrix itself: grouped rows (rbe/codec.h says what they mean). Read by the kernels.
 *
 * Group g holds block rows g*group .. ; rbe_group_rows(b, g) of them (the last group may have fewer). List (g, i),
 * for output frequency i of all block rows of group g, consists of the entries k = list_start[g*B + i] ..
 * list_start[g*B + i + 1] - 1, ascending in column. Entry k stands at column column(k) = q*B + j, and its value for
 * block row g*group + m is values[list_start[g*B] * group + (k - list_start[g*B]) * rows + m], rows =
 * rbe_group_rows.
 *
 * Alphas are kept in orthonormal coordinates (basis.h), function l of block (g*group + m, q) at
 * alpha[g*group * 8 * grid_cols + (l * grid_cols + q) * rows + m].
 */
#ifndef RBE_CODEC_BLOCKS_H
#define RBE_CODEC_BLOCKS_H

#include "codec/basis.h"
#include "codec/transform.h"

struct rbe_blocks {
    size_t out, in;
    size_t block, log2_block; /* B */
    size_t grid_rows, grid_cols;
    size_t group, groups;
    const rbe_transform *row_transform, *column_transform; /* L along outputs, R along inputs */
    size_t entries;                                        /* list entries of all groups */
    size_t value_count;
    uint32_t *list_start; /* groups * B + 1 */
    uint16_t *columns16;  /* entries; when grid_cols * B <= 65536 */
    uint32_t *columns32;  /* entries; otherwise. Exactly one of the two is not NULL. */
    float *values;        /* value_count */
    float *alpha;         /* 8 * grid_rows * grid_cols, or NULL */
    rbe_moments *moments; /* of this block size; NULL without alpha */
};

static inline size_t rbe_group_rows(const rbe_blocks *b, size_t g) {
    size_t rest = b->grid_rows - g * b->group;
    return rest < b->group ? rest : b->group;
}

static inline size_t rbe_column_at(const rbe_blocks *b, size_t entry) {
    return b->columns16 ? b->columns16[entry] : b->columns32[entry];
}

/* Values of entry 0 of group g; entries follow each other at a distance of rbe_group_rows(b, g). */
static inline size_t rbe_group_values(const rbe_blocks *b, size_t g) {
    return (size_t)b->list_start[g * b->block] * b->group;
}

/* Alphas of group g. */
static inline size_t rbe_group_alpha(const rbe_blocks *b, size_t g) {
    return g * b->group * RBE_BASIS_COUNT * b->grid_cols;
}

#endif
