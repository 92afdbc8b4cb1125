/* Grouped rows as the kernels read them: where coefficients stand and the values, and nothing of how a matrix came to
 * be (blocks.h says what the arrays mean). The kernels include nothing else of the codec, so that they need not be
 * compiled anew whenever it changes.
 */
#ifndef RBE_CODEC_GROUPED_H
#define RBE_CODEC_GROUPED_H

#include <stddef.h>
#include <stdint.h>

#define RBE_COLUMN_PADDING 16 /* zero entries behind the last column: kernels may look ahead */
#define RBE_ALPHA_FUNCTIONS 8 /* RBE_BASIS_COUNT of rbe/codec.h */
#define RBE_EVEN_COUNT 4      /* f_0 .. f_3 of basis.h */
#define RBE_MAX_RANK 16       /* of Psi_7, basis.h */

typedef struct rbe_grouped {
    size_t out, in;
    size_t block, grid_rows, grid_cols;
    size_t group, groups;
    const uint32_t *list_start;
    const uint16_t *columns16; /* one of the two is NULL */
    const uint32_t *columns32;
    const float *values;
    const float *alpha; /* or NULL */
} rbe_grouped;

/* Block rows of group g. */
static inline size_t rbe_grouped_rows(const rbe_grouped *w, size_t g) {
    size_t rest = w->grid_rows - g * w->group;
    return rest < w->group ? rest : w->group;
}

/* Where the values of group g start. */
static inline size_t rbe_grouped_values(const rbe_grouped *w, size_t g) {
    return (size_t)w->list_start[g * w->block] * w->group;
}

/* Where the alphas of group g start. */
static inline size_t rbe_grouped_alpha(const rbe_grouped *w, size_t g) {
    return g * w->group * RBE_ALPHA_FUNCTIONS * w->grid_cols;
}

#endif
