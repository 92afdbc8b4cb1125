/* Speed of the compressed linear layer against OpenBLAS.
 *
 * For every case: a random compressed matrix and random data; the result is checked against dense products in
 * double precision; then the compressed and the dense product are timed in turns in this one process, and the ratio
 * is the median over all turns. Useful flops are 2 N (coefficients + alphas): what a dense product of the stored
 * numbers would take; peak is what one core can do (baseline.h), times the threads. On one thread times are processor
 * times of the thread, so that other work on the machine disturbs little.
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../examples/common.h"
#include "../../examples/experiment.h"
#include "augment.h"
#include "baseline.h"
#include "interleaved.h"
#include "parts.h"
#include "scaling.h"
#include "serial.h"
#include "step.h"
#include "subject.h"

static const char *const product_names[BENCH_PRODUCTS] = {"fwd", "dx", "dw", "bwd", "matvec"};

typedef struct settings {
    const char *product, *transform, *row_transform, *column_transform, *alpha, *shapes;
    example_sizes sizes;
    size_t n, block, coeffs, group, threads;
    bool json, quick, parts, serial, busy;
} settings;

/* A layer of a network; of a square matrix without a name. */
typedef struct shape {
    char name[32];
    size_t in, out, rows;
} shape;

/* ---- products ------------------------------------------------------------------------------------------------ */

static rbe_compress_options matrix_options(const settings *s) {
    const char *both = s->transform ? s->transform : "dct";
    return (rbe_compress_options){.block = s->block,
                                  .coeffs = s->coeffs,
                                  .row_transform = example_transform("row", s->row_transform, both),
                                  .column_transform = example_transform("column", s->column_transform, both),
                                  .alpha = example_alpha(s->alpha),
                                  .group = s->group};
}

static void print_head(const settings *s) {
    const rbe_compress_options o = matrix_options(s);
    printf("B=%zu K=%zu %s, %s, alpha %s, %zu thread%s, %s; dense: OpenBLAS for %s\n", s->block, s->coeffs,
           rbe_transform_name(o.row_transform), rbe_transform_name(o.column_transform), s->alpha, s->threads,
           s->threads == 1 ? "" : "s", rbe_isa_name(), rbe_blas_kernels());
    printf(
        "case      in   out     n  group  compressed us   dense us   ratio (quartiles)       quiet    GF/s  of peak  "
        "dense GF/s  of peak   error     layer  workspace    dense bytes\n");
}

/* gain: time on one thread over that on all, 0 if there is only one. */
static void report(const settings *s, const shape *of, const bench_subject *b, const bench_timing *t, double gain,
                   double error) {
    const rbe_blocks *w = b->w;
    rbe_blocks_info info = rbe_blocks_describe(w);
    size_t layer = info.value_bytes + info.position_bytes + info.alpha_bytes;
    size_t dense = b->in * b->out * sizeof(float), products = b->product == BENCH_BACKWARD ? 2 : 1;
    double operations = 2.0 * (double)(products * b->n), peak = t->peak * (double)s->threads;
    double useful = operations * (double)(info.coefficients + info.alphas) / t->compressed;
    double dense_speed = operations * (double)(b->in * b->out) / t->dense;
    if (s->json) {
        printf("{\"case\":\"%s\",\"name\":\"%s\",\"in\":%zu,\"out\":%zu,\"n\":%zu,\"block\":%zu,\"coeffs\":%zu,"
               "\"group\":%zu,\"row_transform\":\"%s\",\"column_transform\":\"%s\",\"alpha\":%s,\"threads\":%zu,"
               "\"isa\":\"%s\",\"openblas\":\"%s\",\"rbe_us\":%.3f,\"dense_us\":%.3f,\"ratio\":%.3f,\"ratio_low\":%.3f,"
               "\"ratio_high\":%.3f,\"ratio_quiet\":%.3f,"
               "\"thread_gain\":%.3f,\"useful_gflops\":%.2f,\"dense_gflops\":%.2f,\"peak_gflops\":%.2f,"
               "\"useful_share\":%.4f,\"dense_share\":%.4f,\"max_rel_err\":%.3g,\"layer_bytes\":%zu,"
               "\"workspace_bytes\":%zu,\"dense_bytes\":%zu}\n",
               product_names[b->product], of->name, b->in, b->out, b->n, s->block, s->coeffs, w->group,
               rbe_transform_name(info.row_transform), rbe_transform_name(info.column_transform),
               w->alpha ? "true" : "false", s->threads, rbe_isa_name(), rbe_blas_kernels(), t->compressed * 1e6,
               t->dense * 1e6, t->ratio, t->ratio_low, t->ratio_high, t->ratio_quiet, gain, useful * 1e-9,
               dense_speed * 1e-9, peak * 1e-9, useful / peak, dense_speed / peak, error, layer, b->scratch_bytes,
               dense);
    } else {
        printf("%-6s %5zu %5zu %5zu %6zu %14.1f %10.1f %7.2f (%5.2f - %5.2f) %5.2f %8.1f %6.0f %% %11.1f %6.0f %% "
               "%7.1e %9zu "
               "%10zu %14zu %s\n",
               product_names[b->product], b->in, b->out, b->n, w->group, t->compressed * 1e6, t->dense * 1e6, t->ratio,
               t->ratio_low, t->ratio_high, t->ratio_quiet, useful * 1e-9, 100 * useful / peak, dense_speed * 1e-9,
               100 * dense_speed / peak, error, layer, b->scratch_bytes, dense, of->name);
        if (gain > 0) printf("       compressed, %zu threads: %.2f times as fast as one\n", s->threads, gain);
    }
    fflush(stdout);
}

static void bench(const settings *s, bench_product product, const shape *of) {
    const rbe_compress_options options = matrix_options(s);
    bench_subject b = bench_subject_new(&options, product, of->in, of->out, of->rows);
    double error = bench_error(&b);
    if (!(error < 1e-4))
        example_fail(1, "%s, %zu -> %zu: wrong result, error %g", product_names[product], of->in, of->out, error);
    openblas_set_num_threads((int)s->threads);
    bench_timing t = bench_interleaved(bench_run_compressed, bench_run_dense, &b, s->threads == 1, s->quick);
    double gain = 0;
    if (s->threads > 1)
        gain = bench_interleaved(bench_run_compressed, bench_run_on_one_thread, &b, false, s->quick).ratio;
    report(s, of, &b, &t, gain, error);
    bench_subject_free(&b);
}

static void bench_squares(const settings *s) {
    for (bench_product p = 0; p < BENCH_PRODUCTS; p++) {
        bool all = strcmp(s->product, "all") == 0 && (p == BENCH_FORWARD || p == BENCH_BACKWARD || p == BENCH_MATVEC);
        if (!all && strcmp(s->product, product_names[p]) != 0) continue;
        for (size_t i = 0; i < s->sizes.count; i++) {
            size_t size = s->sizes.value[i];
            size_t rows = s->n > 0 ? s->n : p == BENCH_MATVEC ? 1 : size < 512 ? 512 : 1024;
            bench(s, p, &(shape){.in = size, .out = size, .rows = rows});
        }
    }
}

/* A file has a line "name inputs outputs rows" for each layer; # begins a remark. */
static void bench_shapes(const settings *s) {
    FILE *file = fopen(s->shapes, "r");
    if (!file) example_fail(1, "cannot open %s", s->shapes);
    char line[256];
    for (size_t number = 1; fgets(line, sizeof line, file); number++) {
        line[strcspn(line, "#\n")] = '\0';
        if (line[strspn(line, " \t")] == '\0') continue;
        shape of;
        char rest;
        if (sscanf(line, "%31s %zu %zu %zu %c", of.name, &of.in, &of.out, &of.rows, &rest) != 4 || of.in < 1 ||
            of.out < 1 || of.rows < 1 || of.in > 65536 || of.out > 65536 || of.rows > 1000000)
            example_fail(1, "%s:%zu: expected name inputs outputs rows, found \"%s\"", s->shapes, number, line);
        bench(s, BENCH_FORWARD, &of);
        bench(s, BENCH_BACKWARD, &of);
    }
    fclose(file);
}

/* ---- training steps ------------------------------------------------------------------------------------------ */

static bench_step_options step_options(const settings *s, size_t hidden) {
    return (bench_step_options){.inputs = 784,
                                .hidden = hidden,
                                .batch = s->n > 0 ? s->n : 256,
                                .block = s->block,
                                .group = s->group,
                                .row_transform = example_transform("row", s->row_transform, s->transform),
                                .column_transform = example_transform("column", s->column_transform, s->transform),
                                .ratio = (double)(s->block * s->block) / (double)s->coeffs,
                                .one_thread = s->threads == 1,
                                .quick = s->quick};
}

static void bench_training_step(const settings *s, size_t size) {
    const bench_step_options options = step_options(s, size);
    bench_step_result r = bench_step(&options);
    if (!(r.error < 1e-4)) example_fail(1, "step, size %zu: wrong result, error %g", size, r.error);
    double peak = r.timing.peak * (double)s->threads;
    double share = r.operations / r.timing.compressed / peak, dense_share = r.dense_operations / r.timing.dense / peak;
    if (s->json)
        printf("{\"case\":\"step\",\"in\":784,\"out\":%zu,\"n\":%zu,\"block\":%zu,\"coeffs\":%zu,\"group\":%zu,"
               "\"row_transform\":\"%s\",\"column_transform\":\"%s\",\"threads\":%zu,\"isa\":\"%s\",\"openblas\":\"%"
               "s\",\"rbe_us\":%.3f,"
               "\"dense_us\":%.3f,\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"ratio_quiet\":%.3f,\"peak_"
               "gflops\":%.2f,"
               "\"useful_share\":%.4f,\"dense_share\":%.4f,\"max_rel_err\":%.3g,\"layer_bytes\":%zu,"
               "\"dense_bytes\":%zu}\n",
               size, options.batch, s->block, s->coeffs, s->group, rbe_transform_name(r.row_transform),
               rbe_transform_name(r.column_transform), s->threads, rbe_isa_name(), rbe_blas_kernels(),
               r.timing.compressed * 1e6, r.timing.dense * 1e6, r.timing.ratio, r.timing.ratio_low, r.timing.ratio_high,
               r.timing.ratio_quiet, peak * 1e-9, share, dense_share, r.error, r.bytes, r.dense_bytes);
    else
        printf("step   784-%zu-%zu-10, batch %zu, values / %.0f, Adam: %.0f us, dense %.0f us, ratio %.2f (%.2f - "
               "%.2f; quiet %.2f), %.0f and %.0f %% of the peak of %.1f GF/s, error %.1e; parameters, gradients and "
               "state: %zu "
               "bytes, dense %zu\n",
               size, size, options.batch, options.ratio, r.timing.compressed * 1e6, r.timing.dense * 1e6,
               r.timing.ratio, r.timing.ratio_low, r.timing.ratio_high, r.timing.ratio_quiet, 100 * share,
               100 * dense_share, peak * 1e-9, r.error, r.bytes, r.dense_bytes);
    fflush(stdout);
}

static void bench_head_step(const settings *s, size_t size) {
    const bench_step_options options = step_options(s, size);
    const bench_timing t = bench_head(&options);
    if (s->json)
        printf(
            "{\"case\":\"head\",\"in\":784,\"out\":%zu,\"n\":%zu,\"step_us\":%.3f,\"forward_us\":%.3f,\"ratio\":%.3f,"
            "\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"ratio_quiet\":%.3f}\n",
            size, options.batch, t.dense * 1e6, t.compressed * 1e6, t.ratio, t.ratio_low, t.ratio_high, t.ratio_quiet);
    else
        printf(
            "head of 784-%zu-%zu-10 alone, batch %zu: a step takes %.2f of a forward pass (%.2f - %.2f; quiet %.2f), "
            "%.0f us of %.0f\n",
            size, size, options.batch, t.ratio, t.ratio_low, t.ratio_high, t.ratio_quiet, t.dense * 1e6,
            t.compressed * 1e6);
    fflush(stdout);
}

static void bench_saving(const settings *s, size_t size) {
    char path[EXPERIMENT_PATH_SIZE];
    experiment_temporary(path);
    const bench_step_options options = step_options(s, size);
    const bench_timing t = bench_checkpoint(&options, path);
    struct stat file = {0};
    stat(path, &file);
    unlink(path);
    if (s->json)
        printf("{\"case\":\"checkpoint\",\"in\":784,\"out\":%zu,\"n\":%zu,\"save_us\":%.3f,\"step_us\":%.3f,\"ratio\":%"
               ".3f,"
               "\"bytes\":%zu}\n",
               size, options.batch, 1e6 * t.dense, 1e6 * t.compressed, t.ratio, (size_t)file.st_size);
    else
        printf("checkpoint of 784-%zu-%zu-10, %zu bytes, without waiting for the disk: %.2f of a step of batch %zu "
               "(%.2f - "
               "%.2f; quiet %.2f)\n",
               size, size, (size_t)file.st_size, t.ratio, options.batch, t.ratio_low, t.ratio_high, t.ratio_quiet);
}

static void bench_augmentation(const settings *s, size_t size) {
    const bench_step_options options = step_options(s, size);
    const bench_timing t = bench_augment(&options);
    if (s->json)
        printf("{\"case\":\"augment\",\"in\":784,\"out\":%zu,\"n\":%zu,\"threads\":%zu,\"augment_us\":%.3f,"
               "\"step_us\":%.3f,\"ratio\":%.3f,\"ratio_low\":%.3f,\"ratio_high\":%.3f,\"ratio_quiet\":%.3f}\n",
               size, options.batch, s->threads, t.dense * 1e6, t.compressed * 1e6, t.ratio, t.ratio_low, t.ratio_high,
               t.ratio_quiet);
    else
        printf(
            "augmented batch of %zu, 28 x 28: %.2f of a step of 784-%zu-10, values / %.0f (%.2f - %.2f; quiet %.2f), "
            "%.0f us of %.0f\n",
            options.batch, t.ratio, size, options.ratio, t.ratio_low, t.ratio_high, t.ratio_quiet, t.dense * 1e6,
            t.compressed * 1e6);
    fflush(stdout);
}

/* Options that would do nothing are mistakes. */
static void check_options(const settings *s) {
    if (s->busy && strcmp(s->product, "scaling") != 0) example_fail(2, "--busy needs --case scaling");
    if (s->shapes && (example_given("case") || example_given("size") || example_given("n")))
        example_fail(2, "--shapes excludes --case, --size and --n");
}

/* The cases that are no single product: true if this was one. */
static bool bench_whole(const settings *s) {
    bool step = strcmp(s->product, "step") == 0, scaling = strcmp(s->product, "scaling") == 0,
         head = strcmp(s->product, "head") == 0, saving = strcmp(s->product, "checkpoint") == 0,
         augment = strcmp(s->product, "augment") == 0;
    if (!s->parts && !s->serial && !step && !scaling && !head && !saving && !augment) return false;
    const rbe_compress_options matrix = matrix_options(s);
    for (size_t i = 0; i < s->sizes.count; i++) {
        size_t size = s->sizes.value[i];
        const bench_step_options options = step_options(s, size);
        if (s->parts)
            bench_parts(&matrix, size, s->n > 0 ? s->n : 1024, s->quick);
        else if (s->serial)
            bench_serial(&options, s->json);
        else if (head)
            bench_head_step(s, size);
        else if (saving)
            bench_saving(s, size);
        else if (augment)
            bench_augmentation(s, size);
        else if (scaling)
            bench_scaling(&options, s->threads, s->busy, s->json);
        else
            bench_training_step(s, size);
    }
    return true;
}

int main(int argc, char **argv) {
    settings s = {.product = "all",
                  .alpha = "on",
                  .sizes = {{256, 512, 1024, 2048}, 4},
                  .block = 64,
                  .coeffs = 256,
                  .threads = 1};
    const example_option options[] = {
        {"case", EXAMPLE_TEXT, &s.product, "all|fwd|dx|dw|bwd|matvec|step|head|checkpoint|augment|scaling",
         "a product (all: fwd, bwd, matvec); a training step of 784-size-size-10, one of its head alone, a "
         "checkpoint of it, an augmented batch, or its time on T threads over one",
         0, 0},
        {"shapes", EXAMPLE_TEXT, &s.shapes, "FILE", "fwd and bwd of these layers: a line \"name in out rows\" each", 0,
         0},
        {"size", EXAMPLE_SIZES, &s.sizes, "LIST", "inputs and outputs of the layer", 1, 16384},
        {"n", EXAMPLE_COUNT, &s.n, "N", "rows; default 512 below 512, else 1024; 1 for matvec", 1, 1e6},
        {"block", EXAMPLE_COUNT, &s.block, "B", "block size", 8, 256},
        {"coeffs", EXAMPLE_COUNT, &s.coeffs, "K", "coefficients per block", 1, 65536},
        {"group", EXAMPLE_COUNT, &s.group, "G", "block rows that share positions; default 16", 1, 65536},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "of both axes (default dct; of a step what layers have)", 0,
         0},
        {"row-transform", EXAMPLE_TEXT, &s.row_transform, "NAME", "the same along the outputs only", 0, 0},
        {"column-transform", EXAMPLE_TEXT, &s.column_transform, "NAME", "the same along the inputs only", 0, 0},
        {"alpha", EXAMPLE_TEXT, &s.alpha, "on|off", "the eight basis functions", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "T", "of both the compressed and the dense product", 1, RBE_MAX_THREADS},
        {"parts", EXAMPLE_FLAG, &s.parts, NULL, "where the time of the forward product goes; one thread", 0, 0},
        {"serial", EXAMPLE_FLAG, &s.serial, NULL, "how much of a training step threads can share, and what it promises",
         0, 0},
        {"busy", EXAMPLE_FLAG, &s.busy, NULL, "scaling beside a loop that keeps the second processor busy", 0, 0},
        {"quick", EXAMPLE_FLAG, &s.quick, NULL, "fewer rounds", 0, 0},
        {"json", EXAMPLE_FLAG, &s.json, NULL, "one JSON object per line instead of a table", 0, 0},
    };
    example_parse(argc, argv, "Times the compressed linear layer against OpenBLAS.", options,
                  sizeof options / sizeof options[0]);
    check_options(&s);
    bench_require_kernels();
    example_require(rbe_set_threads((int)s.threads));
    if (bench_whole(&s)) return 0;
    if (!s.json) print_head(&s);
    if (s.shapes)
        bench_shapes(&s);
    else
        bench_squares(&s);
    return 0;
}
