/* The loops of loops.h, for the instruction set that this is compiled for. */
#include "base/full.h"
#include "tensor/exponential.h"
#include "tensor/loops.h"

/* 2 u, u = sqrt(2 / pi) (x + 0.044715 x^3), and its derivative. */
static inline float gelu_argument(float x) { return 1.59576912f * x * (1.0f + 0.044715f * x * x); }

static inline float gelu_slope(float x) { return 1.59576912f * (1.0f + 0.134145f * x * x); }

static inline float fast_sigmoid(float x) { return 1.0f / (1.0f + rbe_exponential(-x)); }

static void gelu(const float *restrict x, float *restrict y, size_t count) {
    for (size_t n = 0; n < count; n++) y[n] = x[n] * fast_sigmoid(gelu_argument(x[n]));
}

static inline float gelu_derivative(float x) {
    float s = fast_sigmoid(gelu_argument(x));
    return s + x * s * (1.0f - s) * gelu_slope(x);
}

static void gelu_chain(const float *restrict g, const float *restrict x, float *restrict gx, bool add, size_t count) {
    if (add)
        for (size_t n = 0; n < count; n++) gx[n] += g[n] * gelu_derivative(x[n]);
    else
        for (size_t n = 0; n < count; n++) gx[n] = g[n] * gelu_derivative(x[n]);
}

static float exponentials(float *restrict x, float shift, size_t count) {
    float part[8] = {0};
    size_t n = 0;
    for (size_t k = 0; k < count; k++) x[k] = rbe_exponential(x[k] - shift);
    for (; n + 8 <= count; n += 8)
        for (size_t k = 0; k < 8; k++) part[k] += x[n + k];
    for (; n < count; n++) part[0] += x[n];
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

static float dot(const float *restrict a, const float *restrict b, size_t count) {
    enum { PARTS = 16 };
    float part[PARTS] = {0};
    size_t n = 0;
    for (; n + PARTS <= count; n += PARTS)
        for (size_t k = 0; k < PARTS; k++) part[k] += a[n + k] * b[n + k];
    for (size_t k = 0; n + k < count; k++) part[k] += a[n + k] * b[n + k];
    for (size_t width = PARTS / 2; width > 0; width /= 2)
        for (size_t k = 0; k < width; k++) part[k] += part[k + width];
    return part[0];
}

static void add_scaled(float *restrict y, float factor, const float *restrict x, size_t count) {
    for (size_t n = 0; n < count; n++) y[n] += factor * x[n];
}

#define RBE_LOOPS                                                                                                      \
    { gelu, RBE_FULL(gelu_chain), exponentials, dot, add_scaled }
