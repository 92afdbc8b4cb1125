/* How matrices are compressed, as the command lines of compress_weights and import_torch say it. */
#ifndef RBE_EXAMPLES_COMPRESSION_H
#define RBE_EXAMPLES_COMPRESSION_H

#include "common.h"

/* ||W - W'|| / ||W||, or of the outputs if there are inputs to fit to: what the defaults keep to, and from where on an
 * explicit ratio is warned of. */
#define COMPRESSION_SAFE_ERROR 0.1

typedef struct compression {
    const char *transform, *row_transform, *column_transform, *alpha, *store_name;
    double ratio, target_error, min_compression;
    size_t block, coeffs, group, overlap;
    rbe_store store;
} compression;

compression compression_default(void);

/* Fills in the options, which write to `c`. */
enum { COMPRESSION_OPTIONS = 12 };
void compression_add_options(compression *c, example_option options[COMPRESSION_OPTIONS]);

/* After example_parse: ends the program with 2 for what does not go together. */
void compression_check(compression *c);

rbe_compress_options compression_options(const compression *c);

#endif
