/* Replaces malloc and its relatives, as glibc allows a program to (Replacing malloc, in its manual): each counts,
 * fails if it is to, and otherwise calls glibc's own. */
#include "failing_malloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* glibc's own, under the names that it keeps for this purpose. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);
void *memalign(size_t alignment, size_t bytes);

static atomic_bool counting;
static atomic_size_t requests;
static failing_mode failing;
static size_t failing_k;

void failing_malloc_start(failing_mode mode, size_t k) {
    failing = mode;
    failing_k = k;
    atomic_store(&requests, 0);
    atomic_store(&counting, true);
}

void failing_malloc_stop(void) { atomic_store(&counting, false); }

size_t failing_malloc_requests(void) { return atomic_load(&requests); }

static bool fails(void) {
    if (!atomic_load(&counting)) return false;
    const size_t n = atomic_fetch_add(&requests, 1) + 1;
    if (failing_k == 0) return false;
    const bool failed = failing == FAIL_AT     ? n == failing_k
                        : failing == FAIL_FROM ? n >= failing_k
                                               : n % failing_k == 0;
    if (failed) errno = ENOMEM;
    return failed;
}

#pragma GCC visibility push(default) /* for the shared libraries, in spite of the compiler's option */

void *malloc(size_t bytes) { return fails() ? NULL : __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes) { return fails() ? NULL : __libc_calloc(count, bytes); }
void *realloc(void *memory, size_t bytes) { return fails() ? NULL : __libc_realloc(memory, bytes); }
void *memalign(size_t alignment, size_t bytes) { return fails() ? NULL : __libc_memalign(alignment, bytes); }
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void free(void *memory) { __libc_free(memory); }

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    void *found = memalign(alignment, bytes);
    if (!found) return ENOMEM;
    *memory = found;
    return 0;
}

#pragma GCC visibility pop
