/* Sampling: ids are drawn with the probabilities that temperature, top_k, top_p and penalty give them. */
#include <math.h>
#include <string.h>

#include "gpt_support.h"
#include "io_support.h"
#include "support.h"

enum { CHOICES = 8, DRAWS = 20000 };
static const float choice_logits[CHOICES] = {0.5f, 2.0f, -1.0f, 1.0f, 2.0f, -3.0f, 0.0f, 1.5f};

typedef struct sampling {
    rbe_sample_options options;
    int32_t recent[4];
    size_t recent_count;
} sampling;

static const sampling samplings[] = {
    {{.temperature = 1}, {0}, 0},
    {{.temperature = 0.5}, {0}, 0},
    {{.temperature = 3}, {0}, 0},
    {{.temperature = 1, .top_k = 1}, {0}, 0},
    {{.temperature = 1, .top_k = 3}, {0}, 0},
    {{.temperature = 2, .top_k = 100}, {0}, 0},
    {{.temperature = 1, .top_p = 0.5}, {0}, 0},
    {{.temperature = 1, .top_p = 0.9}, {0}, 0},
    {{.temperature = 1, .top_p = 1}, {0}, 0},
    {{.temperature = 1, .top_p = 1e-9}, {0}, 0},
    {{.temperature = 2, .top_k = 5, .top_p = 0.6}, {0}, 0},
    {{.temperature = 1, .repetition_penalty = 2}, {1, 1, 2, 6}, 4},
    {{.temperature = 1, .repetition_penalty = 1}, {1, 4}, 2},
    {{.temperature = 1, .top_k = 2, .repetition_penalty = 1.5}, {4, -1, 99}, 3},
    {{.temperature = 1}, {1, 4}, 2},
};
enum { SAMPLINGS = sizeof samplings / sizeof *samplings };

/* The probability of each id, by taking the likeliest one after the other. */
static void probabilities_of(const sampling *s, double p[CHOICES]) {
    double logits[CHOICES], all = 0.0, kept = 0.0;
    bool taken[CHOICES] = {false};
    for (int n = 0; n < CHOICES; n++) {
        bool is_recent = false;
        for (size_t k = 0; k < s->recent_count; k++) is_recent |= s->recent[k] == n;
        logits[n] = (double)choice_logits[n];
        if (is_recent && s->options.repetition_penalty > 0.0)
            logits[n] *= pow(s->options.repetition_penalty, logits[n] > 0.0 ? -1.0 : 1.0);
        p[n] = 0.0;
    }
    const size_t most = s->options.top_k > 0 && s->options.top_k < CHOICES ? s->options.top_k : CHOICES;
    int order[CHOICES];
    for (size_t k = 0; k < most; k++) {
        order[k] = -1;
        for (int n = 0; n < CHOICES; n++)
            if (!taken[n] && (order[k] < 0 || logits[n] > logits[order[k]])) order[k] = n;
        taken[order[k]] = true;
        all += exp(logits[order[k]] / s->options.temperature);
    }
    const double wanted = s->options.top_p > 0.0 ? s->options.top_p : 1.0;
    size_t count = 0;
    while (count < most && kept < wanted * all * (1.0 - 1e-12))
        kept += exp(logits[order[count++]] / s->options.temperature);
    for (size_t k = 0; k < count; k++) p[order[k]] = exp(logits[order[k]] / s->options.temperature) / kept;
}

START_TEST(ids_are_drawn_with_their_probabilities) {
    const sampling *s = &samplings[_i];
    double p[CHOICES];
    probabilities_of(s, p);
    size_t counts[CHOICES] = {0};
    rbe_rng *rng = rbe_rng_new(77, 0);
    for (int n = 0; n < DRAWS; n++) {
        int32_t id = -1;
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &s->options, s->recent, s->recent_count, rng, &id));
        ck_assert(id >= 0 && id < CHOICES);
        counts[id]++;
    }
    for (int n = 0; n < CHOICES; n++)
        ck_assert_msg(fabs((double)counts[n] / DRAWS - p[n]) <= 5.0 * sqrt(p[n] * (1.0 - p[n]) / DRAWS),
                      "id %d: %g, expected %g", n, (double)counts[n] / DRAWS, p[n]);
    rbe_rng_free(rng);
}
END_TEST

/* The same seed draws the same ids; logits that are shifted all alike, too. */
START_TEST(draws_repeat) {
    float shifted[CHOICES];
    for (int n = 0; n < CHOICES; n++) shifted[n] = choice_logits[n] + 64.0f;
    rbe_rng *a = rbe_rng_new(5, 0), *b = rbe_rng_new(5, 0), *c = rbe_rng_new(6, 0);
    const rbe_sample_options options = {.temperature = 1.5, .top_p = 0.95};
    int differ = 0;
    for (int n = 0; n < 200; n++) {
        int32_t x, y, z;
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &options, NULL, 0, a, &x));
        ck_assert_ok(rbe_sample(shifted, CHOICES, &options, NULL, 0, b, &y));
        ck_assert_ok(rbe_sample(choice_logits, CHOICES, &options, NULL, 0, c, &z));
        ck_assert_int_eq(x, y);
        differ += x != z;
    }
    ck_assert_int_gt(differ, 50);
    rbe_rng_free(a);
    rbe_rng_free(b);
    rbe_rng_free(c);
}
END_TEST

/* Without temperature the likeliest; of equal ones the lowest id; with a penalty another. */
START_TEST(the_likeliest_id) {
    static const int32_t first[] = {1}, both[] = {4, 1}, all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const rbe_sample_options penalty = {.repetition_penalty = 1.01}, half = {.repetition_penalty = 2, .top_k = 3};
    const float below[] = {-2.0f, -1.0f, -1.5f}, zeros[] = {0.0f, 0.0f, -0.0f};
    int32_t id = -1;
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(
        rbe_sample(choice_logits, CHOICES, &(rbe_sample_options){.top_k = 5, .top_p = 0.1}, first, 1, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &penalty, first, 1, NULL, &id));
    ck_assert_int_eq(id, 4);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &half, both, 2, NULL, &id));
    ck_assert_int_eq(id, 7);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &penalty, all, 8, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(choice_logits, CHOICES, &half, NULL, 8, NULL, &id));
    ck_assert_int_eq(id, 1);
    ck_assert_ok(rbe_sample(below, 3, &half, first, 1, NULL, &id)); /* -1 becomes -2: less than -1.5 */
    ck_assert_int_eq(id, 2);
    ck_assert_ok(rbe_sample(zeros, 3, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 0);
    ck_assert_ok(rbe_sample(choice_logits, 1, NULL, NULL, 0, NULL, &id));
    ck_assert_int_eq(id, 0);
}
END_TEST

/* Ties at the end of top_k go to the lower id; the smallest temperatures, and the largest logits, do no harm. */
START_TEST(ties_and_extremes) {
    const float equal[] = {1.0f, 1.0f, 1.0f, 1.0f}, huge[] = {-3e38f, 3e38f, 3e38f, 0.0f};
    rbe_rng *rng = rbe_rng_new(1, 0);
    bool seen[4] = {false};
    for (int n = 0; n < 200; n++) {
        int32_t id;
        ck_assert_ok(rbe_sample(equal, 4, &(rbe_sample_options){.temperature = 1, .top_k = 2}, NULL, 0, rng, &id));
        seen[id] = true;
        ck_assert_ok(rbe_sample(huge, 4, &(rbe_sample_options){.temperature = 1}, NULL, 0, rng, &id));
        ck_assert(id == 1 || id == 2);
        ck_assert_ok(
            rbe_sample(choice_logits, CHOICES, &(rbe_sample_options){.temperature = 1e-300}, NULL, 0, rng, &id));
        ck_assert(id == 1 || id == 4);
        ck_assert_ok(rbe_sample(equal, 4, &(rbe_sample_options){.temperature = 1, .top_p = 0.5}, NULL, 0, rng, &id));
        ck_assert(id < 2);
    }
    ck_assert(seen[0] && seen[1] && !seen[2] && !seen[3]);
    rbe_rng_free(rng);
}
END_TEST

static const struct {
    rbe_sample_options options;
    bool no_rng;
    const char *text;
} bad_samplings[] = {
    {{.temperature = -1}, false, "temperature"},
    {{.temperature = NAN}, false, "temperature"},
    {{.temperature = INFINITY}, false, "temperature"},
    {{.temperature = 1, .top_p = -0.1}, false, "top_p"},
    {{.temperature = 1, .top_p = 1.1}, false, "top_p"},
    {{.temperature = 1, .top_p = NAN}, false, "nan"},
    {{.repetition_penalty = 0.5}, false, "penalty"},
    {{.repetition_penalty = -1}, false, "penalty"},
    {{.repetition_penalty = NAN}, false, "penalty"},
    {{.repetition_penalty = INFINITY}, false, "penalty"},
    {{.temperature = 1}, true, "generator of random numbers"},
};

START_TEST(bad_sampling_is_refused) {
    rbe_rng *rng = rbe_rng_new(1, 0);
    int32_t id = 55;
    for (size_t n = 0; n < sizeof bad_samplings / sizeof *bad_samplings; n++) {
        ck_assert_int_eq(rbe_sample(choice_logits, CHOICES, &bad_samplings[n].options, NULL, 0,
                                    bad_samplings[n].no_rng ? NULL : rng, &id),
                         RBE_INVALID_ARGUMENT);
        ck_assert_msg(strstr(rbe_last_error(), bad_samplings[n].text) != NULL, "%s", rbe_last_error());
    }
    ck_assert_int_eq(rbe_sample(NULL, 3, NULL, NULL, 0, NULL, &id), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_sample(choice_logits, 0, NULL, NULL, 0, NULL, &id), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_sample(choice_logits, 3, NULL, NULL, 0, NULL, NULL), RBE_INVALID_ARGUMENT);
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int n = 0; n < 3; n++) {
        const float logits[] = {1, 2, bad[n], NAN};
        ck_assert_int_eq(rbe_sample(logits, 4, NULL, NULL, 0, NULL, &id), RBE_NUMERICAL_INSTABILITY);
        ck_assert_msg(strstr(rbe_last_error(), "logit 2") != NULL, "%s", rbe_last_error());
    }
    ck_assert_int_eq(id, 55);
    rbe_rng_free(rng);
}
END_TEST

TCase *gpt_sampling_case(void) {
    TCase *drawn = tcase_create("sampling");
    tcase_add_loop_test(drawn, ids_are_drawn_with_their_probabilities, 0, SAMPLINGS);
    tcase_add_test(drawn, draws_repeat);
    tcase_add_test(drawn, the_likeliest_id);
    tcase_add_test(drawn, ties_and_extremes);
    tcase_add_test(drawn, bad_sampling_is_refused);
    return drawn;
}
