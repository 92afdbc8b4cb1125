/* Sums over rows, a few columns at a time: each column is summed from the first row to the last by one task. */
#include "base/column_sums.h"

#include "base/parallel.h"

enum { COLUMNS = 64 };

typedef struct column_sums {
    const float *values;
    size_t rows, columns;
    bool add;
    float *sum;
} column_sums;

static void sum_columns(void *context, size_t first, size_t count) {
    const column_sums *s = context;
    double total[COLUMNS] = {0};
    const float *row = s->values + first;
    size_t n = 0;
    for (; n + 4 <= s->rows; n += 4, row += 4 * s->columns) { /* totals are loaded and stored for four rows at once */
        const float *second = row + s->columns, *third = second + s->columns, *fourth = third + s->columns;
        for (size_t i = 0; i < count; i++)
            total[i] += ((double)row[i] + (double)second[i]) + ((double)third[i] + (double)fourth[i]);
    }
    for (; n < s->rows; n++, row += s->columns)
        for (size_t i = 0; i < count; i++) total[i] += (double)row[i];
    for (size_t i = 0; i < count; i++)
        s->sum[first + i] = (float)((s->add ? (double)s->sum[first + i] : 0.0) + total[i]);
}

void rbe_column_sums(const float *values, size_t rows, size_t columns, bool add, float *sum) {
    column_sums s = {values, rows, columns, add, sum};
    rbe_parallel_ranges(columns, COLUMNS, sum_columns, &s);
}
