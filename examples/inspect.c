/* Prints the layers of a model file and what they cost; with --plot draws each layer's matrix, its coefficients by
 * frequency, and how few of them hold how much of the energy.
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

/* ---- the table ----------------------------------------------------------------------------------------------- */

/* Tensors are called "stage.part". The smallest number of a stage with tensors that is at least `first`. */
static long next_stage(const rbe_tensor_file *file, long first) {
    const rbe_tensor_info *info;
    long stage = LONG_MAX;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++) {
        long number = strtol(info->name, NULL, 10);
        if (number >= first && number < stage) stage = number;
    }
    return stage;
}

static size_t bytes_in_file(const rbe_tensor_file *file, long stage) {
    const rbe_tensor_info *info;
    size_t bytes = 0;
    for (size_t n = 0; (info = rbe_tensor_file_at(file, n)); n++)
        if (strtol(info->name, NULL, 10) == stage) bytes += info->bytes;
    return bytes;
}

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

static void print_header(void) {
    printf("%-10s %-8s %-12s %4s %3s %-17s %-5s %9s %7s %9s %9s %9s %20s\n", "layer", "kind", "in -> out", "B", "G",
           "transforms", "alpha", "values", "density", "memory", "file", "rms", "range");
}

static void print_layer(const rbe_layer *layer, size_t file_bytes) {
    char shape[48] = "", transforms[48] = "", block[8] = "", group[8] = "";
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    if (rbe_layer_inputs(layer) > 0)
        snprintf(shape, sizeof shape, "%zu -> %zu", rbe_layer_inputs(layer), rbe_layer_outputs(layer));
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    if (blocks) {
        snprintf(transforms, sizeof transforms, "%s, %s", rbe_transform_name(info.row_transform),
                 rbe_transform_name(info.column_transform));
        snprintf(block, sizeof block, "%zu", info.block);
        snprintf(group, sizeof group, "%zu", info.group);
    }
    printf("%-10s %-8s %-12s %4s %3s %-17s %-5s", rbe_layer_name(layer), rbe_layer_kind(layer), shape, block, group,
           transforms, blocks ? info.has_alpha ? "yes" : "no" : "");
    const rbe_param *values = rbe_layer_param(layer, 0);
    if (values) {
        rbe_layer_cost cost = rbe_layer_describe_cost(layer);
        statistics s = statistics_of(values);
        double whole = (double)rbe_layer_inputs(layer) * (double)rbe_layer_outputs(layer);
        char range[40];
        snprintf(range, sizeof range, "%.3g .. %.3g", s.smallest, s.largest);
        printf(" %9zu %6.2f%% %9zu %9zu %9.3g %20s", cost.values, 100.0 * (double)values->count / whole, cost.bytes,
               file_bytes, s.rms, range);
    }
    printf("\n");
    if (info.overlap) printf("%-10s blocks overlap by %zu\n", "", info.overlap);
    if (info.image_height)
        printf("%-10s the inputs are an image of %zu x %zu\n", "", info.image_height, info.image_width);
}

static void print_totals(const rbe_model *model, size_t file_bytes) {
    char a[EXAMPLE_NUMBER_SIZE], b[EXAMPLE_NUMBER_SIZE], c[EXAMPLE_NUMBER_SIZE];
    rbe_layer_cost cost = rbe_model_describe_cost(model);
    printf("\n%s values; %s bytes in memory, %.1f times fewer than dense layers; %s in the file, %.1f times fewer\n",
           example_number(cost.values, a), example_number(cost.bytes, b), (double)cost.dense_bytes / (double)cost.bytes,
           example_number(file_bytes, c), (double)cost.dense_bytes / (double)file_bytes);
}

/* ---- data for the pictures ----------------------------------------------------------------------------------- */

enum { MOST_PIXELS = 512, CURVE_POINTS = 400 };

static void *take_memory(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) example_fail(1, "no memory for %zu numbers", count);
    return memory;
}

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

static void write_script(FILE *file, size_t number, const rbe_layer *layer, const rbe_blocks *blocks) {
    fprintf(file, "set terminal pngcairo size %d,520 font 'sans,11'\nset output 'layer%zu.png'\n", blocks ? 1650 : 1120,
            number);
    fprintf(file, "set multiplot layout 1,%d\nset tics out nomirror\n", blocks ? 3 : 2);
    fprintf(file, "set title 'layer %zu: matrix, %zu x %zu'\n", number, rbe_layer_outputs(layer),
            rbe_layer_inputs(layer));
    fprintf(file,
            "set xlabel 'input'\nset ylabel 'output'\nset cblabel 'weight'\n"
            "stats 'layer%zu-w.dat' using 3 nooutput\nm = 3 * STATS_stddev\nset cbrange [-m:m]\n"
            "set palette defined (-1 '#2166ac', 0 'white', 1 '#b2182b')\n"
            "set autoscale xfix\nset autoscale yfix\nset yrange [] reverse\n"
            "plot 'layer%zu-w.dat' using 1:2:3 with image notitle\n",
            number, number);
    if (blocks) {
        fprintf(file,
                "set title 'coefficients, block size %zu'\nset xlabel 'input frequency'\n"
                "set ylabel 'output frequency'\nset cblabel 'mean magnitude'\nset cbrange [0:*]\n"
                "set palette defined (0 'white', 0.2 '#fdbb84', 0.5 '#d7301f', 1 '#3f0000')\nset size square\n"
                "plot 'layer%zu-frequencies.dat' using 1:2:3 with image notitle\nset size nosquare\n",
                rbe_blocks_describe(blocks).block, number);
    }
    fprintf(file,
            "set title 'energy of the largest values'\nset xlabel 'values kept, %% of inputs x outputs'\n"
            "set ylabel 'energy kept, %%'\nset yrange [0:100] noreverse\nset autoscale x\nset logscale x\n"
            "set format x '%%g'\nset grid\nset key left top\nset lmargin 14\n"
            "plot 'layer%zu-energy.dat' index 0 with lines linewidth 2 title 'weights'",
            number);
    if (blocks)
        fprintf(file, ", \\\n     'layer%zu-energy.dat' index 1 with lines linewidth 2 title 'stored coefficients'",
                number);
    fprintf(file, "\nunset multiplot\n");
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

static void plot_layer(const char *folder, size_t number, const rbe_layer *layer) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_param *param = rbe_layer_param(layer, 0);
    size_t out = rbe_layer_outputs(layer), in = rbe_layer_inputs(layer);
    float *w = take_memory(out * in, sizeof *w);
    if (blocks)
        example_require(rbe_decompress(blocks, w));
    else
        memcpy(w, param->value, out * in * sizeof *w);
    FILE *file = create(folder, number, "-w.dat");
    write_matrix(file, w, out, in);
    finish(file, "the matrix");
    file = create(folder, number, "-energy.dat");
    write_energy(file, w, out * in, out * in);
    if (blocks) write_energy(file, param->value, param->count, out * in);
    finish(file, "the energy curve");
    if (blocks) {
        file = create(folder, number, "-frequencies.dat");
        write_frequencies(file, blocks);
        finish(file, "the frequencies");
    }
    free(w);
    file = create(folder, number, ".gp");
    write_script(file, number, layer, blocks);
    finish(file, "the script");
    run_gnuplot(folder, number);
    printf("%s/layer%zu.png: %s\n", folder, number, rbe_layer_name(layer));
}

int main(int argc, char **argv) {
    const char *plot = NULL, *path = example_operand(&argc, &argv);
    const example_option options[] = {
        {"plot", EXAMPLE_TEXT, &plot, "DIR", "draw the layers into this folder (with gnuplot); created", 0, 0}};
    example_parse(argc, argv, "Layers of a stored model: inspect MODEL.safetensors [options].", options, 1);
    if (!path) example_fail(2, "expected a model file before the options");
    rbe_model *model = example_need(rbe_model_load(path));
    rbe_tensor_file *file = example_need(rbe_tensor_file_open(path));
    struct stat about;
    if (stat(path, &about) != 0) example_fail(1, "%s: %s", path, strerror(errno));

    print_header();
    const rbe_layer *layer;
    long stage = -1;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        if (rbe_layer_param(layer, 0)) stage = next_stage(file, stage + 1);
        print_layer(layer, bytes_in_file(file, stage));
    }
    print_totals(model, (size_t)about.st_size);

    if (plot) example_make_folder(plot);
    for (size_t n = 0; plot && (layer = rbe_model_layer(model, n)); n++)
        if (rbe_layer_param(layer, 0)) plot_layer(plot, n + 1, layer);
    rbe_tensor_file_close(file);
    rbe_model_free(model);
    return 0;
}
