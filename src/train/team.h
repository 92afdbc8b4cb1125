/* The ranks of a training: how they agree.
 *
 * What may fail on one rank alone happens between meetings. A rank on which something has failed goes straight to the
 * next meeting, whichever it is for the others, and says so: then all know, and the training is over on all. Between a
 * meeting that went well and the other calls that follow it nothing may fail on one rank alone; but a rank that fails while
 * gradients are exchanged takes part in the rest of that, with whatever it has, and then goes to the next meeting.
 */
#ifndef RBE_TRAIN_TEAM_H
#define RBE_TRAIN_TEAM_H

#include "train/exchange.h"

typedef struct rbe_team {
    const rbe_comm *comm; /* NULL: one rank, for which nothing below does anything */
    bool over;            /* all ranks know that the training has ended */
    rbe_exchange *open;   /* of gradients, which a backward pass goes on with; NULL: none */
} rbe_team;

/* What a rank says at a meeting, and what comes of it. */
typedef struct rbe_note {
    double loss, weight; /* sums over all ranks */
    uint64_t count;
    uint32_t checksum;     /* 0, or the same on all ranks */
    int32_t status;        /* of rbe_team_meet */
    uint8_t stop, request; /* whether any rank has been asked */
    uint8_t spare[6];
} rbe_note;

/* `status` is that of this rank. RBE_OK, with the joint note, if all are well; else the status and the text of the first
 * rank that is not, "rank 2: ..", or this rank's own, if nothing is well anywhere. Checksums that differ are
 * INVALID_ARGUMENT. */
rbe_status rbe_team_meet(rbe_team *team, rbe_status status, rbe_note *note);

/* The same without anything to say. */
rbe_status rbe_team_agree(rbe_team *team, rbe_status status);

/* A meeting, from which on gradients are exchanged: rbe_exchange_prepare has been called. The next meeting ends it. */
rbe_status rbe_team_begin_exchange(rbe_team *team, rbe_exchange *exchange);

/* Calls of the transport, which fail on all ranks. */
rbe_status rbe_team_sum(rbe_team *team, float *values, size_t count);
rbe_status rbe_team_broadcast(rbe_team *team, void *bytes, size_t count); /* from rank 0 */
rbe_status rbe_team_gather(rbe_team *team, const void *mine, size_t count, void *all);

static inline bool rbe_team_leads(const rbe_team *team) { return !team->comm || team->comm->rank == 0; }
static inline size_t rbe_team_rank(const rbe_team *team) { return team->comm ? team->comm->rank : 0; }
static inline size_t rbe_team_size(const rbe_team *team) { return team->comm ? team->comm->size : 1; }

/* INVALID_ARGUMENT for a transport that is none. */
rbe_status rbe_team_check(const rbe_comm *comm);

/* Gives all ranks the *count bytes of rank 0, the others in memory of their own, which is theirs (rbe_free) whatever is
 * returned. `status` is that of this rank so far. */
rbe_status rbe_team_share(rbe_team *team, rbe_status status, char **bytes, size_t *count);

#endif
