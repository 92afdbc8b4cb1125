/* Tables of numbers: read from a CSV file, or made; scaled. */
#include "table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum { FIRST_ROOM = 1024, LINE = 4096 };

static table with_room(table t, size_t rows) {
    t.x = example_need(realloc(t.x, rows * t.inputs * sizeof *t.x));
    t.y = example_need(realloc(t.y, rows * sizeof *t.y));
    return t;
}

/* Whether the line holds a finite number for each column, and nothing else. */
static bool read_row(char *line, table *t) {
    char *at = line, *end = line;
    for (size_t column = 0; column <= t->inputs; column++, at = end + 1) {
        float value = strtof(at, &end);
        if (end == at || !isfinite(value) || (column < t->inputs && *end != ',')) return false;
        *(column < t->inputs ? &t->x[t->rows * t->inputs + column] : &t->y[t->rows]) = value;
    }
    return *end == '\0' || *end == '\n' || *end == '\r';
}

/* A header: no field of it is a number. */
static bool is_header(const char *line) {
    for (;; line++) {
        char *end;
        strtof(line, &end);
        if (end != line && strchr(",\r\n", *end)) return false;
        line = strchr(line, ',');
        if (!line) return true;
    }
}

static FILE *open_table(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) example_fail(1, "%s cannot be read", path);
    return file;
}

table table_read(const char *path, size_t inputs) {
    table t = with_room((table){.inputs = inputs}, FIRST_ROOM);
    FILE *file = open_table(path);
    char line[LINE];
    size_t room = FIRST_ROOM, number = 1;
    for (; fgets(line, sizeof line, file); number++) {
        if (t.rows == room) t = with_room(t, room *= 2);
        if (read_row(line, &t))
            t.rows++;
        else if (number > 1 || !is_header(line))
            example_fail(1, "%s, line %zu: expected %zu finite numbers with commas between them", path, number,
                         inputs + 1);
    }
    bool failed = ferror(file);
    fclose(file);
    if (failed || t.rows == 0) example_fail(1, "%s has no rows that can be read", path);
    return t;
}

table table_make(size_t rows) {
    const double pi = 3.14159265358979;
    table t = with_room((table){.inputs = 7, .rows = rows}, rows);
    rbe_rng *rng = example_need(rbe_rng_new(1, 0));
    for (size_t n = 0; n < rows; n++) {
        double u[7];
        for (size_t j = 0; j < 7; j++) {
            u[j] = rbe_rng_uniform(rng);
            t.x[n * 7 + j] = (float)(pow(10, (double)j - 3) * (u[j] + (double)j));
        }
        double f = 10 * sin(pi * u[0] * u[1]) + 20 * (u[2] - 0.5) * (u[2] - 0.5) + 10 * u[3] + 5 * u[4];
        t.y[n] = (float)(200 + f + rbe_rng_normal(rng));
    }
    rbe_rng_free(rng);
    return t;
}

void table_free(table *t) {
    free(t->x);
    free(t->y);
    *t = (table){0};
}

/* ---- scaling ------------------------------------------------------------------------------------------------- */

static double mean_of(const float *values, size_t rows, size_t columns) {
    double sum = 0;
    for (size_t n = 0; n < rows; n++) sum += (double)values[n * columns];
    return sum / (double)rows;
}

/* 1 for a column whose values are all equal. */
static double deviation_of(const float *values, size_t rows, size_t columns, double mean) {
    double sum = 0;
    for (size_t n = 0; n < rows; n++) sum += pow((double)values[n * columns] - mean, 2);
    return sum > 0 ? sqrt(sum / (double)rows) : 1.0;
}

rbe_layer *table_scaling(const float *values, size_t rows, size_t columns, bool back) {
    float *weights = example_take(columns * columns, sizeof *weights), *bias = example_take(columns, sizeof *bias);
    for (size_t j = 0; j < columns; j++) {
        double mean = mean_of(values + j, rows, columns), deviation = deviation_of(values + j, rows, columns, mean);
        weights[j * columns + j] = (float)(back ? deviation : 1 / deviation);
        bias[j] = (float)(back ? mean : -mean / deviation);
    }
    rbe_layer *layer = rbe_dense_from_weights(columns, columns, weights, bias, back ? "units" : "scaling");
    rbe_layer_freeze(layer, true);
    free(weights);
    free(bias);
    return layer;
}
