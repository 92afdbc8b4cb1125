#include "rank_support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

void team_make(team *t, const recipe *r, size_t size, bool checkpoints) {
    ck_assert_ok(rbe_set_threads(1));
    memset(t, 0, sizeof *t);
    t->size = size;
    t->comms = rbe_comm_threads_new(size);
    ck_assert_ptr_nonnull(t->comms);
    for (size_t n = 0; n < size; n++) {
        training_make(&t->ranks[n], r, checkpoints);
        if (size > 1) t->ranks[n].options.comm = &t->comms[n];
    }
}

void team_free(team *t) {
    for (size_t n = 0; n < t->size; n++) training_free(&t->ranks[n]);
    rbe_comm_threads_free(t->comms);
}

typedef struct rank_thread {
    pthread_t thread;
    team *team;
    size_t rank;
} rank_thread;

static void *run_rank(void *user) {
    const rank_thread *r = user;
    training *t = &r->team->ranks[r->rank];
    if (r->team->enter) r->team->enter(r->rank);
    r->team->status[r->rank] =
        rbe_fit(t->model, t->optim, &t->train, t->r.tested ? &t->test : NULL, &t->options, &t->result);
    strncpy(r->team->text[r->rank], rbe_last_error(), sizeof r->team->text[0] - 1);
    return NULL;
}

void team_run(team *t) {
    rank_thread threads[MOST_RANKS];
    for (size_t n = 0; n < t->size; n++) {
        threads[n] = (rank_thread){.team = t, .rank = n};
        ck_assert_int_eq(pthread_create(&threads[n].thread, NULL, run_rank, &threads[n]), 0);
    }
    for (size_t n = 0; n < t->size; n++) ck_assert_int_eq(pthread_join(threads[n].thread, NULL), 0);
}

void team_expect(team *t, rbe_status status) {
    team_run(t);
    for (size_t n = 0; n < t->size; n++)
        ck_assert_msg(t->status[n] == status, "rank %zu of %zu: %s instead of %s: %s", n, t->size,
                      rbe_status_name(t->status[n]), rbe_status_name(status), t->text[n]);
}

void team_assert_alike(team *t) {
    bytes first = snapshot_of(&t->ranks[0]);
    for (size_t n = 1; n < t->size; n++) {
        bytes own = snapshot_of(&t->ranks[n]);
        ck_assert_msg(same_bytes(first, own), "rank %zu of %zu is not as rank 0", n, t->size);
        free(own.data);
    }
    free(first.data);
}

void training_use(training *t, rbe_model *model, rbe_optim *optim) {
    ck_assert_msg(model != NULL && optim != NULL, "%s", rbe_last_error());
    rbe_optim_free(t->optim);
    if (model != t->model) rbe_model_free(t->model);
    t->model = model;
    t->optim = optim;
}
