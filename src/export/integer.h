/* A model in whole numbers: what an exported file without floats holds, made out of a model and samples (integer_plan.c,
 * integer_code.c), run here by the routines that the file has (integer_run.c), and written (integer_text.c).
 *
 * A number n of the net stands for n times a scale. Inputs and what a layer hands on are of 16 bits at most; all sums are
 * within int32_t, whatever the inputs are: shifts are chosen so, from the sizes of a layer's values.
 */
#ifndef RBE_EXPORT_INTEGER_H
#define RBE_EXPORT_INTEGER_H

#include "export/exporter.h"

enum {
    RBE_INT_FOLDED = 16383, /* the most that a DCT takes: sums of two have 16 bits */
    RBE_INT_UNIT = 8192     /* of outputs that are not transformed: snippets/int_back.c */
};

/* A layer with a matrix, and the operations behind it. */
typedef struct rbe_int_layer {
    const rbe_layer *layer;
    size_t in, out;
    bool wide; /* values of 8 bits, not of 4 */
    bool relu;
    /* Of a compressed matrix; block is 0 of a dense one. */
    size_t block, blocks, group;
    bool back;            /* a DCT along the outputs */
    size_t height, width; /* of an image, or 0 */
    size_t input_block;   /* of a DCT along the inputs, or 0 */
    size_t columns;       /* of what the lists choose from: inputs, or frequencies that are used */
    unsigned shifts[2];   /* of the DCTs of inputs */
    uint16_t *gaps;       /* snippets/int_lists.c */
    uint8_t *used;        /* int_image.c and int_blocks.c */
    size_t gap_count, used_bytes;
    size_t longest; /* room for a list or a block of outputs, with three more than there are columns */
    /* Of both. */
    int16_t *cosines[3]; /* for DCTs of an image's lines or of blocks of inputs, of its columns, and back */
    uint16_t *values, *scales;
    size_t value_count, scale_count;
    int16_t *bias; /* NULL: none */
    int32_t factor, most;
    unsigned first, second, last;
    /* While the numbers above are looked for: */
    float *steps;           /* a value is so many steps; in the order of the scales */
    uint32_t *weights;      /* sums of the magnitudes of a row's values; in the same order */
    uint32_t heaviest;      /* the largest of them */
    double bias_step, unit; /* of the bias; of a sum before `last` */
    /* Where its numbers stand in scratch memory, counted in numbers: inputs, what the lists choose from, outputs, work. */
    size_t from, chosen, to, work;
} rbe_int_layer;

struct rbe_int_plan {
    rbe_int_layer *layers;
    size_t count;
    bool narrow;         /* scales have a byte: snippets/int_scale_narrow.c */
    bool pixels;         /* inputs are bytes, which stand for 0 .. 1 */
    int32_t largest;     /* input */
    double scale;        /* of the inputs */
    bool widens;         /* inputs are copied to the beginning of scratch memory first */
    size_t scratch;      /* numbers of 16 bits */
    size_t most_outputs; /* of a layer */
};

void rbe_int_free(rbe_int_plan *plan);

/* snippets/int_dct.c */
static inline size_t rbe_int_half(size_t n) { return (n + 3) / 4 * 2; }

static inline size_t rbe_int_even(size_t n) { return (n + 1) / 2 * 2; }

/* Whether lists choose from frequencies of the inputs, perhaps none, and not from the inputs. */
static inline bool rbe_int_transforms(const rbe_int_layer *l) { return l->width > 0 || l->input_block > 0; }

/* Frequencies while they are made: of an image all columns of which any is used. */
static inline size_t rbe_int_chosen(const rbe_int_layer *l) {
    if (l->width > 0) return rbe_int_even(l->width * l->height);
    return l->input_block > 0 ? rbe_int_even(l->columns) : 0;
}

/* ---- values, positions (integer_code.c) ---------------------------------------------------------------------- */

/* INVALID_ARGUMENT, with the layer's path, for what whole numbers cannot do. */
rbe_status rbe_int_code(const rbe_exporter *x, rbe_int_layer *layer);

/* c cos(pi k / 2n), k = 0 .. n, for as large a c as a DCT of n numbers allows, which is returned. NULL: c
 * alone is wanted. */
double rbe_int_cosines(size_t n, int16_t *cosines);

/* ---- scales (integer_plan.c) --------------------------------------------------------------------------------- */

/* Makes the plan of x->model, of which the values have been rounded, and the ranges of layers from x->o.samples. */
rbe_status rbe_int_make(rbe_exporter *x, rbe_int_plan *plan);

/* ---- running (integer_run.c) --------------------------------------------------------------------------------- */

/* An input as the net takes it. */
int16_t rbe_int_input(const rbe_int_plan *plan, float value);

/* The first `layers` of the plan, for inputs as floats; y: what the last of them has before its last shift. scratch:
 * plan->scratch numbers, x: as many as inputs. */
void rbe_int_run(const rbe_int_plan *plan, size_t layers, const float *inputs, int16_t *x, int32_t *y,
                 int16_t *scratch);

/* ---- what it costs (integer_check.c) ------------------------------------------------------------------------- */

/* Outputs for the samples, x->whole, which is to be freed, and the classes that the options ask for. */
rbe_status rbe_int_evaluate(rbe_exporter *x);

/* The last part of the source. */
void rbe_int_selftest(rbe_exporter *x, size_t constants);

/* ---- text (integer_text.c) ----------------------------------------------------------------------------------- */

/* Bytes of constants in the source. */
size_t rbe_int_scratch_bytes(const rbe_int_plan *plan);
size_t rbe_int_constants(rbe_exporter *x);
void rbe_int_source(rbe_exporter *x, size_t constants);
void rbe_int_header(rbe_exporter *x, size_t constants);

#endif
