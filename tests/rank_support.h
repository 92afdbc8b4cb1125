/* What the tests of ranks share: one training for each rank, run at once, and its end. */
#ifndef RBE_TESTS_RANK_SUPPORT_H
#define RBE_TESTS_RANK_SUPPORT_H

#include "checkpoint_support.h"

enum { MOST_RANKS = 5 };

typedef struct team {
    size_t size;
    rbe_comm *comms;
    training ranks[MOST_RANKS];
    rbe_status status[MOST_RANKS];
    char text[MOST_RANKS][512];
    void (*enter)(size_t rank); /* called by each thread at its beginning; NULL: nothing */
} team;

/* A training of the recipe for each rank. One rank has no rbe_comm. */
void team_make(team *t, const recipe *r, size_t size, bool checkpoints);
void team_free(team *t);

/* rbe_fit in a thread for each rank. One that waits for ever is ended by libcheck, and the test fails. */
void team_run(team *t);

/* The same, after which all ranks have this status. */
void team_expect(team *t, rbe_status status);

/* The test fails unless all ranks have the same bits that go on deciding. */
void team_assert_alike(team *t);

/* Replaces what a recipe cannot describe. */
void training_use(training *t, rbe_model *model, rbe_optim *optim);

TCase *comm_case(void);
TCase *ranks_case(void);
TCase *ranks_fail_case(void);
TCase *ranks_overlap_case(void);
TCase *ranks_resume_case(void);

#endif
