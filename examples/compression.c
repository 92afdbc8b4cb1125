/* Options of programs that compress matrices. */
#include "compression.h"

#include <string.h>

compression compression_default(void) {
    return (compression){.transform = "dct",
                         .alpha = "auto",
                         .store_name = "f32",
                         .target_error = COMPRESSION_SAFE_ERROR,
                         .block = 32,
                         .group = 1};
}

void compression_add_options(compression *c, example_option options[COMPRESSION_OPTIONS]) {
    const example_option all[COMPRESSION_OPTIONS] = {
        {"target-error", EXAMPLE_REAL, &c->target_error, "E", "store as few values as reach this relative error", 1e-9,
         0.999999},
        {"ratio", EXAMPLE_REAL, &c->ratio, "R", "instead: dense values per stored value, whatever the error", 1, 1e6},
        {"coeffs", EXAMPLE_COUNT, &c->coeffs, "K", "instead: coefficients per block", 1, 65536},
        {"min-compression", EXAMPLE_REAL, &c->min_compression, "R",
         "leave a matrix dense if it would become less than R times smaller", 0, 1e6},
        {"block", EXAMPLE_COUNT, &c->block, "B", "block size, a power of two 8 .. 256", 8, 256},
        {"transform", EXAMPLE_TEXT, &c->transform, "NAME", "dct, haar, wht, bspline303, .. or adaptive", 0, 0},
        {"row-transform", EXAMPLE_TEXT, &c->row_transform, "NAME", "the same along the outputs only", 0, 0},
        {"column-transform", EXAMPLE_TEXT, &c->column_transform, "NAME", "the same along the inputs only", 0, 0},
        {"alpha", EXAMPLE_TEXT, &c->alpha, "on|off|auto", "the smooth part of each block", 0, 0},
        {"group", EXAMPLE_COUNT, &c->group, "G", "block rows that share positions", 1, 65536},
        {"overlap", EXAMPLE_COUNT, &c->overlap, "N", "rows and columns by which blocks overlap", 0, 128},
        {"store", EXAMPLE_TEXT, &c->store_name, example_stores(), "type of the stored values", 0, 0}};
    memcpy(options, all, sizeof all);
}

void compression_check(compression *c) {
    if (c->transform && strcmp(c->transform, "adaptive") == 0) c->transform = NULL;
    if ((c->ratio > 0) + (c->coeffs > 0) + example_given("target-error") > 1)
        example_fail(2, "--ratio, --coeffs and --target-error exclude each other");
    example_transform("row", c->row_transform, c->transform);
    example_transform("column", c->column_transform, c->transform);
    if (c->ratio > 0 || c->coeffs > 0) c->target_error = 0;
    rbe_store_named(c->store_name, &c->store);
}

rbe_compress_options compression_options(const compression *c) {
    return (rbe_compress_options){.block = c->block,
                                  .coeffs = c->coeffs,
                                  .ratio = c->ratio,
                                  .row_transform = example_transform("row", c->row_transform, c->transform),
                                  .column_transform = example_transform("column", c->column_transform, c->transform),
                                  .alpha = example_alpha(c->alpha),
                                  .group = c->group,
                                  .overlap = c->overlap,
                                  .adaptive = !c->transform,
                                  .target_error = c->target_error,
                                  .min_compression = c->min_compression};
}
