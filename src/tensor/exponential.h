/* exp(x) in a form that compilers turn into vector instructions, to 2 units in the last place:
 *
 *     exp(x) = 2^n exp(r),   n = x / ln 2 rounded,   r = x - n ln 2 within +- ln 2 / 2
 *
 * ln 2 is split in two, so that the difference is exact enough; exp(r) is a polynomial of degree 6, whose first
 * two coefficients are 1 and the others those of the least relative error: 4e-9
 * (Taylor's have 1e-7). Below -87 it is exp(-87), 1.6e-38, above 88 exp(88); a NaN stays one.
 */
#ifndef RBE_TENSOR_EXPONENTIAL_H
#define RBE_TENSOR_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

/* -87 and 88 (loops.c). They come from memory: where gcc sees them it makes a case of each, does the work of all cases and
 * blends the results, in twice the time. */
extern const float rbe_exponential_bounds[2];

static inline float rbe_exponential(float x) {
    /* 1.5 2^23: sums with it are rounded to whole numbers, which then stand in their lowest bits. */
    const float shift = 12582912.0f;
    const float least = rbe_exponential_bounds[0], most = rbe_exponential_bounds[1];
    float bounded = x < least ? least : x;
    bounded = bounded > most ? most : bounded;
    float shifted = bounded * 1.44269504f + shift, n = shifted - shift;
    float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 0.00138144672f;
    p = p * r + 0.00836878084f;
    p = p * r + 0.0416683927f;
    p = p * r + 0.166665196f;
    p = p * r + 0.49999994f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23; /* what is above n is shifted out */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#endif
