/* Compresses the matrices of a safetensors file, from PyTorch say, and copies everything else through. The library
 * reads them back by rbe_tensor_file_read_blocks, `inspect` shows them; src/io/FORMAT.md, section 9, says how they
 * are stored. */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "operand.h"
#include "rbe/io.h"

typedef struct settings {
    const char *in, *out, *select, *calibrate, *transform, *alpha, *store_name;
    double ratio, target_error, min_compression;
    size_t block, coeffs, group, overlap, threads;
    bool expand;
    rbe_store store;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.select = "*", .transform = "dct", .alpha = "auto", .store_name = "f32", .block = 32, .group = 1};
    const example_option options[] = {
        {"out", EXAMPLE_TEXT, &s.out, "FILE", "the file to write (also -o)", 0, 0},
        {"select", EXAMPLE_TEXT, &s.select, "PATTERN", "which matrices, by name: * and ? stand for anything", 0, 0},
        {"block", EXAMPLE_COUNT, &s.block, "B", "block size, a power of two 8 .. 256", 8, 256},
        {"ratio", EXAMPLE_REAL, &s.ratio, "R", "dense values per stored value (default 16)", 1, 1e6},
        {"coeffs", EXAMPLE_COUNT, &s.coeffs, "K", "coefficients per block, instead of --ratio", 1, 65536},
        {"target-error", EXAMPLE_REAL, &s.target_error, "E", "the least budget that reaches it, instead of --ratio",
         1e-9, 0.999999},
        {"min-compression", EXAMPLE_REAL, &s.min_compression, "R",
         "copy a matrix that would become less than that many times smaller", 0, 1e6},
        {"transform", EXAMPLE_TEXT, &s.transform, "NAME", "dct, haar, wht, bspline303, .. or adaptive", 0, 0},
        {"alpha", EXAMPLE_TEXT, &s.alpha, "on|off|auto", "the smooth part of each block", 0, 0},
        {"group", EXAMPLE_COUNT, &s.group, "G", "block rows that share positions", 1, 65536},
        {"overlap", EXAMPLE_COUNT, &s.overlap, "N", "rows and columns by which blocks overlap", 0, 128},
        {"calibrate", EXAMPLE_TEXT, &s.calibrate, "FILE",
         "inputs (.npy, samples x in): selected matrices of that width are fitted to them, and the bias P.bias of a "
         "matrix P.weight is corrected",
         0, 0},
        {"store", EXAMPLE_TEXT, &s.store_name, "f32|f16|bf16|int8", "type of the stored values", 0, 0},
        {"expand", EXAMPLE_FLAG, &s.expand, NULL, "write the decompressed matrices, dense, instead", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, 1024},
    };
    static char out[] = "--out";
    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "-o") == 0) argv[n] = out;
    s.in = example_operand(&argc, &argv);
    example_parse(argc, argv,
                  "Compresses the matrices of a safetensors file: compress_weights IN.safetensors -o OUT [options].",
                  options, sizeof options / sizeof *options);
    if (!s.in) example_fail(2, "expected a safetensors file before the options");
    if (!s.out) example_fail(2, "expected --out");
    if ((s.ratio > 0) + (s.coeffs > 0) + (s.target_error > 0) > 1)
        example_fail(2, "--ratio, --coeffs and --target-error exclude each other");
    if (strcmp(s.transform, "adaptive") != 0 && !rbe_transform_named(s.transform))
        example_fail(2, "--transform: %s", rbe_last_error());
    rbe_store_named(s.store_name, &s.store);
    return s;
}

static void *take(size_t count, size_t size) { return example_need(calloc(count ? count : 1, size)); }

/* ---- progress ------------------------------------------------------------------------------------------------ */

/* On a terminal, a line that says which matrix it is at and how long the rest will take; elsewhere the rows of the
 * table say enough. */
typedef struct progress {
    size_t matrices, values, all_matrices, all_values; /* done, and to be done */
    time_t start;
} progress;

static void show_progress(const progress *p, const char *name) {
    if (!isatty(STDERR_FILENO)) return;
    fprintf(stderr, "\r[%zu/%zu] %.40s", p->matrices + 1, p->all_matrices, name);
    double seconds = difftime(time(NULL), p->start);
    if (p->values > 0 && seconds >= 2.0)
        fprintf(stderr, ", %.0f s left", seconds * (double)(p->all_values - p->values) / (double)p->values);
    fprintf(stderr, "\033[K");
}

static void hide_progress(void) {
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
}

/* ---- one matrix ---------------------------------------------------------------------------------------------- */

static bool is_float(rbe_dtype dtype) {
    return dtype == RBE_F64 || dtype == RBE_F32 || dtype == RBE_F16 || dtype == RBE_BF16;
}

static bool is_selected(const settings *s, const rbe_tensor_info *info) {
    return info->dims == 2 && info->count > 0 && is_float(info->dtype) && fnmatch(s->select, info->name, 0) == 0;
}

/* The number of "PREFIX.bias" for "PREFIX.weight" with `out` values, or the count of tensors. */
static size_t find_bias(const rbe_tensor_file *file, const char *name, size_t out) {
    static const char weight[] = "weight";
    size_t length = strlen(name), none = rbe_tensor_file_count(file);
    if (length < sizeof weight - 1 || strcmp(name + length - (sizeof weight - 1), weight) != 0) return none;
    char *bias = take(length + 1, 1);
    memcpy(bias, name, length - (sizeof weight - 1));
    strcat(bias, "bias");
    size_t n = rbe_tensor_file_find(file, bias);
    free(bias);
    if (n == none) return none;
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    return info->dims == 1 && info->count == out && is_float(info->dtype) ? n : none;
}

/* Whether the samples are inputs of this matrix. */
static bool fits(const rbe_tensor *samples, const rbe_tensor_info *info) {
    return samples->data && rbe_tensor_columns(samples) == info->shape[1];
}

static rbe_compress_options options_for(const settings *s, const rbe_tensor_info *info, const rbe_tensor *samples) {
    bool adaptive = strcmp(s->transform, "adaptive") == 0, fitted = fits(samples, info);
    const rbe_transform *t = adaptive ? NULL : rbe_transform_named(s->transform);
    return (rbe_compress_options){.block = s->block,
                                  .coeffs = s->coeffs,
                                  .ratio = s->ratio,
                                  .row_transform = t,
                                  .column_transform = t,
                                  .alpha = strcmp(s->alpha, "on") == 0    ? RBE_ALPHA_ON
                                           : strcmp(s->alpha, "off") == 0 ? RBE_ALPHA_OFF
                                                                          : RBE_ALPHA_AUTO,
                                  .group = s->group,
                                  .overlap = s->overlap,
                                  .adaptive = adaptive,
                                  .target_error = s->target_error,
                                  .min_compression = s->min_compression,
                                  .samples = fitted ? samples->data : NULL,
                                  .sample_count = fitted ? rbe_tensor_rows(samples) : 0};
}

static void print_row(const settings *s, const rbe_blocks *blocks, const rbe_compress_report *r, bool fitted) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    size_t bytes;
    example_require(rbe_blocks_stored_bytes(blocks, &(rbe_save_options){.store = s->store}, &bytes));
    printf("%8.2f %7.2f %8.4f %7.2f %8.2f  %s, %s", r->value_ratio,
           (double)(info.out * info.in * sizeof(float)) / (double)bytes, r->relative_error, r->snr, r->seconds,
           rbe_transform_name(r->row_transform), rbe_transform_name(r->column_transform));
    if (fitted) printf(", outputs' error %.4f", r->output_error);
    printf("\n");
}

static float *read_floats(const rbe_tensor_file *file, size_t n) {
    float *values = take(rbe_tensor_file_at(file, n)->count, sizeof *values);
    example_require(rbe_tensor_file_read_f32(file, n, values));
    return values;
}

static rbe_stored_tensor floats_like(const rbe_tensor_info *info, const float *values) {
    rbe_stored_tensor t = {.name = info->name, .dtype = RBE_F32, .dims = info->dims, .values = values};
    memcpy(t.shape, info->shape, sizeof t.shape);
    return t;
}

static rbe_stored_tensor copy_of(const rbe_tensor_file *file, size_t n) {
    rbe_stored_tensor t = floats_like(rbe_tensor_file_at(file, n), NULL);
    t.dtype = rbe_tensor_file_at(file, n)->dtype;
    t.source = file;
    t.source_index = n;
    return t;
}

/* Puts the compressed, or decompressed, form of matrix n and its corrected bias in their places. */
static void compress(const settings *s, const rbe_tensor_file *file, size_t n, const rbe_tensor *samples,
                     rbe_stored_tensor *tensors) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    size_t out = info->shape[0], in = info->shape[1], at = find_bias(file, info->name, out);
    bool fitted = fits(samples, info);
    const rbe_compress_options options = options_for(s, info, samples);
    float *weights = read_floats(file, n);
    float *bias = fitted && at < rbe_tensor_file_count(file) ? read_floats(file, at) : NULL;
    rbe_blocks *blocks;
    rbe_compress_report report;
    rbe_status status = rbe_compress_weights(&blocks, bias, &report, weights, out, in, &options);
    hide_progress();
    if (status != RBE_OK && status != RBE_INSUFFICIENT_COMPRESSION)
        example_fail(1, "%s: %s: %s", info->name, rbe_status_name(status), rbe_last_error());
    printf("%-32s %6zu x %-6zu ", info->name, out, in);
    if (status == RBE_INSUFFICIENT_COMPRESSION) {
        printf("copied: %s\n", rbe_last_error());
        free(weights);
        free(bias);
        return;
    }
    print_row(s, blocks, &report, fitted);
    if (bias) tensors[at] = floats_like(rbe_tensor_file_at(file, at), bias);
    if (s->expand) {
        example_require(rbe_decompress(blocks, weights));
        rbe_blocks_free(blocks);
        tensors[n] = floats_like(info, weights);
        return;
    }
    free(weights);
    tensors[n] = (rbe_stored_tensor){.name = info->name, .blocks = blocks, .save = {.store = s->store}};
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

/* The matrices to be compressed, counted. */
static progress count_work(const settings *s, const rbe_tensor_file *file, const rbe_tensor *samples) {
    progress p = {.start = time(NULL)};
    bool fitted = false;
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        if (!is_selected(s, info)) continue;
        p.all_matrices++;
        p.all_values += info->count;
        fitted = fitted || fits(samples, info);
    }
    if (p.all_matrices == 0) example_fail(1, "%s: no matrix is called \"%s\"", s->in, s->select);
    if (samples->data && !fitted)
        example_fail(1, "%s: no selected matrix has %zu inputs", s->calibrate, rbe_tensor_columns(samples));
    return p;
}

static void save(const settings *s, const rbe_tensor_file *file, const rbe_stored_tensor *tensors) {
    /* What PyTorch's tools look for. */
    const rbe_metadata format = {"format", rbe_tensor_file_metadata(file, "format")};
    example_require(
        rbe_tensor_file_save(s->out, tensors, rbe_tensor_file_count(file), &format, format.value ? 1 : 0, !s->expand));
    if (s->expand) return;
    rbe_tensor_file *written = example_need(rbe_tensor_file_open(s->out));
    size_t bytes[2] = {0};
    const rbe_tensor_info *info;
    for (int k = 0; k < 2; k++)
        for (size_t n = 0; (info = rbe_tensor_file_at(k ? written : file, n)); n++) bytes[k] += info->bytes;
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE];
    printf("all tensors: %s bytes, were %s: %.2f times smaller\n", example_number(bytes[1], a),
           example_number(bytes[0], b), bytes[1] > 0 ? (double)bytes[0] / (double)bytes[1] : 1.0);
    rbe_tensor_file_close(written);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads) example_require(rbe_set_threads((int)s.threads));
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(s.in));
    if (rbe_tensor_file_metadata(file, "rbe.format")) example_fail(1, "%s: this file is compressed already", s.in);
    rbe_tensor samples = {0};
    if (s.calibrate) example_require(rbe_npy_read(s.calibrate, &samples));

    size_t count = rbe_tensor_file_count(file);
    rbe_stored_tensor *tensors = take(count, sizeof *tensors);
    for (size_t n = 0; n < count; n++) tensors[n] = copy_of(file, n);
    progress p = count_work(&s, file, &samples);
    printf("%-32s %15s %8s %7s %8s %7s %8s  %s\n", "matrix", "out x in", "values", "bytes", "error", "dB", "seconds",
           "transforms");
    for (size_t n = 0; n < count; n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
        if (!is_selected(&s, info)) continue;
        show_progress(&p, info->name);
        compress(&s, file, n, &samples, tensors);
        fflush(stdout);
        p.matrices++;
        p.values += info->count;
    }
    save(&s, file, tensors);
    for (size_t n = 0; n < count; n++) {
        rbe_blocks_free((rbe_blocks *)tensors[n].blocks);
        free((void *)tensors[n].values);
    }
    free(tensors);
    rbe_tensor_free(&samples);
    rbe_tensor_file_close(file);
    return 0;
}
