/* Random positions, of low frequencies rather than of high ones.
 *
 * A list draws columns one by one: the next one is v with probability w_v / (sum of w over the columns not drawn
 * yet), w = 2^16 / (1 + frequency), and for an image, whose column v is coefficient v of the zigzag order,
 * w = 2^16 B / (B + v). Where the transform of the inputs is the identity, column v is input v and no frequency:
 * there w = 2^16, and 1 for the padding, which is drawn when nothing else is left.
 *
 * The weights are integers in a Fenwick tree, in which a draw, and the removal of what was drawn, take log2(columns)
 * steps; no function of the maths library is involved, so that a pattern can be stored as its seed.
 */
#include "codec/positions.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "codec/entries.h"

enum { POSITION_STREAM = 1 };

/* tree[n], n = 1 .. size: the sum of the weights of columns n - (n & -n) .. n - 1. The size is a power of two. */
typedef struct fenwick {
    uint64_t *tree;
    size_t size;
} fenwick;

static bool has_frequencies(const rbe_blocks *b) {
    return b->column_transform->kind != RBE_TRANSFORM_IDENTITY || b->input_side.kind == RBE_SIDE_IMAGE;
}

static uint64_t weight(const rbe_blocks *b, rbe_pattern_rule rule, size_t column) {
    const uint64_t one = (uint64_t)1 << 16;
    if (rule == RBE_PATTERN_BY_INPUT) return column < b->in ? one : 1;
    if (b->input_side.kind == RBE_SIDE_IMAGE) return 1 + (one << b->log2_block) / (b->block + column);
    return one / (1 + (column & (b->block - 1)));
}

static void fenwick_fill(fenwick *f, const rbe_blocks *b, rbe_pattern_rule rule) {
    size_t columns = b->grid_cols * b->block;
    for (size_t n = 1; n <= f->size; n++) f->tree[n] = n <= columns ? weight(b, rule, n - 1) : 0;
    for (size_t n = 1; n <= f->size; n++) {
        size_t parent = n + (n & -n);
        if (parent <= f->size) f->tree[parent] += f->tree[n];
    }
}

/* Finds the column in which the running sum of weights passes `target`, which is below the total, and sets its
 * weight to 0. */
static size_t fenwick_take(fenwick *f, uint64_t target) {
    size_t before = 0; /* columns whose joint weight is at most the target */
    for (size_t step = f->size; step > 0; step /= 2)
        if (before + step <= f->size && f->tree[before + step] <= target) {
            before += step;
            target -= f->tree[before];
        }
    /* Its weight: the node's sum less those of the nodes inside its range. */
    size_t node = before + 1;
    uint64_t taken = f->tree[node];
    for (size_t inner = before; inner > node - (node & -node); inner -= inner & -inner) taken -= f->tree[inner];
    for (size_t n = node; n <= f->size; n += n & -n) f->tree[n] -= taken;
    return before;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void spread_counts(rbe_blocks *b, size_t value_limit) {
    size_t columns = b->grid_cols * b->block, rows = b->grid_rows * b->block;
    size_t each = value_limit / rows, rest = value_limit % rows;
    for (size_t i = 0; i < b->block; i++)
        for (size_t g = 0; g < b->groups; g++) {
            size_t count = each;
            if (count < columns && rest >= rbe_group_rows(b, g)) {
                count++;
                rest -= rbe_group_rows(b, g);
            }
            rbe_set_list_length(b, g * b->block + i, count);
        }
}

rbe_status rbe_blocks_draw_positions(rbe_blocks *b, size_t value_limit, uint64_t seed) {
    return rbe_blocks_draw_pattern(b, value_limit, seed, RBE_PATTERN_BY_INPUT);
}

rbe_status rbe_blocks_draw_pattern(rbe_blocks *b, size_t value_limit, uint64_t seed, rbe_pattern_rule rule) {
    if (has_frequencies(b)) rule = RBE_PATTERN_BY_PLACE;
    spread_counts(b, value_limit);
    RBE_TRY(rbe_blocks_allocate(b));
    size_t columns = b->grid_cols * b->block;
    fenwick f = {.size = 1};
    while (f.size < columns) f.size *= 2;
    f.tree = rbe_alloc(f.size + 1, sizeof *f.tree);
    uint32_t *drawn = rbe_alloc(columns, sizeof *drawn);
    rbe_rng *rng = rbe_rng_new(seed, POSITION_STREAM);
    bool whole = f.tree && drawn && rng;
    for (size_t l = 0; whole && l < rbe_list_count(b); l++) {
        const rbe_list list = rbe_list_at(b, l);
        size_t count = list.end - list.first;
        fenwick_fill(&f, b, rule);
        for (size_t n = 0; n < count; n++)
            drawn[n] = (uint32_t)fenwick_take(&f, (uint64_t)(rbe_rng_uniform(rng) * (double)f.tree[f.size]));
        qsort(drawn, count, sizeof *drawn, ascending);
        for (size_t n = 0; n < count; n++) rbe_set_column(b, list.first + n, drawn[n]);
    }
    rbe_free(f.tree);
    rbe_free(drawn);
    rbe_rng_free(rng);
    if (!whole) return RBE_INSUFFICIENT_MEMORY;
    b->drawn = true;
    b->drawn_limit = value_limit;
    b->drawn_seed = seed;
    b->drawn_rule = rule;
    return RBE_OK;
}
