/* Where the time of a forward product goes. */
#ifndef RBE_BENCH_PARTS_H
#define RBE_BENCH_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "rbe/codec.h"

/* Prints a line for a matrix of size x size: one thread, row-major in and out, `rows` rows. */
void bench_parts(const rbe_compress_options *options, size_t size, size_t rows, bool quick);

#endif
