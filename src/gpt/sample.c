/* An id from logits: greedy, or drawn from the softmax of logits / temperature over what top_k and top_p leave. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "rbe/gpt.h"

typedef struct choice {
    double logit, weight;
    int32_t id;
} choice;

static int by_logit(const void *a, const void *b) {
    const choice *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static rbe_status check(const float *logits, size_t count, const rbe_sample_options *o, const rbe_rng *rng,
                        const int32_t *id) {
    if (!logits || !id || count < 1 || count > INT32_MAX)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_sample: expected logits and a place for the id");
    bool sound = o->temperature >= 0.0 && isfinite(o->temperature) && o->top_p >= 0.0 && o->top_p <= 1.0 &&
                 (o->repetition_penalty == 0.0 || (o->repetition_penalty >= 1.0 && isfinite(o->repetition_penalty)));
    if (!sound)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_sample: expected a temperature >= 0, top_p in 0 .. 1 and a penalty of 0 or at least 1, "
                        "found %g, %g and %g",
                        o->temperature, o->top_p, o->repetition_penalty);
    if (o->temperature > 0.0 && !rng)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_sample: a temperature > 0 needs a generator of random numbers, found NULL");
    size_t bad = rbe_first_nonfinite(logits, count);
    if (bad == count) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_sample: logit %zu is %g", bad, (double)logits[bad]);
}

static void penalise(choice *choices, size_t count, double penalty, const int32_t *recent, size_t recent_count) {
    for (size_t n = 0; n < recent_count; n++) {
        if (recent[n] < 0 || (size_t)recent[n] >= count) continue;
        choice *c = &choices[recent[n]];
        if (c->weight == 0.0) c->logit = c->logit > 0.0 ? c->logit / penalty : c->logit * penalty;
        c->weight = 1.0; /* once */
    }
}

/* How many of the sorted choices are left; their weights add up to *sum. */
static size_t cut(choice *choices, size_t count, const rbe_sample_options *o, double *sum) {
    if (o->top_k > 0 && o->top_k < count) count = o->top_k;
    double all = 0.0, most = choices[0].logit;
    for (size_t n = 0; n < count; n++) {
        choices[n].weight = exp((choices[n].logit - most) / o->temperature);
        all += choices[n].weight;
    }
    *sum = all;
    if (o->top_p == 0.0) return count;
    double kept = 0.0;
    for (size_t n = 0; n < count; n++) {
        kept += choices[n].weight;
        if (kept < o->top_p * all) continue;
        *sum = kept;
        return n + 1;
    }
    return count;
}

static int32_t draw(const choice *choices, size_t count, double sum, rbe_rng *rng) {
    double place = rbe_rng_uniform(rng) * sum;
    for (size_t n = 0; n + 1 < count; n++) {
        if (place < choices[n].weight) return choices[n].id;
        place -= choices[n].weight;
    }
    return choices[count - 1].id;
}

rbe_status rbe_sample(const float *logits, size_t count, const rbe_sample_options *options, const int32_t *recent,
                      size_t recent_count, rbe_rng *rng, int32_t *id) {
    static const rbe_sample_options greedy = {0};
    const rbe_sample_options *o = options ? options : &greedy;
    RBE_TRY(check(logits, count, o, rng, id));
    choice *choices = rbe_alloc(count, sizeof *choices);
    if (!choices) return RBE_INSUFFICIENT_MEMORY;
    for (size_t n = 0; n < count; n++) choices[n] = (choice){.logit = (double)logits[n], .id = (int32_t)n};
    if (recent && o->repetition_penalty > 0.0) penalise(choices, count, o->repetition_penalty, recent, recent_count);
    qsort(choices, count, sizeof *choices, by_logit);
    *id = choices[0].id;
    if (o->temperature > 0.0) {
        double sum;
        count = cut(choices, count, o, &sum);
        *id = draw(choices, count, sum, rng);
    }
    rbe_free(choices);
    return RBE_OK;
}
