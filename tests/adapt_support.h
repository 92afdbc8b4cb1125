/* What the suites of growth, pruning and tuning share: a small model with its data and training step, and snapshots
 * of a layer's lists with what stands at them. */
#ifndef RBE_TESTS_ADAPT_SUPPORT_H
#define RBE_TESTS_ADAPT_SUPPORT_H

#include "nn/linear.h"
#include "optim/optim_internal.h"
#include "rbe/adapt.h"
#include "support.h"

#define require_ok(call) ck_assert_msg((call) == RBE_OK, "%s", rbe_last_error())

/* ---- a model, its data, a training step ---------------------------------------------------------------------- */

enum { IN = 41, OUT = 50, BLOCK = 8, CLASSES = 5, ROWS = 23 };

typedef struct fixture {
    rbe_model *model;
    rbe_optim *optim;
    rbe_tape *tape;
    rbe_linear_layer *layer; /* the first one */
    float x[ROWS * IN];
    int32_t labels[ROWS];
} fixture;

/* Of the first layer, but for what a test changes. */
extern const rbe_linear_options usual;

void fixture_data(fixture *f);

/* Makes what can be made; for allocations that fail. */
rbe_status fixture_try(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method);

/* Both; the test fails if something cannot be made. */
void fixture_init(fixture *f, const rbe_linear_options *first, const rbe_optim_method *method);
void fixture_free(fixture *f);

rbe_status fixture_backward(fixture *f);
rbe_status train_step(fixture *f);

/* Coefficients of all layers. */
size_t stored(const rbe_model *model);

/* The matrix (out x in), from its formula in double precision; to be freed. */
double *dense_matrix(const rbe_blocks *b);

/* ---- a layer's lists and what stands at them, to compare ----------------------------------------------------- */

/* Dense over all positions, [p][i][column]: -1 where nothing is stored, else the entry's number. */
typedef struct snapshot {
    size_t rows, columns, entries, values;
    int64_t *entry;
    float *value, *grad, *state[RBE_OPTIM_MAX_STATE];
    uint32_t *list_start;
} snapshot;

/* Also checks that lists are ascending and within the matrix. */
void snapshot_take(snapshot *s, const rbe_linear_layer *layer);
void snapshot_free(snapshot *s);

/* What an array holds after a change of positions: the old value where there was one, else 0. Of values, gradients
 * and averages. */
void require_all_followed(const snapshot *old, const snapshot *now);

#endif
