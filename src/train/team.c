/* Meetings of ranks. They take no memory, so that a rank without any can say so. */
#include "train/team.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { TEXT_SIZE = 512 };

/* ---- the transport ------------------------------------------------------------------------------------------- */

static rbe_status ended_unless(rbe_team *team, rbe_status status) {
    if (status != RBE_OK) team->over = true;
    return status;
}

rbe_status rbe_team_sum(rbe_team *team, float *values, size_t count) {
    return team->comm ? ended_unless(team, team->comm->sum(team->comm->user, values, count)) : RBE_OK;
}

rbe_status rbe_team_broadcast(rbe_team *team, void *bytes, size_t count) {
    return team->comm ? ended_unless(team, team->comm->broadcast(team->comm->user, 0, bytes, count)) : RBE_OK;
}

rbe_status rbe_team_gather(rbe_team *team, const void *mine, size_t count, void *all) {
    return team->comm ? ended_unless(team, team->comm->gather(team->comm->user, mine, count, all)) : RBE_OK;
}

rbe_status rbe_team_check(const rbe_comm *comm) {
    if (!comm) return RBE_OK;
    if (comm->size > RBE_COMM_MOST_RANKS || comm->rank >= comm->size)
        return rbe_fail(RBE_INVALID_ARGUMENT, "comm: expected a rank below a size of at most %d, found %zu and %zu",
                        RBE_COMM_MOST_RANKS, comm->rank, comm->size);
    if (comm->sum && comm->broadcast && comm->gather) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "comm: sum, broadcast or gather is NULL");
}

/* ---- meetings ------------------------------------------------------------------------------------------------ */

/* The first rank that is not well, and how many. `size`: none. */
static size_t find_failure(const rbe_note *notes, size_t size, size_t *count) {
    size_t first = size;
    *count = 0;
    for (size_t n = size; n-- > 0;)
        if (notes[n].status != RBE_OK) {
            first = n;
            ++*count;
        }
    return first;
}

/* All ranks hear what the one has to say. */
static rbe_status hear(rbe_team *team, size_t rank, rbe_status status) {
    char text[TEXT_SIZE] = "";
    if (rank == team->comm->rank) snprintf(text, sizeof text, "%s", rbe_last_error());
    RBE_TRY(team->comm->broadcast(team->comm->user, rank, text, sizeof text));
    text[TEXT_SIZE - 1] = '\0';
    return rbe_fail(status, "rank %zu: %s", rank, text);
}

static rbe_status join(rbe_note *note, const rbe_note *notes, size_t size) {
    *note = notes[0];
    for (size_t n = 1; n < size; n++) {
        if (notes[n].checksum != note->checksum)
            return rbe_fail(RBE_INVALID_ARGUMENT,
                            "the parameters of rank %zu are not those of rank 0: checksums %08x and %08x", n,
                            (unsigned)notes[n].checksum, (unsigned)note->checksum);
        note->loss += notes[n].loss;
        note->weight += notes[n].weight;
        note->count += notes[n].count;
        note->stop |= notes[n].stop;
        note->request |= notes[n].request;
    }
    return RBE_OK;
}

static rbe_status end_exchange(rbe_team *team) {
    rbe_exchange *open = team->open;
    team->open = NULL;
    return open ? ended_unless(team, rbe_exchange_finish(open)) : RBE_OK;
}

rbe_status rbe_team_meet(rbe_team *team, rbe_status status, rbe_note *note) {
    if (!team->comm || team->over) return status;
    rbe_note notes[RBE_COMM_MOST_RANKS];
    const size_t size = team->comm->size;
    size_t count;
    note->status = (int32_t)status;
    rbe_status heard = end_exchange(team);
    if (heard == RBE_OK) heard = rbe_team_gather(team, note, sizeof *note, notes);
    if (heard != RBE_OK) return status == RBE_OK ? heard : status;
    const size_t failed = find_failure(notes, size, &count);
    if (failed == size) return ended_unless(team, join(note, notes, size));
    team->over = true;
    return count == size ? status : hear(team, failed, (rbe_status)notes[failed].status);
}

rbe_status rbe_team_agree(rbe_team *team, rbe_status status) { return rbe_team_meet(team, status, &(rbe_note){0}); }

rbe_status rbe_team_begin_exchange(rbe_team *team, rbe_exchange *exchange) {
    RBE_TRY(rbe_team_agree(team, RBE_OK));
    team->open = exchange;
    return RBE_OK;
}

rbe_status rbe_team_share(rbe_team *team, rbe_status status, char **bytes, size_t *count) {
    uint64_t length = *count;
    RBE_TRY(rbe_team_agree(team, status));
    RBE_TRY(rbe_team_broadcast(team, &length, sizeof length));
    if (!rbe_team_leads(team)) {
        *count = (size_t)length;
        *bytes = rbe_alloc(*count, 1);
        if (!*bytes) status = RBE_INSUFFICIENT_MEMORY;
    }
    RBE_TRY(rbe_team_agree(team, status));
    return rbe_team_broadcast(team, *bytes, *count);
}
