/* rbe/nn.h - parameters, layers and models.
 *
 * A layer is made by its constructor (NULL on failure: rbe_last_error), applied to tape variables by rbe_layer_forward
 * and freed by rbe_layer_free. Several threads may use a layer or model that nobody changes, each with a tape of its
 * own in inference.
 *
 *     rbe_model *m = rbe_model_new();
 *     rbe_model_add(m, rbe_linear_new(784, 300, &(rbe_linear_options){.ratio = 16, .seed = 1}));
 *     rbe_model_apply(m, rbe_relu);
 *     rbe_model_add(m, rbe_dense_new(300, 10, &(rbe_dense_options){.seed = 2}));
 *     if (rbe_model_status(m) != RBE_OK) puts(rbe_last_error());
 */
#ifndef RBE_NN_H
#define RBE_NN_H

#include <stdio.h>

#include "rbe/codec.h"
#include "rbe/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a layer's or parameter's name, the final zero included; longer ones are cut. */
#define RBE_NAME_SIZE 48

/* The same for a path, the names from the model on: "blocks.3.attention.query.coefficients". */
#define RBE_PATH_SIZE 160

/* ---- parameters ---------------------------------------------------------------------------------------------- */

/* A flat array of trained values and what belongs to them: a gradient, and companions, which are arrays of the same
 * layout, such as an optimiser's state or an average of the values. Whatever moves values (growth, pruning) moves all
 * of it. A layer owns its parameters. For a parameter of your own, fill in value (which stays yours), count and
 * lr_scale; all else is zero. */
typedef struct rbe_param {
    char name[RBE_PATH_SIZE]; /* "fc1.coefficients": the path of its layer, and its part */
    const char *part;         /* "coefficients": what it is within its layer */
    float *value;
    float *grad; /* NULL until the first backward or optimiser; `count` floats */
    size_t count;
    size_t rows;      /* of a matrix, which is row-major; 0: not a matrix */
    unsigned bits;    /* 2 .. 8: bits of a value in files (rbe_layer_set_bits); 0: values are floats */
    bool grad_set;    /* grad holds a gradient that no optimiser's step has consumed yet */
    bool grad_shared; /* grad is a part of the buffer of rbe_model_gradients */
    bool decays;      /* weight decay applies */
    bool frozen;      /* not trained: no gradient is computed, no step changes it, growth and pruning leave it alone */
    float lr_scale;   /* its learning rate is lr * lr_scale; 0: it stays as it is */
    float rate;       /* the learning rate of the last step of an optimiser; 0: none trains it */
    struct rbe_companion *companions; /* see rbe_param_companion */
} rbe_param;

/* Allocates grad if there is none; its values are not set. INSUFFICIENT_MEMORY. rbe_optim_new and rbe_optim_new_for
 * call it for every parameter. */
RBE_API rbe_status rbe_param_require_grad(rbe_param *param);

/* A companion by its name: `count` floats, or NULL if there is none. The pointer is valid until the count changes. */
RBE_API float *rbe_param_companion(const rbe_param *param, const char *name);

/* Adds a companion of zeros; *values (or NULL) becomes its array. INVALID_ARGUMENT if there is one of that name, or the
 * name has RBE_NAME_SIZE bytes or more; INSUFFICIENT_MEMORY. */
RBE_API rbe_status rbe_param_add_companion(rbe_param *param, const char *name, float **values);
RBE_API void rbe_param_remove_companion(rbe_param *param, const char *name); /* none of that name: nothing is done */

/* Frees the gradient and the companions of a parameter of your own, which no layer frees. NULL is allowed. */
RBE_API void rbe_param_clear(rbe_param *param);

/* ---- layers -------------------------------------------------------------------------------------------------- */

/* A part of a network: parameters, and how outputs are computed from inputs. */
typedef struct rbe_layer rbe_layer;

/* y = layer(x): the last dimension of x is the layer's input width (INPUT_DIMENSION_MISMATCH on the tape), the others
 * are kept. */
RBE_API rbe_var *rbe_layer_forward(const rbe_layer *layer, rbe_var *x);

/* NULL is allowed. Do not free a layer that a model or container owns: its owner does. */
RBE_API void rbe_layer_free(rbe_layer *layer);

/* These strings live as long as the layer. */
RBE_API const char *rbe_layer_name(const rbe_layer *layer);          /* "fc1": within its model or container */
RBE_API void rbe_layer_set_name(rbe_layer *layer, const char *name); /* a model keeps it; NULL changes nothing */
RBE_API const char *rbe_layer_path(const rbe_layer *layer);          /* "blocks.3.query": the names from the model on */
RBE_API const char *rbe_layer_kind(const rbe_layer *layer);          /* "dense", "rbe", ... */

/* Input and output width; 0 where the layer takes any. */
RBE_API size_t rbe_layer_inputs(const rbe_layer *layer);
RBE_API size_t rbe_layer_outputs(const rbe_layer *layer);

/* The n-th parameter of the layer itself, not of layers inside; NULL past the last. */
RBE_API rbe_param *rbe_layer_param(const rbe_layer *layer, size_t n);

/* Sets how many bits, 2 .. 8, each value of a layer's matrix takes in files. Values are then whole numbers of steps.
 * Each output (dense) or row of S (compressed) has a step of its own, a bf16: its largest
 * magnitude / (2^(bits - 1) - 1). All other parameters, such as biases and alphas, get 8 bits and one step. 0: floats
 * again. Layers inside stay as they are. This call rounds nothing: rbe_quantiser_new (rbe/adapt.h) trains values that
 * are whole steps, and files (rbe/io.h) round all others. INVALID_ARGUMENT for other numbers. */
RBE_API rbe_status rbe_layer_set_bits(rbe_layer *layer, unsigned bits);

/* What the parameters of a layer and of layers inside cost: values, and all the bytes that they need in memory -
 * values, positions, list pointers, alphas, bias. dense_bytes: for a compressed layer, the bytes of a dense one of the
 * same shape; for any other kind, which compresses nothing, its own bytes. */
typedef struct rbe_layer_cost {
    size_t values;
    size_t bytes;
    size_t dense_bytes;
} rbe_layer_cost;

/* Zeros for NULL. */
RBE_API rbe_layer_cost rbe_layer_describe_cost(const rbe_layer *layer);

/* ---- the dense layer: y = x W^T + b -------------------------------------------------------------------------- */

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_dense_options {
    const char *name; /* default "dense"; in a model "fc1" and the like, by its place */
    bool no_bias;
    uint64_t seed; /* of the initial weights: W ~ N(0, 2 / in) (He et al. 2015), b = 0 */
} rbe_dense_options;

/* y = x W^T + b. Widths are 1 .. 2^24, as in all layers. NULL on failure. */
RBE_API rbe_layer *rbe_dense_new(size_t in, size_t out, const rbe_dense_options *options);

/* A layer with copies of the given weights (out x in, row-major) and bias (out values; NULL for none). name as in the
 * options. NUMERICAL_INSTABILITY for a value that is not finite. */
RBE_API rbe_layer *rbe_dense_from_weights(size_t in, size_t out, const float *weights, const float *bias,
                                          const char *name);

/* ---- the compressed layer: y = x W^T + b with W as in rbe/codec.h -------------------------------------------- */

/* Zeros (and NULL) mean the defaults.
 *
 * What to choose: error in % on the last 10,000 training images of MNIST, which are held out (784-300-100-10, 8 epochs;
 * means of five seeds, which deviate by about 0.1), and seconds of training at ratio 16, grown. docs/results.md has the
 * commands.
 *
 *     along outputs, inputs             ratio 16      64    16 grown    64 grown     seconds
 *     dct, dct (the default)                2.26    3.34        2.04        2.61         2.9
 *     dct, dct, with alpha                  2.26    3.12        2.09        2.94         3.8
 *     identity, dct                         2.31    3.58        2.12        2.85         2.4
 *     identity, identity                    2.91    6.08        2.30        3.85         2.4
 *
 * Alpha is for smooth matrices. In training it takes time, and helps only at ratio 64 with positions that stay. The dct
 * is for axes whose neighbours are alike, such as pixels. Outputs and hidden units have no such neighbours: there the
 * identity is faster and about as good at ratio 16, but 0.24 points worse at ratio 64. */
typedef struct rbe_linear_options {
    const char *name;                      /* default "rbe"; in a model "fc1" and the like, by its place */
    size_t block;                          /* B: a power of two, 8 .. 256; default 32 */
    size_t coeffs;                         /* K per block on average, 1 .. B^2 (alphas come on top); or, not both: */
    double ratio;                          /* in * out / ratio (>= 1) values in all, with the alphas; default 16 */
    const rbe_transform *row_transform;    /* along the outputs; default dct */
    const rbe_transform *column_transform; /* along the inputs; default dct, of an image identity */
    rbe_alpha_mode alpha;                  /* AUTO is off */
    size_t group;                          /* block rows that share positions; default min(16, grid_rows) */
    size_t overlap;                        /* rows and columns (image: rows) that neighbouring blocks share, 0 .. B/2 */
    size_t image_height, image_width;      /* the inputs are an image, taken by its 2-D DCT: in = height * width */
    bool no_bias;
    double init_scale;      /* g of c ~ N(0, g^2 2/in B^2/K); default 0.7. alpha starts at 0. */
    size_t batch_threshold; /* inputs of fewer rows take the small-batch path; default by measurement */
    bool use_cache;         /* keep the transformed input for the backward pass instead of computing it again */
    uint64_t seed;          /* of positions and values */
} rbe_linear_options;

/* A layer with random positions; NULL on failure. Every row of S has the same number of columns, give or take one,
 * drawn without replacement. The probability of a column is proportional to 1 / (1 + frequency); for an image to 1 / (B
 * + place in the zigzag order); with the identity along the inputs, which has no frequencies, it is the same for each.
 * The same seed gives the same positions on every machine. The parameters are "coefficients", "alpha" if there are any,
 * and "bias". Coefficients and alphas have an lr_scale of sqrt(B^2 / K), and no parameter decays; you may change both.
 * INVALID_ARGUMENT for options out of range, and for a matrix so small that the ratio leaves no coefficient;
 * NUMERICAL_INSTABILITY if init_scale makes coefficients too large for a float; INSUFFICIENT_MEMORY. */
RBE_API rbe_layer *rbe_linear_new(size_t in, size_t out, const rbe_linear_options *options);

/* A layer from a compressed matrix, which it takes over, also when the call fails: the matrix is freed then. `bias` is
 * copied: bias_count = out values, or NULL and 0 for none. Of the options, name, batch_threshold and use_cache are
 * used. INPUT_DIMENSION_MISMATCH for another bias_count, NUMERICAL_INSTABILITY for a bias that is not finite. */
RBE_API rbe_layer *rbe_linear_from_blocks(rbe_blocks *blocks, const float *bias, size_t bias_count,
                                          const rbe_linear_options *options);

/* The compressed matrix inside; NULL for another kind of layer. It lives as long as the layer. */
RBE_API const rbe_blocks *rbe_linear_blocks(const rbe_layer *layer);

/* The gradients of block (p, q) after rbe_backward, with respect to the raw alphas and to each stored coefficient (in
 * `value`). Arguments and result are those of rbe_blocks_get; 0 if there is no gradient. */
RBE_API size_t rbe_linear_get_gradients(const rbe_layer *layer, size_t p, size_t q, double alpha[RBE_BASIS_COUNT],
                                        rbe_coefficient *coefficients, size_t capacity);

/* Counts of all threads since the layer was made: products done (a forward counts 1, a backward 1), and the
 * floating-point operations of their sparse and alpha parts (transforms are not counted). */
typedef struct rbe_linear_counters {
    uint64_t operation_count;
    uint64_t total_flops;
    uint64_t fallback_count; /* of rbe_linear_forward_safe */
} rbe_linear_counters;

/* Zeros for another kind of layer. */
RBE_API rbe_linear_counters rbe_linear_count(const rbe_layer *layer);

/* ---- safe inference ------------------------------------------------------------------------------------------ */

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_safe_options {
    float input_limit;   /* largest magnitude that an input may have; default 1e6 */
    size_t memory_limit; /* bytes for temporaries, on either path; default: what the system has available */
    void (*warn)(void *user, const char *text); /* called at each fallback, in this thread; NULL: no call */
    void *user;
} rbe_safe_options;

/* y = layer(x) for a compressed layer, without a tape. x is rows x in, y rows x out. Everything is checked: shapes
 * (INPUT_DIMENSION_MISMATCH), inputs (NUMERICAL_INSTABILITY with index and value), the memory it takes
 * (INSUFFICIENT_MEMORY with both numbers in MB), the compressed matrix (CORRUPTED_BLOCK with index and reason),
 * outputs. If the compressed product fails or gives values that are not finite, the matrix is decompressed one block
 * row at a time and multiplied by BLAS, if there is enough memory for that; this fallback is counted, and `warn` is
 * called. y->data is the caller's; it holds no result unless RBE_OK is returned. */
RBE_API rbe_status rbe_linear_forward_safe(const rbe_layer *layer, const rbe_tensor *x, rbe_tensor *y,
                                           const rbe_safe_options *options);

/* ---- dropout as a layer -------------------------------------------------------------------------------------- */

/* rbe_dropout (rbe/tensor.h) with this probability, 0 <= p < 1. */
RBE_API rbe_layer *rbe_dropout_new(float probability);

/* ---- normalisation as a layer -------------------------------------------------------------------------------- */

/* y = x / sqrt(mean of x^2 + epsilon) * scale along the last dimension of `width` values (rbe_rms_norm); the trained
 * scale begins at 1. 0 <= epsilon <= 1; 0: 1e-5. NULL on failure. Here and below, name NULL: a layer is named by its
 * place (rbe_model_add) until it gets a name. */
RBE_API rbe_layer *rbe_rms_norm_new(size_t width, float epsilon, const char *name);

/* y = (x - mean of x) / sqrt(variance of x + epsilon) * weight + bias in the same way (rbe_layer_norm); weight begins
 * at 1, and bias, if there is one, at 0. */
RBE_API rbe_layer *rbe_layer_norm_new(size_t width, float epsilon, bool no_bias, const char *name);

/* ---- sequences ----------------------------------------------------------------------------------------------- */

/* A vector of `width` trained values for each id below `vocabulary`: (.., places) becomes (.., places, width). Ids
 * enter as floats, in which whole numbers below 2^24 are exact; rbe_fit and the like turn a batch of tokens into them.
 * INVALID_ARGUMENT names the first value that is not such an id. Values begin as N(0, 0.02^2). A step of an optimiser
 * goes through the whole table, since averages and decay change rows that no id has chosen, too. With tens of thousands
 * of rows that takes as long as the layers behind it (docs/performance.md). */
RBE_API rbe_layer *rbe_embedding_new(size_t vocabulary, size_t width, uint64_t seed, const char *name);

/* y = x + a trained vector for each place. The dimension before the last counts the places of a sequence, at most
 * `places` of them (INPUT_DIMENSION_MISMATCH). Values begin as those of an embedding. */
RBE_API rbe_layer *rbe_positions_new(size_t places, size_t width, uint64_t seed, const char *name);

/* y = x W^T, a score for each id. W is the table of an embedding that has another place in the model, too (tied
 * weights). */
RBE_API rbe_layer *rbe_unembedding_new(rbe_layer *embedding, const char *name);

/* y = project(attention(qkv(x))), see rbe_attention. qkv has three times as many outputs as inputs, project as many
 * outputs as inputs, and the inputs are a multiple of the heads (with rotary positions, of twice the heads):
 * INPUT_DIMENSION_MISMATCH. Both may be of any kind; the new layer takes them over, also when the call fails.
 * rotary_base > 0: rotary positions (rbe_rotary; 10000 is usual). NULL options: one head. */
typedef struct rbe_attention_options {
    size_t heads;   /* at least 1 */
    double dropout; /* of the scores, and of the result; 0 <= p < 1 */
    double rotary_base;
} rbe_attention_options;

/* NULL on failure. */
RBE_API rbe_layer *rbe_attention_new(rbe_layer *qkv, rbe_layer *project, const rbe_attention_options *options,
                                     const char *name);

/* A block of a transformer: x1 = x + attention(norm_1(x)), y = x1 + feed(norm_2(x1)). All four layers keep the width.
 * The block takes them over, also when the call fails. */
RBE_API rbe_layer *rbe_block_new(rbe_layer *norm_1, rbe_layer *attention, rbe_layer *norm_2, rbe_layer *feed,
                                 const char *name);

/* ---- layers of layers ---------------------------------------------------------------------------------------- */

/* A container owns the layers that are added to it, also when adding them fails. A layer may be added in several places
 * of one model: its weights are shared, and trained, counted, stored and freed once. A NULL layer is INVALID_ARGUMENT;
 * the text repeats the thread's last error, which says why if a constructor has just failed. */

/* One after the other: y = layers[n - 1](... layers[0](x)). A width that does not fit the layer before is refused
 * (INPUT_DIMENSION_MISMATCH). */
RBE_API rbe_layer *rbe_sequential_new(const char *name);

/* y = x + inner(x). `inner` gives as many columns as it takes. */
RBE_API rbe_layer *rbe_residual_new(rbe_layer *inner, const char *name);

/* y = inner(inner(... inner(x))), `times` times (1 .. 1,000,000) with the same weights. */
RBE_API rbe_layer *rbe_repeat_new(rbe_layer *inner, size_t times, const char *name);

/* Layers that are only held together, under their names, for a forward pass of your own (a recurrent net). A bag has
 * none by itself. */
RBE_API rbe_layer *rbe_bag_new(const char *name);

/* An operation that keeps the shape. rbe_relu, rbe_gelu, rbe_gelu_tanh, rbe_tanh, rbe_sigmoid, rbe_softmax and
 * rbe_log_softmax can be stored in files, under the names "relu", "gelu", ..; functions of your own cannot. */
typedef rbe_var *rbe_operation(rbe_var *);

/* The operation of that name; NULL, with an error text that lists the names, for another one. */
RBE_API rbe_operation *rbe_operation_named(const char *name);

/* Operations as layers. `user` is passed on; it must live as long as the layer. */
RBE_API rbe_layer *rbe_operation_new(rbe_operation *operation);
RBE_API rbe_layer *rbe_function_new(rbe_var *(*function)(void *user, rbe_var *), void *user);

/* Adds a layer to a container: a sequential one or a bag. INVALID_ARGUMENT, or INPUT_DIMENSION_MISMATCH for a width
 * that does not fit. */
RBE_API rbe_status rbe_layer_add(rbe_layer *layer, rbe_layer *child);

/* The n-th layer inside, operations included; NULL past the last. */
RBE_API rbe_layer *rbe_layer_child(const rbe_layer *layer, size_t n);

/* ---- models: layers and operations in a row ------------------------------------------------------------------ */

/* A sequence of layers and operations, which it owns. */
typedef struct rbe_model rbe_model;

/* An empty one; NULL when memory is short. */
RBE_API rbe_model *rbe_model_new(void);
RBE_API void rbe_model_free(rbe_model *model); /* and its layers; NULL is allowed */

/* Appends a layer, which the model owns from now on (also when the call fails), or an operation that keeps the shape. A
 * NULL layer (INVALID_ARGUMENT, with the thread's last error, which says why if its constructor has just failed) or a
 * width that does not fit the layer before (INPUT_DIMENSION_MISMATCH) is an error that sticks: rbe_model_status.
 * Unnamed layers with parameters are called "fc1", "fc2", ... by their place, unnamed containers "residual3" and the
 * like.
 *
 * All places of a layer are in one model. A layer of another model is refused: INVALID_ARGUMENT names it. This error
 * does not stick, and the layer stays where it is. `user` must live as long as the model. */
RBE_API rbe_status rbe_model_add(rbe_model *model, rbe_layer *layer);
RBE_API rbe_status rbe_model_apply(rbe_model *model, rbe_operation *operation);
RBE_API rbe_status rbe_model_apply_function(rbe_model *model, rbe_var *(*function)(void *user, rbe_var *), void *user);

/* The first error of building, also as rbe_last_error; INVALID_ARGUMENT for NULL, a model that could not be made. */
RBE_API rbe_status rbe_model_status(const rbe_model *model);

/* y = model(x). Errors are on the tape of x: those of building, of the layers, and INVALID_ARGUMENT, naming the place,
 * for an operation that gives NULL or a variable of another tape. */
RBE_API rbe_var *rbe_model_forward(const rbe_model *model, rbe_var *x);

/* The n-th layer or parameter of the model, NULL past the last. Operations are not counted. A container counts as the
 * layers that it holds. What is used in several places counts once, at the first. */
RBE_API rbe_layer *rbe_model_layer(const rbe_model *model, size_t n);
RBE_API rbe_param *rbe_model_param(const rbe_model *model, size_t n);

/* The width of the rows that a model takes, that of its first layer with widths, or 0 if rows of any width enter it; and
 * the width of those that it gives, that of its last layer with widths. 0 without such a layer. Compare both with your
 * arrays before you give a model from elsewhere to rbe_predict. */
RBE_API size_t rbe_model_inputs(const rbe_model *model);
RBE_API size_t rbe_model_outputs(const rbe_model *model);

/* The layer of a path ("blocks.3.query"), or the parameter of one ("fc1.bias"); NULL if there is none. */
RBE_API rbe_layer *rbe_model_find(const rbe_model *model, const char *path);
RBE_API rbe_param *rbe_model_find_param(const rbe_model *model, const char *path);

/* Prints a table: name, kind, widths, values, bytes, and how many times smaller than dense. IO_ERROR. */
RBE_API rbe_status rbe_model_print(const rbe_model *model, FILE *file);

/* Freezes all parameters of a layer and of the layers inside, or lets them be trained again. A backward pass ends where
 * nothing below is trained: a frozen body costs only its forward pass. NULL is allowed. */
RBE_API void rbe_layer_freeze(rbe_layer *layer, bool frozen);

/* Drops all gradients that no optimiser's step has consumed. NULL is allowed. */
RBE_API void rbe_zero_grad(const rbe_model *model);

/* The gradients of all parameters that are not frozen in one array, in the order of rbe_model_param, each one aligned
 * to 64 bytes with zeros between them: to be reduced, clipped or looked at as a whole. Gradients that are not set are
 * zeros in it. The array is the model's. It is valid until a parameter's count changes (pruning) or a parameter is
 * frozen or trained again; the next call then makes a new one. *count (or NULL): its floats. NULL on failure. */
RBE_API float *rbe_model_gradients(rbe_model *model, size_t *count);

/* Sum over the layers; zeros for NULL. */
RBE_API rbe_layer_cost rbe_model_describe_cost(const rbe_model *model);

/* Bytes of temporaries that one training step with `rows` input rows takes from a tape, with the input and a
 * cross-entropy loss: the argument of rbe_tape_reserve. PTRDIFF_MAX for more than 2^31 - 1 rows. */
RBE_API size_t rbe_model_tape_bytes(const rbe_model *model, size_t rows);

/* ---- layers made of operations ------------------------------------------------------------------------------- */

/* The values of a parameter as a variable of the given shape, which has param->count values. With it you make a layer
 * of your own from operations. rbe_backward adds the gradient to param->grad, which it makes if there is none, as it
 * does for the parameters of layers; several uses on one tape add up. The parameter and its values are borrowed until
 * the reset and must not move. In inference, and for a frozen parameter, no gradient is computed. NULL tape gives NULL;
 * INVALID_ARGUMENT for NULL or a parameter without values, INPUT_DIMENSION_MISMATCH for a shape of another count. */
RBE_API rbe_var *rbe_parameter(rbe_tape *tape, rbe_param *param, int dims, const size_t *shape);

/* ---- gradients against finite differences -------------------------------------------------------------------- */

/* Builds a loss, a variable of one value, on a tape that records gradients. It is called several times for each entry
 * that is checked. As long as the parameters are the same it must give the same loss: dropout masks on this tape
 * repeat, and anything random of your own must repeat, too. */
typedef rbe_var *rbe_scalar_function(rbe_tape *tape, void *user);

/* Zeros (and NULL) mean the defaults. */
typedef struct rbe_gradient_options {
    double step;      /* of a difference, in units of max(0.5, root mean square of the parameter); < 1; default 2e-2 */
    double tolerance; /* the largest error that passes; default 1e-3 */
    size_t entries;   /* to be checked of each parameter: a sample if it has more; default 64 */
    uint64_t seed;    /* of the sample, and of dropout masks */
} rbe_gradient_options;

/* The worst entry that was checked. Its error is |found - expected| minus the uncertainty of the differences (rounding
 * of a float loss, and kinks of relu, abs, clamp or max within the step; at least 0), divided by the largest of
 * |found|, |expected| and the root mean square of the parameter's gradient. */
typedef struct rbe_gradient_report {
    size_t checked;         /* entries in all */
    size_t unresolved;      /* of these: so uncertain that even an error of 10 % may have passed */
    const rbe_param *param; /* NULL: none was checked */
    size_t index;
    double expected, found; /* by central differences, and by rbe_backward */
    double error;
} rbe_gradient_report;

/* Compares the gradients of rbe_backward with central finite differences in the values of `count` parameters.
 * NUMERICAL_INSTABILITY, with a text that names the worst entry, if its error is beyond the tolerance; also if more
 * than half of the entries are unresolved, or the loss is not finite. INVALID_ARGUMENT if the loss differs between two
 * calls, or a parameter is frozen or holds a gradient already (grad_set). Errors of the tape are returned as they are.
 * In any case the values are the same bits afterwards, and the parameters hold no gradient. List all parameters of the
 * loss: gradients of others stay where they are. report NULL: not wanted. */
RBE_API rbe_status rbe_check_gradients(rbe_scalar_function *loss, void *user, rbe_param *const *params, size_t count,
                                       const rbe_gradient_options *options, rbe_gradient_report *report);

#ifdef __cplusplus
}
#endif
#endif
