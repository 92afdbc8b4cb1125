/* Ranks that are threads of one process.
 *
 * A call has three parts: every rank says what it calls, each does its share of the work on all ranks' memory, and
 * nobody goes on before all have. A rank's share of a sum is a slice of the values: so the sum is taken in the order of
 * ranks, and needs no memory.
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "rbe/comm.h"

typedef enum call_kind { SUM, BROADCAST, GATHER } call_kind;

static const char *const call_names[] = {"sum", "broadcast", "gather"};

typedef struct call {
    call_kind kind;
    size_t root, count;
    float *values;    /* of a sum */
    void *bytes;      /* of a broadcast; where a gather puts all */
    const void *mine; /* of a gather */
} call;

typedef struct group {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t size, inside; /* inside: ranks that have come to the present barrier */
    size_t generation;   /* of barriers */
    bool aborted;
    struct member *members;
} group;

typedef struct member {
    group *group;
    size_t rank;
    call call;
} member;

/* ---- barriers ------------------------------------------------------------------------------------------------ */

static rbe_status gone(void) { return rbe_fail(RBE_IO_ERROR, "another rank has given up"); }

/* Returns when all ranks have come here. IO_ERROR, on each rank that waits or comes, after an abort. */
static rbe_status wait_for_all(group *g) {
    pthread_mutex_lock(&g->mutex);
    const size_t now = g->generation;
    if (!g->aborted && ++g->inside == g->size) {
        g->inside = 0;
        g->generation++;
        pthread_cond_broadcast(&g->changed);
    }
    while (!g->aborted && g->generation == now) pthread_cond_wait(&g->changed, &g->mutex);
    const bool passed = g->generation != now;
    pthread_mutex_unlock(&g->mutex);
    return passed ? RBE_OK : gone();
}

static void abort_group(void *user) {
    group *g = ((member *)user)->group;
    pthread_mutex_lock(&g->mutex);
    g->aborted = true;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->mutex);
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

/* All ranks see the same calls, and come to the same end. */
static rbe_status check_calls(const group *g) {
    const call *first = &g->members[0].call;
    for (size_t n = 1; n < g->size; n++) {
        const call *c = &g->members[n].call;
        if (c->kind == first->kind && c->count == first->count && c->root == first->root) continue;
        return rbe_fail(RBE_INVALID_ARGUMENT, "ranks made different calls: rank 0 %s of %zu, rank %zu %s of %zu",
                        call_names[first->kind], first->count, n, call_names[c->kind], c->count);
    }
    return first->root < g->size ? RBE_OK
                                 : rbe_fail(RBE_INVALID_ARGUMENT, "broadcast: expected a root below %zu, found %zu",
                                            g->size, first->root);
}

static void sum_slice(const group *g, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        float sum = g->members[0].call.values[i];
        for (size_t n = 1; n < g->size; n++) sum += g->members[n].call.values[i];
        for (size_t n = 0; n < g->size; n++) g->members[n].call.values[i] = sum;
    }
}

static void work(const member *m) {
    const group *g = m->group;
    const call *c = &m->call;
    if (c->kind == SUM)
        sum_slice(g, m->rank * c->count / g->size, (m->rank + 1) * c->count / g->size);
    else if (c->kind == GATHER)
        for (size_t n = 0; n < g->size && c->count > 0; n++)
            memcpy((char *)c->bytes + n * c->count, g->members[n].call.mine, c->count);
    else if (m->rank != c->root && c->count > 0)
        memcpy(c->bytes, g->members[c->root].call.bytes, c->count);
}

static rbe_status run(member *m, call c) {
    m->call = c;
    RBE_TRY(wait_for_all(m->group));
    rbe_status status = check_calls(m->group);
    if (status == RBE_OK) work(m);
    rbe_status left = wait_for_all(m->group);
    return status == RBE_OK ? left : status;
}

static rbe_status sum(void *user, float *values, size_t count) {
    return run(user, (call){.kind = SUM, .values = values, .count = count});
}

static rbe_status broadcast(void *user, size_t root, void *bytes, size_t count) {
    return run(user, (call){.kind = BROADCAST, .root = root, .bytes = bytes, .count = count});
}

static rbe_status gather(void *user, const void *mine, size_t count, void *all) {
    return run(user, (call){.kind = GATHER, .mine = mine, .bytes = all, .count = count});
}

/* ---- making and freeing -------------------------------------------------------------------------------------- */

rbe_comm *rbe_comm_threads_new(size_t size) {
    if (size < 1 || size > RBE_COMM_MOST_RANKS) {
        rbe_fail(RBE_INVALID_ARGUMENT, "ranks: expected 1 .. %d, found %zu", RBE_COMM_MOST_RANKS, size);
        return NULL;
    }
    rbe_comm *comms = rbe_alloc_zeroed(size, sizeof *comms);
    member *members = rbe_alloc_zeroed(size, sizeof *members);
    group *g = rbe_alloc_zeroed(1, sizeof *g);
    if (!comms || !members || !g) {
        rbe_free(comms);
        rbe_free(members);
        rbe_free(g);
        return NULL;
    }
    *g = (group){.size = size, .members = members};
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->changed, NULL);
    for (size_t n = 0; n < size; n++) {
        members[n] = (member){.group = g, .rank = n};
        comms[n] = (rbe_comm){.rank = n,
                              .size = size,
                              .sum = sum,
                              .broadcast = broadcast,
                              .gather = gather,
                              .abort = abort_group,
                              .background = true,
                              .user = &members[n]};
    }
    return comms;
}

void rbe_comm_threads_free(rbe_comm *comms) {
    if (!comms) return;
    group *g = ((member *)comms[0].user)->group;
    pthread_mutex_destroy(&g->mutex);
    pthread_cond_destroy(&g->changed);
    rbe_free(g->members);
    rbe_free(g);
    rbe_free(comms);
}
