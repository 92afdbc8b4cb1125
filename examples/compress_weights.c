/* Compresses the matrices of a safetensors file, from PyTorch say, and copies everything else through.
 *
 * A matrix NAME (out x in) becomes the tensors NAME.values, NAME.lists, NAME.columns and, with alpha, NAME.alpha in
 * the layout of src/io/FORMAT.md, section 4 (plain positions), and a metadata entry "rbe.matrix.NAME" with the
 * geometry as JSON.
 */
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "rbe/io.h"

typedef struct settings {
    const char *in, *out, *select, *calibrate, *transform, *alpha;
    double ratio, target_error, min_compression;
    size_t block, coeffs, group, overlap, threads;
    bool expand;
} settings;

/* IN may stand first without its option, and -o is --out. */
static settings read_settings(int argc, char **argv) {
    settings s = {.select = "*", .transform = "dct", .alpha = "auto", .block = 32, .group = 1};
    const example_option options[] = {
        {"in", EXAMPLE_TEXT, &s.in, "FILE", "safetensors file; may stand first without --in", 0, 0},
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
         "inputs (.npy, samples x in): matrices of that width are "
         "fitted to them, and NAME's bias is corrected",
         0, 0},
        {"expand", EXAMPLE_FLAG, &s.expand, NULL, "write the decompressed matrices, dense, instead", 0, 0},
        {"threads", EXAMPLE_COUNT, &s.threads, "N", "threads (default: one per processor)", 1, 1024},
    };
    static char in[] = "--in", out[] = "--out";
    char **args = calloc((size_t)argc + 2, sizeof *args);
    if (!args) example_fail(1, "out of memory");
    int count = 0;
    for (int n = 0; n < argc; n++) {
        if (n == 1 && argv[n][0] != '-') args[count++] = in;
        args[count++] = strcmp(argv[n], "-o") == 0 ? out : argv[n];
    }
    example_parse(count, args, "Compresses the weight matrices of a safetensors file.", options,
                  sizeof options / sizeof *options);
    free(args);
    if (!s.in || !s.out) example_fail(2, "expected an input and --out");
    if ((s.ratio > 0) + (s.coeffs > 0) + (s.target_error > 0) > 1)
        example_fail(2, "--ratio, --coeffs and --target-error exclude each other");
    if (strcmp(s.transform, "adaptive") != 0 && !rbe_transform_named(s.transform))
        example_fail(2, "--transform: %s", rbe_last_error());
    return s;
}

static void *take(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) example_fail(1, "out of memory");
    return memory;
}

static char *text(const char *format, ...) RBE_PRINTF(1, 2);
static char *text(const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *made = take((size_t)length + 1, 1);
    va_start(args, format);
    vsnprintf(made, (size_t)length + 1, format, args);
    va_end(args);
    return made;
}

/* ---- what is written ----------------------------------------------------------------------------------------- */

/* Tensors and metadata of the new file. Everything made for it lives until the program ends. */
typedef struct output {
    rbe_stored_tensor *tensors;
    rbe_metadata *metadata;
    size_t count, metadata_count;
} output;

static void add(output *o, const char *name, rbe_dtype dtype, size_t dims, const size_t *shape, const void *values) {
    rbe_stored_tensor *t = &o->tensors[o->count++];
    *t = (rbe_stored_tensor){.name = name, .dtype = dtype, .dims = dims, .values = values};
    for (size_t n = 0; n < dims; n++) t->shape[n] = shape[n];
}

static void copy_through(output *o, const rbe_tensor_file *file, size_t n) {
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    add(o, info->name, info->dtype, info->dims, info->shape, NULL);
    o->tensors[o->count - 1].source = file;
    o->tensors[o->count - 1].source_index = n;
}

/* One row of blocks as its views show it. */
typedef struct view {
    rbe_coefficient *list;
    size_t count, next;
} view;

static view *read_views(const rbe_blocks *blocks, const rbe_blocks_info *info) {
    view *views = take(info->grid_rows * info->grid_cols, sizeof *views);
    for (size_t n = 0; n < info->grid_rows * info->grid_cols; n++) {
        size_t p = n / info->grid_cols, q = n % info->grid_cols;
        views[n].count = rbe_blocks_get(blocks, p, q, NULL, NULL, 0);
        views[n].list = take(views[n].count, sizeof *views[n].list);
        rbe_blocks_get(blocks, p, q, NULL, views[n].list, views[n].count);
    }
    return views;
}

/* Lists, columns and values: group by group, frequency by frequency, block column by block column. The blocks of a
 * group show the same positions, each its own values. */
static void add_coefficients(output *o, const char *name, const rbe_blocks *blocks, const rbe_blocks_info *info) {
    size_t groups = (info->grid_rows + info->group - 1) / info->group, lists = groups * info->block, value = 0;
    uint32_t *starts = take(lists + 1, sizeof *starts), *columns = take(info->coefficients, sizeof *columns);
    float *values = take(info->coefficients, sizeof *values);
    view *views = read_views(blocks, info);
    size_t entries = 0, first, n = 0;
    for (size_t g = 0; g < groups; g++) {
        size_t rest = info->grid_rows - g * info->group, rows = rest < info->group ? rest : info->group;
        first = g * info->group * info->grid_cols;
        for (size_t i = 0; i < info->block; i++) {
            for (size_t q = 0; q < info->grid_cols; q++)
                for (view *v = &views[first + q]; v->next < v->count && v->list[v->next].freq_i == i; v->next++) {
                    columns[entries++] = (uint32_t)(q * info->block + v->list[v->next].freq_j);
                    for (size_t m = 0; m < rows; m++)
                        values[value++] = views[first + m * info->grid_cols + q].list[v->next].value;
                }
            starts[++n] = (uint32_t)entries;
        }
    }
    bool narrow = info->grid_cols * info->block <= 65536;
    for (size_t k = 0; narrow && k < entries; k++) {
        uint16_t column = (uint16_t)columns[k];
        memcpy((char *)columns + k * sizeof column, &column, sizeof column);
    }
    for (n = 0; n < info->grid_rows * info->grid_cols; n++) free(views[n].list);
    free(views);
    add(o, text("%s.values", name), RBE_F32, 1, &info->coefficients, values);
    add(o, text("%s.lists", name), RBE_U32, 1, (const size_t[]){lists + 1}, starts);
    add(o, text("%s.columns", name), narrow ? RBE_U16 : RBE_U32, 1, &entries, columns);
}

static void add_alpha(output *o, const char *name, const rbe_blocks *blocks, const rbe_blocks_info *info) {
    if (!info->has_alpha) return;
    float *alpha = take(info->alphas, sizeof *alpha);
    for (size_t n = 0; n < info->grid_rows * info->grid_cols; n++) {
        double raw[RBE_BASIS_COUNT], orthonormal[RBE_BASIS_COUNT];
        rbe_blocks_get(blocks, n / info->grid_cols, n % info->grid_cols, raw, NULL, 0);
        example_require(rbe_alpha_to_orthonormal(info->block, raw, orthonormal));
        for (size_t l = 0; l < RBE_BASIS_COUNT; l++) alpha[n * RBE_BASIS_COUNT + l] = (float)orthonormal[l];
    }
    const size_t shape[] = {info->grid_rows, info->grid_cols, RBE_BASIS_COUNT};
    add(o, text("%s.alpha", name), RBE_F32, 3, shape, alpha);
}

static void add_matrix(output *o, const settings *s, const char *name, const rbe_blocks *blocks) {
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    if (s->expand) {
        float *weights = take(info.out * info.in, sizeof *weights);
        example_require(rbe_decompress(blocks, weights));
        add(o, name, RBE_F32, 2, (const size_t[]){info.out, info.in}, weights);
        return;
    }
    add_coefficients(o, name, blocks, &info);
    add_alpha(o, name, blocks, &info);
    o->metadata[o->metadata_count++] =
        (rbe_metadata){text("rbe.matrix.%s", name),
                       text("{\"out\": %zu, \"in\": %zu, \"block\": %zu, \"group\": %zu, \"row_transform\": \"%s\", "
                            "\"column_transform\": \"%s\", \"overlap\": %zu}",
                            info.out, info.in, info.block, info.group, rbe_transform_name(info.row_transform),
                            rbe_transform_name(info.column_transform), info.overlap)};
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
    char *bias = text("%.*sbias", (int)(length - (sizeof weight - 1)), name);
    size_t n = rbe_tensor_file_find(file, bias);
    free(bias);
    if (n == none) return none;
    const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
    return info->dims == 1 && info->count == out && is_float(info->dtype) ? n : none;
}

/* Returns false if the matrix is better copied. bias: to be corrected, or NULL. */
static bool compress(const settings *s, const rbe_tensor_info *info, const float *weights, const rbe_tensor *samples,
                     float *bias, output *o) {
    bool adaptive = strcmp(s->transform, "adaptive") == 0;
    const rbe_transform *t = adaptive ? NULL : rbe_transform_named(s->transform);
    bool fitted = samples->data && rbe_tensor_columns(samples) == info->shape[1];
    rbe_compress_options options = {.block = s->block,
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
    rbe_blocks *blocks;
    rbe_compress_report r;
    rbe_status status =
        rbe_compress_weights(&blocks, fitted ? bias : NULL, &r, weights, info->shape[0], info->shape[1], &options);
    printf("%-32s %6zu x %-6zu ", info->name, info->shape[0], info->shape[1]);
    if (status == RBE_INSUFFICIENT_COMPRESSION) {
        printf("copied: %s\n", rbe_last_error());
        return false;
    }
    example_require(status);
    printf("%8.2f %7.2f %8.4f %7.2f %8.2f  %s", r.value_ratio, r.byte_ratio, r.relative_error, r.snr, r.seconds,
           rbe_transform_name(r.row_transform));
    if (fitted) printf(", error of outputs %.4f", r.output_error);
    printf("\n");
    add_matrix(o, s, info->name, blocks);
    rbe_blocks_free(blocks);
    return true;
}

static float *read_floats(const rbe_tensor_file *file, size_t n) {
    float *values = take(rbe_tensor_file_at(file, n)->count, sizeof *values);
    example_require(rbe_tensor_file_read_f32(file, n, values));
    return values;
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    if (s.threads) example_require(rbe_set_threads((int)s.threads));
    rbe_tensor_file *file = rbe_tensor_file_open(s.in);
    if (!file) example_fail(1, "%s", rbe_last_error());
    rbe_tensor samples = {0};
    if (s.calibrate) example_require(rbe_npy_read(s.calibrate, &samples));

    size_t count = rbe_tensor_file_count(file), selected = 0, done = 0;
    output o = {.tensors = take(4 * count, sizeof *o.tensors), .metadata = take(count, sizeof *o.metadata)};
    float **biases = take(count + 1, sizeof *biases); /* by tensor; NULL: unchanged. The last one: there is none. */
    for (size_t n = 0; n < count; n++) selected += is_selected(&s, rbe_tensor_file_at(file, n));
    printf("%-32s %15s %8s %7s %8s %7s %8s\n", "matrix", "shape", "values", "bytes", "error", "dB", "seconds");
    for (size_t n = 0; n < count; n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
        if (!is_selected(&s, info)) continue;
        fprintf(stderr, "[%zu/%zu] %s\n", ++done, selected, info->name);
        size_t at = find_bias(file, info->name, info->shape[0]);
        float *bias = at < count ? read_floats(file, at) : NULL, *weights = read_floats(file, n);
        bool compressed = compress(&s, info, weights, &samples, bias, &o);
        if (!compressed) copy_through(&o, file, n);
        if (bias && compressed && samples.data && rbe_tensor_columns(&samples) == info->shape[1])
            biases[at] = bias;
        else
            free(bias);
        free(weights);
    }
    for (size_t n = 0; n < count; n++) {
        const rbe_tensor_info *info = rbe_tensor_file_at(file, n);
        if (biases[n])
            add(&o, info->name, RBE_F32, info->dims, info->shape, biases[n]);
        else if (!is_selected(&s, info))
            copy_through(&o, file, n);
    }
    example_require(rbe_tensor_file_save(s.out, o.tensors, o.count, o.metadata, o.metadata_count, true));
    rbe_tensor_free(&samples);
    rbe_tensor_file_close(file);
    return 0;
}
