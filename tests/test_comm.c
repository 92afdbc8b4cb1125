/* Transports: what ranks that are threads get from each call, and that nobody waits for one that calls something else or
 * has given up. The suite goes on with trainings (test_ranks*.c). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rank_support.h"
#include "suites.h"
#include "support.h"

enum { COUNT = 1003, BLOCK = 7 };

/* What each rank does in its thread; nothing is asserted there. */
typedef struct end {
    const rbe_comm *comm;
    pthread_t thread;
    float values[COUNT];
    size_t count;
    char all[MOST_RANKS * BLOCK], mine[BLOCK];
    rbe_status status[2];
    char text[256];
} end;

static void run_all(end *ends, size_t size, void *(*work)(void *)) {
    for (size_t n = 0; n < size; n++) ck_assert_int_eq(pthread_create(&ends[n].thread, NULL, work, &ends[n]), 0);
    for (size_t n = 0; n < size; n++) ck_assert_int_eq(pthread_join(ends[n].thread, NULL), 0);
}

static void *call_each(void *user) {
    end *e = user;
    const rbe_comm *c = e->comm;
    e->status[0] = c->sum(c->user, e->values, e->count);
    for (size_t root = 0; root < c->size && e->status[1] == RBE_OK; root++) {
        memset(e->mine, (int)('a' + c->rank * 10 + root), BLOCK);
        e->status[1] = c->broadcast(c->user, root, e->mine, BLOCK);
        if (e->mine[0] != (char)('a' + root * 11)) e->status[1] = RBE_BAD_FORMAT;
    }
    memset(e->mine, (int)('A' + c->rank), BLOCK);
    if (e->status[1] == RBE_OK) e->status[1] = c->gather(c->user, e->mine, BLOCK, e->all);
    return NULL;
}

/* Values of which another order gives other sums. */
static void fill(end *ends, size_t size, size_t count, float expected[COUNT]) {
    for (size_t n = 0; n < size; n++) {
        ends[n].count = count;
        fill_normal(ends[n].values, COUNT, 1.0, n + 1);
    }
    for (size_t i = 0; i < COUNT; i++) {
        expected[i] = ends[0].values[i];
        for (size_t n = 1; n < size && i < count; n++) expected[i] += ends[n].values[i];
    }
}

START_TEST(calls_give_what_they_promise) {
    static end ends[MOST_RANKS];
    static float expected[COUNT];
    static const size_t counts[] = {0, 1, 2, COUNT};
    for (size_t size = 1; size <= MOST_RANKS; size++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            rbe_comm *comms = rbe_comm_threads_new(size);
            memset(ends, 0, sizeof ends);
            for (size_t n = 0; n < size; n++) ends[n].comm = &comms[n];
            fill(ends, size, counts[k], expected);
            run_all(ends, size, call_each);
            for (size_t n = 0; n < size; n++) {
                if (counts[k] > 0) ck_assert_mem_eq(ends[n].values, expected, counts[k] * sizeof *expected);
                ck_assert_float_eq(ends[n].values[COUNT - 1],
                                   counts[k] == COUNT ? expected[COUNT - 1] : ends[n].values[COUNT - 1]);
                ck_assert_int_eq(ends[n].status[0], RBE_OK);
                ck_assert_int_eq(ends[n].status[1], RBE_OK);
                for (size_t i = 0; i < size * BLOCK; i++) ck_assert_int_eq(ends[n].all[i], (char)('A' + i / BLOCK));
            }
            rbe_comm_threads_free(comms);
        }
}
END_TEST

static void *call_unlike(void *user) {
    end *e = user;
    const rbe_comm *c = e->comm;
    e->status[0] = c->rank == 2 ? c->gather(c->user, e->mine, 1, e->all) : c->sum(c->user, e->values, COUNT);
    strncpy(e->text, rbe_last_error(), sizeof e->text - 1);
    e->status[1] = c->sum(c->user, e->values, 1); /* and all can go on */
    return NULL;
}

START_TEST(calls_that_do_not_match_fail_on_all_ranks) {
    static end ends[3];
    rbe_comm *comms = rbe_comm_threads_new(3);
    for (size_t n = 0; n < 3; n++) ends[n] = (end){.comm = &comms[n]};
    run_all(ends, 3, call_unlike);
    for (size_t n = 0; n < 3; n++) {
        ck_assert_int_eq(ends[n].status[0], RBE_INVALID_ARGUMENT);
        ck_assert_str_eq(ends[n].text, "ranks made different calls: rank 0 sum of 1003, rank 2 gather of 1");
        ck_assert_int_eq(ends[n].status[1], RBE_OK);
    }
    rbe_comm_threads_free(comms);
}
END_TEST

static void *call_or_abort(void *user) {
    end *e = user;
    const rbe_comm *c = e->comm;
    if (c->rank == 1)
        c->abort(c->user);
    else
        e->status[0] = c->sum(c->user, e->values, COUNT);
    if (c->rank != 1) e->status[1] = c->broadcast(c->user, 0, e->all, 1);
    return NULL;
}

START_TEST(nobody_waits_for_a_rank_that_has_given_up) {
    static end ends[3];
    rbe_comm *comms = rbe_comm_threads_new(3);
    for (size_t n = 0; n < 3; n++) ends[n] = (end){.comm = &comms[n]};
    run_all(ends, 3, call_or_abort);
    for (size_t n = 0; n < 3; n += 2) {
        ck_assert_int_eq(ends[n].status[0], RBE_IO_ERROR);
        ck_assert_int_eq(ends[n].status[1], RBE_IO_ERROR);
    }
    rbe_comm_threads_free(comms);
}
END_TEST

START_TEST(sizes_are_checked) {
    ck_assert_ptr_null(rbe_comm_threads_new(0));
    assert_failed(RBE_INVALID_ARGUMENT, "found 0");
    ck_assert_ptr_null(rbe_comm_threads_new(RBE_COMM_MOST_RANKS + 1));
    assert_failed(RBE_INVALID_ARGUMENT, "1025");
    rbe_comm_threads_free(NULL);
    rbe_comm_mpi_free(NULL);
}
END_TEST

static rbe_status make_one(void *user) {
    (void)user;
    rbe_comm *comms = rbe_comm_threads_new(3);
    rbe_status status = comms ? RBE_OK : rbe_last_status();
    rbe_comm_threads_free(comms);
    return status;
}

START_TEST(making_fails_for_lack_of_memory) { ck_assert_uint_eq(fail_each_allocation(make_one, NULL), 3); }
END_TEST

TCase *comm_case(void) {
    TCase *comm = tcase_create("comm");
    tcase_add_test(comm, calls_give_what_they_promise);
    tcase_add_test(comm, calls_that_do_not_match_fail_on_all_ranks);
    tcase_add_test(comm, nobody_waits_for_a_rank_that_has_given_up);
    tcase_add_test(comm, sizes_are_checked);
    tcase_add_test(comm, making_fails_for_lack_of_memory);
    return comm;
}

Suite *ranks_suite(void) {
    Suite *suite = suite_create("ranks");
    suite_add_tcase(suite, comm_case());
    suite_add_tcase(suite, ranks_case());
    suite_add_tcase(suite, ranks_fail_case());
    suite_add_tcase(suite, ranks_overlap_case());
    suite_add_tcase(suite, ranks_resume_case());
    return suite;
}
