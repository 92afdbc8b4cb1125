/* Backward against finite differences, entry by entry.
 *
 * With L(t) the loss when the entry is moved by t, q(h) = (L(h) - L(-h)) / 2h and d(h) = L(h) - 2 L(0) + L(-h), what is
 * expected is (4 q(h/2) - q(h)) / 3, of which the truncation is of order h^4. Its uncertainty is the sum of
 *
 *     3 eps |L(0)| / h                                     the loss is a float: rounding in the differences
 *     2/3 |q(h/2) - q(h)| + |4 d(h/2) - d(h)| / 2h         of orders h^2 and h^3 in a smooth function
 *
 * Where the loss has a kink within the step, as relu has at 0, with slopes that differ by D, differences are wrong by
 * up to D/2, whatever the step. The second line is at least as much: for a kink at k it is D/2 - 7/6 D k/h up to h/3,
 * which is the error.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/splitmix.h"
#include "nn/layer.h"
#include "tensor/node.h"

#define DEFAULT_STEP 2e-2
#define LEAST_SIZE 0.5 /* of a parameter, in which the step is measured */
#define DEFAULT_TOLERANCE 1e-3
enum { DEFAULT_ENTRIES = 64 };

typedef struct check {
    rbe_scalar_function *build;
    void *user;
    rbe_tape *tape;
    double step, tolerance;
    size_t entries; /* of one parameter, at most */
    uint64_t seed;
    double loss; /* where nothing is moved */
    rbe_gradient_report report;
} check;

/* The loss as it is now. Masks of dropout begin anew with each call, so they are the same in all. */
static rbe_status evaluate(check *c, rbe_var **loss) {
    rbe_tape_reset(c->tape);
    c->tape->draws = 0;
    *loss = c->build(c->tape, c->user);
    RBE_TRY(rbe_tape_report(c->tape));
    if (!rbe_ok(*loss) || (*loss)->tape != c->tape)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: the callback gave no variable of its tape");
    if (rbe_tensor_count(&(*loss)->value) != 1)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: expected a loss of one value, found %zu values",
                        rbe_tensor_count(&(*loss)->value));
    return isfinite(rbe_item(*loss))
               ? RBE_OK
               : rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_check_gradients: the loss is %g", (double)rbe_item(*loss));
}

/* The loss with the entry moved by `by`, which becomes what that is in float. The entry is as before, whatever happens. */
static rbe_status moved_loss(check *c, float *entry, double *by, double *value) {
    const float kept = *entry, moved = (float)((double)kept + *by);
    rbe_var *loss;
    *entry = moved;
    const rbe_status status = evaluate(c, &loss);
    *entry = kept;
    *by = (double)moved - (double)kept;
    *value = (double)rbe_item(loss);
    return status;
}

/* q(h) and d(h). */
static rbe_status differences(check *c, float *entry, double h, double *quotient, double *second) {
    double up = h, down = -h, above, below;
    RBE_TRY(moved_loss(c, entry, &up, &above));
    RBE_TRY(moved_loss(c, entry, &down, &below));
    *quotient = (above - below) / (up - down);
    *second = above - 2.0 * c->loss + below;
    return RBE_OK;
}

/* What the comparison of an entry gives. */
typedef struct verdict {
    double expected, error;
    bool resolved; /* an error of 10 % would have been seen */
} verdict;

/* Compares one entry, whose gradient by backward is `found`. `typical` is the root mean square of the parameter's
 * gradient: entries far below it are lost in what rounding does to the others. */
static rbe_status compare(check *c, float *entry, double h, double found, double typical, verdict *v) {
    double whole, half, second_whole, second_half;
    RBE_TRY(differences(c, entry, h, &whole, &second_whole));
    RBE_TRY(differences(c, entry, h / 2.0, &half, &second_half));
    const double expected = (4.0 * half - whole) / 3.0, size = fmax(fmax(fabs(expected), fabs(found)), typical);
    const double uncertainty = 3.0 * (double)FLT_EPSILON * fabs(c->loss) / h + 2.0 / 3.0 * fabs(half - whole) +
                               fabs(4.0 * second_half - second_whole) / (2.0 * h);
    const double error = (fabs(found - expected) - uncertainty) / size;
    *v = (verdict){expected, isnan(found) ? INFINITY : fmax(error, 0.0), uncertainty <= 0.1 * size};
    if (found == 0.0 && whole == 0.0 && half == 0.0) *v = (verdict){.resolved = true}; /* the loss does not see it */
    return RBE_OK;
}

static double root_mean_square(const float *x, size_t count) {
    double sum = 0.0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)count);
}

/* Which entry is number n of `taken`: one at random in each of as many equal parts. */
static size_t sampled(const check *c, size_t n, size_t taken, size_t count) {
    if (taken == count) return n;
    const double offset = (double)(rbe_splitmix64(c->seed + n * RBE_SPLITMIX_STEP) >> 11) * 0x1p-53;
    const size_t index = (size_t)(((double)n + offset) * ((double)count / (double)taken));
    return index < count ? index : count - 1;
}

static rbe_status check_param(check *c, const rbe_param *param, const float *gradient) {
    const size_t taken = param->count < c->entries ? param->count : c->entries;
    const double step = c->step * fmax(root_mean_square(param->value, param->count), LEAST_SIZE);
    const double typical = root_mean_square(gradient, param->count);
    for (size_t n = 0; n < taken; n++) {
        const size_t index = sampled(c, n, taken, param->count);
        const double found = (double)gradient[index];
        verdict v;
        RBE_TRY(compare(c, &param->value[index], step, found, typical, &v));
        c->report.checked++;
        c->report.unresolved += !v.resolved;
        if (c->report.param && v.error <= c->report.error) continue;
        c->report.param = param;
        c->report.index = index;
        c->report.expected = v.expected;
        c->report.found = found;
        c->report.error = v.error;
    }
    return RBE_OK;
}

/* ---- the whole check ----------------------------------------------------------------------------------------- */

/* The same callback must give the same loss twice. */
static rbe_status check_loss(check *c) {
    rbe_var *loss;
    RBE_TRY(evaluate(c, &loss));
    const float first = rbe_item(loss);
    RBE_TRY(evaluate(c, &loss));
    if (rbe_item(loss) != first)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_check_gradients: expected a loss that is the same in each call, found %.9g and then %.9g",
                        (double)first, (double)rbe_item(loss));
    c->loss = (double)first;
    return rbe_backward(loss);
}

/* Copies of the gradients behind each other; zeros where the loss did not reach a parameter. */
static float *take_gradients(rbe_param *const *params, size_t count) {
    size_t total = 0, at = 0;
    for (size_t n = 0; n < count; n++) total += params[n]->count;
    float *gradients = rbe_alloc_zeroed(total, sizeof *gradients);
    for (size_t n = 0; gradients && n < count; at += params[n++]->count) {
        if (params[n]->grad_set) memcpy(gradients + at, params[n]->grad, params[n]->count * sizeof *gradients);
        params[n]->grad_set = false;
    }
    return gradients;
}

static rbe_status run(check *c, rbe_param *const *params, size_t count) {
    RBE_TRY(check_loss(c));
    float *gradients = take_gradients(params, count);
    if (!gradients) return rbe_last_status();
    rbe_status status = RBE_OK;
    for (size_t n = 0, at = 0; status == RBE_OK && n < count; at += params[n++]->count)
        status = check_param(c, params[n], gradients + at);
    rbe_free(gradients);
    if (status != RBE_OK) return status;
    const rbe_gradient_report *r = &c->report;
    if (r->unresolved > r->checked / 2)
        return rbe_fail(RBE_NUMERICAL_INSTABILITY,
                        "rbe_check_gradients: for %zu of %zu entries the gradient is too small beside the loss, or the "
                        "loss too rough, for a step of %g",
                        r->unresolved, r->checked, c->step);
    if (r->error <= c->tolerance) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY,
                    "rbe_check_gradients: %s: entry %zu: expected the gradient %g by finite differences, found %g by "
                    "backward (error %.2g, tolerance %g)",
                    r->param->name, r->index, r->expected, r->found, r->error, c->tolerance);
}

static rbe_status check_arguments(const check *c, rbe_param *const *params, size_t count) {
    if (!c->build) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: the callback is NULL");
    if (count == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: expected at least one parameter");
    for (size_t n = 0; n < count; n++) {
        if (!params[n] || !params[n]->value || params[n]->count == 0)
            return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: parameter %zu is NULL or has no values", n);
        if (params[n]->frozen)
            return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: %s is frozen, and gets no gradient",
                            params[n]->name);
        if (params[n]->grad_set)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "rbe_check_gradients: %s holds a gradient that no step has consumed: clear it first",
                            params[n]->name);
    }
    if (!(c->step > 0.0 && c->step < 1.0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: expected 0 < step < 1, found %g", c->step);
    if (!(c->tolerance > 0.0 && isfinite(c->tolerance)))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_check_gradients: expected a tolerance > 0, found %g", c->tolerance);
    return RBE_OK;
}

rbe_status rbe_check_gradients(rbe_scalar_function *loss, void *user, rbe_param *const *params, size_t count,
                               const rbe_gradient_options *options, rbe_gradient_report *report) {
    static const rbe_gradient_options defaults = {0};
    const rbe_gradient_options *o = options ? options : &defaults;
    check c = {.build = loss,
               .user = user,
               .step = o->step != 0.0 ? o->step : DEFAULT_STEP,
               .tolerance = o->tolerance != 0.0 ? o->tolerance : DEFAULT_TOLERANCE,
               .entries = o->entries ? o->entries : DEFAULT_ENTRIES,
               .seed = o->seed};
    if (report) *report = c.report;
    RBE_TRY(check_arguments(&c, params, count));
    c.tape = rbe_tape_new(&(rbe_tape_options){.seed = o->seed});
    if (!c.tape) return rbe_last_status();
    const rbe_status status = run(&c, params, count);
    rbe_tape_free(c.tape);
    for (size_t n = 0; n < count; n++) params[n]->grad_set = false;
    if (report) *report = c.report;
    return status;
}
