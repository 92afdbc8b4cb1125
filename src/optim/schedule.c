/* Learning rates by step: lr(step) = base * warm-up * shape, in double. */
#include <math.h>
#include <string.h>

#include "rbe/optim.h"

static const double pi = 3.14159265358979323846;

/* How far step is between the end of the warm-up and the end of the training: 0 .. 1. */
static double progress(const rbe_schedule *s, size_t step) {
    if (step < s->warmup) return 0.0;
    if (step >= s->total) return 1.0;
    return (double)(step - s->warmup) / (double)(s->total - s->warmup);
}

static double shape(const rbe_schedule *s, size_t step) {
    switch (s->kind) {
    case RBE_STEP:
        if (s->every == 0) break;
        return pow(s->factor != 0.0f ? s->factor : 0.1, floor((double)step / (double)s->every));
    case RBE_COSINE: return s->floor + (1.0 - s->floor) * (1.0 + cos(pi * progress(s, step))) / 2.0;
    case RBE_CONSTANT: break;
    }
    return 1.0;
}

float rbe_schedule_lr(const rbe_schedule *schedule, size_t step) {
    if (!schedule) return 0.0f;
    double warm = step < schedule->warmup ? (double)(step + 1) / (double)schedule->warmup : 1.0;
    return (float)(schedule->base * warm * shape(schedule, step));
}

bool rbe_schedule_kind_named(const char *name, rbe_schedule_kind *kind) {
    static const char *const names[] = {[RBE_CONSTANT] = "constant", [RBE_STEP] = "step", [RBE_COSINE] = "cosine"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (name && strcmp(name, names[i]) == 0) {
            *kind = (rbe_schedule_kind)i;
            return true;
        }
    rbe_fail(RBE_INVALID_ARGUMENT, "schedule: expected constant, step or cosine, found \"%s\"", name ? name : "(NULL)");
    return false;
}
