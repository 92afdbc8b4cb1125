/* Memory that is given out piece by piece and taken back at once. */
#ifndef RBE_BASE_ARENA_H
#define RBE_BASE_ARENA_H

#include "base/alloc.h"

typedef struct rbe_arena_chunk rbe_arena_chunk;

/* All zeros is an empty arena. */
typedef struct rbe_arena {
    rbe_arena_chunk *newest; /* chunks are linked from the newest to the oldest */
    size_t used;             /* bytes given out now */
    size_t high_water;       /* most bytes given out since the last reset */
    size_t wanted;           /* size of the next chunk at least */
} rbe_arena;

/* A place to return to: what was given out later is taken back. */
typedef struct rbe_arena_mark {
    rbe_arena_chunk *chunk;
    size_t chunk_used;
    size_t used;
} rbe_arena_mark;

/* `count` items of `size` bytes, aligned to 64, uninitialised; NULL with INSUFFICIENT_MEMORY. */
void *rbe_arena_take(rbe_arena *arena, size_t count, size_t size);

rbe_arena_mark rbe_arena_here(const rbe_arena *arena);
void rbe_arena_return(rbe_arena *arena, rbe_arena_mark mark);

/* Makes sure that `bytes` fit into one chunk of an empty arena. */
rbe_status rbe_arena_reserve(rbe_arena *arena, size_t bytes);

/* Takes everything back. If it had been spread over several chunks, they are freed and the next use allocates one
 * of their joint size: so equal steps allocate nothing from the third on. */
void rbe_arena_reset(rbe_arena *arena);

void rbe_arena_free(rbe_arena *arena);

#endif
