/* bfloat16: the upper half of a float, with its range in half of its bytes. */
#ifndef RBE_BASE_BFLOAT_H
#define RBE_BASE_BFLOAT_H

#include <stdint.h>
#include <string.h>

/* To the nearest, ties to even; beyond the range: infinity. NaN stays NaN. */
static inline uint16_t rbe_bf16_from_f32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float rbe_bf16_to_f32(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
