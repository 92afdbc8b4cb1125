/* OpenBLAS reads its environment when a program is loaded, so what it should find there needs a second start:
 *
 *   OPENBLAS_CORETYPE      its kernels are older than the processor;
 *   OPENBLAS_NUM_THREADS   the address space is limited: each of OpenBLAS's own threads maps 128 MB before main begins,
 *                          and where it cannot, tries again for ever. The library gives them nothing to do anyway.
 */
#include "openblas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rbe/rbe.h"

/* Set for the second start, so that there is no third. */
#define STARTED_AGAIN "RBE_EXAMPLE_STARTED_AGAIN"

static void print_warning(void *program, const char *text) {
    fprintf(stderr, "%s: warning: %s\n", (const char *)program, text);
}

static bool address_space_is_limited(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

void example_start_well(const char *program, char **argv) {
    static bool done;
    if (done) return;
    done = true;
    rbe_set_warning_handler(print_warning, (void *)(uintptr_t)program);
    if (getenv(STARTED_AGAIN)) {
        unsetenv(STARTED_AGAIN);
        return;
    }
    const char *kernels = rbe_blas_better_kernels();
    bool one_thread = address_space_is_limited() && !getenv("OPENBLAS_NUM_THREADS");
    if (!kernels && !one_thread) return;
    if (kernels) {
        const char *named = getenv("OPENBLAS_CORETYPE");
        if (named && *named)
            fprintf(stderr, "%s: OPENBLAS_CORETYPE=%s is older than this processor: starting again with %s\n", program,
                    named, kernels);
        setenv("OPENBLAS_CORETYPE", kernels, 1);
    }
    if (one_thread) {
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        fprintf(stderr, "%s: the address space is limited: starting again with one thread of OpenBLAS\n", program);
    }
    setenv(STARTED_AGAIN, "1", 1);
    execv("/proc/self/exe", argv);
    fprintf(stderr, "%s: cannot start again: %s\n", program, strerror(errno));
    unsetenv(STARTED_AGAIN);
}
