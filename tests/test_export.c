/* Models as C files: what they compute, compared with the library by their own tests, over random models; and what is
 * refused. The files are compiled by cc, many at a time; EXPORT_MODELS and EXPORT_SEED choose how many and which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export_support.h"
#include "io_support.h"
#include "suites.h"
#include "support.h"

/* ---- random models ------------------------------------------------------------------------------------------- */

enum { MODELS = 200, AT_ONCE = 40 };

/* Exports the models of `wanted` seeds from *seed on, at most AT_ONCE; *left_out counts those that are not steady. */
static size_t export_some(uint64_t *seed, size_t wanted, uint64_t seeds[AT_ONCE], size_t *left_out) {
    size_t count = 0;
    for (; count < AT_ONCE && count < wanted; (*seed)++) {
        seeds[count] = *seed;
        if (export_random(*seed, count))
            count++;
        else
            ++*left_out;
    }
    return count;
}

START_TEST(random_models_give_the_same_outputs) {
    const char *models = getenv("EXPORT_MODELS"), *first = getenv("EXPORT_SEED");
    const size_t wanted = models ? (size_t)atoi(models) : MODELS;
    uint64_t seed = first ? strtoull(first, NULL, 10) : 1, seeds[AT_ONCE];
    size_t left_out = 0;
    for (size_t done = 0, count; done < wanted; done += count) {
        count = export_some(&seed, wanted - done, seeds, &left_out);
        export_compile_and_run(seeds, count, "cc -std=c99 -O1");
        scratch_clear();
    }
    ck_assert_uint_le(10 * left_out, wanted + 10);
}
END_TEST

/* Fewer models. What is not installed is left out. */
START_TEST(any_compiler_takes_them) {
    static const char *const compilers[] = {
        "cc -std=c99 -O0 -fsanitize=address,undefined -fno-sanitize-recover=all",
        "cc -std=c99 -Os",
        "cc -std=c11 -O3",
        "c++ -O2 -x c++",
        "clang -std=c99 -O2",
        "clang -std=c99 -O1 -fsanitize=address,undefined -fno-sanitize-recover=all",
        "clang++ -O1 -x c++",
    };
    uint64_t seed = 5000, seeds[AT_ONCE];
    size_t left_out = 0, count = export_some(&seed, 8, seeds, &left_out);
    for (size_t n = 0; n < sizeof compilers / sizeof *compilers; n++) {
        char command[100];
        snprintf(command, sizeof command, "command -v %.*s > /dev/null", (int)strcspn(compilers[n], " "), compilers[n]);
        if (system(command) == 0) export_compile_and_run(seeds, count, compilers[n]);
    }
}
END_TEST

Suite *export_suite(void) {
    Suite *suite = suite_create("export");
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 900);
    tcase_add_checked_fixture(random, scratch_clear, scratch_clear);
    tcase_add_test(random, random_models_give_the_same_outputs);
    tcase_add_test(random, any_compiler_takes_them);
    suite_add_tcase(suite, random);
    suite_add_tcase(suite, export_failures_case());
    return suite;
}
