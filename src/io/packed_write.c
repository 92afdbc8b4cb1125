/* From a layer to one tensor. Its bits are counted first, then written. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "io/packed.h"
#include "io/positions_golomb.h"

bool rbe_layer_has_bits(const rbe_layer *layer) {
    bool found = false;
    for (size_t n = 0; n < layer->param_count; n++) found = found || layer->params[n].bits > 0;
    return found;
}

/* ---- what is packed ------------------------------------------------------------------------------------------ */

/* A layer, and where its tensor's bits go. */
typedef struct packing {
    rbe_owner owner;
    const rbe_layer *layer;
    const rbe_blocks *blocks; /* NULL: dense */
    bool positions;           /* stand in the tensor */
    rbe_bits bits;
} packing;

/* As files call a parameter. */
static const char *part_of(const packing *p, const rbe_param *param) {
    return p->blocks && param->value == p->blocks->values ? "values" : param->part;
}

static rbe_status check_param(const packing *p, const rbe_param *param) {
    const char *part = part_of(p, param);
    if (!part || !*part || strlen(part) >= RBE_NAME_SIZE || rbe_utf8_length(part, strlen(part)) < strlen(part))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: one of its parameters has no part, which is its name in files",
                        p->owner.kind, p->owner.name);
    if (param->bits != 0 && (param->bits < RBE_LEAST_BITS || param->bits > RBE_MOST_BITS))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: bits of %s: expected 0 or %d .. %d, found %u", p->owner.kind,
                        p->owner.name, part, RBE_LEAST_BITS, RBE_MOST_BITS, param->bits);
    return RBE_OK;
}

static rbe_status bad_value(const packing *p, const rbe_param *param, const float *values, size_t n) {
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s %s: %s: value %zu, %g, is not finite or beyond the range of %u bits",
                    p->owner.kind, p->owner.name, part_of(p, param), n, (double)values[n],
                    param->bits > 0 ? param->bits : 32);
}

/* ---- coding -------------------------------------------------------------------------------------------------- */

static void code_table(packing *p) {
    uint64_t count = p->layer->param_count;
    rbe_bits_code(&p->bits, 8, &count);
    for (size_t n = 0; n < count; n++) {
        const rbe_param *param = &p->layer->params[n];
        rbe_packed_part part = {.bits = param->bits,
                                .rows = param->rows,
                                .columns = param->rows > 0 ? param->count / param->rows : param->count};
        snprintf(part.name, sizeof part.name, "%s", part_of(p, param));
        rbe_packed_part_code(&p->bits, &part);
    }
}

/* `values` is a copy, which becomes whole numbers. */
static rbe_status code_values(packing *p, const rbe_param *param, float *values, float *steps) {
    const rbe_rows rows = rbe_param_rows(p->layer, param);
    const char *part = part_of(p, param);
    size_t sound = param->bits > 0 ? rbe_quantise_steps(&rows, param->bits, values, steps)
                                   : rbe_first_nonfinite(values, param->count);
    if (sound < param->count) return bad_value(p, param, values, sound);
    if (param->bits == 0) {
        rbe_packed_floats_code(&p->bits, values, param->count);
        return RBE_OK;
    }
    rbe_quantise(&rows, values, steps, values);
    RBE_TRY(rbe_packed_steps_code(&p->bits, &rows, steps, p->owner.name, part));
    return rbe_packed_numbers_code(&p->bits, &rows, param->bits, steps, values, p->owner.name, part);
}

static rbe_status code_param(packing *p, const rbe_param *param) {
    const rbe_rows rows = rbe_param_rows(p->layer, param);
    float *values = rbe_alloc(param->count, sizeof *values), *steps = rbe_alloc(rows.count, sizeof *steps);
    rbe_status status = values && steps ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK && p->blocks && param->value == p->blocks->alpha)
        rbe_alpha_in_order(p->blocks, values);
    else if (status == RBE_OK && param->count > 0)
        memcpy(values, param->value, param->count * sizeof *values);
    if (status == RBE_OK) status = code_values(p, param, values, steps);
    rbe_free(values);
    rbe_free(steps);
    return status;
}

static rbe_status code_layer(packing *p) {
    code_table(p);
    if (p->positions) {
        rbe_blocks view = *p->blocks; /* which is read only */
        RBE_TRY(rbe_lengths_code(&p->bits, &view, view.value_count, p->owner.name));
        RBE_TRY(rbe_columns_code(&p->bits, &view, p->owner.name));
    }
    for (size_t n = 0; n < p->layer->param_count; n++) RBE_TRY(code_param(p, &p->layer->params[n]));
    return RBE_OK;
}

rbe_status rbe_pack_packed(rbe_pack *pack, rbe_owner owner, const rbe_layer *layer, rbe_store_positions positions,
                           cJSON *json) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    packing p = {.owner = owner, .layer = layer, .blocks = blocks};
    if (layer->param_count > RBE_MOST_PACKED)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s %s: bits: expected at most %d parameters", owner.kind, owner.name,
                        RBE_MOST_PACKED);
    for (size_t n = 0; n < layer->param_count; n++) RBE_TRY(check_param(&p, &layer->params[n]));
    if (blocks) {
        bool drawn;
        RBE_TRY(rbe_describe_blocks(owner, blocks, positions, json, &drawn));
        p.positions = !drawn;
    }
    RBE_TRY(code_layer(&p));
    const size_t bytes = (size_t)(p.bits.at + 7) / 8;
    p.bits = (rbe_bits){.bytes = rbe_pack_add(pack, owner, RBE_PACKED_PART, RBE_U8, 1, &bytes, NULL)};
    if (!p.bits.bytes) return RBE_INSUFFICIENT_MEMORY;
    memset(p.bits.bytes, 0, bytes);
    pack->has_packed = true;
    return code_layer(&p);
}
