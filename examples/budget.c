/* Choices, the number of values that fits into a file, and what has to go from it. */
#include "budget.h"

#include <math.h>
#include <string.h>

#include "experiment.h"

/* ---- before the training ------------------------------------------------------------------------------------- */

static size_t clamp(size_t value, size_t low, size_t high) { return value < low ? low : value > high ? high : value; }

/* Epochs that show so many samples. */
static size_t epochs_for(size_t samples, const rbe_dataset *data, size_t most) {
    enum { FEWEST = 30 };
    return clamp(samples / data->count, FEWEST, most);
}

void budget_choose(recipe *r, const rbe_dataset *data, size_t bytes) {
    enum { BYTES_PER_UNIT = 50, UNITS = 8, MOST_UNITS = 1024, SAMPLES = 1800000, AUGMENTED_SAMPLES = 12000000 };
    const bool augmented = r->augment.affine > 0 || r->augment.elastic > 0, stored = example_given("store");
    if (!example_given("hidden")) {
        const size_t units = (bytes / BYTES_PER_UNIT + UNITS / 2) / UNITS * UNITS;
        r->hidden = (example_sizes){.value = {clamp(units, UNITS, MOST_UNITS)}, .count = 1};
    }
    if (!example_given("epochs"))
        r->epochs = augmented ? epochs_for(AUGMENTED_SAMPLES, data, 400) : epochs_for(SAMPLES, data, 100);
    if (!example_given("group")) r->group = 4;
    if (!example_given("dropout")) r->dropout = augmented ? 0.0 : 0.1;
    if (!example_given("bits") && !stored) r->bits = 4;
    if (!example_given("head-bits") && !stored) r->head_bits = 4;
    if (!example_given("lr")) r->lr = 6e-3;
    if (!example_given("optimizer")) r->optimizer = "adamw";
    if (!example_given("weight-decay") && strcmp(r->optimizer, "adamw") == 0) r->decay = 0.05;
    r->grow = !example_given("no-growth");
    r->image = !example_given("no-image");
}

typedef struct measurement {
    recipe recipe; /* for which files are measured */
    const rbe_dataset *data;
    rbe_save_options save;
} measurement;

/* Bytes of a packed file once positions have grown, over those while they are as they were drawn: grown ones crowd at low
 * frequencies, and a code of distances gains by it. As little as was measured: what is too much goes. */
#define GROWN 0.88

/* Of the file of a model with so many values in its hidden layers, from that of an untrained one. */
static rbe_status expected_bytes(void *user, size_t values, size_t *bytes) {
    measurement *m = user;
    m->recipe.values = values;
    rbe_model *model = recipe_model(&m->recipe, m->data);
    if (m->recipe.prune > 0)
        example_require(
            rbe_prune(model, &(rbe_prune_options){.score = RBE_PRUNE_RANDOM, .amount = m->recipe.prune}, NULL));
    *bytes = experiment_file_bytes(model, &m->save);
    if (m->recipe.grow && m->recipe.image && m->recipe.bits > 0) *bytes = (size_t)(GROWN * (double)*bytes);
    rbe_model_free(model);
    return RBE_OK;
}

void budget_fit(recipe *r, const rbe_dataset *data, rbe_store store, size_t bytes) {
    measurement m = {.recipe = *r, .data = data, .save = {.store = store}};
    if (r->grow || r->threshold > 0) m.save.positions = RBE_POSITIONS_DELTA;
    size_t least = 0; /* a value for each hidden unit */
    for (size_t n = 0; n < r->hidden.count; n++) least += r->hidden.value[n];
    example_require(rbe_budget_fit(bytes, least, recipe_dense_values(r, data), expected_bytes, &m, &r->values));
}

/* ---- in the training ----------------------------------------------------------------------------------------- */

static size_t coefficients(const rbe_model *model) {
    size_t count = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        count += rbe_blocks_describe(rbe_linear_blocks(layer)).coefficients;
    return count;
}

/* Prunes what a file of that size has no room for. */
static size_t trim(rbe_model *model, const rbe_save_options *save, size_t bytes) {
    size_t before = coefficients(model), left = before, found;
    while ((found = experiment_file_bytes(model, save)) > bytes) {
        if (left == 0)
            example_fail(1, "expected a file of at most %zu bytes, found %zu without any coefficient", found, bytes);
        /* Less than needed, since not all bytes are of coefficients: it takes a few rounds, of at least one. */
        double share = (double)(found - bytes) / (double)found, one = 1.5 / (double)left;
        const rbe_prune_options prune = {.amount = fmin(fmax(share, one), 1.0)};
        example_require(rbe_prune(model, &prune, NULL));
        left = coefficients(model);
    }
    return before - left;
}

typedef struct trimming {
    const training *training;
    size_t bytes, step, trimmed;
} trimming;

static rbe_status trim_at_step(void *user, size_t step) {
    trimming *t = user;
    if (step == t->step) t->trimmed += trim(t->training->model, &t->training->save, t->bytes);
    return RBE_OK;
}

static rbe_status write_trimming(void *user, rbe_writer *writer) {
    const trimming *t = user;
    const rbe_status status = rbe_write_number(writer, "bytes", (double)t->bytes);
    return status == RBE_OK ? rbe_write_number(writer, "trimmed", (double)t->trimmed) : status;
}

static rbe_status read_trimming(void *user, rbe_reader *reader) {
    trimming *t = user;
    const rbe_status status = rbe_read_same_number(reader, "bytes", (double)t->bytes);
    return status == RBE_OK ? rbe_read_count(reader, "trimmed", 0, SIZE_MAX / 2, &t->trimmed) : status;
}

rbe_fit_result budget_train(training *t, size_t bytes, const rbe_dataset *train, const rbe_dataset *test,
                            size_t *trimmed) {
    trimming state = {.training = t, .bytes = bytes, .step = t->steps * 4 / 5};
    t->routines[t->fit.routine_count++] = (rbe_routine){
        .name = "budget", .step = trim_at_step, .write = write_trimming, .read = read_trimming, .user = &state};
    rbe_fit_result result = training_finish(t, train, test);
    *trimmed = state.trimmed + trim(t->model, &t->save, bytes);
    return result;
}
