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

/* Lists are worked on in pieces of so many entries. Kernels fetch a few entries ahead: columns behind the end of a list
 * exist (RBE_COLUMN_PADDING). */
enum { LIST_PIECE = 256, LIST_AHEAD = 8 };

/* Where the input rows of some entries are in a panel, in floats. */
typedef struct places {
    size_t count;
    uint32_t at[LIST_PIECE + 2 * LIST_AHEAD];
} places;

/* Entries first, first + 1 .. of a list, at most LIST_PIECE of them; rows of a block are row_step floats apart, blocks
 * block_step. Whole steps of LIST_AHEAD entries, so that a compiler makes vectors of them. */
static inline __attribute__((always_inline)) void locate(const list *l, size_t first, size_t row_step,
                                                         size_t block_step, places *found) {
    const uint32_t mask = ((uint32_t)1 << l->shift) - 1, start = (uint32_t)(l->first * row_step);
    const uint32_t row = (uint32_t)row_step, block = (uint32_t)block_step;
    const unsigned shift = l->shift;
    size_t rest = l->length - first;
    found->count = rest < LIST_PIECE ? rest : LIST_PIECE;
    for (size_t k = 0; k < found->count + LIST_AHEAD; k += LIST_AHEAD) {
        uint32_t column[LIST_AHEAD];
        for (size_t u = 0; u < LIST_AHEAD; u++)
            column[u] = l->columns16 ? l->columns16[first + k + u] : l->columns32[first + k + u];
        for (size_t u = 0; u < LIST_AHEAD; u++)
            found->at[k + u] = start + (column[u] & mask) * row + (column[u] >> shift) * block;
    }
}

#endif
