/* The compressed matrix itself: grouped rows (rbe/codec.h says what they mean).
 *
 * Group g holds block rows g*group .. ; rbe_group_rows(b, g) of them (the last group may have fewer). List (g, i),
 * for output frequency i of all block rows of group g, consists of the entries k = list_start[g*B + i] ..
 * list_start[g*B + i + 1] - 1, ascending in column. Entry k stands at column column(k) = q*B + j, and its value for
 * block row g*group + m is values[list_start[g*B] * group + (k - list_start[g*B]) * rows + m], rows =
 * rbe_group_rows.
 *
 * Alphas are kept in orthonormal coordinates (basis.h), function l of block (g*group + m, q) at
 * alpha[g*group * 8 * grid_cols + (l * grid_cols + q) * rows + m].
 *
 * The kernels include nothing else of the codec, so that they need not be compiled anew whenever it changes.
 */
#ifndef RBE_CODEC_GROUPED_H
#define RBE_CODEC_GROUPED_H

#include "codec/side.h"

#define RBE_COLUMN_PADDING 16 /* zero entries behind the last column: kernels may look ahead */
#define RBE_ALPHA_FUNCTIONS 8 /* RBE_BASIS_COUNT of rbe/codec.h */
#define RBE_EVEN_COUNT 4      /* f_0 .. f_3 of basis.h */
#define RBE_MAX_RANK 16       /* of Psi_7, basis.h */

typedef struct rbe_transform rbe_transform; /* rbe/codec.h */
typedef struct rbe_basis rbe_basis;         /* basis.h */

/* How random columns are weighted where the transform of the inputs is the identity; elsewhere the rules are the same.
 * The numbers stand in files. */
typedef enum rbe_pattern_rule {
    RBE_PATTERN_BY_PLACE = 1, /* as if the place within a block were a frequency */
    RBE_PATTERN_BY_INPUT = 2  /* all inputs alike */
} rbe_pattern_rule;

typedef struct rbe_blocks {
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
} rbe_blocks;

/* Block rows of group g. */
static inline size_t rbe_group_rows(const rbe_blocks *b, size_t g) {
    size_t rest = b->grid_rows - g * b->group;
    return rest < b->group ? rest : b->group;
}

/* Where the values of group g start; entries follow each other at a distance of rbe_group_rows(b, g). */
static inline size_t rbe_group_values(const rbe_blocks *b, size_t g) {
    return (size_t)b->list_start[g * b->block] * b->group;
}

/* Where the alphas of group g start. */
static inline size_t rbe_group_alpha(const rbe_blocks *b, size_t g) {
    return g * b->group * RBE_ALPHA_FUNCTIONS * b->grid_cols;
}

static inline size_t rbe_column_at(const rbe_blocks *b, size_t entry) {
    return b->columns16 ? b->columns16[entry] : b->columns32[entry];
}

#endif
