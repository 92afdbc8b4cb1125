/* A training of which checkpoints are made and into which they are read. */
#include "fuzz.h"

enum { IN = 16, HIDDEN = 24, CLASSES = 3, ROWS = 8 };

bool fuzz_training_start(fuzz_training *t) {
    *t = (fuzz_training){.model = rbe_model_new()};
    const rbe_linear_options first = {.block = 8, .ratio = 4, .group = 1, .alpha = RBE_ALPHA_ON, .seed = 1};
    const rbe_linear_options second = {.block = 8, .ratio = 4, .seed = 2};
    rbe_model_add(t->model, rbe_linear_new(IN, HIDDEN, &first));
    rbe_model_apply(t->model, rbe_relu);
    rbe_model_add(t->model, rbe_residual_new(rbe_linear_new(HIDDEN, HIDDEN, &second), NULL));
    rbe_model_add(t->model, rbe_dense_new(HIDDEN, CLASSES, NULL));
    t->optim = rbe_optim_new(rbe_adam, t->model, NULL);
    t->growth = rbe_growth_new(t->model, &(rbe_growth_options){.steps = 100, .every = 2});
    t->tape = rbe_tape_new(NULL);
    t->routine = rbe_growth_routine(t->growth);
    t->checkpoint = (rbe_checkpoint){t->model, t->optim, &t->routine, 1};
    return rbe_model_status(t->model) == RBE_OK && t->optim && t->growth && t->tape;
}

bool fuzz_training_step(fuzz_training *t) {
    float x[ROWS * IN];
    int32_t labels[ROWS];
    for (size_t n = 0; n < ROWS * IN; n++) x[n] = (float)((n * 7 + t->steps) % 13) / 13.0F;
    for (size_t n = 0; n < ROWS; n++) labels[n] = (int32_t)(n % CLASSES);
    rbe_step step = {.model = t->model, .optim = t->optim, .tape = t->tape};
    const rbe_batch batch = {.x = rbe_tensor_2d(x, ROWS, IN), .labels = labels, .label_width = 1, .rows = ROWS};
    return rbe_train_step(&step, &batch) == RBE_OK && rbe_growth_step(t->growth, t->steps++) == RBE_OK;
}

void fuzz_training_free(fuzz_training *t) {
    rbe_tape_free(t->tape);
    rbe_growth_free(t->growth);
    rbe_optim_free(t->optim);
    rbe_model_free(t->model);
}
