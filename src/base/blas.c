/* OpenBLAS as a guest: it keeps the host program's number of threads, and never meets a shortage of memory.
 *
 * Each call of OpenBLAS works in a buffer of 128 MB of address space, which it maps when a call finds all earlier ones
 * in use, and keeps. When the mapping fails it tries again for ever. So before more threads than ever call it at once,
 * the same amount is mapped as a trial; only if that works is OpenBLAS made to map its buffers.
 */
#include "base/blas.h"

#include <cblas.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define BUFFER_BYTES ((size_t)128 << 20) /* BUFFER_SIZE of OpenBLAS's common_x86_64.h, the largest of all processors */
#define SLACK_BYTES ((size_t)1 << 20)
#define DEFAULT_LIMIT 64

/* Not in a header of OpenBLAS, but exported; absent from builds that keep a buffer for each thread. */
extern void *blas_memory_alloc(int unused) __attribute__((weak));
extern void blas_memory_free(void *buffer) __attribute__((weak));
extern int blas_cpu_number __attribute__((weak)); /* what openblas_get_num_threads tells */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t inside, reserved;
static int host_threads;

/* openblas_set_num_threads would do more: in a child after fork it makes OpenBLAS's threads anew, and where the system
 * refuses one it ends the process. */
static void set_threads(int threads) {
    if (&blas_cpu_number)
        blas_cpu_number = threads;
    else
        openblas_set_num_threads(threads);
}

static void reset_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    if (inside > 0 && openblas_get_num_threads() == 1) set_threads(host_threads);
    inside = 0;
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, reset_in_child); }

/* OpenBLAS says "MAX_THREADS=64" among other things; it has room for at least as many callers. */
static size_t caller_limit(void) {
    const char *found = strstr(openblas_get_config(), "MAX_THREADS=");
    int limit = 0;
    if (!found || sscanf(found, "MAX_THREADS=%d", &limit) != 1 || limit < 1) return DEFAULT_LIMIT;
    return limit < RBE_MAX_THREADS ? (size_t)limit : RBE_MAX_THREADS;
}

static void map_buffers(size_t count) {
    void *buffer[RBE_MAX_THREADS];
    if (!blas_memory_alloc || !blas_memory_free) {
        const float one = 1.0f;
        float result;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 1, 1, 1, 1.0f, &one, 1, &one, 1, 0.0f, &result, 1);
        return;
    }
    for (size_t n = 0; n < count; n++) buffer[n] = blas_memory_alloc(0);
    for (size_t n = 0; n < count; n++) blas_memory_free(buffer[n]);
}

/* Room for `count` callers in all; false if OpenBLAS or the address space has none. */
static bool reserve(size_t count) {
    if (count <= reserved) return true;
    if (count > caller_limit()) return false;
    size_t bytes = (count - reserved) * (BUFFER_BYTES + SLACK_BYTES);
    void *trial = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED) return false;
    munmap(trial, bytes);
    map_buffers(count);
    reserved = count;
    return true;
}

/* All of them if they fit beside those inside, else what has been reserved before, else one. */
static size_t admit(size_t wanted) {
    size_t limit = caller_limit(), fitting = limit > inside ? limit - inside : 0;
    if (wanted > fitting) wanted = fitting;
    if (wanted > 0 && reserve(inside + wanted)) return wanted;
    if (wanted > 0 && reserved > inside) return reserved - inside < wanted ? reserved - inside : wanted;
    if (wanted > 0 && reserve(inside + 1)) return 1;
    rbe_fail(RBE_INSUFFICIENT_MEMORY,
             "OpenBLAS has %zu callers and serves %zu at once; another one needs %zu bytes of address space", inside,
             limit, BUFFER_BYTES + SLACK_BYTES);
    return 0;
}

size_t rbe_blas_enter(size_t wanted) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    rbe_blas_check_kernels();
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    size_t callers = admit(wanted);
    if (callers > 0 && inside == 0) {
        host_threads = openblas_get_num_threads();
        if (host_threads != 1) set_threads(1);
    }
    inside += callers;
    pthread_mutex_unlock(&lock);
    return callers;
}

/* A number that the host program has set meanwhile stays. */
void rbe_blas_leave(size_t callers) {
    if (callers == 0) return;
    pthread_mutex_lock(&lock);
    inside -= callers;
    if (inside == 0 && host_threads != 1 && openblas_get_num_threads() == 1) set_threads(host_threads);
    pthread_mutex_unlock(&lock);
}
