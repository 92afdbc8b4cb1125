/* Where the time of a forward product goes. */
#ifndef RBE_BENCH_PARTS_H
#define RBE_BENCH_PARTS_H

#include <stdbool.h>
#include <stddef.h>

/* Prints a line for a matrix of size x size: one thread, row-major in and out, `rows` rows. */
void bench_parts(const char *transform, size_t size, size_t rows, size_t block, size_t coeffs, size_t group,
                 bool quick);

#endif
