/* What the library is used for, each in a small piece of work on one thread, to be done while memory is short. */
#ifndef RBE_TESTS_SCENARIOS_H
#define RBE_TESTS_SCENARIOS_H

#include <stdint.h>

#include "rbe/base.h"

typedef struct scenario {
    const char *name;
    /* Does the work from the beginning and frees everything. `path` is a file that may be written or, by `load`
     * and `stream`, read. On success *sum depends on all results: two runs have the same one. */
    rbe_status (*run)(const char *path, uint64_t *sum);
} scenario;

extern const scenario scenarios[];
extern const int scenario_count;

#endif
