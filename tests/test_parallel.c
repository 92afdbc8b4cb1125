/* Threads: the pool, sums over rows, and OpenBLAS as a guest. */
#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/blas.h"
#include "base/clock.h"
#include "base/column_sums.h"
#include "base/gemm.h"
#include "base/parallel.h"
#include "suites.h"
#include "support.h"

enum { MOST = 5000 };

/* What the tasks of a loop write down. */
typedef struct record {
    atomic_int runs[MOST];
    atomic_int busy[RBE_MAX_THREADS]; /* tasks that a worker has in hand */
    size_t threads;
    atomic_bool wrong_worker;
    atomic_size_t nested;
} record;

static void note(void *context, size_t task, size_t worker) {
    record *r = context;
    if (worker >= r->threads || atomic_fetch_add(&r->busy[worker], 1) > 0) atomic_store(&r->wrong_worker, true);
    atomic_fetch_add(&r->runs[task], 1);
    atomic_fetch_sub(&r->busy[worker], 1);
}

static void check_loop(size_t threads, size_t tasks) {
    record *r = calloc(1, sizeof *r);
    r->threads = threads > 0 ? threads : 1;
    rbe_parallel(threads, tasks, note, r);
    ck_assert(!atomic_load(&r->wrong_worker));
    for (size_t n = 0; n < MOST; n++) ck_assert_int_eq(atomic_load(&r->runs[n]), n < tasks);
    free(r);
}

/* Each task once, and no two at once with the same worker. */
START_TEST(tasks_run_once) {
    static const size_t threads[] = {0, 1, 2, 3, 8, RBE_MAX_THREADS}, tasks[] = {0, 1, 2, 7, 100, MOST};
    for (int round = 0; round < 20; round++)
        for (size_t t = 0; t < 6; t++)
            for (size_t n = 0; n < 6; n++) check_loop(threads[t], tasks[n]);
}
END_TEST

static void count_nested(void *context, size_t task, size_t worker) {
    (void)task;
    ck_assert_uint_eq(worker, 0);
    atomic_fetch_add(&((record *)context)->nested, 1);
}

static void nest(void *context, size_t task, size_t worker) {
    (void)task;
    (void)worker;
    rbe_parallel(4, 10, count_nested, context);
}

/* A loop inside a task is run by that task's thread alone. */
START_TEST(loops_may_nest) {
    record *r = calloc(1, sizeof *r);
    for (int round = 0; round < 100; round++) rbe_parallel(4, 50, nest, r);
    ck_assert_uint_eq(atomic_load(&r->nested), 100 * 50 * 10);
    free(r);
}
END_TEST

static int counted; /* its address means yes */

static void *many_loops(void *unused) {
    (void)unused;
    record *r = calloc(1, sizeof *r);
    r->threads = 3;
    for (int n = 0; n < 25000; n++) rbe_parallel(3, 8, note, r);
    bool right = !atomic_load(&r->wrong_worker);
    for (int n = 0; n < 8; n++) right = right && atomic_load(&r->runs[n]) == 25000;
    free(r);
    return right ? &counted : NULL;
}

/* 100,000 short loops from four threads at once. */
START_TEST(callers_share_the_pool) {
    pthread_t callers[4];
    for (int n = 0; n < 4; n++) ck_assert_int_eq(pthread_create(&callers[n], NULL, many_loops, NULL), 0);
    for (int n = 0; n < 4; n++) {
        void *right;
        pthread_join(callers[n], &right);
        ck_assert_ptr_nonnull(right);
    }
}
END_TEST

/* Dense products of 300 rows on 4 threads against the first one. */
static bool products_agree(const float *a, const float *b, float *c, const float *expected) {
    return rbe_gemm(false, true, 300, 90, 70, a, b, false, c) == RBE_OK &&
           memcmp(c, expected, 300 * 90 * sizeof *c) == 0;
}

/* A child has no helpers: it makes its own, and the parent keeps its [57]. */
START_TEST(a_child_after_fork_works) {
    float *a = malloc(300 * 70 * sizeof *a), *b = malloc(90 * 70 * sizeof *b), *c = malloc(300 * 90 * sizeof *c);
    float *expected = malloc(300 * 90 * sizeof *expected);
    fill_normal(a, 300 * 70, 1.0, 1);
    fill_normal(b, 90 * 70, 1.0, 2);
    rbe_set_threads(4);
    ck_assert_int_eq(rbe_gemm(false, true, 300, 90, 70, a, b, false, expected), RBE_OK);
    for (int round = 0; round < 10; round++) {
        check_loop(4, 100);
        pid_t child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
            check_loop(4, 100);
            _exit(products_agree(a, b, c, expected) ? 7 : 1);
        }
        ck_assert(products_agree(a, b, c, expected));
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 7);
    }
    rbe_set_threads(1);
    free(a);
    free(b);
    free(c);
    free(expected);
}
END_TEST

/* Without a thread from the system the caller does the work. Threads of root are not counted: the child is nobody. */
START_TEST(refused_threads_change_nothing) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        if (getuid() == 0 && setuid(65534) != 0) _exit(2);
        if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(3);
        pthread_t thread;
        if (pthread_create(&thread, NULL, many_loops, NULL) == 0) _exit(4);
        rbe_set_threads(4);
        check_loop(4, 1000);
        _exit(7);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 7);
}
END_TEST

static void mark_range(void *context, size_t first, size_t count) {
    record *r = context;
    for (size_t n = first; n < first + count; n++) atomic_fetch_add(&r->runs[n], 1);
    if (count == 0 || count > 7 || first % 7 != 0) atomic_store(&r->wrong_worker, true);
}

START_TEST(ranges_cover_everything_once) {
    rbe_set_threads(3);
    for (size_t count = 0; count < 60; count++) {
        record *r = calloc(1, sizeof *r);
        rbe_parallel_ranges(count, 7, mark_range, r);
        ck_assert(!atomic_load(&r->wrong_worker));
        for (size_t n = 0; n < MOST; n++) ck_assert_int_eq(atomic_load(&r->runs[n]), n < count);
        free(r);
    }
    rbe_set_threads(1);
}
END_TEST

/* What an observer is told. */
typedef struct story {
    rbe_any_function *function[8];
    size_t task[8], tasks[8], count;
    double seconds;
} story;

static void listen(void *user, rbe_any_function *function, size_t task, size_t tasks, double seconds) {
    story *s = user;
    ck_assert_uint_lt(s->count, 8);
    ck_assert_double_ge(seconds, 0.0);
    s->function[s->count] = function;
    s->task[s->count] = task;
    s->tasks[s->count++] = tasks;
    s->seconds += seconds;
}

/* Tasks in their order, with their loop's function, whatever the number of threads; not the loops inside of them. */
START_TEST(an_observer_is_told_of_tasks) {
    record *r = calloc(1, sizeof *r);
    story s = {.count = 0};
    r->threads = 4;
    rbe_set_threads(1);
    rbe_parallel_observe(listen, &s);
    double start = rbe_seconds();
    rbe_parallel(4, 2, nest, r);
    rbe_parallel_ranges(20, 7, mark_range, r);
    double end = rbe_seconds();
    rbe_parallel_observe(NULL, NULL);
    rbe_parallel(1, 100, note, r);
    ck_assert_uint_eq(s.count, 5);
    for (size_t n = 0; n < 5; n++) {
        ck_assert(s.function[n] == (n < 2 ? (rbe_any_function *)nest : (rbe_any_function *)mark_range));
        ck_assert_uint_eq(s.task[n], n < 2 ? n : n - 2);
        ck_assert_uint_eq(s.tasks[n], n < 2 ? 2 : 3);
    }
    ck_assert_double_le(s.seconds, end - start);
    ck_assert_uint_eq(atomic_load(&r->nested), 20);
    ck_assert(!atomic_load(&r->wrong_worker));
    free(r);
}
END_TEST

/* ---- sums over rows ------------------------------------------------------------------------------------------ */

/* A float stops at 2^24 ones [67]. */
START_TEST(long_sums_do_not_stop) {
    const size_t rows = 40000000;
    float *ones = malloc(rows * sizeof *ones), sum = 2.0f;
    ck_assert_ptr_nonnull(ones);
    for (size_t n = 0; n < rows; n++) ones[n] = 1.0f;
    rbe_column_sums(ones, rows, 1, true, &sum);
    ck_assert_float_eq(sum, 40000002.0f);
    free(ones);
}
END_TEST

START_TEST(column_sums_are_exact) {
    static const size_t shapes[][2] = {{0, 3}, {1, 1}, {5, 64}, {7, 65}, {100, 200}};
    for (size_t s = 0; s < 5; s++)
        for (int add = 0; add < 2; add++) {
            size_t rows = shapes[s][0], columns = shapes[s][1];
            float *values = malloc((rows * columns + 1) * sizeof *values), *sum = malloc(columns * sizeof *sum);
            fill_normal(values, rows * columns, 1.0, s);
            for (size_t c = 0; c < columns; c++) sum[c] = (float)c;
            rbe_set_threads(add ? 3 : 1);
            rbe_column_sums(values, rows, columns, add, sum);
            for (size_t c = 0; c < columns; c++) {
                double expected = 0.0;
                for (size_t n = 0; n < rows; n++) expected += (double)values[n * columns + c];
                ck_assert_float_eq(sum[c], (float)((add ? (double)c : 0.0) + expected));
            }
            free(values);
            free(sum);
        }
    rbe_set_threads(1);
}
END_TEST

/* ---- OpenBLAS ------------------------------------------------------------------------------------------------ */

/* The library leaves the host program's number of threads as it was [8]. */
START_TEST(openblas_keeps_its_threads) {
    int before = openblas_get_num_threads();
    float a[4] = {1, 2, 3, 4}, c[4];
    for (int threads = 1; threads <= 2; threads++) {
        openblas_set_num_threads(threads);
        int set = openblas_get_num_threads();
        ck_assert_uint_eq(rbe_blas_enter(2), 2);
        ck_assert_int_eq(openblas_get_num_threads(), 1);
        ck_assert_int_eq(rbe_gemm(false, false, 2, 2, 2, a, a, false, c), RBE_OK);
        ck_assert_int_eq(openblas_get_num_threads(), 1);
        rbe_blas_leave(2);
        ck_assert_int_eq(openblas_get_num_threads(), set);
    }
    openblas_set_num_threads(before);
}
END_TEST

/* Bytes of address space in use. */
static size_t address_space(void) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Chosen kernels, the level of the processor, and what it should have. */
START_TEST(old_kernels_are_recognised) {
    static const struct {
        const char *chosen;
        rbe_vector_level processor;
        const char *better;
    } cases[] = {
        {"Prescott", RBE_VECTOR_OLD, NULL},
        {"Prescott", RBE_VECTOR_AVX2, "Haswell"},
        {"Prescott", RBE_VECTOR_AVX512, "SkylakeX"},
        {"Sandybridge", RBE_VECTOR_AVX2, "Haswell"},
        {"Nehalem", RBE_VECTOR_OLD, NULL},
        {"Haswell", RBE_VECTOR_AVX2, NULL},
        {"HASWELL", RBE_VECTOR_AVX512, "SkylakeX"},
        {"Zen", RBE_VECTOR_AVX2, NULL},
        {"Zen", RBE_VECTOR_AVX512, "SkylakeX"},
        {"SkylakeX", RBE_VECTOR_AVX512, NULL},
        {"Cooperlake", RBE_VECTOR_AVX2, NULL},
        {"SapphireRapids", RBE_VECTOR_AVX512, NULL},
        {"of the year 2040", RBE_VECTOR_AVX512, NULL},
        {"", RBE_VECTOR_AVX2, NULL},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++)
        ck_assert_pstr_eq(rbe_blas_kernels_above(cases[n].chosen, cases[n].processor), cases[n].better);
    ck_assert_str_eq(rbe_blas_kernels(), openblas_get_corename());
}
END_TEST

/* More callers at once than OpenBLAS was built for, and than the address space holds buffers for [50] [52]. */
START_TEST(openblas_is_not_asked_for_too_much) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        alarm(60);
        float a[4] = {1, 2, 3, 4}, c[4];
        rlim_t bytes = (rlim_t)address_space() + ((rlim_t)1 << 30);
        struct rlimit limit = {bytes, bytes};
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
        size_t some = rbe_blas_enter(60), one_more = rbe_blas_enter(60), none = 1, all = some + one_more;
        for (size_t n = 0; n < 60 && none > 0; n++) all += none = rbe_blas_enter(60);
        if (some < 1 || some > 8 || none > 0 || rbe_last_status() != RBE_INSUFFICIENT_MEMORY) _exit(3);
        if (rbe_gemm(false, false, 2, 2, 2, a, a, false, c) != RBE_INSUFFICIENT_MEMORY) _exit(5);
        rbe_blas_leave(all);
        _exit(rbe_gemm(false, false, 2, 2, 2, a, a, false, c) == RBE_OK && c[0] == 7.0f ? 7 : 4);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 7);
}
END_TEST

/* 2^31 + 64 rows of one column each, mapped again and again onto the same ones [55]. */
START_TEST(sums_may_be_longer_than_an_int) {
    const size_t piece = (size_t)64 << 20, rows = ((size_t)1 << 31) + 64;
    int memory = memfd_create("ones", 0);
    ck_assert_int_ge(memory, 0);
    ck_assert_int_eq(ftruncate(memory, (off_t)piece), 0);
    float *ones = mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    ck_assert_ptr_ne(ones, MAP_FAILED);
    for (size_t n = 0; n < piece / sizeof *ones; n++) ones[n] = 1.0f;
    const size_t bytes = (rows * sizeof(float) + piece - 1) / piece * piece;
    char *space = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED) return; /* an address space with a limit */
    for (size_t at = 0; at < bytes; at += piece)
        ck_assert_ptr_ne(mmap(space + at, piece, PROT_READ, MAP_SHARED | MAP_FIXED, memory, 0), MAP_FAILED);
    const float *x = (const float *)(const void *)space;
    float product = 0.0f;
    ck_assert_int_eq(rbe_gemm(true, false, 1, 1, rows, x, x, false, &product), RBE_OK);
    ck_assert_float_gt(product, 1e9f); /* a float, so the sum itself is coarse */
    ck_assert_int_eq(rbe_gemm(false, false, 1, 1, rows, x, x, false, &product), RBE_INVALID_ARGUMENT);
    munmap(space, bytes);
    munmap(ones, piece);
    close(memory);
}
END_TEST

Suite *parallel_suite(void) {
    Suite *suite = suite_create("parallel");
    TCase *pool = tcase_create("pool"), *sums = tcase_create("sums"), *blas = tcase_create("blas");
    tcase_set_timeout(pool, 120);
    tcase_set_timeout(sums, 120);
    tcase_set_timeout(blas, 240);
    tcase_add_test(pool, tasks_run_once);
    tcase_add_test(pool, loops_may_nest);
    tcase_add_test(pool, callers_share_the_pool);
    tcase_add_test(pool, ranges_cover_everything_once);
    tcase_add_test(pool, an_observer_is_told_of_tasks);
    suite_add_tcase(suite, pool);
    tcase_add_test(sums, long_sums_do_not_stop);
    tcase_add_test(sums, column_sums_are_exact);
    suite_add_tcase(suite, sums);
    tcase_add_test(blas, openblas_keeps_its_threads);
    tcase_add_test(blas, old_kernels_are_recognised);
    tcase_add_test(blas, sums_may_be_longer_than_an_int);
    suite_add_tcase(suite, blas);
    return suite;
}

/* What forks by itself, which ThreadSanitizer does not follow. */
Suite *processes_suite(void) {
    Suite *suite = suite_create("processes");
    TCase *forks = tcase_create("forks");
    tcase_set_timeout(forks, 240);
    tcase_add_test(forks, a_child_after_fork_works);
    tcase_add_test(forks, refused_threads_change_nothing);
    tcase_add_test(forks, openblas_is_not_asked_for_too_much);
    suite_add_tcase(suite, forks);
    return suite;
}
