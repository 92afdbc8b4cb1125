/* Where the ranks of a training come together: the gradients, loss and metric of a step; what one of them has been asked;
 * whether their parameters are still the same.
 */
#include "codec/blocks.h"
#include "nn/linear.h"
#include "optim/optim_internal.h"
#include "tensor/node.h"
#include "train/training.h"

rbe_status rbe_training_count(rbe_training *t) {
    if (t->idle) return RBE_OK;
    return rbe_tally_add(&t->of_step, t->step.output, t->batch, t->step.batch_loss);
}

/* Of the backward pass. */
static rbe_status begin_exchange(void *user) {
    rbe_training *t = user;
    return rbe_team_begin_exchange(&t->team, t->exchange);
}

static void advance_exchange(void *user, uintptr_t reach) {
    rbe_exchange_advance(((rbe_training *)user)->exchange, reach);
}

rbe_status rbe_training_watch(rbe_training *t) {
    RBE_TRY(rbe_exchange_prepare(t->exchange, t->step.model));
    t->step.tape->watch = (rbe_watch){begin_exchange, advance_exchange, t};
    return RBE_OK;
}

/* What may fail comes before the ranks meet; then the gradients are those of all. */
rbe_status rbe_training_join(void *user, rbe_step *step) {
    rbe_training *t = user;
    const rbe_fit_options *o = &t->options;
    rbe_team *team = &t->team;
    step->tape->watch = (rbe_watch){0};
    RBE_TRY(rbe_training_count(t));
    RBE_TRY(rbe_tally_join(&t->of_step, team));
    rbe_param *param;
    for (size_t n = 0; (param = rbe_optim_next_beside(step->optim, &n));)
        RBE_TRY(rbe_team_sum(team, param->grad, param->count));
    for (size_t n = 0; n < o->routine_count; n++)
        if (o->routines[n].meet) RBE_TRY(o->routines[n].meet(o->routines[n].user, team->comm));
    step->weight = t->of_step.weight;
    return RBE_OK;
}

static void add_positions(rbe_checksum *sum, const rbe_blocks *b) {
    uint32_t columns[1024];
    for (size_t k = 0, count = 0; k < b->entries; k++) {
        columns[count++] = rbe_column_at(b, k);
        if (count < sizeof columns / sizeof *columns && k + 1 < b->entries) continue;
        rbe_checksum_add(sum, columns, count * sizeof *columns);
        count = 0;
    }
}

/* Values alone would not do: with other positions they still get the same sums of gradients. */
static uint32_t parameter_checksum(const rbe_training *t) {
    rbe_checksum sum = {0};
    const rbe_param *param;
    for (size_t n = 0; (param = rbe_model_param(t->step.model, n)); n++)
        rbe_checksum_add(&sum, param->value, param->count * sizeof *param->value);
    for (size_t n = 0; n < t->step.optim->count; n++) {
        param = t->step.optim->slots[n].param;
        if (!param->grad_shared) rbe_checksum_add(&sum, param->value, param->count * sizeof *param->value);
    }
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(t->step.model, n)); n++) {
        const rbe_linear_layer *linear = rbe_layer_as_linear(layer);
        if (linear) add_positions(&sum, linear->blocks);
    }
    return sum.crc;
}

bool rbe_training_is_asked(const rbe_training *t) {
    return t->team.comm ? t->told.stop : t->options.stop && *t->options.stop;
}

rbe_status rbe_training_meet(rbe_training *t, bool compare) {
    if (!t->team.comm) return RBE_OK;
    t->told = (rbe_note){.stop = t->options.stop && *t->options.stop, .request = rbe_keep_requested(t)};
    if (compare) t->told.checksum = parameter_checksum(t);
    return rbe_team_meet(&t->team, RBE_OK, &t->told);
}
