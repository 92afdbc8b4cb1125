/* Models as C files: what they compute, compared with the library by their own tests, over random models; and what is
 * refused. The files are compiled by cc, many at a time; EXPORT_MODELS and EXPORT_SEED choose how many and which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export_support.h"
#include "io_support.h"
#include "nn/model.h"
#include "packed_support.h"
#include "rbe/export.h"
#include "suites.h"
#include "support.h"

/* ---- random models ------------------------------------------------------------------------------------------- */

START_TEST(random_models_give_the_same_outputs) {
    const char *models = getenv("EXPORT_MODELS"), *first = getenv("EXPORT_SEED");
    const uint64_t seed = first ? strtoull(first, NULL, 10) : 1;
    const size_t count = models ? (size_t)atoi(models) : 240, at_once = 40;
    for (size_t n = 0; n < count; n += at_once) {
        const size_t part = count - n < at_once ? count - n : at_once;
        for (size_t k = 0; k < part; k++) export_random(seed + n + k, k);
        export_compile_and_run(part, seed + n, "-O1");
        scratch_clear();
    }
}
END_TEST

Suite *export_suite(void) {
    Suite *suite = suite_create("export");
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 600);
    tcase_add_checked_fixture(random, scratch_clear, scratch_clear);
    tcase_add_test(random, random_models_give_the_same_outputs);
    suite_add_tcase(suite, random);
    return suite;
}
