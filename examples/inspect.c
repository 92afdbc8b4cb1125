/* Prints the layers of a model file, or the matrices of a tensor file, and what they cost; with --plot draws each
 * matrix, its coefficients by frequency, and how few of them hold how much of the energy; with --against, the dense
 * file that was compressed, also the original and the error.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "operand.h"
#include "rbe/io.h"

/* What is shown, and what has been. */
typedef struct view {
    const rbe_tensor_file *file, *against; /* against: NULL without */
    const char *plot;                      /* folder; NULL: no pictures */
    int name_width;
    size_t count;
    rbe_layer_cost cost;
} view;

static void *take_memory(size_t count, size_t size) { return example_need(calloc(count ? count : 1, size)); }

/* ---- tensors of the files ------------------------------------------------------------------------------------ */

/* Of all tensors called "owner.part". */
static size_t bytes_in_file(const rbe_tensor_file *file, const char *owner) {
    const rbe_tensor_info *info;
    size_t bytes = 0, length = strlen(owner);
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++)
        if (strncmp(info->name, owner, length) == 0 && info->name[length] == '.') bytes += info->bytes;
    return bytes;
}

static bool is_matrix(const rbe_tensor_info *info) {
    return info->dims == 2 && info->count > 0 &&
           (info->dtype == RBE_F64 || info->dtype == RBE_F32 || info->dtype == RBE_F16 || info->dtype == RBE_BF16);
}

static float *read_matrix(const rbe_tensor_file *file, size_t n) {
    float *values = take_memory(rbe_tensor_file_at(file, n)->count, sizeof *values);
    example_require(rbe_tensor_file_read_f32(file, n, values));
    return values;
}

/* The dense matrix that was compressed: it is called as the compressed one, or "stage.weight". NULL without. */
static float *read_original(const view *v, const char *owner, const rbe_layer *layer) {
    if (!v->against) return NULL;
    char *name = take_memory(strlen(owner) + sizeof ".weight", 1);
    strcat(strcpy(name, owner), ".weight");
    size_t count = rbe_tensor_file_count(v->against), n = rbe_tensor_file_find(v->against, owner);
    if (n == count) n = rbe_tensor_file_find(v->against, name);
    free(name);
    if (n == count) return NULL;
    const rbe_tensor_info *info = rbe_tensor_file_at(v->against, n);
    if (!is_matrix(info) || info->shape[0] != rbe_layer_outputs(layer) || info->shape[1] != rbe_layer_inputs(layer))
        example_fail(1, "--against: expected %s to be a matrix of %zu x %zu numbers", info->name,
                     rbe_layer_outputs(layer), rbe_layer_inputs(layer));
    return read_matrix(v->against, n);
}

/* W, dense. */
static float *matrix_of(const rbe_layer *layer) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    size_t count = rbe_layer_outputs(layer) * rbe_layer_inputs(layer);
    float *w = take_memory(count, sizeof *w);
    if (blocks)
        example_require(rbe_decompress(blocks, w));
    else
        memcpy(w, rbe_layer_param(layer, 0)->value, count * sizeof *w);
    return w;
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
           "in -> out", "B", "G", "transforms", "alpha", "values", "density", "memory", "file", "rms", "range",
           v->against ? "    error      dB" : "");
}

static void print_error(const float *w, const float *original, size_t count) {
    double difference = 0.0, whole = 0.0;
    for (size_t n = 0; n < count; n++) {
        difference += pow((double)w[n] - (double)original[n], 2.0);
        whole += pow((double)original[n], 2.0);
    }
    printf(" %8.4f %7.2f", sqrt(difference / whole), -10.0 * log10(difference / whole));
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
    printf("%-*s %-8s %-12s %4s %3s %-17s %-5s", v->name_width, rbe_layer_name(layer), rbe_layer_kind(layer), shape,
           block, group, transforms, blocks ? info.has_alpha ? "yes" : "no" : "");
    const rbe_param *values = rbe_layer_param(layer, 0);
    if (values) {
        rbe_layer_cost cost = rbe_layer_describe_cost(layer);
        statistics s = statistics_of(values);
        char range[40];
        snprintf(range, sizeof range, "%.3g .. %.3g", s.smallest, s.largest);
        printf(" %9zu %6.2f%% %9zu %9zu %9.3g %20s", cost.values, 100.0 * (double)values->count / (double)(in * out),
               cost.bytes, file_bytes, s.rms, range);
    }
    if (original) {
        float *w = matrix_of(layer);
        print_error(w, original, in * out);
        free(w);
    }
    printf("\n");
    if (info.overlap) printf("%-*s blocks overlap by %zu\n", v->name_width, "", info.overlap);
    if (info.image_height)
        printf("%-*s the inputs are an image of %zu x %zu\n", v->name_width, "", info.image_height, info.image_width);
}

static void print_totals(const rbe_layer_cost *cost, size_t file_bytes) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    printf("\n%s values; %s bytes in memory, %.1f times fewer than dense layers; %s in the file, %.1f times fewer\n",
           example_number(cost->values, a), example_number(cost->bytes, b),
           (double)cost->dense_bytes / (double)cost->bytes, example_number(file_bytes, c),
           (double)cost->dense_bytes / (double)file_bytes);
}

/* ---- data for the pictures ----------------------------------------------------------------------------------- */

enum { MOST_PIXELS = 512, CURVE_POINTS = 400 };

static FILE *create(const char *folder, size_t number, const char *suffix) {
    char path[4200];
    snprintf(path, sizeof path, "%s/layer%zu%s", folder, number, suffix);
    FILE *file = fopen(path, "w");
    if (!file) example_fail(1, "cannot create %s: %s", path, strerror(errno));
    return file;
}

static void finish(FILE *file, const char *what) {
    bool failed = ferror(file);
    if (fclose(file) != 0 || failed) example_fail(1, "cannot write %s", what);
}

/* The matrix as rows of numbers, coarsened to means of cells if it is larger than a picture. */
static void write_matrix(FILE *file, const float *w, size_t rows, size_t columns) {
    size_t cell_rows = (rows + MOST_PIXELS - 1) / MOST_PIXELS, cell_columns = (columns + MOST_PIXELS - 1) / MOST_PIXELS;
    for (size_t r = 0; r < rows; r += cell_rows) {
        for (size_t c = 0; c < columns; c += cell_columns) {
            size_t last_row = fmin(rows, r + cell_rows), last_column = fmin(columns, c + cell_columns);
            double sum = 0.0;
            for (size_t i = r; i < last_row; i++)
                for (size_t j = c; j < last_column; j++) sum += (double)w[i * columns + j];
            fprintf(file, "%zu %zu %.4g\n", c, r, sum / (double)((last_row - r) * (last_column - c)));
        }
        fprintf(file, "\n");
    }
}

/* Mean magnitude of S_pq over all blocks, by frequency; what is not stored counts as 0. */
static void write_frequencies(FILE *file, const rbe_blocks *blocks) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    size_t square = info.block * info.block;
    double *sum = take_memory(square, sizeof *sum);
    rbe_coefficient *list = take_memory(square, sizeof *list);
    for (size_t p = 0; p < info.grid_rows; p++)
        for (size_t q = 0; q < info.grid_cols; q++) {
            size_t count = rbe_blocks_get(blocks, p, q, NULL, list, square);
            for (size_t n = 0; n < count; n++)
                sum[list[n].freq_i * info.block + list[n].freq_j] += fabs((double)list[n].value);
        }
    for (size_t i = 0; i < info.block; i++) {
        for (size_t j = 0; j < info.block; j++)
            fprintf(file, "%zu %zu %.4g\n", j, i, sum[i * info.block + j] / (double)(info.grid_rows * info.grid_cols));
        fprintf(file, "\n");
    }
    free(sum);
    free(list);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Energy of the largest k of `count` values, in percent, against k in percent of `whole` positions. Two empty lines
 * end the curve. */
static void write_energy(FILE *file, const float *values, size_t count, size_t whole) {
    float *squares = take_memory(count + 1, sizeof *squares);
    double total = 0.0, sum = 0.0, next = 1.0;
    for (size_t n = 0; n < count; n++) total += squares[n] = values[n] * values[n];
    qsort(squares, count, sizeof *squares, descending);
    double factor = pow((double)count + 1.0, 1.0 / CURVE_POINTS); /* points at equal distances of a logarithmic axis */
    for (size_t n = 0; n < count; n++) {
        sum += squares[n];
        if ((double)(n + 1) < next && n + 1 < count) continue;
        fprintf(file, "%.6g %.6g\n", 100.0 * (double)(n + 1) / (double)whole, total > 0 ? 100.0 * sum / total : 0.0);
        while (next <= (double)(n + 1)) next *= factor > 1.0 ? factor : 2.0;
    }
    fprintf(file, "\n\n");
    free(squares);
}

/* ---- pictures ------------------------------------------------------------------------------------------------ */

/* Colours end at three standard deviations: of the stored matrix, but of the error its own. */
static void write_map(FILE *script, size_t number, const char *data, const char *limits, const char *title) {
    fprintf(script,
            "stats 'layer%zu-%s.dat' using 3 nooutput\nm = 3 * STATS_stddev + 1e-30\n"
            "set title '%s'\nset xlabel 'input'\nset ylabel 'output'\nset cblabel 'weight'\nset cbrange [-m:m]\n"
            "set palette defined (-1 '#2166ac', 0 'white', 1 '#b2182b')\n"
            "set autoscale xfix\nset autoscale yfix\nset yrange [] reverse\n"
            "plot 'layer%zu-%s.dat' using 1:2:3 with image notitle\n",
            number, limits, title, number, data);
}

static void write_script(FILE *script, size_t number, const rbe_layer *layer, bool original) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    int columns = blocks ? 3 : 2, rows = original ? 2 : 1;
    char title[100];
    fprintf(script, "set terminal pngcairo size %d,%d font 'sans,11'\nset output 'layer%zu.png'\n", 550 * columns,
            520 * rows, number);
    fprintf(script, "set multiplot layout %d,%d\nset tics out nomirror\n", rows, columns);
    snprintf(title, sizeof title, "layer %zu: %smatrix, %zu x %zu", number, original ? "decompressed " : "",
             rbe_layer_outputs(layer), rbe_layer_inputs(layer));
    if (original) write_map(script, number, "original", "w", "original");
    write_map(script, number, "w", "w", title);
    if (original) write_map(script, number, "error", "error", "error: decompressed - original");
    if (blocks)
        fprintf(script,
                "set title 'coefficients, block size %zu'\nset xlabel 'input frequency'\n"
                "set ylabel 'output frequency'\nset cblabel 'mean magnitude' offset 1\nset cbrange [0:*]\n"
                "set palette defined (0 'white', 0.2 '#fdbb84', 0.5 '#d7301f', 1 '#3f0000')\nset size square\n"
                "plot 'layer%zu-frequencies.dat' using 1:2:3 with image notitle\nset size nosquare\n",
                rbe_blocks_describe(blocks).block, number);
    fprintf(script,
            "set title 'energy of the largest values'\nset xlabel 'values kept, %% of inputs x outputs'\n"
            "set ylabel 'energy kept, %%'\nset yrange [0:100] noreverse\nset autoscale x\nset logscale x\n"
            "set format x '%%g'\nset grid\nset key below Left reverse samplen 1.5 width -3\nset lmargin 14\n"
            "plot 'layer%zu-energy.dat' index 0 with lines linewidth 2 title 'weights'",
            number);
    if (original) fprintf(script, ", \\\n     '' index 2 with lines linewidth 2 dashtype (6,4) title 'original'");
    if (blocks) fprintf(script, ", \\\n     '' index 1 with lines linewidth 2 title 'stored coefficients'");
    fprintf(script, "\nunset multiplot\n");
}

static void run_gnuplot(const char *folder, size_t number) {
    char script[40];
    snprintf(script, sizeof script, "layer%zu.gp", number);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (chdir(folder) == 0) execlp("gnuplot", "gnuplot", script, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        example_fail(1, "gnuplot failed, or is not installed; the data and %s are in %s", script, folder);
}

static void write_map_data(const view *v, const char *suffix, const float *w, size_t out, size_t in) {
    FILE *file = create(v->plot, v->count, suffix);
    write_matrix(file, w, out, in);
    finish(file, "a matrix");
}

static void plot_layer(const view *v, const rbe_layer *layer, float *original) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_param *param = rbe_layer_param(layer, 0);
    size_t out = rbe_layer_outputs(layer), in = rbe_layer_inputs(layer), number = v->count;
    float *w = matrix_of(layer);
    write_map_data(v, "-w.dat", w, out, in);
    FILE *file = create(v->plot, number, "-energy.dat");
    write_energy(file, w, out * in, out * in);
    if (blocks) write_energy(file, param->value, param->count, out * in);
    if (original) write_energy(file, original, out * in, out * in);
    finish(file, "the energy curve");
    if (blocks) {
        file = create(v->plot, number, "-frequencies.dat");
        write_frequencies(file, blocks);
        finish(file, "the frequencies");
    }
    if (original) {
        write_map_data(v, "-original.dat", original, out, in);
        for (size_t n = 0; n < out * in; n++) w[n] -= original[n];
        write_map_data(v, "-error.dat", w, out, in);
    }
    free(w);
    file = create(v->plot, number, ".gp");
    write_script(file, number, layer, original);
    finish(file, "the script");
    run_gnuplot(v->plot, number);
}

/* ---- layers and matrices ------------------------------------------------------------------------------------- */

/* Tensors of the layer are called "owner.part". */
static void show(view *v, const rbe_layer *layer, const char *owner, size_t file_bytes) {
    rbe_layer_cost cost = rbe_layer_describe_cost(layer);
    float *original = rbe_linear_blocks(layer) ? read_original(v, owner, layer) : NULL;
    v->count++;
    v->cost.values += cost.values;
    v->cost.bytes += cost.bytes;
    v->cost.dense_bytes += cost.dense_bytes;
    print_layer(v, layer, file_bytes, original);
    if (v->plot && rbe_layer_param(layer, 0)) plot_layer(v, layer, original);
    free(original);
}

/* The smallest number of a stage with tensors that is at least `first`. */
static long next_stage(const rbe_tensor_file *file, long first) {
    const rbe_tensor_info *info;
    long stage = LONG_MAX;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        long number = strtol(info->name, NULL, 10);
        if (number >= first && number < stage) stage = number;
    }
    return stage;
}

static void show_model(view *v, const char *path) {
    rbe_model *model = example_need(rbe_model_load(path));
    const rbe_layer *layer;
    long stage = -1;
    char owner[24] = "";
    v->name_width = 10;
    print_header(v);
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        bool stored = rbe_layer_param(layer, 0);
        if (stored) snprintf(owner, sizeof owner, "%ld", stage = next_stage(v->file, stage + 1));
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
        if (!is_matrix(info)) continue;
        float *w = read_matrix(v->file, n);
        rbe_layer *layer = example_need(rbe_dense_from_weights(info->shape[1], info->shape[0], w, NULL, info->name));
        free(w);
        show(v, layer, info->name, info->bytes);
        rbe_layer_free(layer);
    }
}

int main(int argc, char **argv) {
    const char *against = NULL, *path = example_operand(&argc, &argv);
    view v = {0};
    const example_option options[] = {
        {"plot", EXAMPLE_TEXT, &v.plot, "DIR", "draw the layers into this folder (with gnuplot); created", 0, 0},
        {"against", EXAMPLE_TEXT, &against, "FILE", "the dense file that was compressed: shows the error, too", 0, 0}};
    example_parse(argc, argv,
                  "Layers of a stored model, or matrices of a tensor file: inspect FILE.safetensors [options].",
                  options, sizeof options / sizeof *options);
    if (!path) example_fail(2, "expected a model file before the options");
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
    if (v.plot) printf("%s/layer1.png ..: pictures of the layers\n", v.plot);
    rbe_tensor_file_close(original);
    rbe_tensor_file_close(file);
    return 0;
}
