/* Number formats of files, in integer arithmetic: no compiler's or processor's 16-bit type is needed.
 *
 *     f16    sign, 5 bits of exponent (bias 15), 10 of fraction; 65504 is the largest
 *     bf16   sign, 8 bits of exponent (bias 127), 7 of fraction: the upper half of an f32
 */
#include "io/convert.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bits / 2^shift, to the nearest, ties to even. A carry out of the fraction raises the exponent, as it should. */
static uint32_t shift_rounded(uint32_t bits, unsigned shift) {
    uint32_t half = (uint32_t)1 << (shift - 1), odd = (bits >> shift) & 1;
    return (bits + half - 1 + odd) >> shift;
}

uint16_t rbe_f16_from_f32(float value) {
    uint32_t sign = bits_of(value) >> 16 & 0x8000, bits = bits_of(value) & 0x7fffffff;
    if (bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 */
    if (bits >= 0x38800000) return (uint16_t)(sign | shift_rounded(bits - ((127 - 15) << 23), 13));
    /* Below 2^-14: a multiple of 2^-24, so that the fraction, with its leading 1, moves right. */
    unsigned exponent = bits >> 23;
    if (exponent < 127 - 25) return (uint16_t)sign;
    return (uint16_t)(sign | shift_rounded((bits & 0x7fffff) | 0x800000, 126 - exponent));
}

float rbe_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

static void reverse(void *to, const void *from, size_t count, size_t size) {
    for (size_t n = 0; n < count; n++) {
        uint8_t value[8];
        memcpy(value, (const uint8_t *)from + n * size, size);
        for (size_t b = 0; b < size; b++) ((uint8_t *)to)[n * size + b] = value[size - 1 - b];
    }
}

static bool host_is_little_endian(void) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static void swap_if(bool foreign, void *to, const void *from, size_t count, size_t size) {
    if (foreign && size > 1)
        reverse(to, from, count, size);
    else if (to != from && count > 0)
        memcpy(to, from, count * size);
}

void rbe_swap_little_endian(void *to, const void *from, size_t count, size_t size) {
    swap_if(!host_is_little_endian(), to, from, count, size);
}

void rbe_swap_big_endian(void *to, const void *from, size_t count, size_t size) {
    swap_if(host_is_little_endian(), to, from, count, size);
}

static uint16_t half_at(const void *values, size_t n) {
    uint16_t bits;
    memcpy(&bits, (const char *)values + n * sizeof bits, sizeof bits);
    return bits;
}

/* A whole number: its magnitude, and its sign in *negative. */
static uint64_t whole_at(rbe_dtype dtype, const void *values, size_t n, bool *negative) {
    size_t size = rbe_dtype_bytes(dtype);
    uint8_t bytes[8] = {0};
    memcpy(bytes, (const char *)values + n * size, size);
    rbe_swap_little_endian(bytes, bytes, 1, size);
    uint64_t whole = 0;
    for (size_t b = 0; b < size; b++) whole |= (uint64_t)bytes[b] << 8 * b;
    bool has_sign = dtype == RBE_I64 || dtype == RBE_I32 || dtype == RBE_I16 || dtype == RBE_I8;
    *negative = has_sign && whole >> (8 * size - 1);
    if (!*negative) return whole;
    return size < 8 ? ((uint64_t)1 << 8 * size) - whole : 0 - whole;
}

static size_t convert_whole(rbe_dtype dtype, const void *values, size_t count, float *floats) {
    for (size_t n = 0; n < count; n++) {
        bool negative;
        uint64_t whole = whole_at(dtype, values, n, &negative);
        floats[n] = negative ? -(float)whole : (float)whole;
        int zeros = whole ? __builtin_ctzll(whole) : 0;
        if (whole >> zeros >= (uint64_t)1 << 24 || (dtype == RBE_BOOL && whole > 1)) return n;
    }
    return count;
}

size_t rbe_convert_to_f32(rbe_dtype dtype, const void *values, size_t count, float *floats) {
    if (dtype == RBE_F32) {
        if (count > 0) memcpy(floats, values, count * sizeof *floats);
    } else if (dtype == RBE_F16) {
        for (size_t n = 0; n < count; n++) floats[n] = rbe_f16_to_f32(half_at(values, n));
    } else if (dtype == RBE_BF16) {
        for (size_t n = 0; n < count; n++) floats[n] = rbe_bf16_to_f32(half_at(values, n));
    } else if (dtype == RBE_F64) {
        for (size_t n = 0; n < count; n++) {
            double wide;
            memcpy(&wide, (const char *)values + n * sizeof wide, sizeof wide);
            floats[n] = (float)wide;
            if (isfinite(wide) && !isfinite(floats[n])) return n;
        }
    } else {
        return convert_whole(dtype, values, count, floats);
    }
    return count;
}

size_t rbe_convert_from_f32(rbe_dtype dtype, const float *floats, size_t count, void *values) {
    for (size_t n = 0; n < count; n++) {
        float stored = floats[n];
        if (dtype == RBE_F32) {
            ((float *)values)[n] = stored;
        } else {
            uint16_t bits = dtype == RBE_F16 ? rbe_f16_from_f32(stored) : rbe_bf16_from_f32(stored);
            ((uint16_t *)values)[n] = bits;
            stored = dtype == RBE_F16 ? rbe_f16_to_f32(bits) : rbe_bf16_to_f32(bits);
        }
        if (!isfinite(stored)) return n;
    }
    return count;
}
