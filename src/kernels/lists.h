/* A list: the entries that one output row of a group of blocks sums over, be it a frequency or a moment.
 *
 * For a frequency the entries are the stored columns q B + j. For a moment they are the blocks q, all of them, with
 * the alphas of one function as values. Either way entry k says where its input row is in a panel, and its values
 * for the block rows of the group stand side by side: values[offset + k * rows + m].
 */
#ifndef RBE_KERNELS_LISTS_H
#define RBE_KERNELS_LISTS_H

#include "kernels/plan.h"

typedef struct list {
    const uint16_t *columns16; /* one of the two is NULL */
    const uint32_t *columns32;
    size_t length;
    size_t offset; /* of the values in their array */
    size_t rows;   /* block rows of the group */
    size_t first;  /* row within the block of column 0 */
    unsigned shift;
} list;

static inline list frequency_list(const rbe_plan *plan, const rbe_blocks *w, size_t g, size_t i) {
    size_t start = w->list_start[g * plan->block], from = w->list_start[g * plan->block + i];
    size_t to = w->list_start[g * plan->block + i + 1], rows = rbe_group_rows(w, g);
    return (list){.columns16 = w->columns16 ? w->columns16 + from : NULL,
                  .columns32 = w->columns32 ? w->columns32 + from : NULL,
                  .length = to - from,
                  .offset = rbe_group_values(w, g) + (from - start) * rows,
                  .rows = rows,
                  .first = 0,
                  .shift = (unsigned)plan->log2_block};
}

static inline list moment_list(const rbe_plan *plan, const rbe_blocks *w, size_t g, rbe_alpha_pair pair) {
    size_t rows = rbe_group_rows(w, g);
    return (list){.columns32 = plan->block_index,
                  .length = plan->grid_cols,
                  .offset = rbe_group_alpha(w, g) + pair.function * plan->grid_cols * rows,
                  .rows = rows,
                  .first = plan->block + pair.column,
                  .shift = 0};
}

/* The column of entry k as it is stored. */
static inline __attribute__((always_inline)) size_t column_of(const list *l, size_t k) {
    return l->columns16 ? l->columns16[k] : l->columns32[k];
}

/* Where the input row of entry k is, in floats: rows of a block are row_step apart, blocks block_step. */
static inline __attribute__((always_inline)) size_t entry_at(const list *l, size_t k, size_t row_step,
                                                             size_t block_step) {
    size_t column = column_of(l, k);
    size_t in_block = column & (((size_t)1 << l->shift) - 1);
    return (l->first + in_block) * row_step + (column >> l->shift) * block_step;
}

#endif
