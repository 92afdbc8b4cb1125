/* rbe/export.h - a trained model as a C file that needs nothing else.
 *
 *     RBE_TRY(rbe_export_c(model, "net.c", &(rbe_export_options){.samples = x, .sample_count = 10}));
 *
 * writes net.c and net.h, C99 and C++: constant arrays, and
 *
 *     int net_predict(const float *x, float *y, void *scratch);
 *
 * which computes y = model(x) for one sample: NET_INPUTS floats become NET_OUTPUTS floats. `scratch` is NET_SCRATCH
 * bytes of the caller's, of any alignment, which hold nothing between two calls. Besides, the function needs a few
 * hundred bytes of stack. It is reentrant, if each caller has its own scratch. It returns 0, or -1 for a NULL pointer.
 * It allocates nothing and reads and writes no files. It assumes that float is IEEE binary32 in the byte order of
 * uint32_t, and nothing else. It calls these functions of libm, if the model has such layers: erff (gelu), expf
 * (gelu_tanh, sigmoid, softmax, log_softmax), tanhf (tanh), logf (log_softmax), sqrtf (norms).
 *
 * Products work on the compressed form: the code transforms inputs block by block, decodes the lists of positions on
 * the way, and transforms outputs back. It never makes W. Outputs differ from those of the library by rounding alone:
 * by less than 1e-5 of a sample's largest output, unless the model itself amplifies such differences.
 *
 * Equal models and options give equal bytes, in any locale. (The outputs that the test expects are the library's. Their
 * last bits may differ from one instruction set to another.)
 *
 * Sequences. A model with an embedding takes ids, one at a time: x[0] is an id; for an unknown one the function returns
 * -1. A model with attention or positions takes a sequence place by place, and y is the output for that place. The
 * scratch memory then holds what later places need: between the calls it must stay where it is, unchanged.
 * net_begin(scratch) begins a sequence. A sequence has at most NET_PLACES places; beyond them the function returns -1.
 * (These models call expf and sqrtf, and with rotary positions cos, sin and pow.)
 *
 * Whole numbers. With `integer` the file has no floats at all, and needs no libm:
 *
 *     int net_predict(const uint8_t *x, int32_t *y, void *scratch);
 *
 * If all `inputs` (below) are pixels, n / 255, inputs are bytes that stand for 0 .. 1. Otherwise they are int16_t with
 * a magnitude of at most NET_LARGEST (beyond that the function returns -1). The beginning of the file says what an
 * input and an output stand for. Values have up to 4 bits, or up to 8. One layer hands up to 16 bits to the next, with
 * a scale that the inputs show to be large enough. All sums have 32 bits, and no input can make one overflow: an export
 * that cannot promise this is refused. Results are the same on all machines, bit for bit. The layers may be: dense
 * ones; compressed ones without alphas and overlap, with dct or identity along outputs and inputs, or with inputs that
 * are an image of even height and width; relu after one of these; dropout; sequences of layers; and a softmax or
 * log_softmax at the end, which is left out, because the largest output stays the largest.
 */
#ifndef RBE_EXPORT_H
#define RBE_EXPORT_H

#include "rbe/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the file stores values. Values of few bits are whole numbers of the steps of their rows (rbe_layer_set_bits). */
typedef enum rbe_export_values {
    RBE_EXPORT_AS_TRAINED, /* of layers with bits in these bits, of others as floats */
    RBE_EXPORT_F32,        /* all as floats */
    RBE_EXPORT_INT8,       /* matrices in 8 bits, or in those that they have */
    RBE_EXPORT_INT4        /* matrices in 4 bits, or in fewer that they have */
} rbe_export_values;

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_export_options {
    /* The beginning of the names of functions and macros; default "net": net_predict, NET_INPUTS. A letter, then
     * letters, digits and single underscores, at most 23 in all, without one at the end; no word of C or C++. */
    const char *name;
    rbe_export_values values;
    bool speed;           /* rather than size: fast transforms, positions in bytes */
    size_t places;        /* of a sequence, at most; default: as many as the model has positions for */
    const float *samples; /* of the self-test: sample_count x places x inputs, see rbe_export_sample */
    size_t sample_count;
    /* Of the self-test: how far an output may be off, divided by the largest output of its sample; 0 .. 1, default
     * 1e-5. A model that amplifies differences (a norm of values that are nearly alike) may need more. */
    double tolerance;
    /* Whole numbers only, see above. A matrix without bits gets 8. */
    bool integer;
    const float *inputs; /* input_count samples that show how large numbers become; default: the samples */
    size_t input_count;
    /* NULL, or room for input_count numbers each: receive which output is the largest for each of the inputs, by the
     * model and by the file. */
    uint32_t *model_classes, *file_classes;
} rbe_export_options;

/* Writes PATH, which must end in ".c", and beside it the header, which ends in ".h" instead: both, or neither. rbe/io.h
 * says under "Writing" how files are replaced.
 *
 * With samples the file has a self-test: cc -DNET_TEST net.c -lm && ./a.out computes them and compares the outputs with
 * those of the model now. It prints the bytes of constants and of memory and the microseconds per sample. It exits with
 * 0, or with 1 if an output is too far off. With whole numbers the outputs must be equal, and the test prints for how
 * many samples the largest output is the model's. If values are rounded for the file, they are also rounded for the
 * model's outputs. That is why `model` is not const: the call changes it for a while instead of copying it; no other
 * thread may use it meanwhile. When the call returns, it has the same bits again.
 *
 * INVALID_ARGUMENT for NULL, a bad name, path or option, a model without widths, one with more than 2 GB of arrays or
 * of scratch memory, and one that takes more than 100,000 steps or 256 tables of constants (for blocks and images of
 * too many sizes). Also, with its path, for a layer that cannot be exported: a type of your own, a bag, attention that
 * runs several times. With `integer` also for any layer that is not listed above, for RBE_EXPORT_F32, and for a call
 * without inputs and samples. CORRUPTED_BLOCK; NUMERICAL_INSTABILITY if values or outputs are not finite; IO_ERROR,
 * INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_export_c(rbe_model *model, const char *path, const rbe_export_options *options);

/* The shape of a model's sample: `places` (1 unless it has attention or positions) of `inputs` values each. The values
 * are ids below `vocabulary` unless that is 0. */
typedef struct rbe_export_sample_shape {
    size_t places, inputs, vocabulary;
} rbe_export_sample_shape;

/* Fills in *shape. Of the options it uses `places`. INVALID_ARGUMENT as above. */
RBE_API rbe_status rbe_export_sample(const rbe_model *model, const rbe_export_options *options,
                                     rbe_export_sample_shape *shape);

#ifdef __cplusplus
}
#endif
#endif
