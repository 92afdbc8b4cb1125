/* Prints the layers of a model file, or the matrices of a tensor file, and what they cost; with --plot draws each
 * matrix, its coefficients by frequency, and how few of them hold how much of the energy; with --against, the dense
 * file that was compressed, also the original and the error.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "draw_layer.h"

/* What is shown, and what has been. */
typedef struct view {
    const rbe_tensor_file *file, *against; /* against: NULL without */
    const char *plot;                      /* folder; NULL: no pictures */
    bool nested;                           /* layers are called by their paths */
    int name_width;
    size_t count;
    rbe_layer_cost cost;
} view;

/* ---- tensors of the files ------------------------------------------------------------------------------------ */

/* Of all tensors called "owner.part". */
static size_t bytes_in_file(const rbe_tensor_file *file, const char *owner) {
    const rbe_tensor_info *info;
    size_t bytes = 0, length = strlen(owner);
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++)
        if (strncmp(info->name, owner, length) == 0 && info->name[length] == '.') bytes += info->bytes;
    return bytes;
}

/* The number of the tensor "owner.weight", or the count of tensors. */
static size_t find_weight(const rbe_tensor_file *file, const char *owner) {
    char *name = example_take(strlen(owner) + sizeof ".weight", 1);
    strcat(strcpy(name, owner), ".weight");
    size_t n = rbe_tensor_file_find(file, name);
    free(name);
    return n;
}

/* The dense matrix that was compressed: it is called as the compressed one, "stage.weight" in a model, or "layer.weight"
 * where `expand` or PyTorch has written it. NULL without. */
static float *read_original(const view *v, const char *owner, const rbe_layer *layer) {
    if (!v->against) return NULL;
    size_t count = rbe_tensor_file_count(v->against), n = rbe_tensor_file_find(v->against, owner);
    if (n == count) n = find_weight(v->against, owner);
    if (n == count) n = find_weight(v->against, v->nested ? rbe_layer_path(layer) : rbe_layer_name(layer));
    if (n == count) return NULL;
    const rbe_tensor_info *info = rbe_tensor_file_at(v->against, n);
    if (!tensor_is_matrix(info) || info->shape[0] != rbe_layer_outputs(layer) ||
        info->shape[1] != rbe_layer_inputs(layer))
        example_fail(1, "--against: expected %s to be a matrix of %zu x %zu numbers", info->name,
                     rbe_layer_outputs(layer), rbe_layer_inputs(layer));
    return tensor_read(v->against, n);
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

/* Of the coefficients, or of the weights. */
typedef struct statistics {
    double smallest, largest, rms;
} statistics;

static statistics statistics_of(const rbe_param *param) {
    statistics s = {.smallest = INFINITY, .largest = -INFINITY};
    for (size_t n = 0; n < param->count; n++) {
        double value = (double)param->value[n];
        s.smallest = fmin(s.smallest, value);
        s.largest = fmax(s.largest, value);
        s.rms += value * value;
    }
    s.rms = param->count ? sqrt(s.rms / (double)param->count) : 0.0;
    return s;
}

static void print_header(const view *v) {
    printf("%-*s %-8s %-12s %4s %3s %-17s %-5s %9s %7s %9s %9s %9s %20s%s\n", v->name_width, "layer", "kind",
           "in -> out", "B", "G", "transforms", "alpha", "values", "stored", "bytes", "in file", "rms", "range",
           v->against ? "    error      dB" : "");
}

static void print_layer(const view *v, const rbe_layer *layer, size_t file_bytes, const float *original) {
    char shape[48] = "", transforms[48] = "", block[8] = "", group[8] = "";
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    size_t in = rbe_layer_inputs(layer), out = rbe_layer_outputs(layer);
    if (in > 0) snprintf(shape, sizeof shape, "%zu -> %zu", in, out);
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    if (blocks) {
        snprintf(transforms, sizeof transforms, "%s, %s", rbe_transform_name(info.row_transform),
                 rbe_transform_name(info.column_transform));
        snprintf(block, sizeof block, "%zu", info.block);
        snprintf(group, sizeof group, "%zu", info.group);
    }
    printf("%-*s %-8s %-12s %4s %3s %-17s %-5s", v->name_width,
           v->nested ? rbe_layer_path(layer) : rbe_layer_name(layer), rbe_layer_kind(layer), shape, block, group,
           transforms, blocks ? info.has_alpha ? "yes" : "no" : "");
    const rbe_param *values = rbe_layer_param(layer, 0);
    if (values) {
        rbe_layer_cost cost = rbe_layer_describe_cost(layer);
        statistics s = statistics_of(values);
        char range[40];
        snprintf(range, sizeof range, "%.3g .. %.3g", s.smallest, s.largest);
        /* Of a matrix: what is stored of it. */
        const double dense = values->rows > 0 || in * out == 0 ? (double)values->count : (double)(in * out);
        printf(" %9zu %6.2f%% %9zu %9zu %9.3g %20s", cost.values, 100.0 * (double)values->count / dense, cost.bytes,
               file_bytes, s.rms, range);
    }
    if (original) {
        float *w = dense_matrix(layer);
        double error = relative_difference(w, original, in * out);
        printf(" %8.4f %7.2f", error, -20.0 * log10(error));
        free(w);
    }
    printf("\n");
    if (values && values->bits) printf("%-*s values of %u bits\n", v->name_width, "", values->bits);
    if (info.overlap) printf("%-*s blocks overlap by %zu\n", v->name_width, "", info.overlap);
    if (info.image_height)
        printf("%-*s the inputs are an image of %zu x %zu\n", v->name_width, "", info.image_height, info.image_width);
}

static void print_totals(const rbe_layer_cost *cost, size_t file_bytes) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    printf("\n%s values; dense layers would take %s bytes\n", example_number(cost->values, a),
           example_number(cost->dense_bytes, b));
    printf("%s bytes in memory: %s\n", example_number(cost->bytes, a),
           example_smaller(cost->bytes, cost->dense_bytes, c));
    printf("%s bytes of the file: %s\n", example_number(file_bytes, b),
           example_smaller(file_bytes, cost->dense_bytes, c));
}

/* ---- layers and matrices ------------------------------------------------------------------------------------- */

/* FOLDER/2-fc2.png */
static void plot(const view *v, const rbe_layer *layer, const float *original) {
    char path[4200], name[80];
    snprintf(name, sizeof name, "%s", rbe_layer_name(layer));
    for (char *at = name; (at = strchr(at, '/'));) *at = '_';
    snprintf(path, sizeof path, "%s/%zu-%s.png", v->plot, v->count, name);
    draw_layer(path, layer, original);
}

/* Tensors of the layer are called "owner.part". */
static void show(view *v, const rbe_layer *layer, const char *owner, size_t file_bytes) {
    rbe_layer_cost cost = rbe_layer_describe_cost(layer);
    float *original = layer_has_matrix(layer) ? read_original(v, owner, layer) : NULL;
    v->count++;
    v->cost.values += cost.values;
    v->cost.bytes += cost.bytes;
    v->cost.dense_bytes += cost.dense_bytes;
    print_layer(v, layer, file_bytes, original);
    if (v->plot && layer_has_matrix(layer)) plot(v, layer, original);
    free(original);
}

static void show_model(view *v, const char *path) {
    rbe_model *model = example_need(rbe_model_load(path));
    const rbe_layer *layer;
    char owner[RBE_PATH_SIZE] = "";
    v->nested = true;
    v->name_width = 10;
    print_header(v);
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        bool stored = rbe_layer_param(layer, 0) && next_way(v->file, owner);
        show(v, layer, owner, stored ? bytes_in_file(v->file, owner) : 0);
    }
    rbe_model_free(model);
}

/* Compressed matrices, then dense ones, each as a layer without bias. */
static void show_matrices(view *v) {
    const char *name;
    const rbe_tensor_info *info;
    v->name_width = RBE_NAME_SIZE / 2;
    print_header(v);
    for (size_t n = 0; (name = rbe_tensor_file_matrix(v->file, n)); n++) {
        rbe_blocks *blocks;
        example_require(rbe_tensor_file_read_blocks(v->file, name, &blocks));
        rbe_layer *layer = example_need(rbe_linear_from_blocks(blocks, NULL, 0, &(rbe_linear_options){.name = name}));
        show(v, layer, name, bytes_in_file(v->file, name));
        rbe_layer_free(layer);
    }
    for (size_t n = 0; (info = rbe_tensor_file_at(v->file, n)); n++) {
        if (!tensor_is_matrix(info)) continue;
        float *w = tensor_read(v->file, n);
        rbe_layer *layer = example_need(rbe_dense_from_weights(info->shape[1], info->shape[0], w, NULL, info->name));
        free(w);
        show(v, layer, info->name, info->bytes);
        rbe_layer_free(layer);
    }
}

int main(int argc, char **argv) {
    const char *against = NULL, *path = NULL;
    view v = {0};
    const example_option options[] = {
        {"FILE", EXAMPLE_FILE, &path, NULL, "a model file, or another safetensors file", 0, 0},
        {"plot", EXAMPLE_TEXT, &v.plot, "DIR", "draw the layers into this folder (created), with gnuplot", 0, 0},
        {"against", EXAMPLE_TEXT, &against, "FILE", "the dense file that was compressed: shows the error, too", 0, 0}};
    example_parse(argc, argv, "Lists the layers of a stored model, or the matrices of a tensor file.", options,
                  sizeof options / sizeof *options);
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(path));
    rbe_tensor_file *original = against ? example_need(rbe_tensor_file_open(against)) : NULL;
    struct stat about;
    if (stat(path, &about) != 0) example_fail(1, "%s: %s", path, strerror(errno));
    if (v.plot) example_make_folder(v.plot);
    v.file = file;
    v.against = original;
    const char *format = rbe_tensor_file_metadata(file, "rbe.format");
    if (format && strcmp(format, "model") == 0)
        show_model(&v, path);
    else
        show_matrices(&v);
    if (v.count == 0) example_fail(1, "%s: there is no matrix in this file", path);
    print_totals(&v.cost, (size_t)about.st_size);
    if (v.plot) printf("pictures of the layers are in %s\n", v.plot);
    rbe_tensor_file_close(original);
    rbe_tensor_file_close(file);
    return 0;
}
