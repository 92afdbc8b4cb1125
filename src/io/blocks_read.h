/* What compressed matrices are read with, packed or not. */
#ifndef RBE_IO_BLOCKS_READ_H
#define RBE_IO_BLOCKS_READ_H

#include "codec/positions.h"
#include "io/blocks_code.h"

/* The geometry that the owner's object describes. */
rbe_status rbe_unpack_geometry(rbe_unpack *unpack, size_t in, size_t out, bool has_alpha, rbe_geometry *geometry);

/* What draws positions again. */
typedef struct rbe_pattern {
    uint64_t seed;
    size_t limit;
    rbe_pattern_rule rule;
} rbe_pattern;

/* Whether the owner's object has one, and what it is; it must be one of `values` values. */
bool rbe_unpack_has_pattern(const rbe_unpack *unpack);
rbe_status rbe_unpack_pattern(rbe_unpack *unpack, const rbe_geometry *geometry, size_t values, rbe_pattern *pattern);

/* Draws positions of a matrix with empty lists, worth as many values. */
rbe_status rbe_unpack_draw(const rbe_unpack *unpack, rbe_blocks *blocks, const rbe_pattern *pattern, const char *tensor,
                           size_t values);

/* The lengths of a matrix that rbe_blocks_allocate has not seen promise so many values. */
rbe_status rbe_unpack_check_lengths(const rbe_unpack *unpack, const rbe_blocks *blocks, const char *tensor,
                                    size_t values);

/* What a matrix and a layer that is made of it take beside values and columns, however little they store: alphas, and a
 * copy in another order; pointers of lists; the columns' weights while positions are drawn; what transforms an image; the
 * transforms of the blocks and the basis of the alphas (rbe_plan_new, rbe_basis_new). Not counted is what is freed at
 * once and has a bound of its own. */
rbe_room rbe_room_for_matrix(const rbe_geometry *geometry, bool has_pattern);

#endif
