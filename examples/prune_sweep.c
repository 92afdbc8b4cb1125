/* Trains a digits classifier, removes part of its coefficients by every score, and says what is left of it: error,
 * values, bytes in memory and on disk, speed; plain, with absorption into alpha or a refit, and after fine-tuning.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "experiment.h"
#include "recipe.h"

enum { MAX_SEEDS = 16, SAMPLES_AT_A_TIME = 500, REFIT_SAMPLES = 2000, FORWARD_ROWS = 256, FORWARD_ROUNDS = 41 };

static const char *const score_names[] = {"magnitude", "fisher", "gradient", "random"};

/* What is done about the loss: nothing, absorption into alpha, a refit on activations. */
typedef enum repair_kind { NONE, ABSORBED, REFITTED, REPAIRS } repair_kind;

static const char *const repair_names[REPAIRS] = {"none", "absorbed", "refit"};

typedef struct settings {
    const char *data, *load, *out;
    recipe recipe;
    example_sizes percent; /* removed */
    size_t seeds, samples, threads, tune_epochs;
    double tune_lr;
    bool single, per_layer, json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.data = "data",
                  .recipe = recipe_default(),
                  .percent = {.value = {30, 50, 70, 80, 90}, .count = 5},
                  .seeds = 1,
                  .samples = 10000,
                  .tune_epochs = 1,
                  .tune_lr = 1e-3};
    s.recipe.ratio = 8;
    s.recipe.group = 1;
    const example_option own[] = {
        {"data", EXAMPLE_TEXT, &s.data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"load", EXAMPLE_TEXT, &s.load, "FILE", "a model to prune, instead of training one", 0, 0},
        {"ratio", EXAMPLE_REAL, &s.recipe.ratio, "R", "values of a dense layer per stored value", 1.01, 1e6},
        {"growth", EXAMPLE_FLAG, &s.recipe.grow, NULL, "train with growth, which leaves little to prune", 0, 0},
        {"seeds", EXAMPLE_COUNT, &s.seeds, "N", "models, of seeds one after the other", 1, MAX_SEEDS},
        {"percent", EXAMPLE_SIZES, &s.percent, "P,P,..", "shares of the coefficients to remove", 0, 100},
        {"single", EXAMPLE_FLAG, &s.single, NULL, "judge values one by one instead of whole groups", 0, 0},
        {"per-layer", EXAMPLE_FLAG, &s.per_layer, NULL, "the same share of every layer", 0, 0},
        {"samples", EXAMPLE_COUNT, &s.samples, "N", "training samples for Fisher and gradient scores", 1, 1e9},
        {"tune-epochs", EXAMPLE_COUNT, &s.tune_epochs, "N", "of fine-tuning", 1, 1e6},
        {"tune-lr", EXAMPLE_REAL, &s.tune_lr, "R", "its learning rate", 1e-9, 1e3},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, 1024},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for prune_sweep.csv; created", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "end with a line of JSON per row of the table", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[RECIPE_OPTIONS + OWN];
    memcpy(options, own, sizeof own);
    recipe_options(&s.recipe, options + OWN);
    example_parse(argc, argv, "Prunes a trained digits classifier by every score and measures what is left.", options,
                  sizeof options / sizeof *options);
    recipe_check(&s.recipe);
    return s;
}

/* ---- one model, and copies of it ----------------------------------------------------------------------------- */

/* A model in a temporary file, to be read again for every case. */
typedef struct original {
    char path[64];
    double error;
} original;

static double percent_wrong(const rbe_model *model, const rbe_dataset *test) {
    rbe_evaluation e;
    example_require(rbe_evaluate(model, test, SAMPLES_AT_A_TIME, &e));
    return 100.0 * e.error;
}

static rbe_model *load(const char *path) {
    rbe_model *model = example_need(rbe_model_load(path));
    return model;
}

static void temporary_path(char path[64]) {
    strcpy(path, "/tmp/prune_sweep_XXXXXX");
    int file = mkstemp(path);
    if (file < 0) example_fail(1, "no temporary file can be made in /tmp");
    close(file);
}

static rbe_model *train_model(const recipe *r, const rbe_dataset *train) {
    training t = recipe_start(r, train);
    t.fit.progress = stderr;
    training_finish(&t, train, NULL);
    return t.model;
}

static original make_original(const settings *s, size_t n, const rbe_dataset *train, const rbe_dataset *test) {
    original o;
    recipe r = s->recipe;
    r.seed += n;
    rbe_model *model = s->load ? load(s->load) : train_model(&r, train);
    temporary_path(o.path);
    example_require(rbe_model_save(model, o.path, NULL));
    o.error = percent_wrong(model, test);
    rbe_model_free(model);
    return o;
}

static rbe_sensitivity *measure_sensitivity(const rbe_model *model, const rbe_dataset *train, size_t samples) {
    rbe_sensitivity *sensitivity = example_need(rbe_sensitivity_new(model));
    rbe_batches *batches = example_need(rbe_batches_new(train, SAMPLES_AT_A_TIME, true, 1));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    while (rbe_sensitivity_samples(sensitivity) < samples && rbe_batches_next(batches, &batch))
        example_require(rbe_sensitivity_add(sensitivity, batch.x, batch.labels));
    rbe_batches_free(batches);
    return sensitivity;
}

/* ---- a case -------------------------------------------------------------------------------------------------- */

typedef struct outcome {
    double error, tuned_error; /* percent */
    rbe_prune_report report;
    size_t file_bytes;
    double speed; /* of the forward pass, in terms of the original's */
} outcome;

static double tune(const settings *s, rbe_model *model, const rbe_dataset *train, const rbe_dataset *test) {
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = (float)s->tune_lr}));
    rbe_fit_result result;
    const rbe_fit_options options = {
        .epochs = s->tune_epochs, .batch = s->recipe.batch, .seed = 99, .schedule = {.kind = RBE_COSINE}};
    example_require(rbe_fit(model, optim, train, test, &options, &result));
    rbe_optim_free(optim);
    return 100.0 * result.test.error;
}

static outcome run_case(const settings *s, const original *o, rbe_prune_score score, size_t percent, repair_kind repair,
                        const rbe_dataset *train, const rbe_dataset *test) {
    outcome result;
    rbe_model *model = load(o->path), *whole = load(o->path);
    rbe_sensitivity *sensitivity = NULL;
    if (score == RBE_PRUNE_FISHER || score == RBE_PRUNE_GRADIENT)
        sensitivity = measure_sensitivity(model, train, s->samples);
    rbe_batches *batches = example_need(rbe_batches_new(train, REFIT_SAMPLES, true, 2));
    rbe_batch samples;
    rbe_batches_start(batches, 0);
    rbe_batches_next(batches, &samples);
    const rbe_prune_options options = {.score = score,
                                       .amount = (double)percent / 100.0,
                                       .per_layer = s->per_layer,
                                       .single_values = s->single,
                                       .no_absorption = repair == NONE,
                                       .refit = repair == REFITTED ? &samples.x : NULL,
                                       .sensitivity = sensitivity,
                                       .seed = s->recipe.seed};
    example_require(rbe_prune(model, NULL, &options, &result.report));
    rbe_sensitivity_free(sensitivity);
    rbe_batches_free(batches);
    result.error = percent_wrong(model, test);
    result.file_bytes = experiment_file_bytes(model, NULL);
    double seconds[2];
    time_forward((rbe_model *const[]){whole, model}, 2, FORWARD_ROWS, FORWARD_ROUNDS, seconds);
    result.speed = seconds[0] / seconds[1];
    result.tuned_error = tune(s, model, train, test);
    rbe_model_free(whole);
    rbe_model_free(model);
    return result;
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

typedef struct row {
    const char *score;
    size_t percent;
    repair_kind repair;
    spread loss, tuned_loss; /* points of error more than the original */
    outcome last;            /* of the last seed: what does not depend much on it */
} row;

static void print_row(FILE *csv, const row *r, spread original_error) {
    double absorbed = r->last.report.removed_energy > 0
                          ? 100.0 * r->last.report.absorbed_energy / r->last.report.removed_energy
                          : 0.0;
    printf("%-10s %4zu %%  %-8s %7.2f +- %4.2f %10.2f +- %4.2f %9zu %9zu %9zu %7.2f %8.2f %%\n", r->score, r->percent,
           repair_names[r->repair], r->loss.mean, r->loss.deviation, r->tuned_loss.mean, r->tuned_loss.deviation,
           r->last.report.values_after, r->last.report.bytes_after, r->last.file_bytes, r->last.speed, absorbed);
    fflush(stdout);
    if (csv)
        fprintf(csv, "%s,%zu,%s,%.4f,%.4f,%.4f,%.4f,%.4f,%zu,%zu,%zu,%.4f,%.4f\n", r->score, r->percent,
                repair_names[r->repair], original_error.mean, r->loss.mean, r->loss.deviation, r->tuned_loss.mean,
                r->tuned_loss.deviation, r->last.report.values_after, r->last.report.bytes_after, r->last.file_bytes,
                r->last.speed, absorbed);
}

static void print_json(const row *r, spread original_error) {
    printf("{\"program\":\"prune_sweep\",\"score\":\"%s\",\"percent\":%zu,\"repair\":\"%s\",\"original_error\":%.4f,"
           "\"loss_points\":%.4f,\"tuned_loss_points\":%.4f,\"values\":%zu,\"bytes\":%zu,\"bytes_before\":%zu,"
           "\"file_bytes\":%zu,\"speed\":%.4f}\n",
           r->score, r->percent, repair_names[r->repair], original_error.mean, r->loss.mean, r->tuned_loss.mean,
           r->last.report.values_after, r->last.report.bytes_after, r->last.report.bytes_before, r->last.file_bytes,
           r->last.speed);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    FILE *csv = experiment_file(s.out, "prune_sweep.csv");
    rbe_dataset train, test;
    experiment_data(s.data, &train, &test);
    original originals[MAX_SEEDS];
    double errors[MAX_SEEDS], tuned[MAX_SEEDS];
    for (size_t n = 0; n < s.seeds; n++) {
        originals[n] = make_original(&s, n, &train, &test);
        errors[n] = originals[n].error;
    }
    spread original_error = spread_of(errors, s.seeds);
    rbe_model *whole = load(originals[0].path);
    rbe_layer_cost cost = rbe_model_describe_cost(whole);
    /* Positions that were drawn can be stored as a seed, what pruning leaves of them cannot: so deltas are compared. */
    const rbe_save_options deltas = {.positions = RBE_POSITIONS_DELTA};
    printf("the model: test error %.2f +- %.2f %%, %zu values, %zu bytes, file %zu bytes (%zu at its smallest)\n",
           original_error.mean, original_error.deviation, cost.values, cost.bytes,
           experiment_file_bytes(whole, &deltas), experiment_file_bytes(whole, NULL));
    rbe_model_free(whole);
    printf("\n%-10s %6s  %-8s %15s %18s %9s %9s %9s %7s %10s\n", "score", "gone", "repair", "points lost", "tuned",
           "values", "bytes", "file", "speed", "absorbed");
    if (csv)
        fprintf(csv, "score,percent,repair,original_error,points,points_spread,tuned_points,tuned_points_spread,values,"
                     "bytes,file_bytes,speed,absorbed_percent\n");
    row rows[4 * REPAIRS * EXAMPLE_MAX_SIZES];
    size_t count = 0;
    for (int score = 0; score < 4; score++)
        for (size_t p = 0; p < s.percent.count; p++)
            for (repair_kind repair = NONE; repair < REPAIRS; repair++) {
                if (repair == REFITTED && s.single) continue;
                row *r = &rows[count++];
                *r = (row){.score = score_names[score], .percent = s.percent.value[p], .repair = repair};
                for (size_t n = 0; n < s.seeds; n++) {
                    r->last = run_case(&s, &originals[n], (rbe_prune_score)score, r->percent, repair, &train, &test);
                    errors[n] = r->last.error - originals[n].error;
                    tuned[n] = r->last.tuned_error - originals[n].error;
                }
                r->loss = spread_of(errors, s.seeds);
                r->tuned_loss = spread_of(tuned, s.seeds);
                print_row(csv, r, original_error);
            }
    experiment_close(csv);
    for (size_t n = 0; s.json && n < count; n++) print_json(&rows[n], original_error);
    for (size_t n = 0; n < s.seeds; n++) unlink(originals[n].path);
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    return 0;
}
