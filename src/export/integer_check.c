/* What a net in whole numbers costs in accuracy, and the self-test of its file. */
#include <string.h>

#include "base/alloc.h"
#include "export/integer.h"

/* ---- classes ------------------------------------------------------------------------------------------------- */

static uint32_t class_of_floats(const float *y, size_t count) {
    size_t best = 0;
    for (size_t n = 1; n < count; n++)
        if (y[n] > y[best]) best = n;
    return (uint32_t)best;
}

static uint32_t class_of_numbers(const int32_t *y, size_t count) {
    size_t best = 0;
    for (size_t n = 1; n < count; n++)
        if (y[n] > y[best]) best = n;
    return (uint32_t)best;
}

static rbe_status compare_classes(rbe_exporter *x, int16_t *inputs, int32_t *y, int16_t *scratch) {
    const size_t count = x->o.input_count;
    float *expected = NULL;
    rbe_status status = RBE_OK;
    if (x->o.model_classes) status = rbe_export_evaluate(x, x->o.inputs, count, &expected);
    for (size_t n = 0; n < count && status == RBE_OK; n++) {
        if (x->o.model_classes) x->o.model_classes[n] = class_of_floats(expected + n * x->out, x->out);
        if (!x->o.file_classes) continue;
        rbe_int_run(x->plan, x->plan->count, x->o.inputs + n * x->in, inputs, y, scratch);
        x->o.file_classes[n] = class_of_numbers(y, x->out);
    }
    rbe_free(expected);
    return status;
}

rbe_status rbe_int_evaluate(rbe_exporter *x) {
    const rbe_int_plan *plan = x->plan;
    int16_t *inputs = rbe_alloc(x->in, sizeof *inputs), *scratch = rbe_alloc_zeroed(plan->scratch, sizeof *scratch);
    x->whole = rbe_alloc((x->o.sample_count + 1) * x->out, sizeof *x->whole); /* one more, to work with */
    rbe_status status = inputs && scratch && x->whole ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; status == RBE_OK && n < x->o.sample_count; n++)
        rbe_int_run(plan, plan->count, x->o.samples + n * x->in, inputs, x->whole + n * x->out, scratch);
    if (status == RBE_OK) status = compare_classes(x, inputs, x->whole + x->o.sample_count * x->out, scratch);
    rbe_free(inputs);
    rbe_free(scratch);
    return status;
}

/* ---- the test ------------------------------------------------------------------------------------------------ */

static void put_inputs(rbe_exporter *x) {
    const size_t count = x->o.sample_count * x->in;
    int16_t *inputs = rbe_alloc(count, sizeof *inputs);
    if (!inputs) {
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
        return;
    }
    for (size_t n = 0; n < count; n++) inputs[n] = rbe_int_input(x->plan, x->o.samples[n]);
    if (x->plan->pixels) {
        uint8_t *bytes = (uint8_t *)inputs; /* each takes the place of a number that has been read */
        for (size_t n = 0; n < count; n++) bytes[n] = (uint8_t)inputs[n];
        rbe_c_bytes(&x->text, "test_inputs", bytes, count);
    } else
        rbe_c_signed_shorts(&x->text, "test_inputs", inputs, count);
    rbe_free(inputs);
}

static void put_classes(rbe_exporter *x) {
    int32_t *classes = rbe_alloc(x->o.sample_count, sizeof *classes);
    for (size_t n = 0; classes && n < x->o.sample_count; n++)
        classes[n] = (int32_t)class_of_floats(x->expected + n * x->out, x->out);
    if (classes)
        rbe_c_words(&x->text, "test_classes", classes, x->o.sample_count);
    else
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
    rbe_free(classes);
}

void rbe_int_selftest(rbe_exporter *x, size_t constants) {
    rbe_c_text *t = &x->text;
    if (x->o.sample_count == 0) return;
    rbe_c_print(t,
                "\n/* The test: samples, the outputs that are expected, and the classes that the library has. */\n"
                "#ifdef %s_TEST\n#include <stdio.h>\n#include <time.h>\n\n"
                "enum {\n    SAMPLES = %zu,\n    INPUTS = %s_INPUTS,\n    OUTPUTS = %s_OUTPUTS,\n    SCRATCH = "
                "%s_SCRATCH\n};\n\nstatic const char test_name[] = \"%s\";\n"
                "static const unsigned long test_constants = %zu; /* bytes */\n",
                x->upper, x->o.sample_count, x->upper, x->upper, x->upper, x->name, constants);
    put_inputs(x);
    rbe_c_words(t, "test_outputs", x->whole, x->o.sample_count * x->out);
    put_classes(x);
    rbe_c_print(t,
                "\nstatic int test_sample(size_t n, int32_t *y)\n{\n"
                "    static unsigned char scratch[SCRATCH + 1]; /* used from the second byte on: any alignment will do "
                "*/\n    return %s_predict(test_inputs + n * INPUTS, y, scratch + 1);\n}\n\n",
                x->name);
    rbe_c_put(t, rbe_snippet_int_test);
    rbe_c_put(t, "#endif\n");
}
