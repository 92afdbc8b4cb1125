/* What the tests of augmentation share. */
#ifndef RBE_TESTS_AUGMENT_SUPPORT_H
#define RBE_TESTS_AUGMENT_SUPPORT_H

#include <check.h>

#include "rbe/data.h"
#include "reference.h"

/* In [0, 1). */
void fill_uniform(float *values, size_t count, uint64_t seed);

TCase *augment_batches_case(void);
TCase *augment_trainings_case(void);
TCase *augment_misuse_case(void);

#endif
