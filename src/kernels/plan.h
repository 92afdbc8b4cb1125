/* What a plan holds, and the table of methods that every instruction set provides. */
#ifndef RBE_KERNELS_PLAN_H
#define RBE_KERNELS_PLAN_H

#include <stdbool.h>

#include "codec/grouped.h"

#define RBE_MAX_BLOCK 256
#define RBE_MAX_LOG2_BLOCK 8
#define RBE_MAX_RUN 512 /* rows of all panels of a run together */
#define RBE_MAX_TAPS 20
#define RBE_MAX_MOMENTS (RBE_EVEN_COUNT + RBE_MAX_RANK)
#define RBE_MAX_PAIRS (RBE_ALPHA_FUNCTIONS + RBE_MAX_RANK)

typedef enum rbe_axis_method {
    RBE_AXIS_DCT,
    RBE_AXIS_WAVELET,
    RBE_AXIS_WALSH,
    RBE_AXIS_IDENTITY,
    RBE_AXIS_MATRIX
} rbe_axis_method;

/* The transform of blocks along inputs or along outputs. In a panel a block takes block_rows rows: B coefficients,
 * then the moments of the alpha part: sums over the samples, each times the value of an even function. */
typedef struct rbe_axis {
    rbe_axis_method method;
    size_t block;
    size_t block_rows;
    size_t taps; /* wavelet filters */
    float low[RBE_MAX_TAPS], high[RBE_MAX_TAPS];
    uint16_t natural[RBE_MAX_BLOCK]; /* Walsh: which Hadamard row is coefficient k */
    const float *matrix;             /* B x B, rows = atoms; of a DCT, the 2 B factors of dct.h */
    size_t moments;
    size_t moment_entries;          /* coefficients that have a part in a moment */
    const uint32_t *moment_columns; /* which ones; RBE_COLUMN_PADDING zeros follow */
    const float *moment_values;     /* of entry k in moment m: [k * moments + m] */
} rbe_axis;

/* One product of the alpha part: moment `row` of an output block += alpha[function] * moment `column` of an input
 * block. The factors 1/sqrt 2 and lambda_m of basis.h are in the moments themselves. */
typedef struct rbe_alpha_pair {
    uint8_t function, row, column;
} rbe_alpha_pair;

/* The products of Psi_0 .. Psi_6. Those of Psi_7 follow: {7, RBE_EVEN_COUNT + m, RBE_EVEN_COUNT + m}. */
enum { RBE_SEPARABLE_PAIRS = 8 };
static const rbe_alpha_pair rbe_separable_pairs[RBE_SEPARABLE_PAIRS] = {{0, 0, 0}, {1, 0, 1}, {3, 0, 2}, {6, 0, 3},
                                                                        {2, 1, 0}, {5, 1, 1}, {4, 2, 0}, {6, 3, 0}};

typedef struct rbe_plan {
    size_t block, log2_block;
    size_t grid_rows, grid_cols;
    size_t block_rows; /* of both axes */
    size_t batch_threshold;
    size_t pair_count;
    rbe_alpha_pair pair[RBE_MAX_PAIRS]; /* sorted by row */
    const uint32_t *block_index;        /* 0, 1, .. grid_cols - 1, then RBE_COLUMN_PADDING zeros */
    rbe_axis input, output;
} rbe_plan;

/* Panels of the same run of rows, `width` floats a row: panel n starts at x + n * x_panel and y + n * y_panel. */
typedef struct rbe_panels {
    size_t count;
    size_t width;
    size_t rows; /* of all panels together; only the last may be partly filled */
    const float *x, *y;
    size_t x_panel, y_panel;
} rbe_panels;

/* The transformed rows of a small batch and where their products go. */
typedef struct rbe_small_batch {
    const float *coefficients, *moments; /* of the first row */
    size_t columns;                      /* coefficients of a row */
    size_t moment_stride;                /* from a moment to the next */
    float *y;                            /* rows of lanes, a frequency or moment each; the first one's of the group */
    size_t y_stride;
} rbe_small_batch;

/* All lists of group g. */
typedef void rbe_small_product(const rbe_plan *plan, const rbe_blocks *w, size_t g, const rbe_small_batch *b,
                               size_t rows);

/* The work on panels. Lanes of the last vector beyond `rows` hold zeros or are not looked at. */
typedef struct rbe_methods {
    const char *name;
    size_t width; /* rows of a panel, at most: whole tiles of the product */
    /* panel of the transformed blocks of `rows` rows of `length` values */
    void (*analyze)(const rbe_axis *axis, const float *source, size_t rows, size_t length, float *panel, size_t width);
    /* the reverse; `bias` (or NULL) is added to every row, and the old values if `add` (then bias must be NULL). Moments
     * are added to the panel's coefficients. */
    void (*synthesize)(const rbe_axis *axis, float *panel, size_t width, const float *bias, bool add, float *target,
                       size_t rows, size_t length);
    /* y = S x, written to every row that synthesize reads */
    void (*product)(const rbe_plan *plan, const rbe_blocks *w, const float *x, float *y, size_t width, size_t rows);
    /* coefficients (rows x blocks * B) and moments (rows of lanes) of a few rows */
    void (*analyze_small)(const rbe_axis *axis, const float *x, size_t rows, size_t length, size_t blocks,
                          float *coefficients, float *moments);
    /* the reverse, from rows of lanes; `bias` (or NULL) is added to every row */
    void (*synthesize_small)(const rbe_axis *axis, float *yh, const float *bias, size_t rows, size_t length,
                             size_t blocks, float *y);
    rbe_small_product *product_small;
} rbe_methods;

/* What only a backward product needs: in a table of its own, which the small library (src/infer/) leaves out. */
typedef struct rbe_backward_methods {
    /* x += S^T y */
    void (*product_transposed)(const rbe_plan *plan, const rbe_blocks *w, const float *y, float *x, size_t width,
                               size_t rows);
    /* values += sum over rows of y x^T at the positions of group g's lists of frequencies first .. first + count - 1 */
    void (*gradient_values)(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g, size_t first,
                            size_t count, float *values);
    /* the same for the alphas of group g, by the plan's pairs first .. first + count - 1 */
    void (*gradient_alpha)(const rbe_plan *plan, const rbe_blocks *w, const rbe_panels *panels, size_t g, size_t first,
                           size_t count, float *alpha);
} rbe_backward_methods;

extern const rbe_methods rbe_methods_portable;
extern const rbe_backward_methods rbe_backward_portable;
#if defined(__x86_64__)
extern const rbe_methods rbe_methods_avx2, rbe_methods_avx512;
extern const rbe_backward_methods rbe_backward_avx2, rbe_backward_avx512;

/* Vectors of 4 and of 8 floats with the instructions of a set whose own are longer. */
extern rbe_small_product rbe_small_product_4_avx2, rbe_small_product_4_avx512, rbe_small_product_8_avx512;
#endif

/* The methods in use. */
const rbe_methods *rbe_isa(void);
const rbe_backward_methods *rbe_isa_backward(void);

/* The products of a few rows for groups of so many block rows: with shorter vectors if those of the instruction set in
 * use would be half empty. */
rbe_small_product *rbe_isa_small_product(size_t group);

/* Switches to the instruction set of this name; false if the machine lacks it or the name is unknown. For tests. */
bool rbe_isa_select(const char *name);

/* Floats between the rows of lanes of a small batch. */
static inline size_t rbe_small_stride(size_t lanes) { return (lanes + 15) / 16 * 16; }

/* The whole forward product of a few rows, and the floats of its scratch. */
void rbe_forward_small(const rbe_plan *plan, const rbe_blocks *w, const float *bias, const float *x, size_t rows,
                       float *y, float *scratch);
size_t rbe_small_floats(const rbe_plan *plan, size_t rows);

#endif
