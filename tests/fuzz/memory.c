#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"
#include "rbe/base.h"

static size_t limit;

static void *allocate(void *user, size_t bytes) {
    (void)user;
    if (rbe_memory().current + bytes > limit) {
        fprintf(stderr, "%zu bytes were asked for beside %zu, expected at most %zu\n", bytes, rbe_memory().current,
                limit);
        abort();
    }
    return malloc(bytes);
}

static void release(void *user, void *memory) {
    (void)user;
    free(memory);
}

void fuzz_limit_memory(size_t bytes) {
    static const rbe_allocator limited = {allocate, release, NULL};
    limit = bytes;
    if (rbe_set_allocator(&limited) != RBE_OK) abort();
}

void fuzz_check_memory(void) {
    if (rbe_memory().current > 0) abort();
}
