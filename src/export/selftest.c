/* The self-test of an exported file: samples, what the library gives for them, and a program that compares. */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "export/exporter.h"
#include "tensor/node.h"

/* ---- what the library gives ---------------------------------------------------------------------------------- */

/* Values of a sample, and of what the model gives for it. */
static size_t sample_inputs(const rbe_exporter *x) { return x->places * x->in; }

static size_t sample_outputs(const rbe_exporter *x) { return x->places * x->out; }

static rbe_status evaluate_sample(const rbe_exporter *x, rbe_tape *tape, const float *samples, size_t n, float *y) {
    const size_t inputs = sample_inputs(x), outputs = sample_outputs(x);
    /* The tape never writes what it borrows. */
    rbe_tensor sample = rbe_tensor_2d((float *)samples + n * inputs, 1, inputs);
    if (x->remembers && !x->vocabulary) {
        sample.dims = 3;
        sample.shape[1] = x->places;
        sample.shape[2] = x->in;
    }
    const rbe_var *output = rbe_model_forward(x->model, rbe_input(tape, sample));
    RBE_TRY(rbe_tape_report(tape));
    const rbe_tensor *value = rbe_value(output);
    if (rbe_tensor_count(value) != outputs)
        return rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "rbe_export_c: expected %zu outputs of sample %zu, found %zu",
                        outputs, n, rbe_tensor_count(value));
    memcpy(y, value->data, outputs * sizeof *y);
    const size_t bad = rbe_first_nonfinite(y, outputs);
    if (bad < outputs)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_export_c: output %zu of sample %zu is %g", bad, n,
                        (double)y[bad]);
    rbe_tape_reset(tape);
    return RBE_OK;
}

rbe_status rbe_export_evaluate(const rbe_exporter *x, const float *samples, size_t count, float **y) {
    const size_t outputs = sample_outputs(x);
    *y = NULL;
    if (count == 0) return RBE_OK;
    *y = rbe_alloc(rbe_product(count, outputs), sizeof **y);
    rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    rbe_status status = *y && tape ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < count && status == RBE_OK; n++)
        status = evaluate_sample(x, tape, samples, n, *y + n * outputs);
    rbe_tape_free(tape);
    return status;
}

/* ---- the program --------------------------------------------------------------------------------------------- */

/* Whether all are pixels, as rbe/data.h makes floats of them; then `pixels` (or NULL) are their bytes. */
static bool are_pixels(const float *values, size_t count, uint8_t *pixels) {
    for (size_t n = 0; n < count; n++) {
        const float pixel = rintf(values[n] * 255.0f);
        if (!(pixel >= 0.0f && pixel <= 255.0f) || pixel / 255.0f != values[n]) return false;
        if (pixels) pixels[n] = (uint8_t)pixel;
    }
    return true;
}

/* Returns whether they are bytes. */
static bool samples(rbe_exporter *x) {
    const size_t count = x->o.sample_count * sample_inputs(x);
    if (!are_pixels(x->o.samples, count, NULL)) {
        rbe_c_floats(&x->text, "test_inputs", x->o.samples, count);
        return false;
    }
    uint8_t *pixels = rbe_alloc(count, 1);
    if (pixels) {
        are_pixels(x->o.samples, count, pixels);
        rbe_c_bytes(&x->text, "test_inputs", pixels, count);
    } else
        rbe_export_fail(x, rbe_last_status());
    rbe_free(pixels);
    return true;
}

/* "static int test_sample(size_t n, float *y)", which computes sample n; -1 where that fails. */
static void sample_function(rbe_exporter *x, bool pixels) {
    rbe_c_text *t = &x->text;
    rbe_c_put(
        t,
        "\nstatic int test_sample(size_t n, float *y)\n"
        "{\n"
        "    static float x[INPUTS];\n"
        "    static unsigned char scratch[SCRATCH + 1]; /* used from the second byte on: any alignment will do */\n");
    if (x->remembers) rbe_c_print(t, "    %s_begin(scratch + 1);\n", x->name);
    rbe_c_print(t,
                "    for (size_t place = n * PLACES; place < (n + 1) * PLACES; place++, y += OUTPUTS) {\n"
                "        for (size_t i = 0; i < INPUTS; i++) x[i] = %stest_inputs[place * INPUTS + i]%s;\n"
                "        if (%s_predict(x, y, scratch + 1) != 0) return -1;\n"
                "    }\n"
                "    return 0;\n"
                "}\n\n",
                pixels ? "(float)" : "", pixels ? " / 255.0f" : "", x->name);
}

void rbe_c_selftest(rbe_exporter *x) {
    if (x->o.sample_count == 0) return;
    rbe_c_text *t = &x->text;
    char tolerance[40];
    rbe_c_float_digits((float)(x->o.tolerance > 0.0 ? x->o.tolerance : 1e-5), tolerance);
    rbe_c_print(t,
                "\n/* The test: samples, and what the library gives for them. */\n#ifdef %s_TEST\n"
                "#include <stdio.h>\n#include <time.h>\n\n"
                "enum {\n    SAMPLES = %zu,\n    PLACES = %zu,\n    INPUTS = %s_INPUTS,\n    OUTPUTS = %s_OUTPUTS,\n"
                "    SCRATCH = %s_SCRATCH\n};\n\n"
                "static const char test_name[] = \"%s\";\n"
                "static const unsigned long test_constants = %zu; /* bytes */\n\n"
                "/* How far an output may be off, over the largest one of its sample. */\n"
                "static const float test_tolerance = %s;\n",
                x->upper, x->o.sample_count, x->places, x->upper, x->upper, x->upper, x->name, t->data_bytes,
                tolerance);
    const bool pixels = samples(x);
    rbe_c_floats(t, "test_outputs", x->expected, x->o.sample_count * sample_outputs(x));
    sample_function(x, pixels);
    rbe_c_put(t, rbe_snippet_test);
    rbe_c_put(t, "#endif\n");
}
