#include "codec/quantise.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bfloat.h"

/* From which `most` rounded steps still are a finite float. */
#define LARGEST 0x1.fcp127f

/* Beyond most only where the steps are those of other values. -0 + 0 is 0. */
static inline float whole_steps(float value, float step, float most) {
    return step > 0.0f ? fmaxf(-most, fminf(most, rintf(value / step))) + 0.0f : 0.0f;
}

size_t rbe_quantise_steps(const rbe_rows *rows, unsigned bits, const float *values, float *steps) {
    memset(steps, 0, rows->count * sizeof *steps);
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                float magnitude = fabsf(values[at]), *largest = &steps[r.first + m * r.step];
                if (!(magnitude <= LARGEST)) return at;
                if (magnitude > *largest) *largest = magnitude;
            }
    }
    const float most = (float)rbe_most_steps(bits);
    for (size_t row = 0; row < rows->count; row++) {
        const float step = rbe_bf16_to_f32(rbe_bf16_from_f32(steps[row] / most));
        steps[row] = step >= FLT_MIN ? step : 0.0f; /* a smaller bf16 has too few bits to come back */
    }
    return at;
}

void rbe_quantise(const rbe_rows *rows, unsigned bits, const float *values, const float *steps, float *numbers) {
    const float most = (float)rbe_most_steps(bits);
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++)
                numbers[at] = whole_steps(values[at], steps[r.first + m * r.step], most);
    }
}

void rbe_dequantise(const rbe_rows *rows, const float *steps, float *values) {
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) values[at] *= steps[r.first + m * r.step];
    }
}
