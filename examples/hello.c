/* Two spirals, told apart by a network whose middle layer is trained in compressed form. */
#include <math.h>
#include <stdio.h>

#include "rbe/rbe.h"

enum { POINTS = 1000 };

/* Points on both arms in turn, from the middle outwards, two turns. */
static rbe_status spirals(rbe_dataset *data, double offset) {
    float x[POINTS][2];
    int32_t arm[POINTS];
    for (int n = 0; n < POINTS; n++) {
        double radius = (n + offset) / POINTS, angle = 6.2832 * (2.0 * radius + 0.5 * (n % 2));
        x[n][0] = (float)(radius * cos(angle));
        x[n][1] = (float)(radius * sin(angle));
        arm[n] = n % 2;
    }
    return rbe_dataset_from_floats(data, x[0], arm, POINTS, 2, 2);
}

int main(void) {
    rbe_dataset train = {0}, test = {0};
    rbe_status status = spirals(&train, 0.0);
    if (status == RBE_OK) status = spirals(&test, 0.5);

    rbe_model *model = rbe_model_new();
    rbe_model_add(model, rbe_dense_new(2, 256, &(rbe_dense_options){.seed = 1}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_linear_new(256, 256, &(rbe_linear_options){.ratio = 16, .seed = 2}));
    rbe_model_apply(model, rbe_relu);
    rbe_model_add(model, rbe_dense_new(256, 2, &(rbe_dense_options){.seed = 3}));
    rbe_optim *optim = rbe_optim_new(rbe_adam, model, &(rbe_optim_options){.lr = 3e-3f});

    rbe_fit_options options = {.epochs = 80, .batch = 50, .schedule = {.kind = RBE_COSINE}};
    rbe_fit_result result;
    if (status == RBE_OK) status = rbe_fit(model, optim, &train, &test, &options, &result);
    if (status == RBE_OK) status = rbe_model_print(model, stdout);
    if (status == RBE_OK) {
        printf("loss %.4f, accuracy %.1f %%\n", result.test.loss, 100 * (1 - result.test.error));
    } else {
        fprintf(stderr, "%s: %s\n", rbe_status_name(status), rbe_last_error());
    }
    rbe_optim_free(optim);
    rbe_model_free(model);
    rbe_dataset_free(&train);
    rbe_dataset_free(&test);
    if (fflush(stdout) != 0) {
        perror("hello: the output is lost");
        return 1;
    }
    return status == RBE_OK && result.test.error < 0.01 ? 0 : 1;
}
