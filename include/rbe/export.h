/* rbe/export.h - a trained model as a C file that needs nothing else.
 *
 *     RBE_TRY(rbe_export_c(model, "net.c", &(rbe_export_options){.samples = x, .sample_count = 10}));
 *
 * writes net.c and net.h, C99 and C++: constant arrays, and
 *
 *     int net_predict(const float *x, float *y, void *scratch);
 *
 * which computes y = model(x) for one sample: NET_INPUTS floats become NET_OUTPUTS floats. `scratch` is memory of
 * NET_SCRATCH bytes, of any alignment, which holds nothing between two calls; that is all memory that is needed beside
 * a few hundred bytes of stack. The function is reentrant. It returns 0, or -1 for a NULL pointer. The file has no
 * malloc, no file, no input or output; it assumes that float is IEEE binary32 in the byte order of uint32_t, and
 * nothing else. Of libm it calls, only where the model has such layers: erff (gelu), expf (gelu_tanh, sigmoid,
 * softmax, log_softmax), tanhf (tanh), logf (log_softmax), sqrtf (norms).
 *
 * Products work on the compressed form: inputs are transformed block by block, lists of positions are decoded on the
 * way, outputs are transformed back. W is nowhere. Outputs differ from those of the library by rounding alone: less
 * than 1e-5 of a sample's largest output, unless the model itself makes more of such differences.
 *
 * Equal models and options give equal bytes, in any locale. (What the test expects, the library's outputs, may differ in
 * their last bits from one instruction set to another.)
 *
 * Sequences. A model with an embedding takes ids, one at a time: x[0] is an id, and -1 is also returned for one that there
 * is not. A model with attention or positions takes a sequence place by place, and y is what it gives for that place. Then
 * the scratch memory holds what the places before have left, and must stay where and as it is between the calls;
 * net_begin(scratch) begins a sequence. NET_PLACES is the most that it may have, beyond which -1 is returned. (Of libm
 * that takes expf and sqrtf, and for rotary positions cos, sin and pow.)
 *
 * Whole numbers. With `integer` the file has no floats at all, and needs no libm:
 *
 *     int net_predict(const uint8_t *x, int32_t *y, void *scratch);
 *
 * Inputs are bytes, which stand for 0 .. 1, if all `inputs` (below) are pixels, n / 255; otherwise int16_t of at most
 * NET_LARGEST (beyond which -1 is returned). What an input and an output stand for the file says at its beginning. Values
 * have up to 4 bits, or up to 8; what one layer hands to the next has up to 16, with a scale that the inputs show to be
 * large enough; all sums are of 32 bits, and no input can make one leave them: an export that cannot promise this is
 * refused. Results are the same on all machines, bit for bit. The layers may be: dense ones; compressed ones without alphas and
 * overlap, with dct or identity along outputs and inputs, or inputs that are an image of even height and width; relu
 * behind one of these; dropout, sequences of layers; and a softmax or log_softmax at the end, which is left out, as the
 * largest output stays the largest.
 */
#ifndef RBE_EXPORT_H
#define RBE_EXPORT_H

#include "rbe/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How values stand in the file. Values of few bits are whole numbers of steps, as rbe_layer_set_bits says, with a step
 * (a bf16) for each row. */
typedef enum rbe_export_values {
    RBE_EXPORT_AS_TRAINED, /* of layers with bits in these bits, of others as floats */
    RBE_EXPORT_F32,        /* all as floats */
    RBE_EXPORT_INT8,       /* matrices in 8 bits, or in those that they have */
    RBE_EXPORT_INT4        /* matrices in 4 bits, or in fewer that they have */
} rbe_export_values;

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_export_options {
    const char *name; /* what functions and macros are called by; default "net": net_predict, NET_INPUTS. A letter, then
                         letters, digits and single underscores, at most 23; no word of C or C++ */
    rbe_export_values values;
    bool speed;           /* rather than size: fast transforms, positions in bytes */
    size_t places;        /* of a sequence, at most; default: as many as the model has positions for */
    const float *samples; /* the self-test's: sample_count x places x inputs, see rbe_export_sample */
    size_t sample_count;
    bool integer; /* whole numbers only: see above. A matrix without bits has 8 then, and these are looked at: */
    const float
        *inputs; /* input_count of them, as samples are, which show how large numbers become; default: the samples */
    size_t input_count;
    uint32_t *model_classes,
        *file_classes; /* NULL, or room for input_count: the place of the largest output, of the model
                                               and of the file, for each of the inputs */
    double tolerance;  /* of the test: how far an output may be off, over the largest one of its sample; default 1e-5. A
                         model that makes more of differences (a norm of values that are nearly alike) may need more */
} rbe_export_options;

/* Writes PATH, which must end in ".c", and the header beside it, which ends in ".h" instead: both, or neither; how files
 * are replaced says rbe/io.h under "Writing".
 *
 * With samples the file has a test: cc -DNET_TEST net.c -lm && ./a.out computes them, compares with what the model gives
 * now, prints the bytes of constants and of memory and the microseconds of a sample, and ends with 0, or with 1 if an
 * output is too far off; of whole numbers, if one is not the very number that is expected, and it prints in how many
 * samples the largest output is where the model has it. Values that are rounded on the way are so for these outputs,
 * too: `model` is not const, because it is changed while the call runs, rather than copied. It is the same bits when the
 * call returns.
 *
 * INVALID_ARGUMENT for NULL, a bad name, path or option, a model without widths, one with more than 2 GB of arrays or of
 * scratch memory, one that takes more than 100,000 steps, and, with its path, a layer that cannot be exported: one of a
 * program's own, a bag, attention that runs several times; with whole numbers any that is not listed above, values that
 * are to be floats, and a call without inputs. CORRUPTED_BLOCK, NUMERICAL_INSTABILITY for values that are
 * not finite, or outputs of samples; IO_ERROR, INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_export_c(rbe_model *model, const char *path, const rbe_export_options *options);

/* What a sample of a model is: `places` (1 unless it has attention or positions) of `inputs` values each, which are ids
 * below `vocabulary` unless that is 0. Of the options, places is used. INVALID_ARGUMENT as above. */
typedef struct rbe_export_sample_shape {
    size_t places, inputs, vocabulary;
} rbe_export_sample_shape;

/* Fills in *shape. */
RBE_API rbe_status rbe_export_sample(const rbe_model *model, const rbe_export_options *options,
                                     rbe_export_sample_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
