/* Random models, exported, compiled and run: each by the test that it carries. */
#ifndef RBE_TESTS_EXPORT_SUPPORT_H
#define RBE_TESTS_EXPORT_SUPPORT_H

#include "rbe/export.h"

/* A model of this seed, with values of all kinds; *options (but samples) and the count of inputs belong to it. */
rbe_model *random_model(uint64_t seed, rbe_export_options *options, size_t *inputs);

/* Writes the random model as "mK.c" (K = `number`) with name mK, and a test, into the folder of scratch_path. */
void export_random(uint64_t seed, size_t number);

/* Compiles m0.c .. and runs their tests; `seed` is that of m0. */
void export_compile_and_run(size_t count, uint64_t seed, const char *flags);

#endif
