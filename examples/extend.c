/* What a program can add to the library from outside: an operation (swish), a kind of layer (affine) and an optimiser
 * (lion). A network of them and of compressed layers is checked, trained, grown, pruned, stored and loaded. Only
 * installed headers are needed:
 *
 *     cc extend.c $(pkg-config --cflags --libs rbe) -lm -o extend
 */
#include "rbe/extend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rbe/rbe.h"

/* ---- an operation: y = x s with s = 1 / (1 + exp(-x)) --------------------------------------------------------- */

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* dy/dx = s (1 + x (1 - s)) */
static rbe_status swish_backward(rbe_var *self) {
    rbe_var *x = self->parents[0];
    float *gx = rbe_grad_zeroed(x);
    if (!gx) return rbe_last_status();
    for (size_t n = 0; n < rbe_tensor_count(&x->value); n++) {
        const float v = x->value.data[n], s = sigmoid(v);
        gx[n] += self->grad[n] * s * (1.0f + v * (1.0f - s));
    }
    return RBE_OK;
}

static rbe_var *swish(rbe_var *x) {
    rbe_var *y = rbe_node_like("swish", x, swish_backward, 0);
    if (!rbe_ok(y)) return y;
    for (size_t n = 0; n < rbe_tensor_count(&x->value); n++)
        y->value.data[n] = x->value.data[n] * sigmoid(x->value.data[n]);
    return y;
}

/* A type of layer makes it known to files; rbe_model_apply(model, swish) would do for a model that is not stored. */
static rbe_var *swish_forward(const rbe_layer *layer, rbe_var *x) {
    (void)layer;
    return swish(x);
}

static rbe_layer *swish_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)reader;
    return rbe_layer_make(type, sizeof(rbe_layer), 0, 0);
}

static const rbe_layer_type swish_type = {
    .kind = "swish", .role = RBE_OPERATION, .forward = swish_forward, .read = swish_read};

/* ---- a kind of layer: y = scale x + shift, each feature with its own ------------------------------------------ */

typedef struct affine {
    rbe_layer base;
    rbe_param params[2];
} affine;

static rbe_var *affine_forward(const rbe_layer *layer, rbe_var *x) {
    rbe_var *scale = rbe_parameter(x->tape, &layer->params[0], 1, &layer->in);
    rbe_var *shift = rbe_parameter(x->tape, &layer->params[1], 1, &layer->in);
    return rbe_add(rbe_mul(x, scale), shift);
}

static void affine_destroy(rbe_layer *layer) {
    for (size_t n = 0; n < layer->param_count; n++) rbe_layer_release(layer->params[n].value);
}

static rbe_status affine_write(const rbe_layer *layer, rbe_writer *writer) {
    return rbe_write_number(writer, "width", (double)layer->in);
}

static rbe_layer *affine_read(const rbe_layer_type *type, rbe_reader *reader);

/* Product and sum, and the two parameters. */
static size_t affine_tape_bytes(const rbe_layer *layer, size_t rows, size_t columns) {
    return 2 * rbe_node_bytes(rows * columns, true) + 2 * rbe_node_bytes(layer->in, true);
}

static const rbe_layer_type affine_type = {.kind = "affine",
                                           .forward = affine_forward,
                                           .destroy = affine_destroy,
                                           .write = affine_write,
                                           .read = affine_read,
                                           .tape_bytes = affine_tape_bytes};

/* It begins as the identity. */
static rbe_layer *affine_new(size_t width) {
    static const char *const parts[] = {"scale", "shift"};
    affine *layer = (affine *)rbe_layer_make(&affine_type, sizeof *layer, width, width);
    if (!layer) return NULL;
    layer->base.params = layer->params;
    layer->base.param_count = 2;
    for (size_t n = 0; n < 2; n++) {
        float *values = rbe_layer_values(width);
        layer->params[n] = (rbe_param){.part = parts[n], .value = values, .count = width, .lr_scale = 1.0f};
        if (!values) {
            rbe_layer_free(&layer->base);
            return NULL;
        }
    }
    for (size_t i = 0; i < width; i++) layer->params[0].value[i] = 1.0f;
    return &layer->base;
}

/* A file may promise any width: memory is taken for values that are there. */
static rbe_layer *affine_read(const rbe_layer_type *type, rbe_reader *reader) {
    size_t width;
    (void)type;
    if (rbe_read_count(reader, "width", 1, (size_t)1 << 24, &width) != RBE_OK) return NULL;
    if (rbe_read_values(reader, "scale") == width) return affine_new(width);
    rbe_read_fail(reader, "scale: expected %zu values, found %zu", width, rbe_read_values(reader, "scale"));
    return NULL;
}

/* ---- an optimiser: lion (Chen et al. 2023) -------------------------------------------------------------------- */

/* p -= r (sign(b1 m + (1 - b1) g) + decay p);  m = b2 m + (1 - b2) g */
static void lion_update(const rbe_optim_options *o, size_t step, rbe_param *p, float *const *state) {
    (void)step;
    const float rate = o->lr * p->lr_scale, decay = p->decays ? o->weight_decay : 0.0f;
    float *m = state[0];
    for (size_t i = 0; i < p->count; i++) {
        const float c = o->beta1 * m[i] + (1.0f - o->beta1) * p->grad[i];
        p->value[i] -= rate * ((float)((c > 0.0f) - (c < 0.0f)) + decay * p->value[i]);
        m[i] = o->beta2 * m[i] + (1.0f - o->beta2) * p->grad[i];
    }
}

static size_t lion_state_arrays(const rbe_optim_options *options) {
    (void)options;
    return 1;
}

static const rbe_optim_method lion = {
    .name = "lion", .state = {"lion.m"}, .state_arrays = lion_state_arrays, .update = lion_update};

/* ---- a network of all that ------------------------------------------------------------------------------------ */

enum { PIXELS = 784, HIDDEN = 96, CLASSES = 10, TRAIN = 2000, TEST = 500, CHECKED = 8 };

static rbe_model *new_model(void) {
    rbe_model *model = rbe_model_new();
    for (uint64_t n = 0; n < 2; n++) {
        const rbe_linear_options options = {.ratio = 8, .block = 16, .group = 4, .no_bias = true, .seed = n};
        rbe_model_add(model, rbe_linear_new(n == 0 ? PIXELS : HIDDEN, HIDDEN, &options));
        rbe_model_add(model, affine_new(HIDDEN));
        rbe_model_add(model, rbe_layer_make(&swish_type, sizeof(rbe_layer), 0, 0));
    }
    rbe_model_add(model, rbe_dense_new(HIDDEN, CLASSES, &(rbe_dense_options){.seed = 2}));
    return model;
}

typedef struct few {
    const rbe_model *model;
    rbe_batch batch;
} few;

static rbe_var *loss_of_few(rbe_tape *tape, void *user) {
    const few *f = user;
    return rbe_cross_entropy(rbe_model_forward(f->model, rbe_input(tape, f->batch.x)), f->batch.labels);
}

static rbe_status check(const rbe_model *model, const rbe_dataset *data) {
    rbe_param *params[16];
    size_t count = 0;
    while (count < 16 && (params[count] = rbe_model_param(model, count))) count++;
    rbe_batches *batches = rbe_batches_new(data, CHECKED, false, 0);
    few f = {.model = model};
    rbe_gradient_report report;
    rbe_status status = batches && rbe_batches_next(batches, &f.batch)
                            ? rbe_check_gradients(loss_of_few, &f, params, count, NULL, &report)
                            : rbe_last_status();
    rbe_batches_free(batches);
    if (status == RBE_OK)
        printf("gradients: %zu entries of %zu parameters agree with differences\n", report.checked, count);
    return status;
}

/* Trains and grows, removes half of the coefficients, and trains on with the same optimiser: its state has moved with the
 * coefficients. */
static rbe_status train_with(rbe_optim *optim, rbe_growth *growth, rbe_model *model, const rbe_dataset *train,
                             const rbe_dataset *test) {
    const rbe_routine grow = rbe_growth_routine(growth);
    rbe_fit_options options = {.epochs = 8, .batch = 50, .routines = &grow, .routine_count = 1};
    rbe_fit_result result;
    RBE_TRY(rbe_fit(model, optim, train, test, &options, &result));
    printf("trained:   error %.1f %%, %zu values have moved\n", 100.0 * result.test.error,
           rbe_growth_count(growth).values);
    rbe_prune_report pruned;
    RBE_TRY(rbe_prune(model, &(rbe_prune_options){.amount = 0.5}, &pruned));
    options = (rbe_fit_options){.epochs = 4, .batch = 50, .seed = 1};
    RBE_TRY(rbe_fit(model, optim, train, test, &options, &result));
    printf("pruned:    error %.1f %%, %zu of %zu values are left\n", 100.0 * result.test.error, pruned.values_after,
           pruned.values_before);
    if (result.test.error > 0.1 || rbe_growth_count(growth).values == 0 || pruned.removed == 0)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "expected an error of at most 10 %%, and values that move and go");
    return RBE_OK;
}

static rbe_status train(rbe_model *model, const rbe_dataset *train_data, const rbe_dataset *test) {
    rbe_optim *optim = rbe_optim_new(&lion, model, &(rbe_optim_options){.lr = 5e-4f, .beta2 = 0.99f});
    rbe_growth *growth = rbe_growth_new(model, &(rbe_growth_options){.steps = 8 * TRAIN / 50, .every = 20});
    rbe_status status = optim && growth ? train_with(optim, growth, model, train_data, test) : rbe_last_status();
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    return status;
}

/* Bit for bit. */
static rbe_status compare(const rbe_model *a, const rbe_model *b) {
    static float x[TEST * PIXELS], outputs[2][TEST * CLASSES];
    for (size_t n = 0; n < TEST * PIXELS; n++) x[n] = (float)(n % 251) / 251.0f;
    RBE_TRY(rbe_predict(a, x, TEST, outputs[0]));
    RBE_TRY(rbe_predict(b, x, TEST, outputs[1]));
    if (memcmp(outputs[0], outputs[1], sizeof outputs[0]) == 0) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "the model that was loaded gives other outputs");
}

static rbe_status store(const rbe_model *model, const char *path) {
    RBE_TRY(rbe_model_save(model, path, NULL));
    rbe_model *again = rbe_model_load(path);
    rbe_status status = again ? compare(model, again) : rbe_last_status();
    rbe_model_free(again);
    if (status == RBE_OK) printf("loaded:    the outputs are the same bits\n");
    return status;
}

static rbe_status run(rbe_model *model, const rbe_dataset *data, const char *path) {
    rbe_dataset train_data = *data, test;
    RBE_TRY(rbe_dataset_split(&train_data, TEST, &test));
    RBE_TRY(rbe_layer_register(&swish_type));
    RBE_TRY(rbe_layer_register(&affine_type));
    RBE_TRY(rbe_model_status(model));
    RBE_TRY(check(model, &train_data));
    RBE_TRY(train(model, &train_data, &test));
    return store(model, path);
}

int main(int argc, char **argv) {
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "Usage: extend [FILE]   (of the model; default: extend.safetensors)\n");
        return 2;
    }
    rbe_dataset data = {0};
    rbe_model *model = new_model();
    rbe_status status = rbe_digits_generate(&data, TRAIN + TEST, 1);
    if (status == RBE_OK) status = run(model, &data, argc == 2 ? argv[1] : "extend.safetensors");
    if (status != RBE_OK) fprintf(stderr, "extend: %s: %s\n", rbe_status_name(status), rbe_last_error());
    rbe_model_free(model);
    rbe_dataset_free(&data);
    if (fflush(stdout) != 0) {
        perror("extend: the output is lost");
        return 1;
    }
    return status == RBE_OK ? 0 : 1;
}
