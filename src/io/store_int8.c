/* int8 with a scale for each row: codec/quantise.h, 8 bits. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/full.h"
#include "codec/quantise.h"
#include "io/convert.h"
#include "io/store.h"

enum { BITS = 8 };

/* What the scales of a part are called: of the matrix of a layer, "scales"; of others, which a user's own may have
 * beside it, "part_scales". */
static const char *scales_of(const char *part, char name[RBE_PATH_SIZE]) {
    if (strcmp(part, "weight") == 0 || strcmp(part, "values") == 0) return "scales";
    snprintf(name, RBE_PATH_SIZE, "%s_scales", part);
    return name;
}

/* ---- to whole numbers ---------------------------------------------------------------------------------------- */

static rbe_status pack(const rbe_store_type *type, rbe_pack *to, rbe_owner owner, const char *part, size_t dims,
                       const size_t *shape, const float *values, const rbe_rows *rows) {
    size_t count, bytes;
    rbe_shape_bytes(RBE_I8, dims, shape, &count, &bytes);
    char name[RBE_PATH_SIZE];
    uint16_t *scales = rbe_pack_add(to, owner, scales_of(part, name), RBE_BF16, 1, &rows->count, NULL);
    int8_t *stored = rbe_pack_add(to, owner, part, type->dtype, dims, shape, NULL);
    float *steps = rbe_alloc(rows->count, sizeof *steps), *numbers = rbe_alloc(count, sizeof *numbers);
    if (!scales || !stored || !steps || !numbers) {
        rbe_free(steps);
        rbe_free(numbers);
        return RBE_INSUFFICIENT_MEMORY;
    }
    const size_t sound = rbe_quantise_steps(rows, BITS, values, steps);
    for (size_t row = 0; sound == count && row < rows->count; row++) scales[row] = rbe_bf16_from_f32(steps[row]);
    if (sound == count) rbe_quantise(rows, values, steps, numbers);
    for (size_t n = 0; sound == count && n < count; n++) stored[n] = (int8_t)numbers[n];
    rbe_free(steps);
    rbe_free(numbers);
    return sound == count ? RBE_OK : rbe_pack_bad_value(to, values, sound, type->name);
}

/* ---- and back ------------------------------------------------------------------------------------------------ */

static rbe_status unpack(rbe_unpack *u, rbe_part part, const rbe_rows *rows, float *values) {
    char name[RBE_PATH_SIZE];
    const char *found = scales_of(part.info->name + strlen(u->owner.name) + 1, name);
    rbe_part scales = rbe_unpack_part(u, found);
    RBE_TRY(rbe_unpack_shape(u, found, scales, 1, &rows->count));
    RBE_TRY(rbe_tensor_file_read_f32(u->file, part.number, values));
    float *factors = NULL;
    rbe_status status = rbe_unpack_floats(u, scales, NULL, &factors);
    if (status == RBE_OK) rbe_dequantise(rows, factors, values);
    rbe_free(factors);
    for (size_t n = 0; status == RBE_OK && n < part.info->count; n++)
        if (!isfinite(values[n]))
            status = rbe_unpack_fail(u, "tensor %s: value %zu, scaled, is too large", part.info->name, n);
    return status;
}

const rbe_store_type rbe_store_int8 = {"int8", RBE_I8, RBE_F16, RBE_FULL(pack), unpack};
