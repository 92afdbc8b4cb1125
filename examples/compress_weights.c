/* Compresses the matrices of a safetensors file, from PyTorch say, and copies everything else through. The library
 * reads them back by rbe_tensor_file_read_blocks, `inspect` shows them, `expand` makes them dense; docs/format.md,
 * section 9, says how they are stored.
 *
 * The defaults do no harm: a matrix gets the fewest values that keep its relative error at 0.1, and stays dense if
 * that saves no bytes. So does a matrix with a side shorter than a block, and the last one of a chain of layers, whose
 * outputs are a network's answers.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compression.h"
#include "tensors.h"

typedef struct settings {
    const char *in, *out, *select, *calibrate;
    size_t threads;
    compression compression;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.compression = compression_default()};
    example_option options[5 + COMPRESSION_OPTIONS] = {
        {"IN.safetensors", EXAMPLE_FILE, &s.in, NULL, "a safetensors file", 0, 0},
        {"out", EXAMPLE_TEXT, &s.out, "FILE", "the file to write", 0, 0},
        {"select", EXAMPLE_TEXT, &s.select, "PATTERN",
         "which matrices, by name: * and ? stand for anything (default: all but small ones and the last of a chain)", 0,
         0},
        {"calibrate", EXAMPLE_TEXT, &s.calibrate, "FILE",
         "inputs (.npy, samples x in): selected matrices of that width are fitted to them, and the bias P.bias of a "
         "matrix P.weight is corrected",
         0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, RBE_MAX_THREADS},
    };
    compression_add_options(&s.compression, options + 5);
    example_parse(argc, argv, "Compresses the matrices of a safetensors file.", options,
                  sizeof options / sizeof *options);
    tensor_check_output(s.out, s.in);
    tensor_check_output(s.out, s.calibrate);
    compression_check(&s.compression);
    return s;
}

/* ---- progress ------------------------------------------------------------------------------------------------ */

/* On a terminal, a line that says which matrix it is at and how long the rest will take; elsewhere the rows of the
 * table say enough. */
typedef struct progress {
    size_t matrices, values, all_matrices, all_values; /* done, and to be done */
    size_t compressed, harmed;                         /* of those done; harmed: beyond COMPRESSION_SAFE_ERROR */
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

/* ---- which matrices ------------------------------------------------------------------------------------------ */

/* Whether other matrices feed this one, and none behind it in the file takes what it gives: a network's last layer. */
static bool ends_chain(const rbe_tensor_file *file, size_t n) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n), *other;
    bool fed = false, taken = false;
    for (size_t k = 0; (other = rbe_tensor_file_at(file, k)); k++) {
        if (k == n || !tensor_is_matrix(other)) continue;
        fed = fed || other->shape[0] == info->shape[1];
        taken = taken || (k > n && other->shape[1] == info->shape[0]);
    }
    return fed && !taken;
}

static bool is_selected(const settings *s, const rbe_tensor_info *info) {
    return tensor_is_matrix(info) && (!s->select || fnmatch(s->select, info->name, 0) == 0);
}

/* Why a matrix that nobody has asked for stays dense; NULL: it does not. */
static const char *reason_to_copy(const settings *s, const rbe_tensor_file *file, size_t n) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    if (s->select) return NULL;
    if (info->shape[0] < s->compression.block || info->shape[1] < s->compression.block) return "smaller than a block";
    return ends_chain(file, n) ? "the last of a chain of layers" : NULL;
}

/* ---- one matrix ---------------------------------------------------------------------------------------------- */

/* The number of "PREFIX.bias" for "PREFIX.weight" with `out` values, or the count of tensors. */
static size_t find_bias(const rbe_tensor_file *file, const char *name, size_t out) {
    static const char weight[] = "weight";
    size_t length = strlen(name), none = rbe_tensor_file_count(file);
    if (length < sizeof weight - 1 || strcmp(name + length - (sizeof weight - 1), weight) != 0) return none;
    char *bias = example_take(length + 1, 1);
    memcpy(bias, name, length - (sizeof weight - 1));
    strcat(bias, "bias");
    size_t n = rbe_tensor_file_find(file, bias);
    free(bias);
    if (n == none) return none;
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    return info->dims == 1 && info->count == out && tensor_is_float(info) ? n : none;
}

/* Whether the samples are inputs of this matrix. */
static bool fits(const rbe_tensor *samples, const rbe_tensor_info *info) {
    return samples->data && rbe_tensor_columns(samples) == info->shape[1];
}

static rbe_compress_options options_for(const settings *s, const rbe_tensor_info *info, const rbe_tensor *samples) {
    rbe_compress_options options = compression_options(&s->compression);
    if (fits(samples, info)) {
        options.samples = samples->data;
        options.sample_count = rbe_tensor_rows(samples);
    }
    return options;
}

static void print_matrix(const rbe_tensor_info *info) {
    printf("%-32s %6zu x %-6zu ", info->name, info->shape[0], info->shape[1]);
}

static void print_row(const rbe_blocks *blocks, const rbe_compress_report *r, size_t bytes, size_t before,
                      bool fitted) {
    char text[EXAMPLE_NUMBER_SIZE];
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    printf("%9zu %9zu  %-18s %8.4f %7.2f %8.2f  %s, %s", info.coefficients + info.alphas, bytes,
           example_smaller(bytes, before, text), r->relative_error, r->snr, r->seconds,
           rbe_transform_name(r->row_transform), rbe_transform_name(r->column_transform));
    if (fitted) printf(", outputs' error %.4f", r->output_error);
    printf("\n");
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

static void compress(const settings *s, const rbe_tensor_file *file, size_t n, const rbe_tensor *samples,
                     rbe_stored_tensor *tensors, progress *p) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    size_t out = info->shape[0], in = info->shape[1], at = find_bias(file, info->name, out), bytes = 0;
    bool fitted = fits(samples, info);
    const rbe_compress_options options = options_for(s, info, samples);
    float *weights = tensor_read(file, n);
    float *bias = fitted && at < rbe_tensor_file_count(file) ? tensor_read(file, at) : NULL;
    rbe_blocks *blocks;
    rbe_compress_report report;
    rbe_status status = rbe_compress_weights(&blocks, bias, &report, weights, out, in, &options);
    hide_progress();
    if (status != RBE_OK && status != RBE_INSUFFICIENT_COMPRESSION)
        example_fail(1, "%s: %s: %s", info->name, rbe_status_name(status), rbe_last_error());
    print_matrix(info);
    if (status == RBE_OK)
        example_require(rbe_blocks_stored_bytes(blocks, &(rbe_save_options){.store = s->compression.store}, &bytes));
    if (status != RBE_OK || (s->compression.target_error > 0 && bytes >= info->bytes)) {
        if (status != RBE_OK)
            printf("copied: %s\n", rbe_last_error());
        else
            printf("copied: it would take %zu bytes instead of %zu\n", bytes, info->bytes);
        rbe_blocks_free(blocks);
        free(weights);
        free(bias);
        return;
    }
    print_row(blocks, &report, bytes, info->bytes, fitted);
    p->compressed++;
    p->harmed += s->compression.target_error == 0 &&
                 (fitted ? report.output_error : report.relative_error) > COMPRESSION_SAFE_ERROR;
    if (bias) tensors[at] = floats_like(rbe_tensor_file_at(file, at), bias);
    free(weights);
    tensors[n] = (rbe_stored_tensor){.name = info->name, .blocks = blocks, .save = {.store = s->compression.store}};
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

/* Ends the program for a file of this library, which has been compressed or is a model. */
static void refuse_own_file(const settings *s, const char *format) {
    if (strcmp(format, "model") == 0)
        example_fail(1,
                     "%s: expected plain matrices, found a model of this library: expand makes matrices of it, "
                     "and compress-digits (the example compress_digits) compresses a model of digits",
                     s->in);
    example_fail(1, "%s: its matrices are compressed already: expand makes them dense again", s->in);
}

/* The matrices to be compressed, counted. */
static progress count_work(const settings *s, const rbe_tensor_file *file, const rbe_tensor *samples) {
    progress p = {.start = time(NULL)};
    bool fitted = false, found = false;
    const rbe_tensor_info *info;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        if (!is_selected(s, info)) continue;
        found = true;
        if (reason_to_copy(s, file, n)) continue;
        p.all_matrices++;
        p.all_values += info->count;
        fitted = fitted || fits(samples, info);
    }
    if (!found && s->select) example_fail(1, "%s: no matrix is called \"%s\"", s->in, s->select);
    if (!found) example_fail(1, "%s: there is no matrix of floats in this file", s->in);
    if (samples->data && !fitted)
        example_fail(1, "%s: no selected matrix has %zu inputs", s->calibrate, rbe_tensor_columns(samples));
    return p;
}

static void save(const settings *s, const rbe_tensor_file *file, const rbe_stored_tensor *tensors) {
    /* What PyTorch's tools look for. */
    const rbe_metadata format = {"format", rbe_tensor_file_metadata(file, "format")};
    example_require(
        rbe_tensor_file_save(s->out, tensors, rbe_tensor_file_count(file), &format, format.value ? 1 : 0, true));
    rbe_tensor_file *written = example_need(rbe_tensor_file_open(s->out));
    size_t bytes[2] = {0};
    const rbe_tensor_info *info;
    for (int k = 0; k < 2; k++)
        for (size_t n = 0; (info = rbe_tensor_file_at(k ? written : file, n)); n++) bytes[k] += info->bytes;
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    printf("all tensors: %s bytes, were %s: %s\n", example_number(bytes[1], a), example_number(bytes[0], b),
           example_smaller(bytes[1], bytes[0], c));
    rbe_tensor_file_close(written);
}

/* Says on stderr what the numbers of the table mean for a network; ends the program if nothing has been gained. */
static void judge(const progress *p) {
    static const char advice[] =
        "trained weights hardly compress by themselves; fit them to their inputs (--calibrate), "
        "or train in compressed form (rbe_linear_new)";
    if (p->compressed == 0) example_fail(1, "no matrix was compressed, nothing is written: %s", advice);
    if (p->harmed > 0)
        example_warn("%zu of %zu matrices have a relative error above %g, a network's answers will change: %s",
                     p->harmed, p->compressed, COMPRESSION_SAFE_ERROR, advice);
}

static void compress_file(const settings *s, const rbe_tensor_file *file, const rbe_tensor *samples) {
    size_t count = rbe_tensor_file_count(file);
    rbe_stored_tensor *tensors = example_take(count, sizeof *tensors);
    for (size_t n = 0; n < count; n++) tensors[n] = copy_of(file, n);
    progress p = count_work(s, file, samples);
    printf("%-32s %15s %9s %9s  %-18s %8s %7s %8s  %s\n", "matrix", "out x in", "values", "bytes", "than before",
           "error", "dB", "seconds", "transforms");
    for (size_t n = 0; n < count; n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
        if (!is_selected(s, info)) continue;
        const char *reason = reason_to_copy(s, file, n);
        if (reason) {
            print_matrix(info);
            printf("copied: %s (--select takes it, too)\n", reason);
            continue;
        }
        show_progress(&p, info->name);
        compress(s, file, n, samples, tensors, &p);
        fflush(stdout);
        p.matrices++;
        p.values += info->count;
    }
    judge(&p);
    save(s, file, tensors);
    for (size_t n = 0; n < count; n++) {
        rbe_blocks_free((rbe_blocks *)tensors[n].blocks);
        free((void *)tensors[n].values);
    }
    free(tensors);
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads) example_require(rbe_set_threads((int)s.threads));
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(s.in));
    const char *format = rbe_tensor_file_metadata(file, "rbe.format");
    if (format) refuse_own_file(&s, format);
    rbe_tensor samples = {0};
    if (s.calibrate) example_require(rbe_npy_read(s.calibrate, &samples));
    compress_file(&s, file, &samples);
    rbe_tensor_free(&samples);
    rbe_tensor_file_close(file);
    return 0;
}
