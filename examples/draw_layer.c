/* A layer in pictures: matrices in a row above, coefficients and energy below. */
#include "draw_layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "gnuplot.h"

enum { MOST_PIXELS = 400, CURVE_POINTS = 400 };

/* Edges of the panels, as shares of the picture. */
static const double left = 0.105, right = 0.87, gap = 0.025, maps_top = 0.88, curves_top = 0.46, curves_bottom = 0.11;

double relative_difference(const float *w, const float *original, size_t count) {
    double difference = 0.0, whole = 0.0;
    for (size_t n = 0; n < count; n++) {
        difference += pow((double)w[n] - (double)original[n], 2.0);
        whole += pow((double)original[n], 2.0);
    }
    return whole > 0 ? sqrt(difference / whole) : 0.0;
}

/* ---- data ---------------------------------------------------------------------------------------------------- */

static size_t cell(size_t size) { return (size + MOST_PIXELS - 1) / MOST_PIXELS; }

/* Mean of a cell of the matrix, whose first row and column are given. */
static double cell_mean(const float *w, size_t rows, size_t columns, size_t row, size_t column) {
    size_t last_row = fmin(rows, row + cell(rows)), last_column = fmin(columns, column + cell(columns));
    double sum = 0.0;
    for (size_t i = row; i < last_row; i++)
        for (size_t j = column; j < last_column; j++) sum += (double)w[i * columns + j];
    return sum / (double)((last_row - row) * (last_column - column));
}

/* $NAME: the matrix as rows of numbers, coarsened to means of cells if it is larger than a picture. gnuplot draws
 * nothing smaller than 2 x 2: a single row or column is written twice, and the second is outside of the axes. */
static void write_matrix(FILE *gnuplot, const char *name, const float *w, size_t rows, size_t columns) {
    fprintf(gnuplot, "$%s << END\n", name);
    for (size_t r = 0; r < rows || r == 1; r += cell(rows)) {
        for (size_t c = 0; c < columns || c == 1; c += cell(columns))
            fprintf(gnuplot, "%.4g ", cell_mean(w, rows, columns, r < rows ? r : 0, c < columns ? c : 0));
        fprintf(gnuplot, "\n");
    }
    fprintf(gnuplot, "END\n");
}

/* $frequencies: mean magnitude of S_pq over all blocks; what is not stored counts as 0. */
static void write_frequencies(FILE *gnuplot, const rbe_blocks *blocks) {
    rbe_blocks_info info = rbe_blocks_describe(blocks);
    size_t square = info.block * info.block;
    float *mean = example_take(square, sizeof *mean);
    rbe_coefficient *list = example_take(square, sizeof *list);
    for (size_t p = 0; p < info.grid_rows; p++)
        for (size_t q = 0; q < info.grid_cols; q++) {
            size_t count = rbe_blocks_get(blocks, p, q, NULL, list, square);
            for (size_t n = 0; n < count; n++)
                mean[list[n].freq_i * info.block + list[n].freq_j] +=
                    fabsf(list[n].value) / (float)(info.grid_rows * info.grid_cols);
        }
    write_matrix(gnuplot, "frequencies", mean, info.block, info.block);
    free(mean);
    free(list);
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* $NAME: energy of the largest k of `count` values, in percent, against k in percent of `whole` positions. */
static void write_energy(FILE *gnuplot, const char *name, const float *values, size_t count, size_t whole) {
    float *squares = example_take(count, sizeof *squares);
    double total = 0.0, sum = 0.0, next = 1.0;
    for (size_t n = 0; n < count; n++) total += squares[n] = values[n] * values[n];
    qsort(squares, count, sizeof *squares, descending);
    double factor = pow((double)count + 1.0, 1.0 / CURVE_POINTS); /* points at equal distances of a logarithmic axis */
    fprintf(gnuplot, "$%s << END\n", name);
    for (size_t n = 0; n < count; n++) {
        sum += squares[n];
        if ((double)(n + 1) < next && n + 1 < count) continue;
        fprintf(gnuplot, "%.6g %.6g\n", 100.0 * (double)(n + 1) / (double)whole, total > 0 ? 100.0 * sum / total : 0.0);
        while (next <= (double)(n + 1)) next *= factor > 1.0 ? factor : 2.0;
    }
    fprintf(gnuplot, "END\n");
    free(squares);
}

/* ---- panels -------------------------------------------------------------------------------------------------- */

static void place(FILE *gnuplot, double from, double to, double bottom, double top) {
    fprintf(gnuplot, "set lmargin at screen %g\nset rmargin at screen %g\nset bmargin at screen %g\n", from, to,
            bottom);
    fprintf(gnuplot, "set tmargin at screen %g\n", top);
}

/* The distance of ticks, at most six of them: 1, 2 or 5 times a power of ten. */
static size_t tick_step(size_t size) {
    for (size_t power = 1;; power *= 10)
        for (size_t k = 0; k < 3; k++) {
            size_t step = power * (size_t[]){1, 2, 5}[k];
            if (size / step <= 5) return step;
        }
}

/* Outputs run downwards, as the rows of a matrix do. */
static void write_axis(FILE *gnuplot, char axis, size_t size) {
    double first = -0.5, last = (double)size - 0.5;
    fprintf(gnuplot, "set %ctics 0, %zu\nset %crange [%g:%g]\n", axis, tick_step(size), axis,
            axis == 'y' ? last : first, axis == 'y' ? first : last);
}

/* Map number n of `count` in the upper row. */
static void draw_map(FILE *gnuplot, size_t n, size_t count, double bottom, const rbe_layer *layer, const char *name,
                     const char *title) {
    size_t out = rbe_layer_outputs(layer), in = rbe_layer_inputs(layer);
    double width = (right - left - gap * (double)(count - 1)) / (double)count, from = left + (width + gap) * (double)n;
    place(gnuplot, from, from + width, bottom, maps_top);
    write_axis(gnuplot, 'x', in);
    write_axis(gnuplot, 'y', out);
    fprintf(gnuplot, "set title '%s'\nset xlabel 'input'\n", title);
    fprintf(gnuplot, n == 0 ? "set ylabel 'output'\n" : "unset ylabel\nset format y ''\n");
    fprintf(gnuplot, n + 1 == count ? "set colorbox user origin %g,%g size 0.018,%g\n" : "unset colorbox\n",
            right + gap, bottom, maps_top - bottom);
    fprintf(gnuplot, "plot $%s matrix using (($1+0.5)*%zu-0.5):(($2+0.5)*%zu-0.5):3 with image notitle\n", name,
            cell(in), cell(out));
}

static void draw_maps(FILE *gnuplot, double bottom, const rbe_layer *layer, float *w, const float *original) {
    size_t out = rbe_layer_outputs(layer), in = rbe_layer_inputs(layer), count = out * in;
    const float *reference = original ? original : w;
    double mean = 0.0, square = 0.0;
    for (size_t n = 0; n < count; n++) {
        mean += (double)reference[n] / (double)count;
        square += pow((double)reference[n], 2.0) / (double)count;
    }
    fprintf(gnuplot, "set palette defined (-1 '#2166ac', 0 'white', 1 '#b2182b')\n");
    fprintf(gnuplot, "set cbrange [%g:%g]\n", -3 * sqrt(square - mean * mean) - 1e-30,
            3 * sqrt(square - mean * mean) + 1e-30);
    write_matrix(gnuplot, "w", w, out, in);
    if (!original) {
        draw_map(gnuplot, 0, 1, bottom, layer, "w", "weights (colours end at 3 standard deviations)");
        return;
    }
    char title[80];
    snprintf(title, sizeof title, "error: %.3g %% of the norm", 100.0 * relative_difference(w, original, count));
    for (size_t n = 0; n < count; n++) w[n] -= original[n];
    write_matrix(gnuplot, "original", original, out, in);
    write_matrix(gnuplot, "error", w, out, in);
    draw_map(gnuplot, 0, 3, bottom, layer, "original", "original");
    draw_map(gnuplot, 1, 3, bottom, layer, "w", rbe_linear_blocks(layer) ? "decompressed" : "weights");
    draw_map(gnuplot, 2, 3, bottom, layer, "error", title);
}

static void draw_frequencies(FILE *gnuplot, const rbe_blocks *blocks, double to) {
    place(gnuplot, left, to, curves_bottom, curves_top);
    write_frequencies(gnuplot, blocks);
    write_axis(gnuplot, 'x', rbe_blocks_describe(blocks).block);
    write_axis(gnuplot, 'y', rbe_blocks_describe(blocks).block);
    fprintf(gnuplot,
            "set title 'mean size of the coefficients'\nset xlabel 'input frequency'\nset ylabel 'output frequency'\n"
            "set format y '%%g'\nset cbrange [0:*]\nset cbtics\n"
            "set palette defined (0 'white', 0.2 '#fdbb84', 0.5 '#d7301f', 1 '#3f0000')\n"
            "set colorbox user origin %g,%g size 0.018,%g\nplot $frequencies matrix with image notitle\n",
            to + 0.012, curves_bottom, curves_top - curves_bottom);
}

/* Curves of what has been written by write_energy. */
static void draw_energy(FILE *gnuplot, bool original, bool stored, double from) {
    place(gnuplot, from, 0.975, curves_bottom, curves_top);
    fprintf(gnuplot,
            "set title 'energy of the largest values'\nset xlabel 'values kept [%% of inputs x outputs]'\n"
            "set ylabel 'energy kept [%%]' offset 1\nset format y '%%g'\nset ytics 20\nset yrange [0:100]\n"
            "set autoscale x\nset logscale x\nset xtics (0.01, 0.1, 1, 10, 100)\nset grid lc rgb '#dddddd' lt 1\n"
            "set key at graph 0.03,0.97 left top Left reverse samplen 1.2\nplot ");
    if (original) fprintf(gnuplot, "$of_original with lines lw 4 lc rgb '#888888' title 'original', ");
    if (stored) fprintf(gnuplot, "$of_stored with lines lw 4 lc rgb '#d7301f' title 'coefficients', ");
    fprintf(gnuplot, "$of_weights with lines lw 4 lc rgb '#2166ac' title '%s'\n", stored ? "decompressed" : "weights");
}

/* ---- the picture --------------------------------------------------------------------------------------------- */

static void write_title(FILE *gnuplot, const rbe_layer *layer) {
    char title[200];
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_blocks_info info = rbe_blocks_describe(blocks);
    int length = snprintf(title, sizeof title, "%.80s: %zu inputs, %zu outputs", rbe_layer_name(layer),
                          rbe_layer_inputs(layer), rbe_layer_outputs(layer));
    if (blocks)
        snprintf(title + length, sizeof title - (size_t)length, ", B = %zu, %.3g %% of the values", info.block,
                 100.0 * (double)(info.coefficients + info.alphas) / ((double)info.in * (double)info.out));
    fprintf(gnuplot, "set multiplot title ");
    gnuplot_string(gnuplot, title);
}

static void write_picture(FILE *gnuplot, const rbe_layer *layer, const float *original) {
    const rbe_blocks *blocks = rbe_linear_blocks(layer);
    const rbe_param *stored = rbe_layer_param(layer, 0);
    size_t count = rbe_layer_outputs(layer) * rbe_layer_inputs(layer);
    float *w = dense_matrix(layer);
    write_title(gnuplot, layer);
    fprintf(gnuplot, "set tics out nomirror\nset title offset 0,-0.4\n");
    write_energy(gnuplot, "of_weights", w, count, count);
    if (original) write_energy(gnuplot, "of_original", original, count, count);
    if (blocks) write_energy(gnuplot, "of_stored", stored->value, stored->count, count);
    draw_maps(gnuplot, curves_top + 0.15, layer, w, original);
    if (blocks) draw_frequencies(gnuplot, blocks, 0.44);
    draw_energy(gnuplot, original, blocks, blocks ? 0.64 : left);
    fprintf(gnuplot, "unset multiplot\n");
    free(w);
}

void draw_layer(const char *path, const rbe_layer *layer, const float *original) {
    FILE *gnuplot = gnuplot_open(path, 1200, 1000);
    write_picture(gnuplot, layer, original);
    gnuplot_close(gnuplot, path);
}
