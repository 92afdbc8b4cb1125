/* Optimisers against the formulas of rbe/optim.h in double, clipping, schedules, refused options. */
#include <math.h>
#include <string.h>

#include "optim/optim_internal.h"
#include "suites.h"

#define COUNT 37 /* no multiple of a vector */

/* A parameter on arrays of its own. */
typedef struct fixture {
    float value[COUNT], grad[COUNT];
    rbe_param param;
} fixture;

static void fixture_init(fixture *f, const char *name, uint64_t seed) {
    rbe_rng *rng = rbe_rng_new(seed, 0);
    ck_assert_ptr_nonnull(rng);
    memset(f, 0, sizeof *f);
    for (size_t i = 0; i < COUNT; i++) f->value[i] = (float)rbe_rng_normal(rng);
    rbe_rng_free(rng);
    f->param = (rbe_param){.value = f->value, .grad = f->grad, .count = COUNT, .lr_scale = 1.0f};
    strcpy(f->param.name, name);
}

static void set_gradient(fixture *f, rbe_rng *rng) {
    for (size_t i = 0; i < COUNT; i++) f->grad[i] = (float)rbe_rng_normal(rng);
    f->param.grad_set = true;
}

static rbe_optim *optim_for(const rbe_optim_method *method, fixture *f, const rbe_optim_options *options) {
    rbe_param *params[] = {&f->param};
    return rbe_optim_new_for(method, params, 1, options);
}

/* ---- update rules -------------------------------------------------------------------------------------------- */

typedef struct rule {
    const char *method;
    rbe_optim_options options;
    bool decays;
    float lr_scale;
} rule;

static const rule rules[] = {
    {"sgd", {.lr = 0.1f}, false, 1.0f},
    {"sgd", {.lr = 0.1f, .weight_decay = 0.01f}, true, 1.0f},
    {"sgd", {.lr = 0.1f, .weight_decay = 0.01f}, false, 1.0f},
    {"sgd", {.lr = 0.1f, .momentum = 0.9f}, false, 1.0f},
    {"sgd", {.lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.1f}, true, 4.0f},
    {"sgd", {.lr = 0.1f, .momentum = 0.9f, .nesterov = true}, false, 1.0f},
    {"sgd", {.lr = 0.1f, .momentum = 0.5f, .nesterov = true, .weight_decay = 0.1f}, true, 0.5f},
    {"adam", {.lr = 0.01f}, false, 1.0f},
    {"adam", {.lr = 0.01f, .beta1 = 0.5f, .beta2 = 0.9f, .epsilon = 1e-3f}, false, 1.0f},
    {"adam", {.lr = 0.01f, .weight_decay = 0.1f}, true, 4.0f},
    {"adam", {.lr = 0.01f, .weight_decay = 0.1f}, false, 4.0f},
    {"adamw", {.lr = 0.01f}, true, 1.0f},
    {"adamw", {.lr = 0.01f, .weight_decay = 0.1f}, true, 4.0f},
    {"adamw", {.lr = 0.01f, .weight_decay = 0.1f}, false, 1.0f},
    {"adamw", {.lr = 0.01f, .beta1 = 0.8f, .beta2 = 0.99f, .weight_decay = 0.3f}, true, 0.25f},
};
#define RULES (int)(sizeof rules / sizeof *rules)

/* One value's step as the header writes it. t counts from 1. */
static double reference_step(const rule *r, int t, double p, double g, double *m, double *v) {
    const rbe_optim_options *o = &r->options;
    double lr = o->lr, rate = lr * r->lr_scale, decay = r->decays ? o->weight_decay : 0.0;
    if (strcmp(r->method, "sgd") == 0) {
        double u = g + decay * p;
        *m = o->momentum * *m + u;
        return p - rate * (o->nesterov ? u + o->momentum * *m : *m);
    }
    bool decoupled = strcmp(r->method, "adamw") == 0;
    double b1 = o->beta1 > 0 ? o->beta1 : 0.9f, b2 = o->beta2 > 0 ? o->beta2 : 0.999f;
    double epsilon = o->epsilon > 0 ? o->epsilon : 1e-8f;
    double u = decoupled ? g : g + decay * p;
    *m = b1 * *m + (1 - b1) * u;
    *v = b2 * *v + (1 - b2) * u * u;
    double step = rate * (*m / (1 - pow(b1, t))) / (sqrt(*v / (1 - pow(b2, t))) + epsilon);
    return p - step - (decoupled ? lr * decay * p : 0.0);
}

START_TEST(update_rule) {
    const rule *r = &rules[_i];
    fixture f;
    fixture_init(&f, "w", 1);
    f.param.decays = r->decays;
    f.param.lr_scale = r->lr_scale;
    rbe_optim *optim = optim_for(rbe_optim_method_named(r->method), &f, &r->options);
    ck_assert_ptr_nonnull(optim);
    double p[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
    for (size_t i = 0; i < COUNT; i++) p[i] = f.value[i];
    rbe_rng *rng = rbe_rng_new(2, 0);
    for (int t = 1; t <= 25; t++) {
        set_gradient(&f, rng);
        for (size_t i = 0; i < COUNT; i++) p[i] = reference_step(r, t, p[i], f.grad[i], &m[i], &v[i]);
        ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
        ck_assert(!f.param.grad_set);
        for (size_t i = 0; i < COUNT; i++)
            ck_assert_msg(fabs(f.value[i] - p[i]) <= 3e-6 * (1 + fabs(p[i])), "step %d, value %zu: %.9g, expected %.9g",
                          t, i, (double)f.value[i], p[i]);
    }
    rbe_rng_free(rng);
    rbe_optim_free(optim);
}
END_TEST

START_TEST(first_adam_step_is_the_rate) {
    /* With the bias corrections m' = g and v' = g^2 at t = 1, however small 1 - b2 is. */
    fixture f;
    fixture_init(&f, "w", 1);
    float before[COUNT];
    memcpy(before, f.value, sizeof before);
    rbe_optim *optim = optim_for(rbe_adam, &f, &(rbe_optim_options){.lr = 0.01f, .beta2 = 0.999999f});
    for (size_t i = 0; i < COUNT; i++) f.grad[i] = i % 2 ? 3.0f : -0.002f;
    f.param.grad_set = true;
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    for (size_t i = 0; i < COUNT; i++) ck_assert_float_eq_tol(before[i] - f.value[i], i % 2 ? 0.01f : -0.01f, 1e-6f);
    rbe_optim_free(optim);
}
END_TEST

START_TEST(averages_of_vanished_gradients_become_zero) {
    fixture f;
    fixture_init(&f, "w", 1);
    rbe_optim *optim = optim_for(rbe_adam, &f, &(rbe_optim_options){.beta2 = 0.9f});
    for (int t = 0; t < 2000; t++) {
        for (size_t i = 0; i < COUNT; i++) f.grad[i] = t == 0 ? 1.0f : 0.0f;
        f.param.grad_set = true;
        ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    }
    for (int which = 0; which < 2; which++)
        for (size_t i = 0; i < COUNT; i++)
            ck_assert(fpclassify(rbe_param_companion(&f.param, which ? "adam.v" : "adam.m")[i]) != FP_SUBNORMAL);
    rbe_optim_free(optim);
}
END_TEST

START_TEST(parameters_without_a_gradient_stay) {
    fixture a, b;
    fixture_init(&a, "a", 1);
    fixture_init(&b, "b", 2);
    float before[COUNT];
    memcpy(before, b.value, sizeof before);
    rbe_param *params[] = {&a.param, &b.param};
    rbe_optim *optim =
        rbe_optim_new_for(rbe_sgd, params, 2, &(rbe_optim_options){.momentum = 0.9f, .weight_decay = 1.0f});
    rbe_rng *rng = rbe_rng_new(3, 0);
    set_gradient(&a, rng);
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    ck_assert_mem_eq(before, b.value, sizeof before);
    rbe_rng_free(rng);
    rbe_optim_free(optim);
}
END_TEST

/* What an optimiser remembers are companions of the parameter, as long as the optimiser lives. */
START_TEST(state_belongs_to_its_parameter) {
    fixture a, b, stranger;
    fixture_init(&a, "a", 1);
    fixture_init(&b, "b", 2);
    fixture_init(&stranger, "c", 3);
    rbe_param *params[] = {&a.param, &b.param};
    rbe_optim *adam = rbe_optim_new_for(rbe_adam, params, 2, NULL);
    ck_assert_ptr_nonnull(rbe_param_companion(&a.param, "adam.m"));
    ck_assert_ptr_nonnull(rbe_param_companion(&b.param, "adam.v"));
    ck_assert_ptr_ne(rbe_param_companion(&a.param, "adam.m"), rbe_param_companion(&b.param, "adam.m"));
    ck_assert_ptr_null(rbe_param_companion(&a.param, "sgd.m"));
    ck_assert_ptr_null(rbe_param_companion(&stranger.param, "adam.m"));
    for (size_t i = 0; i < COUNT; i++) ck_assert(rbe_param_companion(&a.param, "adam.v")[i] == 0.0f);

    /* A second optimiser of the method would spoil them: it is refused, and leaves nothing behind. */
    ck_assert_ptr_null(rbe_optim_new_for(rbe_adam, (rbe_param *[]){&stranger.param, &b.param}, 2, NULL));
    ck_assert_msg(strstr(rbe_last_error(), "b already has a companion called adam.m"), "%s", rbe_last_error());
    ck_assert_ptr_null(rbe_param_companion(&stranger.param, "adam.m"));
    ck_assert_ptr_nonnull(rbe_param_companion(&b.param, "adam.m"));

    rbe_optim *sgd = rbe_optim_new_for(rbe_sgd, params, 2, &(rbe_optim_options){.momentum = 0.5f});
    ck_assert_ptr_nonnull(rbe_param_companion(&a.param, "sgd.m"));
    rbe_optim_free(adam);
    ck_assert_ptr_null(rbe_param_companion(&a.param, "adam.m"));
    ck_assert_ptr_nonnull(rbe_param_companion(&a.param, "sgd.m"));
    rbe_optim_free(sgd);
    ck_assert_ptr_null(a.param.companions);
}
END_TEST

START_TEST(companions_are_named_arrays) {
    fixture f;
    fixture_init(&f, "w", 1);
    float *average = NULL;
    ck_assert_int_eq(rbe_param_add_companion(&f.param, "average", &average), RBE_OK);
    ck_assert_ptr_eq(rbe_param_companion(&f.param, "average"), average);
    for (size_t i = 0; i < COUNT; i++) ck_assert(average[i] == 0.0f);
    ck_assert_int_eq(rbe_param_add_companion(&f.param, "average", NULL), RBE_INVALID_ARGUMENT);
    char long_name[RBE_NAME_SIZE + 1];
    memset(long_name, 'x', RBE_NAME_SIZE);
    long_name[RBE_NAME_SIZE] = '\0';
    ck_assert_int_eq(rbe_param_add_companion(&f.param, long_name, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_param_add_companion(&f.param, NULL, NULL), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_param_add_companion(NULL, "average", NULL), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(rbe_param_companion(NULL, "average"));
    ck_assert_ptr_null(rbe_param_companion(&f.param, NULL));
    ck_assert_int_eq(rbe_param_add_companion(&f.param, "other", NULL), RBE_OK);
    rbe_param_remove_companion(&f.param, "average");
    rbe_param_remove_companion(&f.param, "average");
    rbe_param_remove_companion(NULL, "average");
    ck_assert_ptr_null(rbe_param_companion(&f.param, "average"));
    ck_assert_ptr_nonnull(rbe_param_companion(&f.param, "other"));
    f.param.grad = NULL; /* the fixture's own */
    rbe_param_clear(&f.param);
    ck_assert_ptr_null(f.param.companions);
}
END_TEST

/* What is frozen keeps its values and its gradient, and does not count in the norm. */
START_TEST(frozen_parameters_stay) {
    fixture a, b;
    fixture_init(&a, "a", 1);
    fixture_init(&b, "b", 2);
    rbe_param *params[] = {&a.param, &b.param};
    rbe_optim *optim = rbe_optim_new_for(_i ? rbe_adam : rbe_sgd, params, 2, &(rbe_optim_options){.clip_norm = 1e-3f});
    rbe_rng *rng = rbe_rng_new(3, 0);
    set_gradient(&a, rng);
    set_gradient(&b, rng);
    b.param.frozen = true;
    b.grad[0] = NAN;
    fixture b_before = b;
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    ck_assert_mem_eq(b.value, b_before.value, sizeof b.value);
    ck_assert(!a.param.grad_set && b.param.grad_set);
    ck_assert(a.param.rate > 0.0f && b.param.rate == 0.0f);
    rbe_rng_free(rng);
    rbe_optim_free(optim);
    ck_assert(a.param.rate == 0.0f);
}
END_TEST

START_TEST(state_bytes) {
    const rbe_optim_options momentum = {.momentum = 0.9f};
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_sgd, NULL, 100), 0);
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_sgd, &momentum, 100), 400);
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_adam, NULL, 100), 800);
    ck_assert_uint_eq(rbe_optim_state_bytes(rbe_adamw, NULL, 100), 800);
    ck_assert_uint_eq(rbe_optim_state_bytes(NULL, NULL, 100), 0);
}
END_TEST

/* ---- gradients that are not finite --------------------------------------------------------------------------- */

static const float not_finite[] = {NAN, INFINITY, -INFINITY};

START_TEST(bad_gradient_changes_nothing) {
    fixture a, b;
    fixture_init(&a, "fc1.weights", 1);
    fixture_init(&b, "fc2.weights", 2);
    rbe_param *params[] = {&a.param, &b.param};
    rbe_optim *optim = rbe_optim_new_for(rbe_adam, params, 2, &(rbe_optim_options){.clip_norm = 1.0f});
    rbe_rng *rng = rbe_rng_new(3, 0);
    set_gradient(&a, rng);
    set_gradient(&b, rng);
    b.grad[11] = not_finite[_i];
    fixture a_before = a, b_before = b;
    ck_assert_int_eq(rbe_optim_step(optim), RBE_NUMERICAL_INSTABILITY);
    ck_assert_msg(strstr(rbe_last_error(), "fc2.weights") && strstr(rbe_last_error(), "11"), "%s", rbe_last_error());
    ck_assert_mem_eq(a.value, a_before.value, sizeof a.value);
    ck_assert_mem_eq(b.value, b_before.value, sizeof b.value);
    ck_assert_mem_eq(a.grad, a_before.grad, sizeof a.grad);
    ck_assert(a.param.grad_set && b.param.grad_set);
    for (size_t i = 0; i < COUNT; i++) ck_assert(rbe_param_companion(&a.param, "adam.m")[i] == 0.0f);

    ck_assert_int_eq(rbe_clip_global_norm(params, 2, 1.0f, NULL), RBE_NUMERICAL_INSTABILITY);
    ck_assert_mem_eq(a.grad, a_before.grad, sizeof a.grad);

    /* As if the step had not been tried: the next good one is the first. */
    b.grad[11] = 1.0f;
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    ck_assert_float_eq_tol(fabsf(a.value[0] - a_before.value[0]), rbe_optim_lr(optim), 1e-6f);
    rbe_rng_free(rng);
    rbe_optim_free(optim);
}
END_TEST

/* Its square would make v infinite, and the value would never move again. */
START_TEST(square_that_overflows_changes_nothing) {
    static const char *const methods[] = {"sgd", "adam", "adamw"};
    for (size_t n = 0; n < 3; n++)
        for (int clipped = 0; clipped < 2; clipped++) {
            fixture f;
            fixture_init(&f, "fc1.weights", 1);
            rbe_optim *optim = optim_for(rbe_optim_method_named(methods[n]), &f,
                                         &(rbe_optim_options){.clip_norm = clipped ? 1.0f : 0.0f});
            fixture before = f;
            f.grad[7] = -1e21f;
            f.param.grad_set = true;
            bool fails = n > 0 && !clipped;
            ck_assert_int_eq(rbe_optim_step(optim), fails ? RBE_NUMERICAL_INSTABILITY : RBE_OK);
            if (fails) {
                ck_assert_msg(strstr(rbe_last_error(), "fc1.weights: gradient 7 of 37 is -1e+21: its square"), "%s",
                              rbe_last_error());
                ck_assert_mem_eq(f.value, before.value, sizeof f.value);
            }
            for (int t = 0; t < 3; t++) { /* and the value still moves */
                float old = f.value[7];
                f.grad[7] = 1.0f;
                f.param.grad_set = true;
                ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
                if (n > 0) ck_assert(f.value[7] != old);
            }
            rbe_optim_free(optim);
        }
}
END_TEST

/* ---- clipping ------------------------------------------------------------------------------------------------ */

START_TEST(clipping) {
    float value[1] = {0}, grad[2] = {30, 40};
    rbe_param p = {.value = value, .grad = grad, .count = 2, .grad_set = true};
    rbe_param *params[] = {&p};
    float norm = 0;
    ck_assert_int_eq(rbe_clip_global_norm(params, 1, 5.0f, &norm), RBE_OK);
    ck_assert_float_eq_tol(norm, 50.0f, 1e-5f);
    ck_assert_float_eq_tol(grad[0], 3.0f, 1e-6f);
    ck_assert_float_eq_tol(grad[1], 4.0f, 1e-6f);

    /* Below the limit not a bit changes. */
    float below[2] = {0.3f, 0.4f};
    p.grad = below;
    ck_assert_int_eq(rbe_clip_global_norm(params, 1, 0.6f, &norm), RBE_OK);
    ck_assert(below[0] == 0.3f && below[1] == 0.4f);
    ck_assert_float_eq_tol(norm, 0.5f, 1e-6f);

    /* Squares that overflow a float. */
    float huge[2] = {3e30f, 4e30f};
    p.grad = huge;
    ck_assert_int_eq(rbe_clip_global_norm(params, 1, 5.0f, NULL), RBE_OK);
    ck_assert_float_eq_tol(huge[0], 3.0f, 1e-5f);
    ck_assert_float_eq_tol(huge[1], 4.0f, 1e-5f);
}
END_TEST

START_TEST(clipping_is_joint) {
    float a[1] = {30}, b[1] = {40}, unset[1] = {1000};
    rbe_param pa = {.grad = a, .count = 1, .grad_set = true}, pb = {.grad = b, .count = 1, .grad_set = true};
    rbe_param pc = {.grad = unset, .count = 1};
    rbe_param *params[] = {&pa, &pc, &pb};
    ck_assert_int_eq(rbe_clip_global_norm(params, 3, 5.0f, NULL), RBE_OK);
    ck_assert_float_eq_tol(a[0], 3.0f, 1e-6f);
    ck_assert_float_eq_tol(b[0], 4.0f, 1e-6f);
    ck_assert(unset[0] == 1000);
    const float limits[] = {0.0f, -1.0f, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(rbe_clip_global_norm(params, 3, limits[i], NULL), RBE_INVALID_ARGUMENT);
}
END_TEST

START_TEST(step_clips) {
    float value[2] = {0}, grad[2] = {30, 40};
    rbe_param p = {.value = value, .grad = grad, .count = 2, .grad_set = true, .lr_scale = 1.0f};
    rbe_param *params[] = {&p};
    rbe_optim *optim = rbe_optim_new_for(rbe_sgd, params, 1, &(rbe_optim_options){.lr = 1.0f, .clip_norm = 5.0f});
    ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
    ck_assert_float_eq_tol(value[0], -3.0f, 1e-5f);
    ck_assert_float_eq_tol(value[1], -4.0f, 1e-5f);
    ck_assert_float_eq_tol(rbe_optim_grad_norm(optim), 50.0f, 1e-4f);
    rbe_optim_free(optim);
}
END_TEST

/* ---- options ------------------------------------------------------------------------------------------------- */

typedef struct refusal {
    const char *word; /* of the message */
    rbe_optim_options options;
} refusal;

static const refusal refusals[] = {
    {"lr", {.lr = -1.0f}},
    {"lr", {.lr = NAN}},
    {"lr", {.lr = INFINITY}},
    {"momentum", {.momentum = 1.0f}},
    {"momentum", {.momentum = -0.1f}},
    {"momentum", {.momentum = NAN}},
    {"nesterov", {.nesterov = true}},
    {"weight_decay", {.weight_decay = -0.1f}},
    {"weight_decay", {.weight_decay = NAN}},
    {"beta1", {.beta1 = 1.0f}},
    {"beta1", {.beta1 = NAN}},
    {"beta2", {.beta2 = 1.5f}},
    {"beta2", {.beta2 = -0.5f}},
    {"epsilon", {.epsilon = -1e-8f}},
    {"epsilon", {.epsilon = NAN}},
    {"clip_norm", {.clip_norm = -1.0f}},
    {"clip_norm", {.clip_norm = INFINITY}},
};
#define REFUSALS (int)(sizeof refusals / sizeof *refusals)

START_TEST(option_is_refused) {
    const refusal *r = &refusals[_i];
    fixture f;
    fixture_init(&f, "w", 1);
    ck_assert_ptr_null(optim_for(rbe_sgd, &f, &r->options));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    const char *text = rbe_last_error();
    ck_assert_msg(strstr(text, r->word) && strstr(text, "expected") && strstr(text, "found"), "%s", text);
}
END_TEST

START_TEST(bad_arguments) {
    fixture f;
    fixture_init(&f, "w", 1);
    rbe_param *params[] = {&f.param, NULL};
    ck_assert_ptr_null(rbe_optim_new_for(NULL, params, 1, NULL));
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, params, 2, NULL));
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, NULL, 1, NULL));
    ck_assert_ptr_null(rbe_optim_new_for(rbe_sgd, params, 0, NULL));
    ck_assert_ptr_null(rbe_optim_new(rbe_sgd, NULL, NULL));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optim_step(NULL), RBE_INVALID_ARGUMENT);
    rbe_optim_free(NULL);

    ck_assert_ptr_eq(rbe_optim_method_named("adamw"), rbe_adamw);
    ck_assert_ptr_null(rbe_optim_method_named("lion"));
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "adamw"));
    ck_assert_ptr_null(rbe_optim_method_named(NULL));

    rbe_optim *optim = optim_for(rbe_sgd, &f, NULL);
    ck_assert_float_eq_tol(rbe_optim_lr(optim), 1e-3f, 1e-9f);
    ck_assert_int_eq(rbe_optim_set_lr(optim, NAN), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optim_set_lr(optim, -1.0f), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_optim_set_lr(optim, 0.0f), RBE_OK);
    rbe_optim_free(optim);
}
END_TEST

/* ---- methods of a user's own --------------------------------------------------------------------------------- */

static size_t one_array(const rbe_optim_options *options) {
    (void)options;
    return 1;
}

static size_t five_arrays(const rbe_optim_options *options) {
    (void)options;
    return 5;
}

/* Plain descent that writes down what it was told. */
static void told(const rbe_optim_options *options, size_t step, rbe_param *param, float *const *state) {
    for (size_t i = 0; i < param->count; i++) param->value[i] -= options->lr * param->grad[i];
    state[0][0] += (float)step;
    state[0][1] = options->beta2;
}

typedef struct method_refusal {
    rbe_optim_method method;
    const char *word;
} method_refusal;

static const method_refusal method_refusals[] = {
    {{.state = {"own.m"}, .state_arrays = one_array, .update = told}, "a name"},
    {{.name = "own", .state = {"own.m"}, .update = told}, "state_arrays"},
    {{.name = "own", .state = {"own.m"}, .state_arrays = one_array}, "update"},
    {{.name = "own", .state_arrays = one_array, .update = told}, "own: expected names of 1 state arrays, found 0"},
    {{.name = "own", .state = {"a", "b", "c", "d"}, .state_arrays = five_arrays, .update = told},
     "own: expected names of 5 state arrays, found 4"},
};
#define METHOD_REFUSALS (int)(sizeof method_refusals / sizeof *method_refusals)

START_TEST(own_method_is_refused) {
    fixture f;
    fixture_init(&f, "w", 1);
    ck_assert_ptr_null(optim_for(&method_refusals[_i].method, &f, NULL));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    ck_assert_msg(strstr(rbe_last_error(), method_refusals[_i].word), "%s", rbe_last_error());
    ck_assert_ptr_null(f.param.companions);
}
END_TEST

/* What rbe/optim.h promises to an update: zeros at first, steps from 1, options with their defaults. */
START_TEST(own_method_is_told) {
    static const rbe_optim_method own = {.name = "own", .state = {"own.m"}, .state_arrays = one_array, .update = told};
    fixture f;
    fixture_init(&f, "w", 1);
    rbe_optim *optim = optim_for(&own, &f, NULL);
    ck_assert_ptr_nonnull(optim);
    rbe_rng *rng = rbe_rng_new(2, 0);
    for (int step = 0; step < 3; step++) {
        set_gradient(&f, rng);
        const float expected = f.value[0] - rbe_optim_lr(optim) * f.grad[0];
        ck_assert_int_eq(rbe_optim_step(optim), RBE_OK);
        ck_assert(f.value[0] == expected);
    }
    const float *state = rbe_param_companion(&f.param, "own.m");
    ck_assert(state[0] == 1.0f + 2.0f + 3.0f && state[1] == 0.999f);
    rbe_rng_free(rng);
    rbe_optim_free(optim);
    ck_assert_ptr_null(rbe_param_companion(&f.param, "own.m"));
}
END_TEST

/* ---- schedules ----------------------------------------------------------------------------------------------- */

typedef struct point {
    rbe_schedule schedule;
    size_t step;
    double lr;
} point;

static const point points[] = {
    {{RBE_CONSTANT, .base = 0.5f}, 0, 0.5},
    {{RBE_CONSTANT, .base = 0.5f}, 1000000, 0.5},
    {{RBE_CONSTANT, .base = 0.5f, .warmup = 5}, 0, 0.1},
    {{RBE_CONSTANT, .base = 0.5f, .warmup = 5}, 3, 0.4},
    {{RBE_CONSTANT, .base = 0.5f, .warmup = 5}, 4, 0.5},
    {{RBE_CONSTANT, .base = 0.5f, .warmup = 5}, 5, 0.5},
    {{RBE_STEP, .base = 0.8f, .every = 10, .factor = 0.5f}, 0, 0.8},
    {{RBE_STEP, .base = 0.8f, .every = 10, .factor = 0.5f}, 9, 0.8},
    {{RBE_STEP, .base = 0.8f, .every = 10, .factor = 0.5f}, 10, 0.4},
    {{RBE_STEP, .base = 0.8f, .every = 10, .factor = 0.5f}, 35, 0.1},
    {{RBE_STEP, .base = 0.8f, .factor = 0.5f}, 35, 0.8},
    {{RBE_STEP, .base = 0.8f, .every = 10}, 9, 0.8},
    {{RBE_STEP, .base = 0.8f, .every = 10}, 25, 0.008},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 0, 1.0},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 25, 0.853553390593},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 50, 0.5},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 99, 2.467198171e-4},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 100, 0.0},
    {{RBE_COSINE, .base = 1.0f, .total = 100}, 5000, 0.0},
    {{RBE_COSINE, .base = 1.0f, .total = 110, .warmup = 10}, 4, 0.5},
    {{RBE_COSINE, .base = 1.0f, .total = 110, .warmup = 10}, 10, 1.0},
    {{RBE_COSINE, .base = 1.0f, .total = 110, .warmup = 10}, 60, 0.5},
    {{RBE_COSINE, .base = 2.0f, .total = 100, .floor = 0.1f}, 50, 1.1},
    {{RBE_COSINE, .base = 2.0f, .total = 100, .floor = 0.1f}, 200, 0.2},
    {{RBE_COSINE, .base = 2.0f, .total = 10, .warmup = 10}, 9, 2.0},
    {{RBE_COSINE, .base = 2.0f, .total = 10, .warmup = 10}, 10, 0.0},
};
#define POINTS (int)(sizeof points / sizeof *points)

START_TEST(schedule_point) {
    const point *p = &points[_i];
    ck_assert_double_eq_tol(rbe_schedule_lr(&p->schedule, p->step), p->lr, 1e-7);
}
END_TEST

START_TEST(schedule_names) {
    rbe_schedule_kind kind = RBE_CONSTANT;
    ck_assert(rbe_schedule_kind_named("cosine", &kind) && kind == RBE_COSINE);
    ck_assert(rbe_schedule_kind_named("step", &kind) && kind == RBE_STEP);
    ck_assert(rbe_schedule_kind_named("constant", &kind) && kind == RBE_CONSTANT);
    ck_assert(!rbe_schedule_kind_named("linear", &kind));
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "cosine"));
    ck_assert(!rbe_schedule_kind_named(NULL, &kind));
}
END_TEST

Suite *optim_suite(void) {
    Suite *suite = suite_create("optim");
    TCase *rule_case = tcase_create("update rules");
    tcase_add_loop_test(rule_case, update_rule, 0, RULES);
    tcase_add_test(rule_case, first_adam_step_is_the_rate);
    tcase_add_test(rule_case, averages_of_vanished_gradients_become_zero);
    tcase_add_test(rule_case, parameters_without_a_gradient_stay);
    tcase_add_test(rule_case, state_belongs_to_its_parameter);
    tcase_add_test(rule_case, companions_are_named_arrays);
    tcase_add_loop_test(rule_case, frozen_parameters_stay, 0, 2);
    tcase_add_test(rule_case, state_bytes);
    suite_add_tcase(suite, rule_case);
    TCase *gradient_case = tcase_create("gradients");
    tcase_add_loop_test(gradient_case, bad_gradient_changes_nothing, 0, 3);
    tcase_add_test(gradient_case, square_that_overflows_changes_nothing);
    tcase_add_test(gradient_case, clipping);
    tcase_add_test(gradient_case, clipping_is_joint);
    tcase_add_test(gradient_case, step_clips);
    suite_add_tcase(suite, gradient_case);
    TCase *option_case = tcase_create("options");
    tcase_add_loop_test(option_case, option_is_refused, 0, REFUSALS);
    tcase_add_test(option_case, bad_arguments);
    tcase_add_loop_test(option_case, own_method_is_refused, 0, METHOD_REFUSALS);
    tcase_add_test(option_case, own_method_is_told);
    suite_add_tcase(suite, option_case);
    TCase *schedule_case = tcase_create("schedules");
    tcase_add_loop_test(schedule_case, schedule_point, 0, POINTS);
    tcase_add_test(schedule_case, schedule_names);
    suite_add_tcase(suite, schedule_case);
    return suite;
}
