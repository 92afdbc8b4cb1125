/* rbe/nn.h - parameters, layers and models.
 *
 * A layer is made by its constructor (NULL on failure: rbe_last_error), applied to tape variables by
 * rbe_layer_forward and freed by rbe_layer_free. A layer that nobody changes may be used by several threads at
 * once, each with a tape of its own in inference.
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

/* The same of a path, the names from the model on: "blocks.3.attention.query.coefficients". */
#define RBE_PATH_SIZE 160

/* ---- parameters ---------------------------------------------------------------------------------------------- */

/* A flat array of trained values and what belongs to them: a gradient, and companions, which are arrays of the same
 * layout, such as an optimiser's state or an average of the values. Whatever moves values (growth, pruning) moves all
 * of it. A layer owns its parameters. For a parameter of your own, fill in value, count and lr_scale; all else is
 * zero. */
typedef struct rbe_param {
    char name[RBE_PATH_SIZE]; /* "fc1.coefficients": the path of its layer, and its part */
    const char *part;         /* "coefficients": what it is within its layer */
    float *value;
    float *grad; /* NULL until the first backward or optimiser; `count` floats */
    size_t count;
    size_t rows;      /* of a matrix, row after row; 0: it is not a matrix */
    unsigned bits;    /* 2 .. 8: bits of a value in files (rbe_layer_set_bits); 0: values are floats */
    bool grad_set;    /* grad holds a gradient that no optimiser's step has consumed yet */
    bool grad_shared; /* grad is a part of the buffer of rbe_model_gradients */
    bool decays;      /* weight decay applies */
    bool frozen;      /* not trained: no gradient is computed, no step changes it, growth and pruning leave it alone */
    float lr_scale;   /* its learning rate is lr * lr_scale; 0: it stays as it is */
    float rate;       /* the learning rate of the last step of an optimiser; 0: none trains it */
    struct rbe_companion *companions; /* see rbe_param_companion */
} rbe_param;

/* Makes sure that grad exists. INSUFFICIENT_MEMORY. rbe_optim_new and rbe_optim_new_for call it for every parameter. */
RBE_API rbe_status rbe_param_require_grad(rbe_param *param);

/* A companion by its name: `count` floats, or NULL if there is none. The pointer holds until the count changes. */
RBE_API float *rbe_param_companion(const rbe_param *param, const char *name);

/* Adds a companion of zeros; *values (or NULL) becomes its array. INVALID_ARGUMENT if there is one of that name, or the
 * name has RBE_NAME_SIZE bytes or more. */
RBE_API rbe_status rbe_param_add_companion(rbe_param *param, const char *name, float **values);
RBE_API void rbe_param_remove_companion(rbe_param *param, const char *name); /* none of that name: nothing is done */

/* Frees gradient and companions: of a parameter of your own, which no layer frees. NULL is allowed. */
RBE_API void rbe_param_clear(rbe_param *param);

/* ---- layers -------------------------------------------------------------------------------------------------- */

/* A part of a network: parameters, and how outputs are computed from inputs. */
typedef struct rbe_layer rbe_layer;

/* y = layer(x): the last dimension of x is the layer's input width, the others are kept. */
RBE_API rbe_var *rbe_layer_forward(const rbe_layer *layer, rbe_var *x);

/* NULL is allowed. Do not free a layer that a model owns: the model does. */
RBE_API void rbe_layer_free(rbe_layer *layer);

/* Names and kinds are static strings or live as long as the layer. */
RBE_API const char *rbe_layer_name(const rbe_layer *layer);          /* "fc1": within its model or container */
RBE_API void rbe_layer_set_name(rbe_layer *layer, const char *name); /* a model keeps it; NULL changes nothing */
RBE_API const char *rbe_layer_path(const rbe_layer *layer);          /* "blocks.3.query": the names from the model on */
RBE_API const char *rbe_layer_kind(const rbe_layer *layer);          /* "dense", "rbe", ... */

/* Input and output width; 0 where the layer takes any. */
RBE_API size_t rbe_layer_inputs(const rbe_layer *layer);
RBE_API size_t rbe_layer_outputs(const rbe_layer *layer);

/* The n-th parameter, NULL past the last. */
RBE_API rbe_param *rbe_layer_param(const rbe_layer *layer, size_t n);

/* Sets the bits, 2 .. 8, of each value of a layer's matrix in files. Values are whole numbers of steps, with a step for
 * each output (dense) or each row of S (compressed): largest value / (2^(bits - 1) - 1). Biases and alphas get 8 bits
 * and one step. 0: floats again. This call rounds nothing: rbe_quantiser_new (rbe/adapt.h) trains values that are whole
 * steps, and files (rbe/io.h) round all others. INVALID_ARGUMENT for other numbers, and NULL. */
RBE_API rbe_status rbe_layer_set_bits(rbe_layer *layer, unsigned bits);

/* What a layer's parameters cost: trained values, and all bytes they need in memory - values, positions, list
 * pointers, alphas, bias. dense_bytes: of a compressed layer, a dense one of the same shape; of any other kind, which
 * compresses nothing, its own bytes. */
typedef struct rbe_layer_cost {
    size_t values;
    size_t bytes;
    size_t dense_bytes;
} rbe_layer_cost;

/* Zeros for NULL. */
RBE_API rbe_layer_cost rbe_layer_describe_cost(const rbe_layer *layer);

/* ---- the dense layer: y = x W^T + b -------------------------------------------------------------------------- */

typedef struct rbe_dense_options {
    const char *name; /* default "dense" */
    bool no_bias;
    uint64_t seed; /* of the initial weights: W ~ N(0, 2 / in), b = 0 */
} rbe_dense_options;

/* y = x W^T + b. NULL on failure. */
RBE_API rbe_layer *rbe_dense_new(size_t in, size_t out, const rbe_dense_options *options);

/* A layer with copies of given weights (out x in, row-major) and bias (out values; NULL for none). name NULL: none.
 * NUMERICAL_INSTABILITY for a value that is not finite. */
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
 * identity is faster and about as good at ratio 16, but worse by 0.24 points at ratio 64. */
typedef struct rbe_linear_options {
    const char *name;                      /* default "rbe" */
    size_t block;                          /* B: a power of two, 8 .. 256; default 32 */
    size_t coeffs;                         /* K per block on average, 1 .. B^2 (alphas come on top); or: */
    double ratio;                          /* the layer holds in * out / ratio values, alphas included; default 16 */
    const rbe_transform *row_transform;    /* along the outputs; default dct */
    const rbe_transform *column_transform; /* along the inputs; default dct, of an image identity */
    rbe_alpha_mode alpha;                  /* AUTO is off */
    size_t group;                          /* block rows that share positions; default min(16, grid_rows) */
    size_t overlap;                        /* 0 .. B/2, of neighbouring blocks */
    size_t image_height, image_width;      /* the inputs are an image, taken by its 2-D DCT: in = height * width */
    bool no_bias;
    double init_scale;      /* g of c ~ N(0, g^2 2/in B^2/K); default 0.7. alpha starts at 0. */
    size_t batch_threshold; /* inputs of fewer rows take the small-batch path; default by measurement */
    bool use_cache;         /* keep the transformed input for the backward pass instead of computing it again */
    uint64_t seed;          /* of positions and values */
} rbe_linear_options;

/* A layer with random positions. Every row of S has the same number of columns, give or take one, drawn without
 * replacement. The probability of a column is proportional to 1 / (1 + frequency); for an image to 1 / (B + place in
 * the zigzag order); with the identity along the inputs, which has no frequencies, it is the same for each. The same
 * seed gives the same positions on every machine. NUMERICAL_INSTABILITY if init_scale makes coefficients too large for
 * a float. */
RBE_API rbe_layer *rbe_linear_new(size_t in, size_t out, const rbe_linear_options *options);

/* A layer from a compressed matrix, which it takes over (also when it fails: the matrix is freed then). `bias` is
 * copied: bias_count = out values, or NULL and 0 for none. Of the options, name, batch_threshold and use_cache are
 * used. */
RBE_API rbe_layer *rbe_linear_from_blocks(rbe_blocks *blocks, const float *bias, size_t bias_count,
                                          const rbe_linear_options *options);

/* The compressed matrix inside; NULL for another kind of layer. Lives as long as the layer. */
RBE_API const rbe_blocks *rbe_linear_blocks(const rbe_layer *layer);

/* Gradients of block (p, q) after rbe_backward, read as rbe_blocks_get reads values: with respect to the raw alphas
 * and to each stored coefficient (in `value`). Returns the number of coefficients; 0 if there is no gradient. */
RBE_API size_t rbe_linear_get_gradients(const rbe_layer *layer, size_t p, size_t q, double alpha[RBE_BASIS_COUNT],
                                        rbe_coefficient *coefficients, size_t capacity);

/* Counted since creation, by all threads: products done (a forward counts 1, a backward 1) and the floating-point
 * operations of their sparse and alpha parts (transforms not counted). */
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
    float input_limit;   /* largest magnitude of an input; default 1e6 */
    size_t memory_limit; /* bytes for temporaries, of either path; default: what the system has available */
    void (*warn)(void *user, const char *text); /* told of each fallback; default: nobody is */
    void *user;
} rbe_safe_options;

/* y = layer(x) for a compressed layer, without a tape, everything checked: shapes (INPUT_DIMENSION_MISMATCH), inputs
 * (NUMERICAL_INSTABILITY with index and value), the memory it takes (INSUFFICIENT_MEMORY with both numbers in MB), the
 * compressed matrix (CORRUPTED_BLOCK with index and reason), outputs. If the compressed product fails or gives values
 * that are not finite, the matrix is decompressed one block row at a time and multiplied by BLAS, if there is enough
 * memory for that; the fallback is counted, and `warn` is told. y->data is the caller's; it holds no result unless
 * RBE_OK is returned. */
RBE_API rbe_status rbe_linear_forward_safe(const rbe_layer *layer, const rbe_tensor *x, rbe_tensor *y,
                                           const rbe_safe_options *options);

/* ---- dropout as a layer -------------------------------------------------------------------------------------- */

/* rbe_dropout (rbe/tensor.h) with this probability, 0 <= p < 1. */
RBE_API rbe_layer *rbe_dropout_new(float probability);

/* ---- normalisation as a layer -------------------------------------------------------------------------------- */

/* y = x / sqrt(mean of x^2 + epsilon) * scale along the last dimension of `width` values; the trained scale begins at
 * 1. epsilon 0: 1e-5. */
RBE_API rbe_layer *rbe_rms_norm_new(size_t width, float epsilon, const char *name);

/* y = (x - mean of x) / sqrt(variance of x + epsilon) * weight + bias in the same way; weight begins at 1, bias, unless
 * there is none, at 0. */
RBE_API rbe_layer *rbe_layer_norm_new(size_t width, float epsilon, bool no_bias, const char *name);

/* ---- sequences ----------------------------------------------------------------------------------------------- */

/* A vector of `width` trained values for each id below `vocabulary`: (.., places) becomes (.., places, width). Ids
 * enter as floats, in which whole numbers below 2^24 are exact: a batch of tokens does. INVALID_ARGUMENT names the
 * first that is none. Values begin as N(0, 0.02^2). A step of an optimiser goes through the whole table, since averages
 * and decay change rows that no id has chosen, too. With tens of thousands of rows that takes as long as the layers
 * behind it (docs/performance.md). */
RBE_API rbe_layer *rbe_embedding_new(size_t vocabulary, size_t width, uint64_t seed, const char *name);

/* y = x + a trained vector for each place of a sequence, the dimension before the last; at most `places` of them
 * (INPUT_DIMENSION_MISMATCH). */
RBE_API rbe_layer *rbe_positions_new(size_t places, size_t width, uint64_t seed, const char *name);

/* y = x W^T with the table of an embedding, which has another place in the model (tied weights): a score for each
 * id. */
RBE_API rbe_layer *rbe_unembedding_new(rbe_layer *embedding, const char *name);

/* y = project(attention(qkv(x))), see rbe_attention: qkv has three times as many outputs as inputs, project as many.
 * Both may be of any kind; the new layer takes them over, also when the call fails. rotary_base > 0: rotary positions
 * (rbe_rotary; 10000 is usual). */
typedef struct rbe_attention_options {
    size_t heads;
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
 * of one model: its weights are shared, trained, counted, stored and freed once. NULL layers are INVALID_ARGUMENT with
 * the thread's last error, which says why if a constructor has just failed. name NULL: a layer is named by its place
 * until it gets a name. */

/* One after the other: y = layers[n - 1](... layers[0](x)). A width that does not fit the layer before is refused. */
RBE_API rbe_layer *rbe_sequential_new(const char *name);

/* y = x + inner(x). `inner` gives as many columns as it takes. */
RBE_API rbe_layer *rbe_residual_new(rbe_layer *inner, const char *name);

/* y = inner(inner(... inner(x))), `times` times (at least once) with the same weights. */
RBE_API rbe_layer *rbe_repeat_new(rbe_layer *inner, size_t times, const char *name);

/* Layers under their names, for a forward pass of your own (a recurrent net): it has none by itself. */
RBE_API rbe_layer *rbe_bag_new(const char *name);

/* An operation that keeps the shape. rbe_relu, rbe_gelu, rbe_gelu_tanh, rbe_tanh, rbe_sigmoid, rbe_softmax and
 * rbe_log_softmax can be stored in files, under the names "relu", "gelu", ..; functions of your own cannot. */
typedef rbe_var *rbe_operation(rbe_var *);

/* NULL, with an error text that lists the names, for another one. */
RBE_API rbe_operation *rbe_operation_named(const char *name);

/* Operations as layers. */
RBE_API rbe_layer *rbe_operation_new(rbe_operation *operation);
RBE_API rbe_layer *rbe_function_new(rbe_var *(*function)(void *user, rbe_var *), void *user);

/* Adds a layer to a container: a sequential one or a bag. */
RBE_API rbe_status rbe_layer_add(rbe_layer *layer, rbe_layer *child);

/* The n-th layer inside, operations included; NULL past the last. */
RBE_API rbe_layer *rbe_layer_child(const rbe_layer *layer, size_t n);

/* ---- models: layers and operations in a row ------------------------------------------------------------------ */

/* A sequence of layers and operations, which it owns. */
typedef struct rbe_model rbe_model;

/* An empty one; NULL when memory is short. */
RBE_API rbe_model *rbe_model_new(void);
RBE_API void rbe_model_free(rbe_model *model); /* and its layers; NULL is allowed */

/* Appends a layer, which the model owns from now on (also when the call fails), or an operation that keeps the
 * shape. A NULL layer (INVALID_ARGUMENT, with the thread's last error, which says why if its constructor has just
 * failed) or a width that does not fit the layer before is an error that sticks: rbe_model_status.
 * Unnamed layers of a model are called "fc1", "fc2", ... by their place.
 *
 * A layer has its places in one model. One of another model is refused (INVALID_ARGUMENT, naming it); that does not
 * stick, and it stays where it is. */
RBE_API rbe_status rbe_model_add(rbe_model *model, rbe_layer *layer);
RBE_API rbe_status rbe_model_apply(rbe_model *model, rbe_operation *operation);
RBE_API rbe_status rbe_model_apply_function(rbe_model *model, rbe_var *(*function)(void *user, rbe_var *), void *user);

/* The first error of building; INVALID_ARGUMENT for NULL, a model that could not be made. */
RBE_API rbe_status rbe_model_status(const rbe_model *model);

/* An operation that gives NULL, or a variable of another tape than its input's, is an error (INVALID_ARGUMENT) of the
 * input's tape, which names its place. */
RBE_API rbe_var *rbe_model_forward(const rbe_model *model, rbe_var *x);

/* The n-th layer or parameter of the model, NULL past the last. Operations are not counted, containers are counted as
 * what they hold, and what is used in several places is counted once, at the first. */
RBE_API rbe_layer *rbe_model_layer(const rbe_model *model, size_t n);
RBE_API rbe_param *rbe_model_param(const rbe_model *model, size_t n);

/* The layer of a path ("blocks.3.query"), or the parameter of one ("fc1.bias"); NULL if there is none. */
RBE_API rbe_layer *rbe_model_find(const rbe_model *model, const char *path);
RBE_API rbe_param *rbe_model_find_param(const rbe_model *model, const char *path);

/* Prints a table: name, kind, widths, values, bytes, and how many times smaller than dense. IO_ERROR. */
RBE_API rbe_status rbe_model_print(const rbe_model *model, FILE *file);

/* Freezes all parameters of a layer and of those inside, or lets them be trained again. A backward pass ends where
 * nothing below is trained: a frozen body costs its forward pass alone. NULL is allowed. */
RBE_API void rbe_layer_freeze(rbe_layer *layer, bool frozen);

/* Drops all gradients that no optimiser's step has consumed. NULL is allowed. */
RBE_API void rbe_zero_grad(const rbe_model *model);

/* The gradients of all parameters that are not frozen in one array, in the order of rbe_model_param, each one aligned
 * to 64 bytes with zeros between them: to be reduced, clipped or looked at as a whole. Gradients that are not set are
 * zeros in it. It is the model's, and holds until a parameter's count changes (pruning): then the next call arranges it
 * anew. *count: its floats. NULL on failure. */
RBE_API float *rbe_model_gradients(rbe_model *model, size_t *count);

/* Sum over the layers. */
RBE_API rbe_layer_cost rbe_model_describe_cost(const rbe_model *model);

/* Bytes of temporaries that one training step with `rows` input rows takes from a tape, with the input and a
 * cross-entropy loss: the argument of rbe_tape_reserve. PTRDIFF_MAX for more than 2^31 - 1 rows. */
RBE_API size_t rbe_model_tape_bytes(const rbe_model *model, size_t rows);

/* ---- layers made of operations ------------------------------------------------------------------------------- */

/* The values of a parameter as a variable of the given shape, which has param->count values. With it you make a layer
 * of your own from operations. rbe_backward adds the gradient to param->grad, which it makes if there is none, as it
 * does for the parameters of layers; of several uses on one tape the sum. Values are borrowed until the reset, and the
 * parameter stays where it is. In inference, and of a frozen parameter, no gradient is computed. NULL tape gives NULL;
 * INVALID_ARGUMENT for no parameter or one without values, INPUT_DIMENSION_MISMATCH for a shape of another count. */
RBE_API rbe_var *rbe_parameter(rbe_tape *tape, rbe_param *param, int dims, const size_t *shape);

/* ---- gradients against finite differences -------------------------------------------------------------------- */

/* Builds a loss, a variable of one value, on a tape that records gradients. It is called several times for each entry
 * that is checked, and gives the same loss each time as long as the parameters are the same: masks of dropout on this
 * tape repeat, anything random of your own must, too. */
typedef rbe_var *rbe_scalar_function(rbe_tape *tape, void *user);

/* Zeros mean the defaults. */
typedef struct rbe_gradient_options {
    double step;      /* of a difference, in units of the parameter's root mean square (at least 0.5); default 2e-2 */
    double tolerance; /* the largest error that passes; default 1e-3 */
    size_t entries;   /* that are checked of each parameter: a sample if it has more; default 64 */
    uint64_t seed;    /* of the sample, and of dropout masks */
} rbe_gradient_options;

/* The worst entry that was checked. Its error is |found - expected|, as far as that is beyond the uncertainty of the
 * differences (rounding of a float loss, and kinks of relu, abs, clamp or max within the step), over the largest of
 * |found|, |expected| and the root mean square of the parameter's gradient. */
typedef struct rbe_gradient_report {
    size_t checked;         /* entries in all */
    size_t unresolved;      /* of them: so uncertain that even an error of 10 % may have passed */
    const rbe_param *param; /* NULL: none was checked */
    size_t index;
    double expected, found; /* by central differences, and by rbe_backward */
    double error;
} rbe_gradient_report;

/* Compares the gradients of rbe_backward with central finite differences in the values of `count` parameters.
 * NUMERICAL_INSTABILITY, with a text that names the worst entry, if its error is beyond the tolerance; also if more
 * than half of the entries are unresolved, or the loss is not finite. INVALID_ARGUMENT if the loss differs between two
 * calls, or a parameter holds a gradient already (grad_set). Otherwise the tape's error. In any case the values are the
 * same bits afterwards, and the parameters hold no gradient. List all parameters of the loss: gradients of others stay
 * where they are. report NULL: not wanted. */
RBE_API rbe_status rbe_check_gradients(rbe_scalar_function *loss, void *user, rbe_param *const *params, size_t count,
                                       const rbe_gradient_options *options, rbe_gradient_report *report);

#ifdef __cplusplus
}
#endif
#endif
