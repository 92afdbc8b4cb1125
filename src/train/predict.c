/* Outputs of a model, without a tape of the caller's: chunk by chunk of rows, on one tape in inference. */
#include <string.h>

#include "base/failure.h"
#include "tensor/node.h"
#include "train/memory.h"

/* Rows of a chunk: enough for the kernels of large batches, fewer where they would take more than this. */
#define MOST_ROWS ((size_t)256)
#define CHUNK_BYTES ((size_t)16 << 20)

typedef struct prediction {
    const rbe_model *model;
    const float *x;
    float *y;
    size_t in, out, chunk;
} prediction;

static rbe_status find_widths(prediction *p) {
    p->in = rbe_model_inputs(p->model);
    p->out = rbe_model_outputs(p->model);
    if (p->out == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_predict: the model has no layer with widths");
    if (p->in == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_predict: the model takes rows of any width, expected a model with one input width");
    return RBE_OK;
}

static rbe_status check_inputs(const prediction *p, size_t rows) {
    if (!p->x || !p->y)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_predict: the %s are NULL", p->x ? "outputs" : "inputs");
    size_t width = p->in > p->out ? p->in : p->out;
    if (rows > PTRDIFF_MAX / sizeof(float) / width)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_predict: %zu rows of %zu values are more than can be addressed",
                        rows, width);
    size_t bad = rbe_first_nonfinite(p->x, rows * p->in);
    if (bad == rows * p->in) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_predict: row %zu, column %zu: expected a finite value, found %g",
                    bad / p->in, bad % p->in, (double)p->x[bad]);
}

static rbe_status check_outputs(const prediction *p, const rbe_tape *tape, const rbe_tensor *y, size_t rows) {
    char shape[RBE_SHAPE_TEXT];
    if (rbe_tensor_rows(y) != rows || rbe_tensor_columns(y) != p->out)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "rbe_predict: expected outputs of shape (%zu, %zu), found %s",
                        rows, p->out, rbe_shape_text(y, shape));
    if (rbe_first_nonfinite(y->data, rows * p->out) == rows * p->out) return RBE_OK;
    rbe_tape_check_finite(tape);
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_predict: %s", rbe_last_error());
}

static rbe_status predict_rows(const prediction *p, rbe_tape *tape, size_t first, size_t rows) {
    /* The tape never writes what it borrows. */
    rbe_tensor x = rbe_tensor_2d((float *)p->x + first * p->in, rows, p->in);
    const rbe_var *output = rbe_model_forward(p->model, rbe_input(tape, x));
    RBE_TRY(rbe_tape_report(tape));
    const rbe_tensor *y = rbe_value(output);
    RBE_TRY(check_outputs(p, tape, y, rows));
    memcpy(p->y + first * p->out, y->data, rows * p->out * sizeof(float));
    rbe_tape_reset(tape);
    return RBE_OK;
}

static rbe_status predict_all(const prediction *p, rbe_tape *tape, size_t rows) {
    RBE_TRY(rbe_tape_reserve(tape, rbe_step_tape_bytes(p->model, p->chunk)));
    for (size_t first = 0; first < rows; first += p->chunk)
        RBE_TRY(predict_rows(p, tape, first, rows - first < p->chunk ? rows - first : p->chunk));
    return RBE_OK;
}

rbe_status rbe_predict(const rbe_model *model, const float *x, size_t rows, float *y) {
    RBE_TRY(rbe_model_status(model));
    prediction p = {.model = model, .x = x, .y = y, .chunk = rows < MOST_ROWS ? rows : MOST_ROWS};
    RBE_TRY(find_widths(&p));
    if (rows == 0) return RBE_OK;
    RBE_TRY(check_inputs(&p, rows));
    while (p.chunk > 1 && rbe_step_tape_bytes(model, p.chunk) > CHUNK_BYTES) p.chunk = (p.chunk + 1) / 2;
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_status status = tape ? predict_all(&p, tape, rows) : rbe_last_status();
    rbe_tape_free(tape);
    return status;
}
