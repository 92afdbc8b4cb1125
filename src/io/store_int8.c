/* int8 with a scale for each row: half a step, 1/254 of the row's largest value, is the error.
 *
 *     value ~ stored * scale        scale = max |value| of the row / 127, rounded to a bf16
 *
 * A bf16 has the range of the values in half of their bytes. Values are divided by the rounded scale, so its rounding
 * costs nothing; the largest then is at most 127 (1 + 2^-8) < 127.5 steps away. LARGEST is the value from which 127
 * rounded steps still are a finite float.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "io/convert.h"
#include "io/store.h"

#define LARGEST 0x1.fcp127f

/* What the scales of a part are called: of the matrix of a layer, "scales"; of others, which a user's own may have
 * beside it, "part_scales". */
static const char *scales_of(const char *part, char name[RBE_PATH_SIZE]) {
    if (strcmp(part, "weight") == 0 || strcmp(part, "values") == 0) return "scales";
    snprintf(name, RBE_PATH_SIZE, "%s_scales", part);
    return name;
}

/* ---- to whole numbers ---------------------------------------------------------------------------------------- */

/* Beyond 127.5 only where steps are so small that bf16 has few bits left, below 1e-37. */
static float whole_steps(float value, float step) { return fmaxf(-127.0f, fminf(127.0f, rintf(value / step))); }

/* The largest magnitude of each row. Returns the index of the first value that is not finite or beyond LARGEST, or
 * the number of values. */
static size_t find_largest(const rbe_rows *rows, const float *values, float *largest) {
    memset(largest, 0, rows->count * sizeof *largest);
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                float magnitude = fabsf(values[at]), *most = &largest[r.first + m * r.step];
                if (!(magnitude <= LARGEST)) return at;
                if (magnitude > *most) *most = magnitude;
            }
    }
    return at;
}

static void divide(const rbe_rows *rows, const float *values, const float *steps, int8_t *stored) {
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) {
                float step = steps[r.first + m * r.step];
                stored[at] = (int8_t)(step > 0.0f ? whole_steps(values[at], step) : 0.0f);
            }
    }
}

static rbe_status pack(const rbe_store_type *type, rbe_pack *to, rbe_owner owner, const char *part, size_t dims,
                       const size_t *shape, const float *values, const rbe_rows *rows) {
    size_t count, bytes;
    rbe_shape_bytes(RBE_I8, dims, shape, &count, &bytes);
    char name[RBE_PATH_SIZE];
    uint16_t *scales = rbe_pack_add(to, owner, scales_of(part, name), RBE_BF16, 1, &rows->count, NULL);
    int8_t *stored = rbe_pack_add(to, owner, part, type->dtype, dims, shape, NULL);
    float *steps = rbe_alloc(rows->count, sizeof *steps);
    if (!scales || !stored || !steps) {
        rbe_free(steps);
        return RBE_INSUFFICIENT_MEMORY;
    }
    size_t sound = find_largest(rows, values, steps);
    for (size_t row = 0; sound == count && row < rows->count; row++) {
        scales[row] = rbe_bf16_from_f32(steps[row] / 127.0f);
        steps[row] = rbe_bf16_to_f32(scales[row]);
    }
    if (sound == count) divide(rows, values, steps, stored);
    rbe_free(steps);
    return sound == count ? RBE_OK : rbe_pack_bad_value(to, values, sound, type->name);
}

/* ---- and back ------------------------------------------------------------------------------------------------ */

static void multiply(const rbe_rows *rows, float *values, const float *scales) {
    size_t at = 0;
    for (size_t n = 0; n < rbe_row_run_count(rows); n++) {
        const rbe_row_run r = rbe_row_run_at(rows, n);
        for (size_t e = 0; e < r.entries; e++)
            for (size_t m = 0; m < r.members; m++, at++) values[at] *= scales[r.first + m * r.step];
    }
}

static rbe_status unpack(rbe_unpack *u, rbe_part part, const rbe_rows *rows, float *values) {
    char name[RBE_PATH_SIZE];
    const char *found = scales_of(part.info->name + strlen(u->owner.name) + 1, name);
    rbe_part scales = rbe_unpack_part(u, found);
    RBE_TRY(rbe_unpack_shape(u, found, scales, 1, &rows->count));
    RBE_TRY(rbe_tensor_file_read_f32(u->file, part.number, values));
    float *factors = NULL;
    rbe_status status = rbe_unpack_floats(u, scales, NULL, &factors);
    if (status == RBE_OK) multiply(rows, values, factors);
    rbe_free(factors);
    for (size_t n = 0; status == RBE_OK && n < part.info->count; n++)
        if (!isfinite(values[n]))
            status = rbe_unpack_fail(u, "tensor %s: value %zu, scaled, is too large", part.info->name, n);
    return status;
}

const rbe_store_type rbe_store_int8 = {"int8", RBE_I8, RBE_F16, pack, unpack};
