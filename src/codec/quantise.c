/* Steps of rows, and the way from values to whole numbers of them and back, run by run. */
#include "codec/quantise.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bfloat.h"

/* From which `most` rounded steps still are a finite float. */
#define LARGEST 0x1.fcp127f

/* -0 + 0 is 0. */
static inline float whole_steps(float value, float step) { return step > 0.0f ? rintf(value / step) + 0.0f : 0.0f; }

/* Below FLT_MIN a bf16 has fewer bits: no row needs such steps. */
static float step_of(float largest, float most) {
    const float step = rbe_bf16_to_f32(rbe_bf16_from_f32(largest / most));
    return step < FLT_MIN ? 0.0f : step;
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
    for (size_t row = 0; row < rows->count; row++) steps[row] = step_of(steps[row], most);
    return at;
}

void rbe_quantise(const rbe_rows *rows, const float *values, const float *steps, float *numbers) {
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++)
                numbers[at] = whole_steps(values[at], steps[r.first + m * r.step]);
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
