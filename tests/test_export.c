/* Models as C files: what they compute, compared with the library by their own tests, over random models; and what is
 * refused. The files are compiled by cc, many at a time; EXPORT_MODELS and EXPORT_SEED choose how many and which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "export_support.h"
#include "io_support.h"
#include "packed_support.h"
#include "rbe/gpt.h"
#include "suites.h"
#include "support.h"

/* ---- random models ------------------------------------------------------------------------------------------- */

enum { MODELS = 200 / LESS_DAMAGE, AT_ONCE = 40 };

/* Exports models of the seeds from `first` on; returns how many have a tolerance of more than 1e-5. */
static size_t export_some(uint64_t first, size_t count, uint64_t seeds[AT_ONCE]) {
    size_t unsteady = 0;
    for (size_t n = 0; n < count; n++) {
        seeds[n] = first + n;
        unsteady += !export_random(seeds[n], n);
    }
    return unsteady;
}

START_TEST(random_models_give_the_same_outputs) {
    const char *models = getenv("EXPORT_MODELS"), *first = getenv("EXPORT_SEED");
    const size_t wanted = models ? (size_t)atoi(models) : MODELS;
    const uint64_t seed = first ? strtoull(first, NULL, 10) : 1;
    uint64_t seeds[AT_ONCE];
    size_t unsteady = 0;
    for (size_t done = 0, count; done < wanted; done += count) {
        count = wanted - done < AT_ONCE ? wanted - done : AT_ONCE;
        unsteady += export_some(seed + done, count, seeds);
        export_compile_and_run(seeds, count, "cc -std=c99 -O1");
        scratch_clear();
    }
    ck_assert_uint_le(unsteady, 1 + wanted / 100);
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
    enum { FEW = 8 };
    uint64_t seeds[AT_ONCE];
    export_some(5000, FEW, seeds);
    for (size_t n = 0; n < sizeof compilers / sizeof *compilers; n++) {
        char command[100];
        snprintf(command, sizeof command, "command -v %.*s > /dev/null", (int)strcspn(compilers[n], " "), compilers[n]);
        if (system(command) == 0) export_compile_and_run(seeds, FEW, compilers[n]);
    }
}
END_TEST

/* ---- models that are nearly empty ---------------------------------------------------------------------------- */

START_TEST(pruned_models_give_the_same_outputs) {
    static const double densities[] = {0.0, 0.01, 1.0};
    static const float x[75] = {0.5f, -1.0f, 2.0f};
    const uint64_t seeds[] = {0, 1, 2};
    for (size_t n = 0; n < 3; n++) {
        const rbe_linear_options options = {.block = 8, .ratio = 4, .group = 2};
        char name[8], file[16];
        rbe_model *model = rbe_model_new();
        rbe_layer *layer = rbe_linear_new(75, 50, &options);
        ck_assert_ok(rbe_model_add(model, scattered_layer(layer, densities[n], n)));
        for (size_t k = 0; rbe_model_param(model, k); k++)
            fill_normal(rbe_model_param(model, k)->value, rbe_model_param(model, k)->count, 0.3, k);
        snprintf(name, sizeof name, "m%zu", n);
        snprintf(file, sizeof file, "m%zu.c", n);
        ck_assert_ok(rbe_export_c(model, scratch_path(file),
                                  &(rbe_export_options){.name = name, .samples = x, .sample_count = 1}));
        rbe_model_free(model);
    }
    export_compile_and_run(seeds, 3, "cc -std=c99 -O1");
}
END_TEST

/* ---- what the function answers ------------------------------------------------------------------------------- */

/* Ids that there are not, places that there are not, two sequences in turns. */
static const char program[] =
    "#include <math.h>\n"
    "#include <string.h>\n"
    "#include \"m0.h\"\n"
    "static unsigned char a[M0_SCRATCH], b[M0_SCRATCH];\n"
    "static float y[M0_OUTPUTS], z[M0_OUTPUTS], first[3][M0_OUTPUTS];\n"
    "static int ask(float id, void *scratch) { return m0_predict(&id, y, scratch); }\n"
    "int main(void)\n"
    "{\n"
    "    const float id = 1.0f;\n"
    "    m0_begin(a);\n"
    "    if (m0_predict(NULL, y, a) != -1 || m0_predict(&id, NULL, a) != -1 || m0_predict(&id, y, NULL) != -1) return "
    "1;\n"
    "    if (ask(-1.0f, a) != -1 || ask(0.5f, a) != -1 || ask(5.0f, a) != -1 || ask(NAN, a) != -1) return 2;\n"
    "    if (ask(INFINITY, a) != -1) return 3;\n"
    "    for (int t = 0; t < M0_PLACES; t++) {\n"
    "        if (ask((float)t, a) != 0) return 4;\n"
    "        memcpy(first[t], y, sizeof y);\n"
    "    }\n"
    "    if (ask(0.0f, a) != -1) return 5;\n"
    "    m0_begin(a);\n"
    "    m0_begin(b);\n"
    "    for (int t = 0; t < M0_PLACES; t++) {\n"
    "        if (ask(4.0f, b) != 0) return 6;\n"
    "        memcpy(z, y, sizeof z);\n"
    "        if (ask((float)t, a) != 0 || memcmp(y, first[t], sizeof y) != 0) return 7;\n"
    "        if (memcmp(y, z, sizeof y) == 0) return 8;\n"
    "    }\n"
    "    m0_begin(NULL);\n"
    "    return M0_PLACES == 3 && M0_INPUTS == 1 && M0_OUTPUTS == 5 ? 0 : 9;\n"
    "}\n";

START_TEST(sequences_are_told_apart) {
    char command[600];
    rbe_model *model =
        rbe_gpt_new(&(rbe_gpt_options){.vocabulary = 5, .layers = 2, .heads = 2, .width = 8, .context = 3, .block = 8});
    ck_assert_ok(rbe_export_c(model, scratch_path("m0.c"), &(rbe_export_options){.name = "m0"}));
    write_whole(scratch_path("program.c"), (bytes){(uint8_t *)program, sizeof program - 1});
    snprintf(command, sizeof command, "cd '%.300s' && cc -std=c99 -O1 program.c m0.c -lm -o program && ./program",
             scratch_path("."));
    ck_assert_int_eq(system(command), 0);
    rbe_model_free(model);
}
END_TEST

/* A clock that knows no time, and is asked in vain again and again. */
static const char clock_program[] = "#include <stdlib.h>\n"
                                    "#include <time.h>\n"
                                    "clock_t no_clock(void);\n"
                                    "clock_t no_clock(void)\n"
                                    "{\n"
                                    "    static int calls;\n"
                                    "    if (++calls > 3) abort();\n"
                                    "    return (clock_t)-1;\n"
                                    "}\n";

START_TEST(a_machine_may_have_no_clock) {
    static const float x[3] = {0.5f, -1.0f, 2.0f};
    char command[600];
    rbe_model *model = rbe_model_new();
    ck_assert_ok(rbe_model_add(model, rbe_dense_new(3, 2, NULL)));
    ck_assert_ok(rbe_export_c(model, scratch_path("m0.c"),
                              &(rbe_export_options){.name = "m0", .samples = x, .sample_count = 1}));
    write_whole(scratch_path("clock.c"), (bytes){(uint8_t *)clock_program, sizeof clock_program - 1});
    snprintf(command, sizeof command,
             "cd '%.300s' && cc -std=c99 -DM0_TEST -Dclock=no_clock m0.c clock.c -lm -o m0 && ./m0 > log",
             scratch_path("."));
    ck_assert_int_eq(system(command), 0);
    rbe_model_free(model);
}
END_TEST

Suite *export_suite(void) {
    Suite *suite = suite_create("export");
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 900);
    tcase_add_checked_fixture(random, scratch_clear, scratch_clear);
    tcase_add_test(random, random_models_give_the_same_outputs);
    tcase_add_test(random, any_compiler_takes_them);
    tcase_add_test(random, pruned_models_give_the_same_outputs);
    tcase_add_test(random, sequences_are_told_apart);
    tcase_add_test(random, a_machine_may_have_no_clock);
    suite_add_tcase(suite, random);
    suite_add_tcase(suite, export_kinds_case());
    suite_add_tcase(suite, export_failures_case());
    suite_add_tcase(suite, export_integer_case());
    return suite;
}
