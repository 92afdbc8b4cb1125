/* The constants of each layer: values as floats or in few bits, positions in codes, biases. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bfloat.h"
#include "export/exporter.h"
#include "export/positions.h"
#include "io/bit_stream.h"
#include "nn/bits.h"

/* "values_3" */
static const char *name_of(char name[40], const char *part, size_t number) {
    snprintf(name, 40, "%s_%zu", part, number);
    return name;
}

/* ---- values in few bits -------------------------------------------------------------------------------------- */

/* The numbers of a parameter, which has been rounded, and the steps of its rows. */
typedef struct whole {
    rbe_rows rows;
    float *numbers, *steps;
} whole;

static void whole_free(whole *w) {
    rbe_free(w->numbers);
    rbe_free(w->steps);
}

static rbe_status whole_of(const rbe_layer *layer, const rbe_param *param, unsigned bits, whole *w) {
    *w = (whole){.rows = rbe_param_rows(layer, param)};
    w->numbers = rbe_alloc(param->count, sizeof *w->numbers);
    w->steps = rbe_alloc(w->rows.count, sizeof *w->steps);
    if (!w->numbers || !w->steps) return RBE_INSUFFICIENT_MEMORY;
    const size_t bad = rbe_quantise_steps(&w->rows, bits, param->value, w->steps);
    if (bad < param->count)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu, %g, is too large", param->name, bad,
                        (double)param->value[bad]);
    rbe_quantise(&w->rows, param->value, w->steps, w->numbers);
    return RBE_OK;
}

/* Numbers side by side, of a matrix whose rows have steps of their own. Steps stand in the order in which their rows
 * come. */
static rbe_status packed(rbe_exporter *x, const whole *w, size_t count, unsigned bits, const char *part,
                         size_t number) {
    char name[40];
    uint8_t *code = rbe_alloc_zeroed(count * bits / 8 + 2, 1);
    uint16_t *steps = rbe_alloc(w->rows.count, sizeof *steps);
    if (code && steps) {
        rbe_bits stream = {.bytes = code};
        size_t step_count = 0;
        for (size_t n = 0; n < count; n++) {
            uint64_t unsigned_number = (uint64_t)((int)w->numbers[n] + (1 << (bits - 1)));
            rbe_bits_code(&stream, bits, &unsigned_number);
        }
        for (size_t n = 0; n < rbe_row_run_count(&w->rows); n++) {
            const rbe_row_run r = rbe_row_run_at(&w->rows, n);
            for (size_t m = 0; m < r.members && r.entries > 0; m++)
                steps[step_count++] = rbe_bf16_from_f32(w->steps[r.first + m * r.step]);
        }
        rbe_c_bytes(&x->text, name_of(name, part, number), code, (stream.at + 7) / 8 + 1);
        rbe_c_shorts(&x->text, name_of(name, "steps", number), steps, step_count);
        rbe_need(x, RBE_SNIPPET_packed);
    }
    const rbe_status status = code && steps ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    rbe_free(code);
    rbe_free(steps);
    return status;
}

static rbe_status matrix_values(rbe_exporter *x, const rbe_layer *layer, const rbe_param *param, const char *part,
                                size_t number) {
    char name[40];
    const unsigned bits = rbe_export_bits(x, layer, param);
    if (bits == 0) {
        rbe_c_floats(&x->text, name_of(name, part, number), param->value, param->count);
        return RBE_OK;
    }
    whole w;
    rbe_status status = whole_of(layer, param, bits, &w);
    if (status == RBE_OK) status = packed(x, &w, param->count, bits, part, number);
    whole_free(&w);
    return status;
}

/* ---- alphas, biases, scales ---------------------------------------------------------------------------------- */

/* The library keeps alphas group by group; here block after block. */
static void reorder_alpha(const rbe_blocks *b, const float *from, float *to) {
    for (size_t p = 0; p < b->grid_rows; p++)
        for (size_t q = 0; q < b->grid_cols; q++)
            for (size_t l = 0; l < RBE_ALPHA_FUNCTIONS; l++) *to++ = from[rbe_block_alpha(b, p, q, l) - b->alpha];
}

static rbe_status vector_values(rbe_exporter *x, const rbe_layer *layer, const rbe_param *param, size_t number) {
    char name[40];
    const unsigned bits = rbe_export_bits(x, layer, param);
    const rbe_blocks *b = rbe_layer_blocks(layer);
    whole w = {.numbers = NULL};
    float *ordered = rbe_alloc(param->count, sizeof *ordered);
    rbe_status status = !ordered ? RBE_INSUFFICIENT_MEMORY : bits ? whole_of(layer, param, bits, &w) : RBE_OK;
    if (status == RBE_OK) {
        const float *from = bits ? w.numbers : param->value;
        if (b && param->value == b->alpha)
            reorder_alpha(b, from, ordered);
        else
            memcpy(ordered, from, param->count * sizeof *ordered);
        name_of(name, param->part, number);
        if (bits) {
            int8_t *bytes = (int8_t *)ordered; /* each takes the place of a number that has been read */
            for (size_t n = 0; n < param->count; n++) bytes[n] = (int8_t)ordered[n];
            rbe_c_signed_bytes(&x->text, name, bytes, param->count);
        } else
            rbe_c_floats(&x->text, name, ordered, param->count);
    }
    rbe_free(ordered);
    whole_free(&w);
    return status;
}

const char *rbe_c_element(const rbe_exporter *x, const rbe_layer *layer, const rbe_param *param, size_t number,
                          const char *index, char text[160]) {
    const unsigned bits = rbe_export_bits(x, layer, param);
    if (bits == 0) {
        snprintf(text, 160, "%s_%zu[%s]", param->part, number, index);
        return text;
    }
    const rbe_rows rows = rbe_param_rows(layer, param);
    float step; /* a bf16 has at most 8 bits: a few digits are exact */
    char digits[40];
    rbe_quantise_steps(&rows, bits, param->value, &step);
    rbe_c_float_digits(step, digits);
    snprintf(text, 160, "(%s * (float)%s_%zu[%s])", digits, param->part, number, index);
    return text;
}

/* ---- positions ----------------------------------------------------------------------------------------------- */

static rbe_status positions(rbe_exporter *x, const rbe_blocks *b, size_t number) {
    char name[40];
    rbe_c_positions p;
    rbe_status status = rbe_c_positions_make(&p, b, x->o.speed);
    if (status == RBE_OK) {
        rbe_c_bytes(&x->text, name_of(name, "positions", number), p.code, p.bytes);
        if (!x->o.speed) rbe_c_bytes(&x->text, name_of(name, "widths", number), p.widths, p.width_count);
    }
    rbe_free(p.code);
    return status;
}

/* ---- a layer ------------------------------------------------------------------------------------------------- */

static rbe_status param_data(rbe_exporter *x, const rbe_layer *layer, const rbe_param *param, size_t number) {
    const rbe_blocks *b = rbe_layer_blocks(layer);
    if (param->count == 0) return RBE_OK;
    if (b && param->value == b->values) {
        RBE_TRY(positions(x, b, number));
        return matrix_values(x, layer, param, "values", number);
    }
    return param->rows ? matrix_values(x, layer, param, param->part, number) : vector_values(x, layer, param, number);
}

void rbe_c_layer_data(rbe_exporter *x, const rbe_layer *layer, size_t number) {
    char comment[64];
    rbe_c_print(&x->text, "\n/* %s */\n", rbe_comment(layer->path, comment));
    for (size_t n = 0; n < layer->param_count && x->text.status == RBE_OK; n++)
        rbe_export_fail(x, param_data(x, layer, &layer->params[n], number));
}
