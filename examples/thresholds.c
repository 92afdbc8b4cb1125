/* Which threshold? What is at or below it goes, from the originals of a sweep; the table says what is left.
 *
 * The knee is the largest threshold whose loss - the test error, at once, more than before pruning, mean over the
 * seeds - is at most one standard error of a test error, sqrt(e (1 - e) / samples).
 */
#include "thresholds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is tried by default, in units of the root mean square. */
static const double usual[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2};

enum { USUAL = sizeof usual / sizeof *usual };

/* ---- thresholds ---------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void thresholds_read(thresholds *t, const char *text) {
    t->count = 0;
    if (strcmp(text, "auto") == 0) return;
    for (const char *at = text;; at++) {
        char *end;
        double value = strtod(at, &end);
        if (end == at || !(value >= 0.0 && isfinite(value)) || (*end != ',' && *end != '\0'))
            example_fail(2, "--threshold: expected numbers >= 0 like 0.1,0.2, or auto, found \"%s\"", text);
        if (t->count == THRESHOLDS_MAX) example_fail(2, "--threshold: expected at most %d numbers", THRESHOLDS_MAX);
        t->value[t->count++] = value;
        at = end;
        if (*at == '\0') break;
    }
    qsort(t->value, t->count, sizeof *t->value, ascending);
}

/* Of all coefficients of the compressed layers. */
static double root_mean_square(const rbe_model *model) {
    double squares = 0.0;
    size_t count = 0;
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (!rbe_linear_blocks(layer)) continue;
        const rbe_param *param = rbe_layer_param(layer, 0);
        for (size_t k = 0; k < param->count; k++) squares += (double)param->value[k] * (double)param->value[k];
        count += param->count;
    }
    return count > 0 ? sqrt(squares / (double)count) : 0.0;
}

/* Absolute ones of two digits, so that they can be typed in again. */
static void choose_usual(thresholds *t, const rbe_model *model) {
    double unit = t->relative ? 1.0 : root_mean_square(model);
    for (t->count = 0; t->count < USUAL; t->count++) {
        char digits[32];
        snprintf(digits, sizeof digits, "%.1e", usual[t->count] * unit);
        t->value[t->count] = strtod(digits, NULL);
    }
}

/* ---- a threshold, over the seeds ----------------------------------------------------------------------------- */

typedef struct row {
    double threshold;
    spread error, tuned_error;
    double removed, removed_of_layer[SWEEP_MAX_LAYERS]; /* percent */
    double values, memory_bytes, file_bytes, speed;
} row;

static row measure(const sweep *s, bool relative, double threshold) {
    row r = {.threshold = threshold};
    double errors[SWEEP_MAX_SEEDS], tuned[SWEEP_MAX_SEEDS];
    const rbe_prune_options options = {
        .by = RBE_PRUNE_THRESHOLD, .relative = relative, .amount = threshold, .single_values = s->single};
    for (size_t n = 0; n < s->seeds; n++) {
        sweep_outcome o = sweep_prune(s, n, sweep_load(s, n), &options);
        errors[n] = o.error;
        tuned[n] = o.tuned_error;
        double share = 1.0 / (double)s->seeds;
        r.removed += share * o.removed;
        for (size_t l = 0; l < SWEEP_MAX_LAYERS; l++) r.removed_of_layer[l] += share * o.removed_of_layer[l];
        r.values += share * (double)o.report.values_after;
        r.memory_bytes += share * (double)o.report.bytes_after;
        r.file_bytes += share * (double)o.file_bytes;
        r.speed += share * o.speed;
    }
    r.error = spread_of(errors, s->seeds);
    r.tuned_error = spread_of(tuned, s->seeds);
    return r;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

/* What a table of thresholds is about. */
typedef struct table {
    const sweep *s;
    bool relative, has_dense;
    spread dense_error; /* of dense networks of the same shape */
    double standard_error;
    const char *layers[SWEEP_MAX_LAYERS]; /* names of the compressed ones */
    size_t layer_count;
    row rows[THRESHOLDS_MAX];
    size_t count, knee; /* knee == count: none */
} table;

static void find_layers(table *t, const rbe_model *model) {
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++)
        if (rbe_linear_blocks(layer) && t->layer_count < SWEEP_MAX_LAYERS)
            t->layers[t->layer_count++] = rbe_layer_name(layer);
}

static spread dense_error(const sweep *s) {
    double errors[SWEEP_MAX_SEEDS];
    recipe r = s->recipe;
    r.dense = true;
    r.lr = 0.0; /* what does best for dense layers */
    for (size_t n = 0; n < s->seeds; n++) {
        rbe_model *model = sweep_train(s, r, n);
        errors[n] = sweep_error(s, model);
        rbe_model_free(model);
    }
    return spread_of(errors, s->seeds);
}

static size_t find_knee(const table *t) {
    size_t knee = t->count;
    for (size_t n = 0; n < t->count; n++)
        if (t->rows[n].error.mean - t->s->error.mean <= t->standard_error) knee = n;
    return knee;
}

static void print_head(const table *t) {
    printf("test error before pruning: %.2f +- %.2f %%; one standard error of it is %.2f points\n", t->s->error.mean,
           t->s->error.deviation, t->standard_error);
    if (t->has_dense) printf("dense network: %.2f +- %.2f %%\n", t->dense_error.mean, t->dense_error.deviation);
    printf("\n%-9s  %9s ", t->relative ? "x rms" : "threshold", "removed");
    for (size_t l = 0; l < t->layer_count; l++) printf(" %8s ", t->layers[l]);
    printf(" %15s %17s %9s %10s %10s %7s\n", "test error", "fine-tuned", "values", "memory B", "file B", "speed");
}

static void print_row(const table *t, const row *r) {
    printf("%-9g  %7.2f %%", r->threshold, r->removed);
    for (size_t l = 0; l < t->layer_count; l++) printf(" %7.2f %%", r->removed_of_layer[l]);
    printf("  %6.2f +- %4.2f %%  %6.2f +- %4.2f %% %9.0f %10.0f %10.0f %7.2f\n", r->error.mean, r->error.deviation,
           r->tuned_error.mean, r->tuned_error.deviation, r->values, r->memory_bytes, r->file_bytes, r->speed);
    fflush(stdout);
}

static void print_knee(const table *t) {
    if (t->knee == t->count)
        printf("\nno knee: every threshold loses more than one standard error, %.2f points\n", t->standard_error);
    else
        printf("\nknee: %g, the largest threshold that loses at most one standard error, removes %.1f %%\n",
               t->rows[t->knee].threshold, t->rows[t->knee].removed);
}

static void write_csv(FILE *csv, const table *t) {
    if (!csv) return;
    fprintf(csv, "threshold,relative,knee,removed_percent,test_error,test_error_spread,tuned_error,tuned_error_spread,"
                 "original_error,standard_error,dense_error,values,memory_bytes,file_bytes,speed");
    for (size_t l = 0; l < t->layer_count; l++) fprintf(csv, ",removed_percent_%s", t->layers[l]);
    for (size_t n = 0; n < t->count; n++) {
        const row *r = &t->rows[n];
        fprintf(csv, "\n%.8g,%d,%d,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,%.4f,", r->threshold, t->relative, n == t->knee,
                r->removed, r->error.mean, r->error.deviation, r->tuned_error.mean, r->tuned_error.deviation,
                t->s->error.mean, t->standard_error);
        if (t->has_dense) fprintf(csv, "%.4f", t->dense_error.mean);
        fprintf(csv, ",%.0f,%.0f,%.0f,%.4f", r->values, r->memory_bytes, r->file_bytes, r->speed);
        for (size_t l = 0; l < t->layer_count; l++) fprintf(csv, ",%.4f", r->removed_of_layer[l]);
    }
    fprintf(csv, "\n");
}

static void print_json(const table *t) {
    for (size_t n = 0; n < t->count; n++) {
        const row *r = &t->rows[n];
        printf("{\"program\":\"prune_sweep\",\"threshold\":%.8g,\"relative\":%s,\"knee\":%s,\"removed_percent\":%.4f,"
               "\"test_error\":%.4f,\"tuned_error\":%.4f,\"original_error\":%.4f,\"standard_error\":%.4f,",
               r->threshold, t->relative ? "true" : "false", n == t->knee ? "true" : "false", r->removed, r->error.mean,
               r->tuned_error.mean, t->s->error.mean, t->standard_error);
        if (t->has_dense) printf("\"dense_error\":%.4f,", t->dense_error.mean);
        for (size_t l = 0; l < t->layer_count; l++)
            printf("\"removed_percent_%s\":%.4f,", t->layers[l], r->removed_of_layer[l]);
        printf("\"values\":%.0f,\"memory_bytes\":%.0f,\"file_bytes\":%.0f,\"speed\":%.4f}\n", r->values,
               r->memory_bytes, r->file_bytes, r->speed);
    }
}

void thresholds_sweep(const sweep *s, thresholds wanted) {
    table t = {.s = s, .relative = wanted.relative, .has_dense = !s->load};
    FILE *csv = experiment_file(s->out, "prune_thresholds.csv");
    rbe_model *model = sweep_load(s, 0);
    if (wanted.count == 0) choose_usual(&wanted, model);
    find_layers(&t, model);
    double wrong = s->error.mean / 100.0;
    t.standard_error = 100.0 * sqrt(wrong * (1.0 - wrong) / (double)s->test.count);
    if (t.has_dense) t.dense_error = dense_error(s);
    print_head(&t);
    for (; t.count < wanted.count; t.count++) {
        t.rows[t.count] = measure(s, wanted.relative, wanted.value[t.count]);
        print_row(&t, &t.rows[t.count]);
    }
    t.knee = find_knee(&t);
    print_knee(&t);
    write_csv(csv, &t);
    experiment_close(csv);
    if (s->json) print_json(&t);
    rbe_model_free(model);
}
