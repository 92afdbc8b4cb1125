/* A net in whole numbers, run by the same routines that an exported file has: so what it computes is known before it is
 * compiled, bit for bit.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "export/integer.h"

/* A file has what its layers need, and some of these are narrower. */
enum { WIDE = 1, SLIM = 1, ODD_ROWS = 1, PLAIN = 1, BACK = 1, NARROW = 0 };
typedef uint16_t scale_type;
typedef int16_t bias_type;
typedef int16_t input_type;

/* What one uses comes before it. */
/* clang-format off */
#include "export/snippets/int_apart.c"
#include "export/snippets/int_matrix.c"
#include "export/snippets/int_rows.c"
#include "export/snippets/int_dense.c"
#include "export/snippets/int_dct.c"
#include "export/snippets/int_forward.c"
#include "export/snippets/int_image.c"
#include "export/snippets/int_blocks.c"
#include "export/snippets/int_outputs.c"
#include "export/snippets/int_lists.c"
/* clang-format on */

int16_t rbe_int_input(const rbe_int_plan *plan, float value) {
    const double number = rint((double)value / plan->scale), most = plan->largest;
    return (int16_t)fmin(most, fmax(plan->pixels ? 0.0 : -most, number));
}

static matrix matrix_of(const rbe_int_layer *l) {
    return (matrix){.gaps = l->gaps,
                    .values = l->values,
                    .scales = l->scales,
                    .bias = l->bias,
                    .cosines = l->cosines[2],
                    .in = l->in,
                    .out = l->out,
                    .block = l->block,
                    .blocks = l->blocks,
                    .group = l->group,
                    .longest = l->longest,
                    .factor = l->factor,
                    .most = l->most,
                    .first = (uint8_t)l->first,
                    .second = (uint8_t)l->second,
                    .last = (uint8_t)l->last,
                    .relu = l->relu,
                    .wide = l->wide};
}

void rbe_int_run(const rbe_int_plan *plan, size_t layers, const float *inputs, int16_t *x, int32_t *y,
                 int16_t *scratch) {
    for (size_t n = 0; n < plan->layers[0].in; n++) x[n] = rbe_int_input(plan, inputs[n]);
    for (size_t n = 0; n < layers; n++) {
        const rbe_int_layer *l = &plan->layers[n];
        const matrix m = matrix_of(l);
        const bool outside = n == 0; /* also where the file copies them first */
        const int16_t *from = outside ? x : scratch + l->from;
        int16_t *const chosen = scratch + l->chosen, *const work = chosen + rbe_int_chosen(l);
        int32_t *const whole = n + 1 == layers ? y : NULL;
        if (l->width > 0)
            image(from, l->height, l->width, l->cosines[1], l->cosines[0], l->used, l->shifts[0], l->shifts[1], chosen,
                  work);
        else if (l->input_block > 0)
            input_blocks(from, l->in, l->input_block, l->cosines[0], l->used, l->shifts[0], chosen, work);
        if (rbe_int_transforms(l)) from = chosen;
        if (l->block > 0)
            lists(&m, from, scratch + l->to, whole, scratch + l->work);
        else
            dense(&m, from, scratch + l->to, whole, scratch + l->work);
    }
}
