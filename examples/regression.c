/* Learns the last of 8 columns from the others, keeps the best model in a file, and predicts from it. */
#include <stdio.h>
#include <stdlib.h>

#include "common.h"
#include "resume.h"
#include "table.h"

/* What is learned: between two layers of scaling, which stay as they are and are stored with the rest. */
static rbe_model *new_model(const rbe_dataset *data) {
    rbe_model *model = rbe_model_new();
    rbe_model_add(model, table_scaling(data->values, data->count, data->features, false));
    rbe_model_add(model, rbe_dense_new(data->features, 128, &(rbe_dense_options){.seed = 1}));
    rbe_model_apply(model, rbe_gelu);
    rbe_model_add(model, rbe_linear_new(128, 128, &(rbe_linear_options){.ratio = 8, .seed = 2}));
    rbe_model_apply(model, rbe_gelu);
    rbe_model_add(model, rbe_dense_new(128, 1, &(rbe_dense_options){.seed = 3}));
    rbe_model_add(model, table_scaling(data->targets, data->count, 1, true));
    return model;
}

static void train(const table *t, const char *path, const resume *r) {
    rbe_dataset data, validation, test; /* the rows stand in no order */
    example_require(rbe_dataset_from_targets(&data, t->x, t->y, t->rows, t->inputs, 1));
    example_require(rbe_dataset_split(&data, t->rows / 5, &test));
    example_require(rbe_dataset_split(&data, t->rows / 5, &validation));
    rbe_model *model = new_model(&data);
    rbe_optim *optim = example_need(rbe_optim_new(rbe_adamw, model, NULL));
    rbe_fit_options options = {.epochs = 200, .batch = 32, .patience = 15, .best_path = path, .progress = stderr};
    const rbe_fit_result result = resume_fit(r, model, optim, &data, &validation, &options, NULL, NULL);
    rbe_optim_free(optim);
    rbe_model_free(model);
    model = example_need(rbe_model_load(path));
    rbe_evaluation e;
    example_require(rbe_evaluate(model, &test, 128, &e));
    printf("best epoch %zu of %zu: R^2 %.3f on %zu other rows\n", result.best_epoch + 1, result.epochs, e.metric,
           e.count);
    rbe_model_free(model);
    rbe_dataset_free(&data);
}

int main(int argc, char **argv) {
    const char *csv = NULL, *path = "regression.safetensors";
    bool predict = false;
    resume r = {0};
    example_option options[3 + RESUME_OPTIONS] = {
        {"csv", EXAMPLE_TEXT, &csv, "FILE", "8 columns of numbers (default: 2,000 rows are made)", 0, 0},
        {"model", EXAMPLE_TEXT, &path, "FILE", "file for the best model", 0, 0},
        {"predict", EXAMPLE_FLAG, &predict, NULL, "print the prediction for each row, and train nothing", 0, 0},
    };
    resume_options(&r, options + 3);
    example_parse(argc, argv, "Learns the last of 8 columns from the others, and predicts.", options,
                  3 + RESUME_OPTIONS);
    resume_check(&r);
    table t = csv ? table_read(csv, 7) : table_make(2000);
    if (!predict) train(&t, path, &r);
    rbe_model *model = predict ? example_need(rbe_model_load(path)) : NULL;
    if (predict && (rbe_model_inputs(model) != 7 || rbe_model_outputs(model) != 1))
        example_fail(1, "%s: expected a model of 7 inputs and 1 output, found %zu and %zu", path,
                     rbe_model_inputs(model), rbe_model_outputs(model));
    if (predict) example_require(rbe_predict(model, t.x, t.rows, t.y));
    for (size_t n = 0; predict && n < t.rows; n++) printf("%g\n", (double)t.y[n]);
    rbe_model_free(model);
    table_free(&t);
    return 0;
}
