/* Number formats of files: 16-bit floats, int8 with a scale, byte order. */
#ifndef RBE_IO_CONVERT_H
#define RBE_IO_CONVERT_H

#include "base/bfloat.h"
#include "rbe/io.h"

/* IEEE 754 binary16, rounded to the nearest, ties to even; beyond the range: infinity. NaN stays NaN. */
uint16_t rbe_f16_from_f32(float value);
float rbe_f16_to_f32(uint16_t bits);

/* Converts between the host's byte order and a file's. In place is allowed. `size` is 1, 2, 4 or 8. */
void rbe_swap_little_endian(void *to, const void *from, size_t count, size_t size);
void rbe_swap_big_endian(void *to, const void *from, size_t count, size_t size);

/* Values of any type, in the host's byte order, to floats. Returns the index of the first finite value that no float
 * can hold, which for a whole number means: not exactly, or `count`. */
size_t rbe_convert_to_f32(rbe_dtype dtype, const void *values, size_t count, float *floats);

/* The other way, to F32, F16 or BF16: the index of the first value that is not finite or beyond the range. */
size_t rbe_convert_from_f32(rbe_dtype dtype, const float *floats, size_t count, void *values);

#endif
