/* Which block size? Takes a matrix of known structure, compresses it, and lets rbe_optimize_block_size choose: the
 * table of scores for every candidate, and what the compressed layer takes beside a dense one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiment.h"

typedef struct settings {
    const char *matrix, *transform, *row_transform, *column_transform, *out;
    example_sizes blocks, groups;
    size_t in, out_width, samples, block, rounds, threads;
    double ratio, memory, speed, accuracy;
    uint64_t seed;
    bool json;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.matrix = "smooth",
                  .transform = "dct",
                  .blocks = {.value = {32, 64, 128, 256}, .count = 4},
                  .groups = {.value = {16}, .count = 1},
                  .in = 512,
                  .out_width = 512,
                  .samples = 256,
                  .block = 32,
                  .rounds = 31,
                  .ratio = 16,
                  .memory = 0.3,
                  .speed = 0.4,
                  .accuracy = 0.3,
                  .seed = 1};
    const example_option options[] = {
        {"matrix", EXAMPLE_TEXT, &s.matrix, "smooth|local|random", "what is compressed", 0, 0},
        {"in", EXAMPLE_COUNT, &s.in, "N", "columns of the matrix", 8, 8192},
        {"out-width", EXAMPLE_COUNT, &s.out_width, "N", "rows of the matrix", 8, 8192},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "values of a dense layer per stored value", 1, 1e6},
        {"block", EXAMPLE_COUNT, &s.block, "B", "block size to begin with", 8, 256},
        {"blocks", EXAMPLE_SIZES, &s.blocks, "B,B,..", "to try, powers of two 8 .. 256", 8, 256},
        {"groups", EXAMPLE_SIZES, &s.groups, "G,G,..", "block rows that share positions, to try", 1, 65536},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "dct, haar, db4 .. db20, wht, identity, bspline103 ..", 0, 0},
        {"row-transform", EXAMPLE_TEXT, &s.row_transform, "NAME", "the same along the outputs only", 0, 0},
        {"column-transform", EXAMPLE_TEXT, &s.column_transform, "NAME", "the same along the inputs only", 0, 0},
        {"memory", EXAMPLE_REAL, &s.memory, "W", "weight of the memory score", 0, 1e3},
        {"speed", EXAMPLE_REAL, &s.speed, "W", "weight of the speed score", 0, 1e3},
        {"accuracy", EXAMPLE_REAL, &s.accuracy, "W", "weight of the accuracy score", 0, 1e3},
        {"samples", EXAMPLE_COUNT, &s.samples, "N", "input rows that the choice is judged by", 1, 1e6},
        {"rounds", EXAMPLE_COUNT, &s.rounds, "N", "rounds of timing", 1, 1e4},
        {"seed", EXAMPLE_SEED, &s.seed, "N", "seed of the matrix and the samples", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
        {"out", EXAMPLE_TEXT, &s.out, "DIR", "folder for tune_blocks.csv (created)", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "a line of JSON per candidate instead of the table", 0, 0},
    };
    example_parse(argc, argv, "Chooses a block size by memory, measured speed and accuracy.", options,
                  sizeof options / sizeof *options);
    example_transform("row", s.row_transform, s.transform);
    example_transform("column", s.column_transform, s.transform);
    return s;
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

static float *floats(size_t count) {
    float *values = calloc(count, sizeof *values);
    if (!values) example_fail(1, "no memory for %zu values", count);
    return values;
}

/* smooth: a Gaussian kernel; local: one wave in each of many scattered tiles of 16 x 16; random: independent
 * values. */
static float *make_matrix(const settings *s, rbe_rng *rng) {
    float *w = floats(s->out_width * s->in);
    if (strcmp(s->matrix, "local") == 0) {
        size_t tiles = s->out_width * s->in / 512;
        for (size_t n = 0; n < tiles; n++) {
            size_t top = rbe_rng_below(rng, (uint32_t)(s->out_width / 16 + 1)) * 16;
            size_t left = rbe_rng_below(rng, (uint32_t)(s->in / 16 + 1)) * 16;
            double i = rbe_rng_below(rng, 12), j = rbe_rng_below(rng, 12), pi = acos(-1.0);
            for (size_t r = 0; r < 16 && top + r < s->out_width; r++)
                for (size_t c = 0; c < 16 && left + c < s->in; c++)
                    w[(top + r) * s->in + left + c] += (float)(cos(pi * (2.0 * (double)r + 1.0) * i / 32.0) *
                                                               cos(pi * (2.0 * (double)c + 1.0) * j / 32.0));
        }
        return w;
    }
    bool smooth = strcmp(s->matrix, "smooth") == 0;
    for (size_t r = 0; r < s->out_width; r++)
        for (size_t c = 0; c < s->in; c++) {
            double d = (double)r / (double)s->out_width - (double)c / (double)s->in;
            w[r * s->in + c] = (float)(smooth ? exp(-50.0 * d * d) : rbe_rng_normal(rng));
        }
    return w;
}

/* ---- results ------------------------------------------------------------------------------------------------- */

static void print_table(const rbe_tune_report *r) {
    printf("%-12s %5s %5s %9s %10s %8s  %6s %6s %8s  %6s\n", "", "block", "group", "memory B", "us", "error", "memory",
           "speed", "accuracy", "score");
    for (size_t n = 0; n < r->count; n++) {
        const rbe_tune_candidate *c = &r->candidates[n];
        printf("%-12s %5zu %5zu %9zu %10.1f %8.4f  %6.3f %6.3f %8.3f  %6.3f\n",
               n == r->chosen ? "chosen"
               : n == 0       ? "as it was"
                              : "",
               c->block, c->group, c->bytes, 1e6 * c->seconds, c->error, c->memory_score, c->speed_score,
               c->accuracy_score, c->score);
    }
}

static void print_json(const rbe_tune_report *r) {
    for (size_t n = 0; n < r->count; n++) {
        const rbe_tune_candidate *c = &r->candidates[n];
        printf(
            "{\"program\":\"tune_blocks\",\"given\":%s,\"chosen\":%s,\"block\":%zu,\"group\":%zu,\"memory_bytes\":%zu,"
            "\"us\":%.3f,\"error\":%.6f,\"memory_score\":%.6f,\"speed_score\":%.6f,\"accuracy_score\":%.6f,"
            "\"score\":%.6f}\n",
            n == 0 ? "true" : "false", n == r->chosen ? "true" : "false", c->block, c->group, c->bytes,
            1e6 * c->seconds, c->error, c->memory_score, c->speed_score, c->accuracy_score, c->score);
    }
}

static void write_csv(FILE *csv, const rbe_tune_report *r) {
    if (!csv) return;
    fprintf(csv, "given,chosen,block,group,memory_bytes,us,error,memory_score,speed_score,accuracy_score,score\n");
    for (size_t n = 0; n < r->count; n++) {
        const rbe_tune_candidate *c = &r->candidates[n];
        fprintf(csv, "%d,%d,%zu,%zu,%zu,%.3f,%.6f,%.6f,%.6f,%.6f,%.6f\n", n == 0, n == r->chosen, c->block, c->group,
                c->bytes, 1e6 * c->seconds, c->error, c->memory_score, c->speed_score, c->accuracy_score, c->score);
    }
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads > 0) example_require(rbe_set_threads((int)s.threads));
    FILE *csv = experiment_file(s.out, "tune_blocks.csv");
    rbe_rng *rng = example_need(rbe_rng_new(s.seed, 0));
    float *w = make_matrix(&s, rng), *x = floats(s.samples * s.in);
    for (size_t n = 0; n < s.samples * s.in; n++) x[n] = (float)rbe_rng_normal(rng);

    rbe_blocks *blocks;
    example_require(rbe_compress(
        &blocks, w, s.out_width, s.in,
        &(rbe_compress_options){.block = s.block,
                                .group = s.groups.value[0],
                                .ratio = s.ratio,
                                .row_transform = example_transform("row", s.row_transform, s.transform),
                                .column_transform = example_transform("column", s.column_transform, s.transform)}));
    rbe_layer *layer = example_need(rbe_linear_from_blocks(blocks, NULL, 0, NULL));
    rbe_tune_report report;
    example_require(rbe_optimize_block_size(layer, x, s.samples,
                                            &(rbe_tune_options){.blocks = s.blocks.value,
                                                                .block_count = s.blocks.count,
                                                                .groups = s.groups.value,
                                                                .group_count = s.groups.count,
                                                                .memory = s.memory,
                                                                .speed = s.speed,
                                                                .accuracy = s.accuracy,
                                                                .weights = w,
                                                                .rounds = s.rounds},
                                            &report));
    write_csv(csv, &report);
    experiment_close(csv);
    if (s.json)
        print_json(&report);
    else
        print_table(&report);
    rbe_autotune_report versus;
    example_require(rbe_linear_autotune(layer, s.samples, &versus));
    if (s.json)
        printf("{\"program\":\"tune_blocks\",\"rows\":%zu,\"us\":%.3f,\"dense_us\":%.3f,\"crossover\":%zu}\n",
               s.samples, 1e6 * versus.seconds, 1e6 * versus.dense_seconds, versus.crossover);
    else if (versus.dense_is_faster)
        printf("\na dense layer would be faster: %.1f against %.1f us for %zu rows\n", 1e6 * versus.dense_seconds,
               1e6 * versus.seconds, s.samples);
    else
        printf("\na dense layer takes %.2f times as long for %zu rows; compressed is faster from %zu row%s on\n",
               versus.dense_seconds / versus.seconds, s.samples, versus.crossover, versus.crossover == 1 ? "" : "s");
    rbe_layer_free(layer);
    rbe_rng_free(rng);
    free(w);
    free(x);
    return 0;
}
