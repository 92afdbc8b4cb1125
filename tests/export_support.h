/* Random models, exported, compiled and run: each by the test that it carries. */
#ifndef RBE_TESTS_EXPORT_SUPPORT_H
#define RBE_TESTS_EXPORT_SUPPORT_H

#include <check.h>
#include <stdbool.h>

#include "rbe/export.h"

/* A model of this seed, with values of all kinds, and options for it, but samples. */
rbe_model *random_model(uint64_t seed, rbe_export_options *options);

/* Numbers, pixels or ids, as it takes them; to be freed. */
float *random_samples(const rbe_model *model, const rbe_export_options *options, uint64_t seed, size_t count);

/* What the library gives for samples; to be freed. */
float *outputs_of(const rbe_model *model, const rbe_export_sample_shape *shape, const float *x, size_t samples,
                  size_t *count);

/* Writes the random model as "mK.c" (K = `number`) with name mK, and a test, into the folder of scratch_path. The test's
 * tolerance is 1e-5, or half of what ten times the rounding would do, if that is more: of some models, such as a norm of
 * values that are nearly alike, no two programs give the same outputs to 1e-5. Returns whether it is 1e-5. */
bool export_random(uint64_t seed, size_t number);

/* Compiles m0.c .. and runs their tests; compiler: "cc -std=c99 -O1". */
void export_compile_and_run(const uint64_t *seeds, size_t count, const char *compiler);

/* Whether m0.c compiles and its test passes. */
bool export_test_passes(void);

TCase *export_failures_case(void);
TCase *export_kinds_case(void);
TCase *export_integer_case(void);

#endif
