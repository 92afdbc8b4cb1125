/* Sums over rows: the gradient of a bias. */
#ifndef RBE_BASE_COLUMN_SUMS_H
#define RBE_BASE_COLUMN_SUMS_H

#include <stdbool.h>
#include <stddef.h>

/* sum[i] = (add ? sum[i] : 0) + sum_n values[n * columns + i], n below `rows`. Summed in double: a float stops growing
 * at 2^24 ones. */
void rbe_column_sums(const float *values, size_t rows, size_t columns, bool add, float *sum);

#endif
