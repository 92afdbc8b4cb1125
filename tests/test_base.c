/* The base room: status table, last error, allocator, arena, random numbers, threads. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "suites.h"
#include "support.h"

/* ---- status -------------------------------------------------------------------------------------------------- */

static const rbe_status all_statuses[] = {
#define LISTED(name, code, message) RBE_##name,
    RBE_STATUS_TABLE(LISTED)
#undef LISTED
};
enum { STATUS_COUNT = sizeof all_statuses / sizeof *all_statuses };

START_TEST(status_names_and_messages_are_unique) {
    for (int i = 0; i < STATUS_COUNT; i++)
        for (int j = 0; j < i; j++) {
            ck_assert_int_ne(all_statuses[i], all_statuses[j]);
            ck_assert_str_ne(rbe_status_name(all_statuses[i]), rbe_status_name(all_statuses[j]));
            ck_assert_str_ne(rbe_status_message(all_statuses[i]), rbe_status_message(all_statuses[j]));
        }
    ck_assert_str_eq(rbe_status_name(RBE_INPUT_DIMENSION_MISMATCH), "INPUT_DIMENSION_MISMATCH");
    ck_assert_int_eq(RBE_OK, 0);
}
END_TEST

START_TEST(status_unknown_code) {
    ck_assert_str_eq(rbe_status_name((rbe_status)999), "UNKNOWN");
    ck_assert_uint_gt(strlen(rbe_status_message((rbe_status)999)), 0);
}
END_TEST

START_TEST(version_is_that_of_the_header) {
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", RBE_VERSION_MAJOR, RBE_VERSION_MINOR, RBE_VERSION_PATCH);
    ck_assert_str_eq(rbe_version(), expected);
}
END_TEST

START_TEST(last_error_keeps_the_newest_failure) {
    ck_assert_int_eq(rbe_last_status(), RBE_OK);
    ck_assert_str_eq(rbe_last_error(), "");
    ck_assert_int_eq(rbe_fail(RBE_IO_ERROR, "expected %d, found %s", 3, "four"), RBE_IO_ERROR);
    ck_assert_int_eq(rbe_last_status(), RBE_IO_ERROR);
    ck_assert_str_eq(rbe_last_error(), "expected 3, found four");
    rbe_fail(RBE_BAD_FORMAT, "outer: %s", rbe_last_error()); /* its own text as an argument */
    ck_assert_int_eq(rbe_last_status(), RBE_BAD_FORMAT);
    ck_assert_str_eq(rbe_last_error(), "outer: expected 3, found four");
}
END_TEST

START_TEST(last_error_is_cut_at_511_bytes) {
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    rbe_fail(RBE_IO_ERROR, "%s", text);
    ck_assert_uint_eq(strlen(rbe_last_error()), 511);
}
END_TEST

static void *fail_in_another_thread(void *found_before) {
    *(rbe_status *)found_before = rbe_last_status();
    rbe_fail(RBE_STOPPED, "the other thread");
    return NULL;
}

START_TEST(last_error_is_the_threads_own) {
    rbe_fail(RBE_IO_ERROR, "this thread");
    pthread_t thread;
    rbe_status found_before = RBE_STOPPED;
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_in_another_thread, &found_before), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(found_before, RBE_OK);
    ck_assert_int_eq(rbe_last_status(), RBE_IO_ERROR);
    ck_assert_str_eq(rbe_last_error(), "this thread");
}
END_TEST

static rbe_status try_and_go_on(rbe_status status, bool *went_on) {
    *went_on = false;
    RBE_TRY(status);
    *went_on = true;
    return RBE_OK;
}

START_TEST(try_returns_a_failure_only) {
    bool went_on;
    ck_assert_int_eq(try_and_go_on(RBE_OK, &went_on), RBE_OK);
    ck_assert(went_on);
    ck_assert_int_eq(try_and_go_on(RBE_STOPPED, &went_on), RBE_STOPPED);
    ck_assert(!went_on);
}
END_TEST

/* ---- memory -------------------------------------------------------------------------------------------------- */

START_TEST(memory_is_counted) {
    const rbe_memory_usage before = rbe_memory();
    void *a = rbe_alloc(100, 10), *b = rbe_alloc_zeroed(50, 4);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq((uintptr_t)a % RBE_ALIGNMENT, 0);
    ck_assert_uint_eq((uintptr_t)b % RBE_ALIGNMENT, 0);
    for (int i = 0; i < 200; i++) ck_assert_int_eq(((char *)b)[i], 0);
    ck_assert_uint_eq(rbe_memory().current, before.current + 1200);
    ck_assert_uint_eq(rbe_memory().allocations, before.allocations + 2);
    rbe_free(a);
    ck_assert_uint_eq(rbe_memory().current, before.current + 200);
    ck_assert_uint_ge(rbe_memory().peak, before.current + 1200);
    rbe_memory_reset_peak();
    ck_assert_uint_eq(rbe_memory().peak, before.current + 200);
    rbe_free(b);
    rbe_free(NULL);
    ck_assert_uint_eq(rbe_memory().current, before.current);
}
END_TEST

START_TEST(memory_of_no_bytes_is_unique) {
    void *a = rbe_alloc(0, 8), *b = rbe_alloc(8, 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_ptr_ne(a, b);
    rbe_free(a);
    rbe_free(b);
}
END_TEST

START_TEST(memory_requests_that_overflow_fail) {
    static const size_t requests[][2] = {
        {SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX / 2, 4}, {SIZE_MAX / 4 + 2, 4}, {PTRDIFF_MAX, 1}};
    rbe_arena arena = {0};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        rbe_fail(RBE_OK, "%s", "");
        ck_assert_ptr_null(rbe_alloc(requests[i][0], requests[i][1]));
        ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
        rbe_fail(RBE_OK, "%s", "");
        ck_assert_ptr_null(rbe_arena_take(&arena, requests[i][0], requests[i][1]));
        ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
    }
    ck_assert_int_eq(rbe_arena_reserve(&arena, SIZE_MAX), RBE_INSUFFICIENT_MEMORY);
    rbe_arena_free(&arena);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(memory_that_is_refused_is_reported) {
    failing_allocator allocator;
    failing_allocator_install(&allocator, 2);
    void *first = rbe_alloc(1, 100);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(rbe_alloc(7, 11));
    ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "77"));
    ck_assert_uint_eq(rbe_memory().current, 100);
    rbe_free(first);
    ck_assert(failing_allocator_remove(&allocator));
}
END_TEST

START_TEST(allocator_is_set_only_while_nothing_is_held) {
    void *held = rbe_alloc(1, 1);
    ck_assert_int_eq(rbe_set_allocator(NULL), RBE_INVALID_ARGUMENT);
    rbe_free(held);
    ck_assert_int_eq(rbe_set_allocator(NULL), RBE_OK);
    const rbe_allocator half = {.allocate = NULL};
    ck_assert_int_eq(rbe_set_allocator(&half), RBE_INVALID_ARGUMENT);
}
END_TEST

/* ---- arena --------------------------------------------------------------------------------------------------- */

START_TEST(arena_pieces_are_aligned_and_apart) {
    rbe_arena arena = {0};
    unsigned char *pieces[50];
    for (int i = 0; i < 50; i++) {
        pieces[i] = rbe_arena_take(&arena, 1000, 7);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % RBE_ALIGNMENT, 0);
        memset(pieces[i], i, 7000);
    }
    for (int i = 0; i < 50; i++)
        for (int j = 0; j < 7000; j++) ck_assert_int_eq(pieces[i][j], i);
    rbe_arena_free(&arena);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(arena_returns_to_a_mark) {
    rbe_arena arena = {0};
    rbe_arena_take(&arena, 1, 100);
    const rbe_arena_mark mark = rbe_arena_here(&arena);
    void *first = rbe_arena_take(&arena, 1, 1000);
    rbe_arena_return(&arena, mark);
    ck_assert_uint_eq(arena.used, 128);
    ck_assert_ptr_eq(rbe_arena_take(&arena, 1, 1000), first);
    rbe_arena_free(&arena);
}
END_TEST

/* Scratch that outgrows the chunk of the mark must neither lose what came before nor allocate every time. */
START_TEST(arena_mark_across_chunks) {
    rbe_arena arena = {0};
    char *kept = rbe_arena_take(&arena, 1, 1000);
    memset(kept, 42, 1000);
    size_t allocations = 0;
    for (int round = 0; round < 10; round++) {
        const rbe_arena_mark mark = rbe_arena_here(&arena);
        for (int i = 0; i < 3; i++) {
            void *scratch = rbe_arena_take(&arena, 1, 30000);
            ck_assert_ptr_nonnull(scratch);
            memset(scratch, round, 30000);
        }
        rbe_arena_return(&arena, mark);
        ck_assert_uint_eq(arena.used, rbe_aligned(1000));
        ck_assert_uint_lt(rbe_memory().current, 200000);
        if (round == 1) allocations = rbe_memory().allocations;
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    for (int i = 0; i < 1000; i++) ck_assert_int_eq(kept[i], 42);
    rbe_arena_free(&arena);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A mark of an empty arena, and what is taken after it. */
START_TEST(arena_mark_at_the_beginning) {
    rbe_arena arena = {0};
    const rbe_arena_mark mark = rbe_arena_here(&arena);
    rbe_arena_return(&arena, mark);
    for (int i = 0; i < 3; i++) ck_assert_ptr_nonnull(rbe_arena_take(&arena, 1, 100000));
    rbe_arena_return(&arena, mark);
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_nonnull(rbe_arena_take(&arena, 1, 100000));
    rbe_arena_free(&arena);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

static void take_a_megabyte(rbe_arena *arena) {
    for (int i = 0; i < 10; i++) {
        void *piece = rbe_arena_take(arena, 1, 100000);
        ck_assert_ptr_nonnull(piece);
        memset(piece, i, 100000);
    }
}

START_TEST(arena_reset_joins_chunks) {
    rbe_arena arena = {0};
    size_t allocations = 0;
    for (int step = 0; step < 5; step++) {
        take_a_megabyte(&arena);
        rbe_arena_reset(&arena);
        ck_assert_uint_eq(arena.used, 0);
        if (step == 1) allocations = rbe_memory().allocations;
    }
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    ck_assert_uint_lt(rbe_memory().current, 1100000);
    rbe_arena_free(&arena);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

START_TEST(arena_reserves_one_piece) {
    rbe_arena arena = {0};
    ck_assert_int_eq(rbe_arena_reserve(&arena, 10 * rbe_aligned(100000)), RBE_OK);
    const size_t allocations = rbe_memory().allocations;
    for (int step = 0; step < 3; step++) {
        take_a_megabyte(&arena);
        ck_assert_int_eq(rbe_arena_reserve(&arena, 10), RBE_INVALID_ARGUMENT); /* not empty */
        rbe_arena_reset(&arena);
    }
    ck_assert_int_eq(rbe_arena_reserve(&arena, 10), RBE_OK);
    ck_assert_uint_eq(rbe_memory().allocations, allocations);
    rbe_arena_free(&arena);
}
END_TEST

/* ---- random numbers ------------------------------------------------------------------------------------------ */

static bool same_numbers(uint64_t seed_a, uint64_t stream_a, uint64_t seed_b, uint64_t stream_b) {
    rbe_rng *a = rbe_rng_new(seed_a, stream_a), *b = rbe_rng_new(seed_b, stream_b);
    int equal = 0;
    for (int i = 0; i < 100; i++)
        equal += rbe_rng_uniform(a) == rbe_rng_uniform(b) && rbe_rng_normal(a) == rbe_rng_normal(b) &&
                 rbe_rng_below(a, 1000) == rbe_rng_below(b, 1000);
    rbe_rng_free(a);
    rbe_rng_free(b);
    ck_assert(equal == 0 || equal == 100);
    return equal == 100;
}

START_TEST(rng_is_seeded) {
    ck_assert(same_numbers(7, 3, 7, 3));
    ck_assert(!same_numbers(7, 3, 7, 4));
    ck_assert(!same_numbers(7, 3, 8, 3));
    ck_assert(!same_numbers(7, 3, 3, 7));
    ck_assert(!same_numbers(7, 3, 7 + ((uint64_t)1 << 32), 3));
    rbe_rng_free(NULL);
}
END_TEST

/* Within 5 standard deviations of the estimates. */
START_TEST(rng_moments) {
    enum { DRAWS = 100000 };
    rbe_rng *rng = rbe_rng_new(1, 0);
    double uniform[2] = {0}, normal[4] = {0};
    for (int i = 0; i < DRAWS; i++) {
        const double u = rbe_rng_uniform(rng), z = rbe_rng_normal(rng);
        ck_assert(u >= 0.0 && u < 1.0);
        uniform[0] += u / DRAWS;
        uniform[1] += u * u / DRAWS;
        normal[0] += z / DRAWS;
        normal[1] += z * z / DRAWS;
        normal[2] += z * z * z / DRAWS;
        normal[3] += z * z * z * z / DRAWS;
    }
    ck_assert_double_eq_tol(uniform[0], 1.0 / 2.0, 5 * 0.289 / 316);
    ck_assert_double_eq_tol(uniform[1], 1.0 / 3.0, 5 * 0.298 / 316);
    ck_assert_double_eq_tol(normal[0], 0.0, 5 * 1.0 / 316);
    ck_assert_double_eq_tol(normal[1], 1.0, 5 * 1.42 / 316);
    ck_assert_double_eq_tol(normal[2], 0.0, 5 * 3.88 / 316);
    ck_assert_double_eq_tol(normal[3], 3.0, 5 * 9.80 / 316);
    rbe_rng_free(rng);
}
END_TEST

START_TEST(rng_below_is_uniform) {
    enum { BINS = 10, DRAWS = 100000 };
    rbe_rng *rng = rbe_rng_new(2, 0);
    double counts[BINS] = {0};
    for (int i = 0; i < DRAWS; i++) {
        const uint32_t k = rbe_rng_below(rng, BINS);
        ck_assert_uint_lt(k, BINS);
        counts[k] += 1.0;
    }
    double chi_square = 0.0;
    for (int k = 0; k < BINS; k++)
        chi_square += (counts[k] - DRAWS / BINS) * (counts[k] - DRAWS / BINS) / (DRAWS / BINS);
    ck_assert_double_lt(chi_square, 27.88); /* the 99.9 % quantile for 9 degrees of freedom */
    rbe_rng_free(rng);
}
END_TEST

START_TEST(rng_below_bounds) {
    rbe_rng *rng = rbe_rng_new(3, 0);
    const uint32_t largest = (uint32_t)1 << 31;
    uint32_t seen = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert_uint_eq(rbe_rng_below(rng, 1), 0);
        const uint32_t k = rbe_rng_below(rng, largest);
        ck_assert_uint_lt(k, largest);
        seen |= k;
    }
    ck_assert_uint_eq(seen, largest - 1); /* every bit occurs */
    rbe_rng_free(rng);
}
END_TEST

START_TEST(rng_without_memory) {
    failing_allocator allocator;
    failing_allocator_install(&allocator, 1);
    ck_assert_ptr_null(rbe_rng_new(1, 1));
    ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
    ck_assert(failing_allocator_remove(&allocator));
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------- */

START_TEST(threads_have_a_range) {
    ck_assert_int_ge(rbe_threads(), 1);
    ck_assert_int_eq(rbe_set_threads(2), RBE_OK);
    ck_assert_int_eq(rbe_threads(), 2);
    static const int wrong[] = {0, -1, RBE_MAX_THREADS + 1};
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(rbe_set_threads(wrong[i]), RBE_INVALID_ARGUMENT);
        ck_assert_int_eq(rbe_threads(), 2);
    }
    ck_assert_int_eq(rbe_set_threads(1), RBE_OK);
    ck_assert_int_eq(rbe_threads(), 1);
}
END_TEST

Suite *base_suite(void) {
    Suite *suite = suite_create("base");

    TCase *status = tcase_create("status");
    tcase_add_test(status, status_names_and_messages_are_unique);
    tcase_add_test(status, status_unknown_code);
    tcase_add_test(status, version_is_that_of_the_header);
    tcase_add_test(status, last_error_keeps_the_newest_failure);
    tcase_add_test(status, last_error_is_cut_at_511_bytes);
    tcase_add_test(status, last_error_is_the_threads_own);
    tcase_add_test(status, try_returns_a_failure_only);
    suite_add_tcase(suite, status);

    TCase *memory = tcase_create("memory");
    tcase_add_test(memory, memory_is_counted);
    tcase_add_test(memory, memory_of_no_bytes_is_unique);
    tcase_add_test(memory, memory_requests_that_overflow_fail);
    tcase_add_test(memory, memory_that_is_refused_is_reported);
    tcase_add_test(memory, allocator_is_set_only_while_nothing_is_held);
    suite_add_tcase(suite, memory);

    TCase *arena = tcase_create("arena");
    tcase_add_test(arena, arena_pieces_are_aligned_and_apart);
    tcase_add_test(arena, arena_returns_to_a_mark);
    tcase_add_test(arena, arena_mark_across_chunks);
    tcase_add_test(arena, arena_mark_at_the_beginning);
    tcase_add_test(arena, arena_reset_joins_chunks);
    tcase_add_test(arena, arena_reserves_one_piece);
    suite_add_tcase(suite, arena);

    TCase *random = tcase_create("random numbers");
    tcase_add_test(random, rng_is_seeded);
    tcase_add_test(random, rng_moments);
    tcase_add_test(random, rng_below_is_uniform);
    tcase_add_test(random, rng_below_bounds);
    tcase_add_test(random, rng_without_memory);
    suite_add_tcase(suite, random);

    TCase *threads = tcase_create("threads");
    tcase_add_test(threads, threads_have_a_range);
    suite_add_tcase(suite, threads);

    return suite;
}
