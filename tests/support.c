#include "support.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double relative_error(const float *found, const double *expected, size_t count) {
    double error = 0.0, norm = 0.0;
    for (size_t i = 0; i < count; i++) {
        const double d = (double)found[i] - expected[i];
        error += d * d;
        norm += expected[i] * expected[i];
    }
    return norm > 0.0 ? sqrt(error / norm) : sqrt(error);
}

double relative_difference(const float *found, const float *expected, size_t count) {
    double *wide = malloc(count * sizeof *wide);
    ck_assert_ptr_nonnull(wide);
    for (size_t i = 0; i < count; i++) wide[i] = (double)expected[i];
    const double error = relative_error(found, wide, count);
    free(wide);
    return error;
}

void fill_normal(float *values, size_t count, double deviation, uint64_t seed) {
    rbe_rng *rng = rbe_rng_new(seed, 0);
    ck_assert_ptr_nonnull(rng);
    for (size_t i = 0; i < count; i++) values[i] = (float)(deviation * rbe_rng_normal(rng));
    rbe_rng_free(rng);
}

rbe_tensor new_tensor(int dims, const size_t *shape) {
    rbe_tensor tensor;
    const rbe_status status = rbe_tensor_new(&tensor, dims, shape);
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());
    return tensor;
}

/* ---- gradients against finite differences -------------------------------------------------------------------- */

enum { MAX_LEAVES = 8, WEIGHT_SEED = 20240229 };

static rbe_var *build_on(rbe_tape *tape, build_function build, rbe_tensor *leaves, int count, void *user,
                         rbe_var *variables[MAX_LEAVES]) {
    for (int k = 0; k < count; k++) variables[k] = rbe_variable(tape, leaves[k]);
    rbe_var *output = build(tape, variables, user);
    ck_assert_msg(rbe_tape_status(tape) == RBE_OK, "%s", rbe_tape_error(tape));
    return output;
}

/* sum_i w_i output_i in double. */
static double evaluate(build_function build, rbe_tensor *leaves, int count, void *user, const float *weights) {
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *variables[MAX_LEAVES];
    const rbe_tensor *output = rbe_value(build_on(tape, build, leaves, count, user, variables));
    double sum = 0.0;
    for (size_t i = 0; i < rbe_tensor_count(output); i++) sum += (double)weights[i] * (double)output->data[i];
    rbe_tape_free(tape);
    return sum;
}

static double root_mean_square(const rbe_tensor *x) {
    double sum = 0.0;
    for (size_t i = 0; i < rbe_tensor_count(x); i++) sum += (double)x->data[i] * (double)x->data[i];
    return sqrt(sum / (double)rbe_tensor_count(x));
}

double gradient_error(build_function build, rbe_tensor *leaves, int count, void *user) {
    ck_assert_int_le(count, MAX_LEAVES);
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_var *variables[MAX_LEAVES];
    rbe_var *output = build_on(tape, build, leaves, count, user, variables);
    rbe_tensor weights = new_tensor(rbe_value(output)->dims, rbe_value(output)->shape);
    fill_normal(weights.data, rbe_tensor_count(&weights), 1.0, WEIGHT_SEED);
    const rbe_status status = rbe_backward(rbe_sum(rbe_mul(output, rbe_input(tape, weights))));
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());

    double worst = 0.0;
    for (int k = 0; k < count; k++) {
        const float *gradient = rbe_grad(variables[k]);
        ck_assert_msg(gradient != NULL, "leaf %d has no gradient", k);
        const double h = 1e-2 * fmax(root_mean_square(&leaves[k]), 1e-3);
        double error = 0.0, norm = 0.0;
        for (size_t i = 0; i < rbe_tensor_count(&leaves[k]); i++) {
            float *x = &leaves[k].data[i];
            const float kept = *x;
            double quotient[2];
            for (int halved = 0; halved < 2; halved++) {
                const float step = (float)(halved ? h / 2 : h), above = kept + step, below = kept - step;
                *x = above;
                const double value_above = evaluate(build, leaves, count, user, weights.data);
                *x = below;
                const double value_below = evaluate(build, leaves, count, user, weights.data);
                quotient[halved] = (value_above - value_below) / ((double)above - (double)below);
            }
            *x = kept;
            const double expected = (4.0 * quotient[1] - quotient[0]) / 3.0;
            error += ((double)gradient[i] - expected) * ((double)gradient[i] - expected);
            norm += expected * expected;
        }
        const double relative = norm > 0.0 ? sqrt(error / norm) : sqrt(error);
        if (!(relative <= worst)) worst = relative; /* a NaN counts as worst */
    }
    rbe_tensor_free(&weights);
    rbe_tape_free(tape);
    return worst;
}

/* ---- allocations that fail ----------------------------------------------------------------------------------- */

static void *allocate(void *user, size_t bytes) {
    failing_allocator *allocator = user;
    if (atomic_fetch_add(&allocator->requests, 1) + 1 == allocator->fail_at) return NULL;
    void *memory = malloc(bytes);
    if (memory) atomic_fetch_add(&allocator->outstanding, 1);
    return memory;
}

static void release(void *user, void *memory) {
    failing_allocator *allocator = user;
    atomic_fetch_sub(&allocator->outstanding, 1);
    free(memory);
}

void failing_allocator_install(failing_allocator *allocator, size_t fail_at) {
    allocator->fail_at = fail_at;
    atomic_init(&allocator->requests, 0);
    atomic_init(&allocator->outstanding, 0);
    const rbe_status status = rbe_set_allocator(&(rbe_allocator){allocate, release, allocator});
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());
}

bool failing_allocator_remove(failing_allocator *allocator) {
    ck_assert_uint_eq(atomic_load(&allocator->outstanding), 0);
    const rbe_status status = rbe_set_allocator(NULL);
    ck_assert_msg(status == RBE_OK, "%s", rbe_last_error());
    return allocator->fail_at > 0 && atomic_load(&allocator->requests) >= allocator->fail_at;
}

size_t fail_each_allocation(rbe_status (*run)(void *user), void *user) {
    for (size_t at = 1;; at++) {
        failing_allocator allocator;
        failing_allocator_install(&allocator, at);
        const rbe_status status = run(user);
        const bool reached = failing_allocator_remove(&allocator);
        ck_assert_msg(status == (reached ? RBE_INSUFFICIENT_MEMORY : RBE_OK), "request %zu: %s: %s", at,
                      rbe_status_name(status), rbe_last_error());
        if (!reached) return at - 1;
    }
}

typedef struct tape_step {
    rbe_status (*run)(rbe_tape *tape);
} tape_step;

static rbe_status step_on_a_new_tape(void *user) {
    rbe_tape *tape = rbe_tape_new(NULL);
    const rbe_status status = tape ? ((const tape_step *)user)->run(tape) : rbe_last_status();
    rbe_tape_free(tape);
    return status;
}

size_t fail_each_allocation_of_step(rbe_status (*step)(rbe_tape *tape)) {
    return fail_each_allocation(step_on_a_new_tape, &(tape_step){step});
}

/* ---- a locale ------------------------------------------------------------------------------------------------ */

/* A locale of decimal commas, and the characters that localedef needs for it: a bare Debian has neither. */
static const char commas[] = "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \"\"\ngrouping -1\nEND LC_NUMERIC\n";
static const char ascii[] = "<code_set_name> ASCII\nCHARMAP\n<U0000>..<U007F> \\x00\nEND CHARMAP\n";

static void write_text(const char *folder, const char *name, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

bool use_decimal_commas(void) {
    if (system("command -v localedef > /dev/null") != 0) return false;
    char folder[] = "/tmp/rbe_locale_XXXXXX", command[256];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    write_text(folder, "commas", commas);
    write_text(folder, "ascii", ascii);
    snprintf(command, sizeof command, "cd %s && localedef -c -f ./ascii -i ./commas ./xx_XX 2>/dev/null", folder);
    int warned = system(command); /* that a locale of numbers has no months */
    setenv("LOCPATH", folder, 1);
    const char *set = setlocale(LC_NUMERIC, "xx_XX");
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
    ck_assert_msg(set != NULL, "localedef made no locale, and returned %d", warned);
    snprintf(command, sizeof command, "%.1f", 0.5);
    ck_assert_str_eq(command, "0,5");
    return true;
}

/* Rows have decimal points in the locale of any program. */
