/* The allocator hook and its byte accounting.
 *
 * The user's allocator gives memory aligned as by malloc. Behind an offset that makes it a multiple of 64, and just
 * before the block handed out, stands a header with the original pointer and the size: release and accounting need
 * no size from the caller. Counters are atomic; the peak is raised by compare-and-swap.
 */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct header {
    void *origin;
    size_t bytes;
} header;

static void *malloc_allocate(void *user, size_t bytes) {
    (void)user;
    return malloc(bytes);
}

static void malloc_release(void *user, void *memory) {
    (void)user;
    free(memory);
}

static rbe_allocator allocator = {malloc_allocate, malloc_release, NULL};
static atomic_size_t current_bytes, peak_bytes, allocation_count;

static void count_allocation(size_t bytes) {
    size_t now = atomic_fetch_add(&current_bytes, bytes) + bytes;
    size_t peak = atomic_load(&peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&peak_bytes, &peak, now)) {
    }
    atomic_fetch_add(&allocation_count, 1);
}

rbe_status rbe_set_allocator(const rbe_allocator *wanted) {
    size_t held = atomic_load(&current_bytes);
    if (held > 0)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "the allocator can only be set while nothing is allocated, found %zu bytes", held);
    if (wanted && (!wanted->allocate || !wanted->release))
        return rbe_fail(RBE_INVALID_ARGUMENT, "an allocator needs both functions, found a NULL one");
    allocator = wanted ? *wanted : (rbe_allocator){malloc_allocate, malloc_release, NULL};
    return RBE_OK;
}

rbe_memory_usage rbe_memory(void) {
    return (rbe_memory_usage){atomic_load(&current_bytes), atomic_load(&peak_bytes), atomic_load(&allocation_count)};
}

void rbe_memory_reset_peak(void) { atomic_store(&peak_bytes, atomic_load(&current_bytes)); }

void *rbe_alloc(size_t count, size_t size) {
    const size_t overhead = sizeof(header) + RBE_ALIGNMENT;
    if (size > 0 && count > (PTRDIFF_MAX - overhead) / size) {
        rbe_fail(RBE_INSUFFICIENT_MEMORY, "%zu items of %zu bytes are more than can be addressed", count, size);
        return NULL;
    }
    size_t bytes = count * size;
    char *origin = allocator.allocate(allocator.user, bytes + overhead);
    if (!origin) {
        rbe_fail(RBE_INSUFFICIENT_MEMORY, "required %zu bytes, the allocator gave none (%zu bytes are held)", bytes,
                 atomic_load(&current_bytes));
        return NULL;
    }
    uintptr_t at = ((uintptr_t)origin + overhead) / RBE_ALIGNMENT * RBE_ALIGNMENT;
    char *memory = origin + (at - (uintptr_t)origin);
    ((header *)(void *)memory)[-1] = (header){origin, bytes};
    count_allocation(bytes);
    return memory;
}

void *rbe_alloc_zeroed(size_t count, size_t size) {
    void *memory = rbe_alloc(count, size);
    if (memory) memset(memory, 0, count * size);
    return memory;
}

size_t rbe_alloc_bytes(const void *memory) { return memory ? ((const header *)memory)[-1].bytes : 0; }

void rbe_free(void *memory) {
    if (!memory) return;
    header h = ((header *)memory)[-1];
    atomic_fetch_sub(&current_bytes, h.bytes);
    allocator.release(allocator.user, h.origin);
}
