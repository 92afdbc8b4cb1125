/* From one tensor to the values of a layer. Counts are compared with the bits that there are before memory is taken for
 * what they promise; what is read must be what the writer would write of it.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "io/blocks_read.h"
#include "io/packed.h"
#include "io/positions_golomb.h"

/* ---- tensor and table ---------------------------------------------------------------------------------------- */

/* What is no matrix is counted here, as floats: matrices are when the layer is made. */
static rbe_status take_part(const rbe_unpack *u, const rbe_packed_part *part) {
    return rbe_unpack_take(u, (rbe_room){.content = part->rows > 0 ? 0 : sizeof(float) * part->columns});
}

static rbe_status read_table(const rbe_unpack *u, rbe_packed *p) {
    uint64_t count;
    bool has_bits = false;
    rbe_bits_code(&p->bits, 8, &count);
    RBE_TRY(rbe_unpack_take(u, (rbe_room){.content = count * sizeof *p->parts}));
    p->parts = rbe_alloc_zeroed(count, sizeof *p->parts);
    if (!p->parts) return RBE_INSUFFICIENT_MEMORY;
    for (; p->count < count; p->count++) {
        rbe_packed_part *part = &p->parts[p->count];
        if (!rbe_packed_part_code(&p->bits, part))
            return rbe_unpack_fail(u, "tensor %s.packed: parameter %zu of its table is wrong", u->owner.name, p->count);
        RBE_TRY(take_part(u, part));
        has_bits = has_bits || part->bits > 0;
    }
    return has_bits ? RBE_OK : rbe_unpack_fail(u, "tensor %s.packed: no parameter has bits", u->owner.name);
}

static rbe_status read_tensor(const rbe_unpack *u, rbe_packed *p, rbe_part part) {
    const size_t length = strlen(u->file->source.name) + strlen(part.info->name) + sizeof ": tensor ";
    RBE_TRY(rbe_unpack_shape(u, RBE_PACKED_PART, part, 1, &part.info->count));
    RBE_TRY(rbe_unpack_take(u, (rbe_room){.content = part.info->bytes + length}));
    p->name = rbe_alloc(length, 1);
    p->bits =
        (rbe_bits){.reads = true, .size = 8 * (uint64_t)part.info->bytes, .bytes = rbe_alloc(part.info->bytes, 1)};
    if (!p->name || !p->bits.bytes) return RBE_INSUFFICIENT_MEMORY;
    snprintf(p->name, length, "%s: tensor %s", u->file->source.name, part.info->name);
    return rbe_tensor_file_read(u->file, part.number, p->bits.bytes);
}

rbe_status rbe_unpack_packed_open(rbe_unpack *u, rbe_packed *packed) {
    *packed = (rbe_packed){0};
    const rbe_part found = rbe_unpack_find(u, RBE_PACKED_PART);
    if (!found.info || found.info->dtype != RBE_U8) return RBE_OK; /* U8: of no parameter */
    if (!rbe_may_be_packed(u->file))
        return rbe_unpack_fail(
            u, "tensor %s: expected version " RBE_PACKED_VERSION_TEXT " of the format, found " RBE_VERSION_TEXT,
            found.info->name);
    RBE_TRY(read_tensor(u, packed, rbe_unpack_part(u, RBE_PACKED_PART)));
    u->packed = packed;
    return read_table(u, packed);
}

rbe_status rbe_unpack_packed_end(const rbe_unpack *u) {
    rbe_packed *p = u->packed;
    if (p->next < p->count)
        return rbe_unpack_fail(u, "tensor %s.packed: the layer has no parameter %s", u->owner.name,
                               p->parts[p->next].name);
    const uint64_t rest = p->bits.size - p->bits.at;
    uint64_t padding = 0;
    if (rest < 8) rbe_bits_code(&p->bits, (unsigned)rest, &padding);
    if (rest >= 8) return rbe_unpack_fail(u, "tensor %s.packed: bytes follow the last value", u->owner.name);
    return padding == 0 ? RBE_OK : rbe_unpack_fail(u, "tensor %s.packed: the last bits are not 0", u->owner.name);
}

void rbe_packed_free(rbe_packed *p) {
    rbe_free(p->name);
    rbe_free(p->bits.bytes);
    rbe_free(p->parts);
    *p = (rbe_packed){0};
}

const rbe_packed_part *rbe_packed_find(const rbe_packed *p, const char *name) {
    for (size_t n = 0; n < p->count; n++)
        if (strcmp(p->parts[n].name, name) == 0) return &p->parts[n];
    return NULL;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static rbe_status read_floats(const rbe_unpack *u, const char *name, float *values, size_t count) {
    rbe_packed_floats_code(&u->packed->bits, values, count);
    const size_t bad = rbe_first_nonfinite(values, count);
    if (rbe_bits_over(&u->packed->bits))
        return rbe_unpack_fail(u, "tensor %s.packed: %s: it ends within the values", u->owner.name, name);
    if (bad == count) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s.packed: %s: value %zu is not finite", u->owner.name, name, bad);
}

/* Steps are those that the values have: the largest of a row is as far from 0 as the bits allow. */
static rbe_status check_steps(const rbe_unpack *u, const rbe_packed_part *part, const rbe_rows *rows,
                              const float *steps, const float *values, float *again) {
    const size_t count = rbe_packed_count(part), sound = rbe_quantise_steps(rows, (unsigned)part->bits, values, again);
    if (sound < count)
        return rbe_unpack_fail(u, "tensor %s.packed: %s: value %zu, times its step, is too large", u->owner.name,
                               part->name, sound);
    for (size_t n = 0; n < rows->count; n++)
        if (steps[n] != again[n])
            return rbe_unpack_fail(u, "tensor %s.packed: %s: row %zu has a step of %g, expected %g for its values",
                                   u->owner.name, part->name, n, (double)steps[n], (double)again[n]);
    return RBE_OK;
}

static rbe_status read_whole(const rbe_unpack *u, const rbe_packed_part *part, const rbe_rows *rows, float *values,
                             float *steps) {
    rbe_packed *p = u->packed;
    RBE_TRY(rbe_packed_steps_code(&p->bits, rows, steps, p->name, part->name));
    RBE_TRY(rbe_packed_numbers_code(&p->bits, rows, (unsigned)part->bits, steps, values, p->name, part->name));
    rbe_dequantise(rows, steps, values);
    return check_steps(u, part, rows, steps, values, steps + rows->count);
}

static rbe_status check_shape(const rbe_unpack *u, const rbe_packed_part *part, const char *name, size_t rows,
                              size_t count) {
    if (part && strcmp(part->name, name) == 0 && part->rows == rows && rbe_packed_count(part) == count) return RBE_OK;
    return rbe_unpack_fail(u, "tensor %s.packed: expected %s of %zu values in %zu rows, found %s of %zu in %zu",
                           u->owner.name, name, count, rows, part ? part->name : "nothing",
                           part ? rbe_packed_count(part) : 0, part ? (size_t)part->rows : 0);
}

rbe_status rbe_unpack_packed_shape(const rbe_unpack *u, const char *name, size_t rows, size_t count) {
    return check_shape(u, rbe_packed_find(u->packed, name), name, rows, count);
}

rbe_status rbe_unpack_packed_values(const rbe_unpack *u, const char *name, size_t matrix_rows, size_t count,
                                    const rbe_rows *rows, float *values) {
    rbe_packed *p = u->packed;
    const rbe_packed_part *part = p->next < p->count ? &p->parts[p->next] : NULL;
    RBE_TRY(check_shape(u, part, name, matrix_rows, count));
    p->next++;
    if (part->bits == 0) return read_floats(u, name, values, count);
    float *steps = rbe_alloc_zeroed(rows->count, 2 * sizeof *steps);
    rbe_status status = steps ? read_whole(u, part, rows, values, steps) : RBE_INSUFFICIENT_MEMORY;
    rbe_free(steps);
    return status;
}

/* ---- compressed matrices ------------------------------------------------------------------------------------- */

static rbe_status read_positions(const rbe_unpack *u, rbe_blocks *b, size_t values) {
    rbe_packed *p = u->packed;
    char tensor[RBE_PATH_SIZE + 16];
    snprintf(tensor, sizeof tensor, "%s." RBE_PACKED_PART, u->owner.name);
    RBE_TRY(rbe_lengths_code(&p->bits, b, values, p->name));
    RBE_TRY(rbe_unpack_check_lengths(u, b, tensor, values));
    RBE_TRY(rbe_blocks_allocate(b));
    return rbe_columns_code(&p->bits, b, p->name);
}

static rbe_status read_alpha(const rbe_unpack *u, rbe_blocks *b) {
    const size_t count = RBE_BASIS_COUNT * b->grid_rows * b->grid_cols;
    const rbe_rows row = {.count = 1, .width = count};
    float *ordered = rbe_alloc(count, sizeof *ordered);
    if (!ordered) return RBE_INSUFFICIENT_MEMORY;
    rbe_status status = rbe_unpack_packed_values(u, "alpha", 0, count, &row, ordered);
    if (status == RBE_OK) rbe_alpha_from_order(b, ordered);
    rbe_free(ordered);
    return status;
}

static rbe_status fill_blocks(const rbe_unpack *u, rbe_blocks *b, const rbe_pattern *pattern, size_t values) {
    if (pattern)
        RBE_TRY(rbe_unpack_draw(u, b, pattern, u->owner.name, values));
    else
        RBE_TRY(read_positions(u, b, values));
    const rbe_rows rows = rbe_rows_of_blocks(b);
    RBE_TRY(rbe_unpack_packed_values(u, "values", 0, values, &rows, b->values));
    return b->alpha ? read_alpha(u, b) : RBE_OK;
}

static rbe_status read_blocks(rbe_unpack *u, size_t in, size_t out, rbe_blocks **blocks) {
    const rbe_packed_part *values = rbe_packed_find(u->packed, "values");
    const bool has_alpha = rbe_packed_find(u->packed, "alpha"), has_pattern = rbe_unpack_has_pattern(u);
    rbe_geometry geometry;
    rbe_pattern pattern;
    if (!values) return rbe_unpack_fail(u, "tensor %s.packed: its values are missing", u->owner.name);
    RBE_TRY(rbe_unpack_geometry(u, in, out, has_alpha, &geometry));
    const size_t count = rbe_packed_count(values);
    if (has_pattern) RBE_TRY(rbe_unpack_pattern(u, &geometry, count, &pattern));
    rbe_room room = rbe_room_for_matrix(&geometry, has_pattern);
    room.content += (geometry.grid_cols * geometry.block <= 65536 ? 2 : 4) * (uint64_t)count; /* columns, at most */
    RBE_TRY(rbe_unpack_take(u, room));
    *blocks = rbe_blocks_new(&geometry);
    return *blocks ? fill_blocks(u, *blocks, has_pattern ? &pattern : NULL, count) : RBE_INSUFFICIENT_MEMORY;
}

rbe_status rbe_unpack_packed_blocks(rbe_unpack *u, size_t in, size_t out, rbe_blocks **blocks) {
    *blocks = NULL;
    rbe_status status = read_blocks(u, in, out, blocks);
    if (status == RBE_OK) return RBE_OK;
    rbe_blocks_free(*blocks);
    *blocks = NULL;
    return status;
}
