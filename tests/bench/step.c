/* A whole training step of inputs-hidden-hidden-10: forward, cross-entropy, backward, Adam. The head is dense; the
 * dense network differs in its two hidden layers only.
 */
#include "step.h"

#include "../../examples/common.h"
#include "base/alloc.h"
#include "rbe/optim.h"

enum { CLASSES = 10, LAYERS = 3 };

typedef struct network {
    rbe_model *model;
    rbe_optim *optim;
    rbe_tape *tape;
} network;

struct bench_training {
    const char *path; /* of checkpoints */
    network compressed, dense;
    float *x;
    int32_t *labels;
    size_t rows, features;
};

static rbe_layer *compressed_layer(const bench_step_options *o, size_t in, uint64_t seed) {
    return rbe_linear_new(in, o->hidden,
                          &(rbe_linear_options){.block = o->block,
                                                .ratio = o->ratio,
                                                .row_transform = o->row_transform,
                                                .column_transform = o->column_transform,
                                                .group = o->group,
                                                .seed = seed});
}

/* A dense layer that computes what `layer` does. The bias is the last of its parameters. */
static rbe_layer *decompressed(const rbe_layer *layer) {
    size_t last = 0;
    while (rbe_layer_param(layer, last + 1)) last++;
    size_t in = rbe_layer_inputs(layer), out = rbe_layer_outputs(layer);
    float *weights = example_need(rbe_alloc(in * out, sizeof *weights));
    example_require(rbe_decompress(rbe_linear_blocks(layer), weights));
    rbe_layer *dense = rbe_dense_from_weights(in, out, weights, rbe_layer_param(layer, last)->value, NULL);
    rbe_free(weights);
    return dense;
}

static void finish(network *n, rbe_layer *hidden1, rbe_layer *hidden2, size_t hidden) {
    n->model = example_need(rbe_model_new());
    rbe_model_add(n->model, hidden1);
    rbe_model_apply(n->model, rbe_relu);
    rbe_model_add(n->model, hidden2);
    rbe_model_apply(n->model, rbe_relu);
    rbe_model_add(n->model, rbe_dense_new(hidden, CLASSES, &(rbe_dense_options){.seed = 3}));
    example_require(rbe_model_status(n->model));
    n->optim = example_need(rbe_optim_new(rbe_adam, n->model, &(rbe_optim_options){.lr = 1e-4f}));
    n->tape = example_need(rbe_tape_new(NULL));
}

static void run(const bench_training *s, const network *n) {
    rbe_var *x = rbe_input(n->tape, rbe_tensor_2d(s->x, s->rows, s->features));
    example_require(rbe_backward(rbe_cross_entropy(rbe_model_forward(n->model, x), s->labels)));
    example_require(rbe_optim_step(n->optim));
    rbe_tape_reset(n->tape);
}

void bench_step_compressed(void *training) { run(training, &((bench_training *)training)->compressed); }

void bench_step_dense(void *training) { run(training, &((bench_training *)training)->dense); }

/* Largest difference of the two networks' logits over the largest logit. */
static double difference(const bench_training *s) {
    const network *both[] = {&s->compressed, &s->dense};
    const float *logits[2];
    for (int n = 0; n < 2; n++) {
        rbe_var *x = rbe_input(both[n]->tape, rbe_tensor_2d(s->x, s->rows, s->features));
        logits[n] = rbe_value(rbe_model_forward(both[n]->model, x))->data;
        example_require(rbe_tape_status(both[n]->tape));
    }
    double most = 0.0, largest = 1e-30;
    for (size_t i = 0; i < s->rows * CLASSES; i++) {
        double d = (double)logits[0][i] - logits[1][i], size = logits[1][i];
        if (d < 0 ? -d > most : d > most) most = d < 0 ? -d : d;
        if (size < 0 ? -size > largest : size > largest) largest = size < 0 ? -size : size;
    }
    for (int n = 0; n < 2; n++) rbe_tape_reset(both[n]->tape);
    return most / largest;
}

static void free_network(network *n) {
    rbe_tape_free(n->tape);
    rbe_optim_free(n->optim);
    rbe_model_free(n->model);
}

bench_training *bench_training_new(const bench_step_options *o) {
    bench_training *s = example_need(rbe_alloc_zeroed(1, sizeof *s));
    s->rows = o->batch;
    s->features = o->inputs;
    s->x = example_need(rbe_alloc(s->rows * s->features, sizeof *s->x));
    s->labels = example_need(rbe_alloc(s->rows, sizeof *s->labels));
    rbe_rng *rng = example_need(rbe_rng_new(1, 0));
    for (size_t i = 0; i < s->rows * s->features; i++) s->x[i] = (float)rbe_rng_uniform(rng);
    for (size_t i = 0; i < s->rows; i++) s->labels[i] = (int32_t)rbe_rng_below(rng, CLASSES);
    rbe_rng_free(rng);
    rbe_layer *hidden1 = example_need(compressed_layer(o, o->inputs, 1)),
              *hidden2 = example_need(compressed_layer(o, o->hidden, 2));
    finish(&s->dense, decompressed(hidden1), decompressed(hidden2), o->hidden);
    finish(&s->compressed, hidden1, hidden2, o->hidden);
    return s;
}

void bench_training_free(bench_training *s) {
    rbe_free(s->x);
    rbe_free(s->labels);
    free_network(&s->compressed);
    free_network(&s->dense);
    rbe_free(s);
}

/* A product forward and two backward; the first layer needs no gradient of its input. Biases are left out. */
static double operations(const rbe_model *model, size_t rows) {
    double sum = 0.0;
    for (size_t n = 0; n < LAYERS; n++) {
        const rbe_layer *layer = rbe_model_layer(model, n);
        size_t values = rbe_layer_describe_cost(layer).values - rbe_layer_outputs(layer);
        sum += 2.0 * (double)(values * rows) * (n == 0 ? 2 : 3);
    }
    return sum;
}

static void forward_alone(void *training) {
    const bench_training *s = training;
    rbe_tape *tape = s->compressed.tape;
    rbe_tape_set_inference(tape, true);
    rbe_model_forward(s->compressed.model, rbe_input(tape, rbe_tensor_2d(s->x, s->rows, s->features)));
    example_require(rbe_tape_status(tape));
    rbe_tape_reset(tape);
    rbe_tape_set_inference(tape, false);
}

bench_timing bench_head(const bench_step_options *o) {
    bench_training *s = bench_training_new(o);
    for (size_t n = 0; n + 1 < LAYERS; n++) rbe_layer_freeze(rbe_model_layer(s->compressed.model, n), true);
    bench_timing timing = bench_interleaved(forward_alone, bench_step_compressed, s, o->one_thread, o->quick);
    bench_training_free(s);
    return timing;
}

static void save(void *training) {
    const bench_training *s = training;
    const rbe_checkpoint all = {.model = s->compressed.model, .optim = s->compressed.optim};
    example_require(rbe_checkpoint_save(&all, s->path, 1));
}

bench_timing bench_checkpoint(const bench_step_options *o, const char *path) {
    bench_training *s = bench_training_new(o);
    s->path = path;
    bench_timing timing = bench_interleaved(bench_step_compressed, save, s, o->one_thread, o->quick);
    bench_training_free(s);
    return timing;
}

bench_step_result bench_step(const bench_step_options *o) {
    bench_training *s = bench_training_new(o);
    const rbe_blocks_info hidden = rbe_blocks_describe(rbe_linear_blocks(rbe_model_layer(s->compressed.model, 0)));
    bench_step_result result = {
        .error = difference(s), .row_transform = hidden.row_transform, .column_transform = hidden.column_transform};
    result.timing = bench_interleaved(bench_step_compressed, bench_step_dense, s, o->one_thread, o->quick);

    /* Gradients and Adam's two averages: three more floats for each value. */
    rbe_layer_cost cost = rbe_model_describe_cost(s->compressed.model), dense = rbe_model_describe_cost(s->dense.model);
    result.values = cost.values;
    result.bytes = cost.bytes + 3 * cost.values * sizeof(float);
    result.dense_bytes = dense.bytes + 3 * dense.values * sizeof(float);
    result.operations = operations(s->compressed.model, s->rows);
    result.dense_operations = operations(s->dense.model, s->rows);
    bench_training_free(s);
    return result;
}
