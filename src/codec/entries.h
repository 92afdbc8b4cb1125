/* The lists of a compressed matrix and their entries, one after the other (grouped.h says how they are stored). */
#ifndef RBE_CODEC_ENTRIES_H
#define RBE_CODEC_ENTRIES_H

#include "codec/blocks.h"

/* List g * B + i: output frequency i of the block rows of group g. */
typedef struct rbe_list {
    size_t group, frequency;
    size_t first, end; /* its entries are first .. end - 1 */
    size_t rows;       /* block rows of the group: so many values of an entry stand side by side */
    size_t value;      /* where those of the first entry begin in b->values, and in other arrays of its layout */
} rbe_list;

static inline size_t rbe_list_count(const rbe_blocks *b) { return b->groups * b->block; }

static inline rbe_list rbe_list_at(const rbe_blocks *b, size_t n) {
    size_t g = n >> b->log2_block, first = b->list_start[n], rows = rbe_group_rows(b, g);
    return (rbe_list){.group = g,
                      .frequency = n & (b->block - 1),
                      .first = first,
                      .end = b->list_start[n + 1],
                      .rows = rows,
                      .value = rbe_group_values(b, g) + (first - b->list_start[g * b->block]) * rows};
}

/* A walk along the entries of some lists:
 *
 *     for (rbe_walk at = rbe_walk_group(b, g); rbe_walk_next(&at);) at.list, at.entry, at.column, at.value ..
 */
typedef struct rbe_walk {
    rbe_list list; /* that the entry belongs to */
    size_t entry;
    size_t column; /* q * B + j */
    size_t value;  /* where its list.rows values begin */
    const rbe_blocks *b;
    size_t next_entry, next_list, end_list;
} rbe_walk;

static inline rbe_walk rbe_walk_lists(const rbe_blocks *b, size_t first, size_t count) {
    return (rbe_walk){.b = b, .next_list = first, .end_list = first + count};
}

static inline rbe_walk rbe_walk_group(const rbe_blocks *b, size_t g) {
    return rbe_walk_lists(b, g * b->block, b->block);
}

static inline rbe_walk rbe_walk_all(const rbe_blocks *b) { return rbe_walk_lists(b, 0, rbe_list_count(b)); }

/* Goes on to the next entry; false if there is none. */
static inline bool rbe_walk_next(rbe_walk *w) {
    while (w->next_entry == w->list.end) {
        if (w->next_list == w->end_list) return false;
        w->list = rbe_list_at(w->b, w->next_list++);
        w->next_entry = w->list.first;
    }
    w->entry = w->next_entry++;
    w->column = rbe_column_at(w->b, w->entry);
    w->value = w->list.value + (w->entry - w->list.first) * w->list.rows;
    return true;
}

#endif
