#include "augment.h"

#include "../../examples/common.h"
#include "rbe/train.h"

enum { SIDE = 28, CLASSES = 10, BATCHES = 4 };

typedef struct subject {
    rbe_dataset digits;
    rbe_batches *plain, *augmented;
    rbe_step step;
} subject;

static rbe_model *make_model(const bench_step_options *o) {
    rbe_model *model = example_need(rbe_model_new());
    const rbe_linear_options image = {
        .block = o->block, .ratio = o->ratio, .group = o->group, .image_height = SIDE, .image_width = SIDE, .seed = 1};
    rbe_model_add(model, rbe_linear_new((size_t)SIDE * SIDE, o->hidden, &image));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(o->hidden, CLASSES, &(rbe_dense_options){.seed = 2}));
    example_require(rbe_model_status(model));
    return model;
}

static rbe_batch next(rbe_batches *batches) {
    rbe_batch batch;
    if (rbe_batches_next(batches, &batch)) return batch;
    rbe_batches_start(batches, 0);
    if (!rbe_batches_next(batches, &batch)) example_fail(1, "there are no batches");
    return batch;
}

static void take_step(void *user) {
    subject *s = user;
    const rbe_batch batch = next(s->plain);
    example_require(rbe_train_step(&s->step, &batch));
}

static void augment(void *user) { next(((subject *)user)->augmented); }

bench_timing bench_augment(const bench_step_options *o) {
    subject s = {.step.model = make_model(o)};
    example_require(rbe_digits_generate(&s.digits, BATCHES * o->batch, 1));
    s.plain = example_need(rbe_batches_new(&s.digits, o->batch, true, 1));
    s.augmented = example_need(rbe_batches_new(&s.digits, o->batch, true, 1));
    example_require(rbe_batches_augment(s.augmented, &(rbe_augment_options){.affine = 0.5, .elastic = 0.8}));
    s.step.optim = example_need(rbe_optim_new(rbe_adam, s.step.model, &(rbe_optim_options){.lr = 1e-4f}));
    s.step.tape = example_need(rbe_tape_new(NULL));
    const bench_timing timing = bench_interleaved(take_step, augment, &s, o->one_thread, o->quick);
    rbe_tape_free(s.step.tape);
    rbe_optim_free(s.step.optim);
    rbe_model_free(s.step.model);
    rbe_batches_free(s.plain);
    rbe_batches_free(s.augmented);
    rbe_dataset_free(&s.digits);
    return timing;
}
