/* Runs all test suites, or the one that is named: run [suite]. libcheck's own variables work too: CK_RUN_CASE=name
 * runs one case, CK_FORK=no keeps everything in one process for a debugger. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blas.h"
#include "suites.h"

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
    {"base", base_suite},
    {"parallel", parallel_suite},
    {"processes", processes_suite},
    {"ranks", ranks_suite},
    {"bits", bits_suite},
    {"tensor", tensor_suite},
    {"operations", operations_suite},
    {"shapes", shapes_suite},
    {"own_operations", own_operations_suite},
    {"attention", attention_suite},
    {"gpt", gpt_suite},
    {"text", text_suite},
    {"limits", limits_suite},
    {"codec", codec_suite},
    {"sides", sides_suite},
    {"compress", compress_suite},
    {"specification", specification_suite},
    {"kernels", kernels_suite},
    {"linear", linear_suite},
    {"nn", nn_suite},
    {"params", params_suite},
    {"trees", trees_suite},
    {"recurrent", recurrent_suite},
    {"safe", safe_suite},
    {"threads", threads_suite},
    {"optim", optim_suite},
    {"data", data_suite},
    {"dataset", dataset_suite},
    {"augment", augment_suite},
    {"io", io_suite},
    {"packed", packed_suite},
    {"infer", infer_suite},
    {"export", export_suite},
    {"faults", faults_suite},
    {"train", train_suite},
    {"checkpoint", checkpoint_suite},
    {"predict", predict_suite},
    {"best", best_suite},
    {"step", step_suite},
    {"losses", losses_suite},
    {"metrics", metrics_suite},
    {"misuse", misuse_suite},
    {"positions", positions_suite},
    {"extremes", extremes_suite},
    {"growth", growth_suite},
    {"quantise", quantise_suite},
    {"sensitivity", sensitivity_suite},
    {"prune", prune_suite},
    {"repair", repair_suite},
    {"tune", tune_suite},
};

static void ignore(void *user, const char *text) { (void)user, (void)text; }

int main(int argc, char **argv) {
    /* Said here, once for all tests: those that count warnings wait for others. */
    rbe_set_warning_handler(ignore, NULL);
    rbe_blas_check_kernels();
    rbe_set_warning_handler(NULL, NULL);
    /* The default of 4 seconds is too short for sanitizer builds on a loaded machine. */
    setenv("CK_DEFAULT_TIMEOUT", "120", 0);
    const char *wanted = argc > 1 ? argv[1] : NULL;
    SRunner *runner = srunner_create(NULL);
    int chosen = 0;
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        if (wanted && strcmp(wanted, suites[i].name) != 0) continue;
        srunner_add_suite(runner, suites[i].make());
        chosen++;
    }
    if (chosen == 0) {
        fprintf(stderr, "no suite is called \"%s\"; there are:", wanted);
        for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) fprintf(stderr, " %s", suites[i].name);
        fprintf(stderr, "\n");
        srunner_free(runner);
        return 2;
    }
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
