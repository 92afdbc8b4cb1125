/* Trains a digits classifier, removes part of its coefficients, and says what is left of it: error, values, bytes in
 * memory and on disk, speed. By every score: plain, with absorption into alpha or a refit, and after fine-tuning; or
 * at thresholds (thresholds.c).
 */
#include <string.h>

#include "thresholds.h"

enum { REFIT_SAMPLES = 2000, SCORES = 4 };

static const char *const score_names[SCORES] = {"magnitude", "fisher", "gradient", "random"};

/* What is done about the loss: nothing, absorption into alpha, a refit on activations. */
typedef enum repair_kind { NONE, ABSORBED, REFITTED, REPAIRS } repair_kind;

static const char *const repair_names[REPAIRS] = {"none", "absorbed", "refit"};

typedef struct settings {
    sweep sweep;
    example_sizes percent; /* removed */
    thresholds thresholds;
    bool by_threshold;
    size_t samples, threads;
} settings;

/* Options that say how coefficients are ranked do not go with thresholds, which rank nothing. */
static void check_settings(settings *s, const char *threshold) {
    s->by_threshold = threshold != NULL;
    if (threshold) thresholds_read(&s->thresholds, threshold);
    if (threshold && (s->percent.count > 0 || s->samples > 0))
        example_fail(2, "--threshold and --percent or --samples exclude each other");
    if (!threshold && s->thresholds.relative) example_fail(2, "--relative needs --threshold");
    if (s->percent.count == 0) s->percent = (example_sizes){.value = {30, 50, 70, 80, 90}, .count = 5};
    if (s->samples == 0) s->samples = 10000;
    recipe_check(&s->sweep.recipe);
}

static settings read_settings(int argc, char **argv) {
    settings s = {.sweep = {.data = "data", .recipe = recipe_default(), .seeds = 1}};
    sweep *w = &s.sweep;
    const char *threshold = NULL;
    w->recipe.ratio = 8;
    w->recipe.group = 1;
    const example_option own[] = {
        {"data", EXAMPLE_TEXT, &w->data, "DIR", "folder with the four IDX files, plain or .gz", 0, 0},
        {"load", EXAMPLE_TEXT, &w->load, "FILE", "a model to prune, instead of training one", 0, 0},
        {"ratio", EXAMPLE_REAL, &w->recipe.ratio, "R", "values of a dense layer per stored value", 1.01, 1e6},
        {"growth", EXAMPLE_FLAG, &w->recipe.grow, NULL, "train with growth, which leaves little to prune", 0, 0},
        {"seeds", EXAMPLE_COUNT, &w->seeds, "N", "models, with consecutive seeds", 1, SWEEP_MAX_SEEDS},
        {"percent", EXAMPLE_SIZES, &s.percent, "P,P,..",
         "shares of the coefficients to remove, by every score (default 30,50,70,80,90)", 0, 100},
        {"threshold", EXAMPLE_TEXT, &threshold, "T,T,..",
         "or: remove those of magnitude T or less; auto: 10 thresholds", 0, 0},
        {"relative", EXAMPLE_FLAG, &s.thresholds.relative, NULL, "T is in units of each layer's root mean square", 0,
         0},
        {"single", EXAMPLE_FLAG, &w->single, NULL, "judge values one by one instead of whole groups", 0, 0},
        {"samples", EXAMPLE_COUNT, &s.samples, "N", "training samples for Fisher and gradient scores (default 10000)",
         1, 1e9},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &w->out, "DIR", "folder for prune_sweep.csv or prune_thresholds.csv (created)", 0, 0},
        {"json", EXAMPLE_FLAG, &w->json, NULL, "end with a line of JSON per row of the table", 0, 0},
    };
    enum { OWN = sizeof own / sizeof *own };
    example_option options[RECIPE_OPTIONS + OWN];
    memcpy(options, own, sizeof own);
    recipe_options(&w->recipe, options + OWN);
    example_parse(argc, argv, "Prunes a digits classifier by every score, or at thresholds.", options,
                  sizeof options / sizeof *options);
    check_settings(&s, threshold);
    return s;
}

/* ---- a case -------------------------------------------------------------------------------------------------- */

static rbe_sensitivity *measure_sensitivity(const rbe_model *model, const rbe_dataset *train, size_t samples) {
    rbe_sensitivity *sensitivity = example_need(rbe_sensitivity_new(model));
    rbe_batches *batches = example_need(rbe_batches_new(train, SWEEP_SAMPLES_AT_A_TIME, true, 1));
    rbe_batch batch;
    rbe_batches_start(batches, 0);
    while (rbe_sensitivity_samples(sensitivity) < samples && rbe_batches_next(batches, &batch))
        example_require(rbe_sensitivity_add(sensitivity, batch.x, batch.labels));
    rbe_batches_free(batches);
    return sensitivity;
}

static sweep_outcome run_case(const settings *s, size_t n, rbe_prune_score score, size_t percent, repair_kind repair) {
    rbe_model *model = sweep_load(&s->sweep, n);
    rbe_sensitivity *sensitivity = NULL;
    if (score == RBE_PRUNE_FISHER || score == RBE_PRUNE_GRADIENT)
        sensitivity = measure_sensitivity(model, &s->sweep.train, s->samples);
    rbe_batches *batches = example_need(rbe_batches_new(&s->sweep.train, REFIT_SAMPLES, true, 2));
    rbe_batch samples;
    rbe_batches_start(batches, 0);
    rbe_batches_next(batches, &samples);
    const rbe_prune_options options = {.score = score,
                                       .amount = (double)percent / 100.0,
                                       .single_values = s->sweep.single,
                                       .no_absorption = repair == NONE,
                                       .refit = repair == REFITTED ? &samples.x : NULL,
                                       .sensitivity = sensitivity,
                                       .seed = s->sweep.recipe.seed};
    sweep_outcome outcome = sweep_prune(&s->sweep, n, model, &options);
    rbe_sensitivity_free(sensitivity);
    rbe_batches_free(batches);
    return outcome;
}

/* ---- the table of scores ------------------------------------------------------------------------------------- */

typedef struct row {
    const char *score;
    size_t percent;
    repair_kind repair;
    spread loss, tuned_loss; /* points of error more than the original */
    double absorbed;         /* percent of the removed energy */
    sweep_outcome last;      /* of the last seed: what does not depend much on it */
} row;

static row measure_row(const settings *s, rbe_prune_score score, size_t percent, repair_kind repair) {
    row r = {.score = score_names[score], .percent = percent, .repair = repair};
    double losses[SWEEP_MAX_SEEDS], tuned[SWEEP_MAX_SEEDS];
    for (size_t n = 0; n < s->sweep.seeds; n++) {
        r.last = run_case(s, n, score, percent, repair);
        losses[n] = r.last.error - s->sweep.originals[n].error;
        tuned[n] = r.last.tuned_error - s->sweep.originals[n].error;
    }
    r.loss = spread_of(losses, s->sweep.seeds);
    r.tuned_loss = spread_of(tuned, s->sweep.seeds);
    const rbe_prune_report *report = &r.last.report;
    r.absorbed = report->removed_energy > 0 ? 100.0 * report->absorbed_energy / report->removed_energy : 0.0;
    return r;
}

/* Positions that were drawn can be stored as a seed, what pruning leaves of them cannot: so deltas are compared. */
static void print_head(const sweep *s, FILE *csv) {
    const rbe_save_options deltas = {.positions = RBE_POSITIONS_DELTA};
    rbe_model *whole = sweep_load(s, 0);
    rbe_layer_cost cost = rbe_model_describe_cost(whole);
    printf("the model: test error %.2f +- %.2f %%, %zu values, %zu bytes, file %zu bytes (%zu at its smallest)\n",
           s->error.mean, s->error.deviation, cost.values, cost.bytes, experiment_file_bytes(whole, &deltas),
           experiment_file_bytes(whole, NULL));
    rbe_model_free(whole);
    printf("\n%-10s %7s  %-8s %15s %18s %9s %9s %9s %7s %10s\n", "score", "removed", "repair", "points lost",
           "fine-tuned", "values", "memory B", "file B", "speed", "absorbed");
    if (csv)
        fprintf(csv, "score,removed_percent,repair,original_error,loss_points,loss_points_spread,tuned_loss_points,"
                     "tuned_loss_points_spread,values,memory_bytes,file_bytes,speed,absorbed_percent\n");
}

static void print_row(FILE *csv, const row *r, double original_error) {
    const rbe_prune_report *report = &r->last.report;
    printf("%-10s %5zu %%  %-8s %7.2f +- %4.2f %10.2f +- %4.2f %9zu %9zu %9zu %7.2f %8.2f %%\n", r->score, r->percent,
           repair_names[r->repair], r->loss.mean, r->loss.deviation, r->tuned_loss.mean, r->tuned_loss.deviation,
           report->values_after, report->bytes_after, r->last.file_bytes, r->last.speed, r->absorbed);
    fflush(stdout);
    if (csv)
        fprintf(csv, "%s,%zu,%s,%.4f,%.4f,%.4f,%.4f,%.4f,%zu,%zu,%zu,%.4f,%.4f\n", r->score, r->percent,
                repair_names[r->repair], original_error, r->loss.mean, r->loss.deviation, r->tuned_loss.mean,
                r->tuned_loss.deviation, report->values_after, report->bytes_after, r->last.file_bytes, r->last.speed,
                r->absorbed);
}

static void print_json(const row *r, double original_error) {
    const rbe_prune_report *report = &r->last.report;
    printf("{\"program\":\"prune_sweep\",\"score\":\"%s\",\"removed_percent\":%zu,\"repair\":\"%s\","
           "\"original_error\":%.4f,\"loss_points\":%.4f,\"tuned_loss_points\":%.4f,\"values\":%zu,"
           "\"memory_bytes\":%zu,\"memory_bytes_before\":%zu,\"file_bytes\":%zu,\"speed\":%.4f}\n",
           r->score, r->percent, repair_names[r->repair], original_error, r->loss.mean, r->tuned_loss.mean,
           report->values_after, report->bytes_after, report->bytes_before, r->last.file_bytes, r->last.speed);
}

static void scores_sweep(const settings *s) {
    FILE *csv = experiment_file(s->sweep.out, "prune_sweep.csv");
    row rows[SCORES * REPAIRS * EXAMPLE_MAX_SIZES];
    size_t count = 0;
    print_head(&s->sweep, csv);
    for (int score = 0; score < SCORES; score++)
        for (size_t p = 0; p < s->percent.count; p++)
            for (repair_kind repair = NONE; repair < REPAIRS; repair++) {
                if (repair == REFITTED && s->sweep.single) continue;
                rows[count] = measure_row(s, (rbe_prune_score)score, s->percent.value[p], repair);
                print_row(csv, &rows[count++], s->sweep.error.mean);
            }
    experiment_close(csv);
    for (size_t n = 0; s->sweep.json && n < count; n++) print_json(&rows[n], s->sweep.error.mean);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    sweep_begin(&s.sweep);
    if (s.by_threshold)
        thresholds_sweep(&s.sweep, s.thresholds);
    else
        scores_sweep(&s);
    sweep_end(&s.sweep);
    return 0;
}
