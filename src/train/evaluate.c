/* Loss and error of a model over a whole data set, without gradients. */
#include <math.h>

#include "data/dataset.h"
#include "train/batch.h"
#include "train/memory.h"
#include "train/tally.h"

static rbe_status run(const rbe_model *model, rbe_tape *tape, rbe_batches *batches, size_t rows, rbe_tally *tally) {
    /* More than a step without gradients takes, and never more than training does. */
    RBE_TRY(rbe_tape_reserve(tape, rbe_step_tape_bytes(model, rows)));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    while (rbe_batches_next(batches, &batch)) {
        rbe_var *logits, *loss;
        RBE_TRY(rbe_batch_forward(model, tape, &batch, &logits, &loss));
        if (!isfinite(rbe_item(loss))) {
            rbe_tape_check_finite(tape);
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "evaluation: %s", rbe_last_error());
        }
        rbe_tally_add(tally, loss, logits, &batch);
        rbe_tape_reset(tape);
    }
    return RBE_OK;
}

rbe_status rbe_evaluate(const rbe_model *model, const rbe_dataset *data, size_t batch, rbe_evaluation *evaluation) {
    RBE_TRY(rbe_model_status(model));
    RBE_TRY(rbe_dataset_check("rbe_evaluate", data));
    if (batch == 0 || !evaluation)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_evaluate: expected a batch of 1 or more and a result, found %zu%s",
                        batch, evaluation ? "" : " and NULL");
    if (batch > data->count) batch = data->count;
    rbe_tally tally = {0};
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_batches *batches = tape ? rbe_batches_new(data, batch, false, 0) : NULL;
    rbe_status status = batches ? run(model, tape, batches, batch, &tally) : rbe_last_status();
    if (status == RBE_OK) *evaluation = rbe_tally_result(&tally);
    rbe_batches_free(batches);
    rbe_tape_free(tape);
    return status;
}
