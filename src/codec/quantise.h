/* Values as whole numbers of steps, with a step for each row.
 *
 *     value ~ n step      n = -most .. most,   most = 2^(bits - 1) - 1
 *     step = max |value| of the row / most, rounded to a bf16
 *
 * Half a step is the error. A bf16 has the range of the values in half of their bytes. Values are divided by the rounded
 * step, so its rounding costs nothing: the largest is at most most (1 + 2^-8) < most + 1/2 steps away. What has been
 * rounded stays as it is when it is rounded again, bit for bit: the largest value of a row was `most` steps.
 */
#ifndef RBE_CODEC_QUANTISE_H
#define RBE_CODEC_QUANTISE_H

#include "codec/rows.h"

enum { RBE_LEAST_BITS = 2, RBE_MOST_BITS = 8 };

/* `bits` is within these limits in all that follows. */
static inline int rbe_most_steps(unsigned bits) { return (1 << (bits - 1)) - 1; }

/* The step of each row, bf16 numbers; 0 of a row of zeros, and where it would be below FLT_MIN. Returns the index of the
 * first value that is not finite or is beyond the range, (2 - 2^-6) 2^127, or the number of values. */
size_t rbe_quantise_steps(const rbe_rows *rows, unsigned bits, const float *values, float *steps);

/* values -> n, as floats, none of them -0. In place is allowed. */
void rbe_quantise(const rbe_rows *rows, const float *values, const float *steps, float *numbers);

/* n -> n step, in place. */
void rbe_dequantise(const rbe_rows *rows, const float *steps, float *values);

#endif
