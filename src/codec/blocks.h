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
#include "codec/geometry.h"
#include "codec/grouped.h"
#include "codec/side.h"

/* How random columns are weighted where the transform of the inputs is the identity; elsewhere the rules are the same.
 * The numbers stand in files. */
typedef enum rbe_pattern_rule {
    RBE_PATTERN_BY_PLACE = 1, /* as if the place within a block were a frequency */
    RBE_PATTERN_BY_INPUT = 2  /* all inputs alike */
} rbe_pattern_rule;

struct rbe_blocks {
    size_t out, in;                   /* of what is cut into blocks: W' = E_out W E_in^T */
    rbe_side output_side, input_side; /* E; `length` is the width of W itself */
    size_t block, log2_block;         /* B */
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
    rbe_basis *basis;     /* of this block size; NULL without alpha */
    /* Positions that rbe_blocks_draw_positions drew, and that nobody has changed since, can be drawn again. */
    bool drawn;
    size_t drawn_limit;
    uint64_t drawn_seed;
    rbe_pattern_rule drawn_rule;
};

/* What the kernels see of it. */
static inline rbe_grouped rbe_blocks_grouped(const rbe_blocks *b) {
    return (rbe_grouped){.out = b->out,
                         .in = b->in,
                         .block = b->block,
                         .grid_rows = b->grid_rows,
                         .grid_cols = b->grid_cols,
                         .group = b->group,
                         .groups = b->groups,
                         .list_start = b->list_start,
                         .columns16 = b->columns16,
                         .columns32 = b->columns32,
                         .values = b->values,
                         .alpha = b->alpha};
}

static inline size_t rbe_group_rows(const rbe_blocks *b, size_t g) {
    const rbe_grouped w = rbe_blocks_grouped(b);
    return rbe_grouped_rows(&w, g);
}

static inline size_t rbe_column_at(const rbe_blocks *b, size_t entry) {
    return b->columns16 ? b->columns16[entry] : b->columns32[entry];
}

/* Values of entry 0 of group g; entries follow each other at a distance of rbe_group_rows(b, g). */
static inline size_t rbe_group_values(const rbe_blocks *b, size_t g) {
    const rbe_grouped w = rbe_blocks_grouped(b);
    return rbe_grouped_values(&w, g);
}

/* Alphas of group g. */
static inline size_t rbe_group_alpha(const rbe_blocks *b, size_t g) {
    const rbe_grouped w = rbe_blocks_grouped(b);
    return rbe_grouped_alpha(&w, g);
}

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
