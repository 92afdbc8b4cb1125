/* Training gives the same bits for any number of threads, on every instruction set; and its work is cut into tasks by
 * the shapes alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"
#include "codec/blocks.h"
#include "kernels/plan.h"
#include "rbe/adapt.h"
#include "rbe/train.h"
#include "suites.h"
#include "support.h"

enum { FEATURES = 12 * 14, CLASSES = 5, SAMPLES = 500, BATCH = 150, MOST_VALUES = 200000 };

static void make_data(rbe_dataset *data) {
    static float x[SAMPLES * FEATURES];
    static int32_t labels[SAMPLES];
    fill_normal(x, SAMPLES * FEATURES, 1.0, 3);
    for (size_t n = 0; n < SAMPLES; n++) labels[n] = (int32_t)(n % CLASSES);
    for (size_t n = 0; n < SAMPLES; n++) x[n * FEATURES + (size_t)labels[n]] += 2.0f;
    *data = (rbe_dataset){.count = SAMPLES, .features = FEATURES, .classes = CLASSES, .values = x, .labels = labels};
}

/* What is trained: the layers differ in grouping, alpha, sides and transforms. */
typedef struct recipe {
    const char *name;
    bool dense, dropout, growth;
    rbe_linear_options first, second;
    float clip;
    bool momentum;
} recipe;

static const recipe recipes[] = {
    {.name = "dense", .dense = true, .dropout = true, .clip = 0.5f},
    {.name = "dense, momentum", .dense = true, .momentum = true},
    {.name = "compressed, grown",
     .growth = true,
     .dropout = true,
     .first = {.block = 16, .ratio = 4, .group = 4, .alpha = RBE_ALPHA_ON},
     .second = {.block = 16, .ratio = 4, .group = 2}},
    {.name = "image and overlap",
     .first = {.block = 8, .ratio = 4, .image_height = 12, .image_width = 14},
     .second = {.block = 16, .ratio = 3, .overlap = 4},
     .clip = 0.5f},
    {.name = "alpha, cache",
     .growth = true,
     .first = {.block = 32, .ratio = 8, .alpha = RBE_ALPHA_ON, .use_cache = true},
     .second = {.block = 32, .ratio = 8, .alpha = RBE_ALPHA_ON, .group = 1}},
};
enum { RECIPES = sizeof recipes / sizeof recipes[0] };

static rbe_model *make_model(const recipe *r) {
    rbe_model *model = rbe_model_new();
    rbe_linear_options first = r->first, second = r->second;
    first.seed = 1;
    second.seed = 2;
    if (r->dropout) rbe_model_add(model, rbe_dropout_new(0.2f));
    rbe_model_add(model, r->dense ? rbe_dense_new(FEATURES, 130, &(rbe_dense_options){.seed = 1})
                                  : rbe_linear_new(FEATURES, 130, &first));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, r->dense ? rbe_dense_new(130, 70, &(rbe_dense_options){.seed = 2})
                                  : rbe_linear_new(130, 70, &second));
    rbe_model_apply(model, rbe_gelu);
    rbe_model_add(model, rbe_dense_new(70, CLASSES, &(rbe_dense_options){.seed = 3}));
    ck_assert_msg(rbe_model_status(model) == RBE_OK, "%s: %s", r->name, rbe_last_error());
    return model;
}

static rbe_status grow(void *growth, const rbe_progress *p) { return rbe_growth_step(growth, p->step); }

/* Copies all parameters, and the positions of compressed layers; returns how many bytes. */
static size_t take_bits(const rbe_model *model, char *bits) {
    size_t size = 0;
    const rbe_param *p;
    for (size_t n = 0; (p = rbe_model_param(model, n)); n++) {
        memcpy(bits + size, p->value, p->count * sizeof(float));
        size += p->count * sizeof(float);
    }
    const rbe_layer *layer;
    for (size_t n = 0; (layer = rbe_model_layer(model, n)); n++) {
        const rbe_blocks *b = rbe_linear_blocks(layer);
        if (!b || !b->columns16) continue;
        memcpy(bits + size, b->columns16, b->entries * sizeof *b->columns16);
        size += b->entries * sizeof *b->columns16;
    }
    ck_assert_uint_le(size, MOST_VALUES * sizeof(float));
    return size;
}

/* Trains for a few epochs; also gives the loss. */
static size_t train(const recipe *r, int threads, char *bits, double *loss) {
    rbe_dataset data;
    make_data(&data);
    ck_assert_int_eq(rbe_set_threads(threads), RBE_OK);
    rbe_model *model = make_model(r);
    rbe_optim *optim = rbe_optim_new(r->momentum ? rbe_sgd : rbe_adam, model,
                                     &(rbe_optim_options){.lr = 0.01f, .clip_norm = r->clip, .momentum = 0.9f});
    rbe_growth *growth = r->growth ? rbe_growth_new(model, &(rbe_growth_options){.steps = 12, .every = 2}) : NULL;
    rbe_fit_options options = {.epochs = 3, .batch = BATCH, .seed = 5, .on_step = growth ? grow : NULL, .user = growth};
    rbe_fit_result result;
    ck_assert_msg(rbe_fit(model, optim, &data, &data, &options, &result) == RBE_OK, "%s: %s", r->name,
                  rbe_last_error());
    *loss = result.test.loss;
    size_t size = take_bits(model, bits);
    rbe_growth_free(growth);
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_set_threads(1);
    return size;
}

START_TEST(threads_change_no_bit_of_a_training) {
    static const char *const sets[] = {"portable", "avx2", "avx512"};
    static const int threads[] = {2, 3, 4, 7};
    const recipe *r = &recipes[_i];
    char *one = malloc(MOST_VALUES * sizeof(float)), *many = malloc(MOST_VALUES * sizeof(float));
    for (int s = 0; s < 3; s++) {
        if (!rbe_isa_select(sets[s])) continue;
        double loss, other;
        size_t size = train(r, 1, one, &loss);
        ck_assert_double_lt(loss, 1.6); /* log 5 = 1.609: it has learned something */
        for (int t = 0; t < 4; t++) {
            ck_assert_uint_eq(train(r, threads[t], many, &other), size);
            ck_assert_msg(memcmp(one, many, size) == 0, "%s, %s: %d threads give other bits", r->name, sets[s],
                          threads[t]);
            ck_assert_double_eq(other, loss);
        }
    }
    rbe_isa_select(NULL);
    free(one);
    free(many);
}
END_TEST

/* ---- the grid of tasks --------------------------------------------------------------------------------------- */

enum { WIDE = 1024, GRID_BATCH = 256, MANY_LOOPS = 200 };

/* The loops of a step, in order: how many tasks each has. */
typedef struct grid {
    size_t loops, tasks[MANY_LOOPS];
} grid;

static void note_task(void *user, rbe_any_function *function, size_t task, size_t tasks, double seconds) {
    (void)function;
    (void)seconds;
    grid *g = user;
    if (task > 0) return;
    ck_assert_uint_lt(g->loops, MANY_LOOPS);
    g->tasks[g->loops++] = tasks;
}

/* A training step of 784-1024-1024-10 with so many threads. */
static void take_grid(int threads, grid *g) {
    ck_assert_int_eq(rbe_set_threads(threads), RBE_OK);
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_linear_new(784, WIDE, &(rbe_linear_options){.block = 64, .ratio = 16, .seed = 1}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_linear_new(WIDE, WIDE, &(rbe_linear_options){.block = 64, .ratio = 16, .seed = 2}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(WIDE, 10, NULL));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, NULL);
    rbe_tape *tape = rbe_tape_new(NULL);
    float *x = malloc(GRID_BATCH * 784 * sizeof *x);
    int32_t labels[GRID_BATCH] = {0};
    fill_normal(x, GRID_BATCH * 784, 1.0, 1);
    *g = (grid){0};
    rbe_parallel_observe(note_task, g);
    rbe_var *logits = rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, GRID_BATCH, 784)));
    ck_assert_int_eq(rbe_backward(rbe_cross_entropy(logits, labels)), RBE_OK);
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    rbe_parallel_observe(NULL, NULL);
    rbe_set_threads(1);
    free(x);
    rbe_tape_free(tape);
    rbe_optim_free(optim);
    rbe_model_free(model);
}

/* A batch of 256 rows has work for 16 threads in all that grows with the batch times the width: of both compressed
 * layers the forward product, dX with the transforms, and the gradients; of both activations two passes; of both
 * biases the sums. What has fewer tasks is small: the head, the loss, the parameters. */
START_TEST(a_step_is_cut_by_its_shapes) {
    grid two, many;
    take_grid(2, &two);
    take_grid(16, &many);
    ck_assert_uint_eq(two.loops, many.loops);
    ck_assert_mem_eq(two.tasks, many.tasks, two.loops * sizeof two.tasks[0]);
    size_t large = 0;
    for (size_t n = 0; n < many.loops; n++) large += many.tasks[n] >= 16;
    ck_assert_uint_ge(large, 2 * (1 + 1 + 1 + 2 + 1));
    ck_assert_uint_le(many.loops, 45);
}
END_TEST

Suite *bits_suite(void) {
    Suite *suite = suite_create("bits");
    TCase *training = tcase_create("training");
    tcase_set_timeout(training, 600);
    tcase_add_loop_test(training, threads_change_no_bit_of_a_training, 0, RECIPES);
    tcase_add_test(training, a_step_is_cut_by_its_shapes);
    suite_add_tcase(suite, training);
    return suite;
}
