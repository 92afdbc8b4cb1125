/* int8 with a scale for each row: half a step, 1/254 of the row's largest value, is the error.
 *
 * A scale is a bf16: it has the range of the values in half of their bytes. Values are divided by the rounded
 * scale, so its rounding costs nothing; the largest then is at most 127 (1 + 2^-8) < 127.5 steps away.
 * RBE_INT8_LARGEST is the value from which 127 rounded steps still are a finite float.
 */
#include "io/int8.h"

#include <math.h>
#include <string.h>

#include "codec/entries.h"
#include "io/convert.h"

/* Values come in runs: `entries` times `members` values, the m-th of each entry in row `first` + m * `step`. */
typedef struct run {
    size_t first, step, members, entries;
} run;

static size_t run_count(const rbe_rows *rows) { return rows->blocks ? rbe_list_count(rows->blocks) : rows->count; }

static run run_at(const rbe_rows *rows, size_t n) {
    const rbe_blocks *b = rows->blocks;
    if (!b) return (run){n, 0, 1, rows->width};
    const rbe_list list = rbe_list_at(b, n);
    return (run){list.group * b->group * b->block + list.frequency, b->block, list.rows, list.end - list.first};
}

rbe_rows rbe_rows_of_blocks(const rbe_blocks *blocks) {
    return (rbe_rows){.blocks = blocks, .count = blocks->grid_rows * blocks->block};
}

/* Beyond 127.5 only where steps are so small that bf16 has few bits left, below 1e-37. */
static float whole_steps(float value, float step) { return fmaxf(-127.0f, fminf(127.0f, rintf(value / step))); }

size_t rbe_int8_from_f32(const rbe_rows *rows, const float *values, int8_t *stored, uint16_t *scales, float *largest) {
    memset(largest, 0, rows->count * sizeof *largest);
    size_t at = 0;
    for (size_t n = 0; n < run_count(rows); n++) {
        const run r = run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                float magnitude = fabsf(values[at]), *most = &largest[r.first + m * r.step];
                if (!(magnitude <= RBE_INT8_LARGEST)) return at;
                if (magnitude > *most) *most = magnitude;
            }
    }
    for (size_t row = 0; row < rows->count; row++) {
        scales[row] = rbe_bf16_from_f32(largest[row] / 127.0f);
        largest[row] = rbe_bf16_to_f32(scales[row]); /* from here on the step */
    }
    at = 0;
    for (size_t n = 0; n < run_count(rows); n++) {
        const run r = run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                float step = largest[r.first + m * r.step];
                stored[at] = (int8_t)(step > 0.0f ? whole_steps(values[at], step) : 0.0f);
            }
    }
    return at;
}

void rbe_int8_scale(const rbe_rows *rows, float *values, const float *scales) {
    size_t at = 0;
    for (size_t n = 0; n < run_count(rows); n++) {
        const run r = run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) values[at] *= scales[r.first + m * r.step];
    }
}
