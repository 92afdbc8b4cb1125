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

enum { MODELS = 240, AT_ONCE = 40 };

START_TEST(random_models_give_the_same_outputs) {
    const char *models = getenv("EXPORT_MODELS"), *first = getenv("EXPORT_SEED");
    uint64_t seed = first ? strtoull(first, NULL, 10) : 1, seeds[AT_ONCE];
    const size_t wanted = models ? (size_t)atoi(models) : MODELS;
    size_t left_out = 0;
    for (size_t done = 0; done < wanted;) {
        size_t count = 0;
        for (; count < AT_ONCE && done < wanted; seed++) {
            seeds[count] = seed;
            if (export_random(seed, count))
                count++, done++;
            else
                left_out++;
        }
        export_compile_and_run(seeds, count, "-O1");
        scratch_clear();
    }
    ck_assert_uint_le(10 * left_out, wanted + 10);
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
