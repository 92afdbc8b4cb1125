/* Where the text of an exported file goes: a file, or nowhere, when it is only counted. The first failure sticks. */
#ifndef RBE_EXPORT_TEXT_H
#define RBE_EXPORT_TEXT_H

#include "base/atomic_file.h"

enum { RBE_C_BUFFER = 16384 };

typedef struct rbe_c_text {
    rbe_atomic_file *file; /* NULL: nothing is written */
    rbe_status status;
    size_t data_bytes; /* of the arrays that have been written, or would have been */
    size_t used;
    char buffer[RBE_C_BUFFER];
} rbe_c_text;

/* As by printf, at most 1023 bytes. No floating-point numbers: they would follow the locale. */
void rbe_c_print(rbe_c_text *text, const char *format, ...) RBE_PRINTF(2, 3);
void rbe_c_put(rbe_c_text *text, const char *string);

/* "1.5f": reads back as the same number, whatever the locale. */
void rbe_c_float(rbe_c_text *text, float value);
void rbe_c_float_digits(float value, char digits[40]);
void rbe_c_double(rbe_c_text *text, double value);

/* "static const float NAME[COUNT] = {..};", of at least one value. */
void rbe_c_floats(rbe_c_text *text, const char *name, const float *values, size_t count);
void rbe_c_doubles(rbe_c_text *text, const char *name, const double *values, size_t count);
void rbe_c_bytes(rbe_c_text *text, const char *name, const uint8_t *values, size_t count);
void rbe_c_signed_bytes(rbe_c_text *text, const char *name, const int8_t *values, size_t count);
void rbe_c_shorts(rbe_c_text *text, const char *name, const uint16_t *values, size_t count);
void rbe_c_signed_shorts(rbe_c_text *text, const char *name, const int16_t *values, size_t count);
void rbe_c_words(rbe_c_text *text, const char *name, const int32_t *values, size_t count);

/* What is left in the buffer. Returns the status. */
rbe_status rbe_c_flush(rbe_c_text *text);

#endif
