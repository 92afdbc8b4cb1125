/* Loss and metric of a model over a whole data set, without gradients. Rank r of S takes batches r, r + S, .. */
#include <math.h>

#include "data/dataset.h"
#include "train/evaluate.h"
#include "train/forward.h"
#include "train/memory.h"
#include "train/tally.h"

static rbe_status run(const rbe_model *model, rbe_tape *tape, rbe_batches *batches, const rbe_evaluate_options *o,
                      const rbe_dataset *data, rbe_tally *tally, const rbe_team *team) {
    /* More than a step without gradients takes, and never more than training does. */
    RBE_TRY(rbe_step_reserve(tape, model, data, o->batch));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    rbe_batches_skip(batches, rbe_team_rank(team));
    for (; rbe_batches_next(batches, &batch); rbe_batches_skip(batches, rbe_team_size(team) - 1)) {
        rbe_var *output, *loss;
        RBE_TRY(rbe_batch_forward(model, tape, &batch, &o->loss, &output, &loss));
        if (!isfinite(rbe_item(loss))) {
            rbe_tape_check_finite(tape);
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "evaluation: %s", rbe_last_error());
        }
        RBE_TRY(rbe_tally_add(tally, output, &batch, (double)rbe_item(loss)));
        rbe_tape_reset(tape);
    }
    return RBE_OK;
}

rbe_status rbe_evaluate_with(const rbe_model *model, const rbe_dataset *data, const rbe_evaluate_options *options,
                             rbe_evaluation *evaluation) {
    return rbe_evaluate_by(&(rbe_team){0}, model, data, options, evaluation);
}

rbe_status rbe_evaluate_by(rbe_team *team, const rbe_model *model, const rbe_dataset *data,
                           const rbe_evaluate_options *options, rbe_evaluation *evaluation) {
    RBE_TRY(rbe_model_status(model));
    RBE_TRY(rbe_dataset_check("rbe_evaluate", data));
    if (!evaluation) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_evaluate: the result pointer is NULL");
    rbe_evaluate_options o = options ? *options : (rbe_evaluate_options){0};
    if (o.batch == 0) o.batch = 128;
    if (o.batch > data->count) o.batch = data->count;
    RBE_TRY(rbe_loss_choose(&o.loss, data->labels, data->targets));
    RBE_TRY(rbe_metric_choose(&o.metric, data));
    rbe_tally tally;
    rbe_status status = rbe_tally_new(&tally, o.metric, data, rbe_team_size(team));
    rbe_tape *tape = status == RBE_OK ? rbe_tape_new(&(rbe_tape_options){.inference = true}) : NULL;
    rbe_batches *batches = tape ? rbe_batches_new(data, o.batch, false, 0) : NULL;
    status = batches ? run(model, tape, batches, &o, data, &tally, team) : rbe_last_status();
    if (status == RBE_OK) status = rbe_tally_join(&tally, team);
    if (status == RBE_OK) *evaluation = rbe_tally_result(&tally);
    rbe_batches_free(batches);
    rbe_tape_free(tape);
    rbe_tally_free(&tally);
    return status;
}

rbe_status rbe_evaluate(const rbe_model *model, const rbe_dataset *data, size_t batch, rbe_evaluation *evaluation) {
    if (batch == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_evaluate: expected a batch of 1 or more, found 0");
    return rbe_evaluate_with(model, data, &(rbe_evaluate_options){.batch = batch}, evaluation);
}
