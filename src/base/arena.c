/* A chunked arena: pieces are cut from the newest chunk; when it is full a new one is linked in front of it. */
#include "base/arena.h"

#define FIRST_CHUNK ((size_t)64 << 10)

struct rbe_arena_chunk {
    rbe_arena_chunk *older;
    size_t size, used; /* of the bytes behind the header */
};

static const size_t header_bytes = RBE_ALIGNMENT; /* the struct, padded so that pieces stay aligned */

static char *chunk_bytes(rbe_arena_chunk *chunk) { return (char *)chunk + header_bytes; }

static rbe_status add_chunk(rbe_arena *arena, size_t bytes) {
    if (bytes > PTRDIFF_MAX - header_bytes - RBE_ALIGNMENT)
        return rbe_fail(RBE_INSUFFICIENT_MEMORY, "%zu bytes are more than can be addressed", bytes);
    bytes = rbe_aligned(bytes);
    rbe_arena_chunk *chunk = rbe_alloc(1, header_bytes + bytes);
    if (!chunk) return rbe_last_status();
    *chunk = (rbe_arena_chunk){arena->newest, bytes, 0};
    arena->newest = chunk;
    return RBE_OK;
}

static void drop_newest(rbe_arena *arena) {
    rbe_arena_chunk *chunk = arena->newest;
    arena->newest = chunk->older;
    rbe_free(chunk);
}

void *rbe_arena_take(rbe_arena *arena, size_t count, size_t size) {
    if (size > 0 && count > (PTRDIFF_MAX - RBE_ALIGNMENT) / size) {
        rbe_fail(RBE_INSUFFICIENT_MEMORY, "%zu items of %zu bytes are more than can be addressed", count, size);
        return NULL;
    }
    size_t bytes = rbe_aligned(count * size);
    rbe_arena_chunk *chunk = arena->newest;
    if (!chunk || chunk->size - chunk->used < bytes) {
        /* A quarter of what is in use bounds both the number of chunks and what the last one wastes. */
        size_t wish = arena->wanted > arena->used / 4 ? arena->wanted : arena->used / 4;
        if (wish < FIRST_CHUNK) wish = FIRST_CHUNK;
        if (add_chunk(arena, bytes > wish ? bytes : wish) != RBE_OK) return NULL;
        arena->wanted = 0;
        chunk = arena->newest;
    }
    void *piece = chunk_bytes(chunk) + chunk->used;
    chunk->used += bytes;
    arena->used += bytes;
    if (arena->used > arena->high_water) arena->high_water = arena->used;
    return piece;
}

rbe_arena_mark rbe_arena_here(const rbe_arena *arena) {
    return (rbe_arena_mark){arena->newest, arena->newest ? arena->newest->used : 0, arena->used};
}

void rbe_arena_return(rbe_arena *arena, rbe_arena_mark mark) {
    /* Scratch taken again and again must not allocate again and again: a newer chunk stays, empty, if it can hold
     * all that was taken since the mark; else the next one will. */
    const size_t taken = arena->used - mark.used;
    if (mark.chunk) mark.chunk->used = mark.chunk_used;
    if (arena->newest != mark.chunk) {
        if (arena->newest->older == mark.chunk && arena->newest->size >= taken) {
            arena->newest->used = 0;
        } else {
            while (arena->newest != mark.chunk) drop_newest(arena);
            arena->wanted = taken;
        }
    }
    arena->used = mark.used;
}

rbe_status rbe_arena_reserve(rbe_arena *arena, size_t bytes) {
    if (arena->used > 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "reserving memory: expected none in use, found %zu bytes", arena->used);
    if (arena->newest && arena->newest->size >= bytes) return RBE_OK;
    while (arena->newest) drop_newest(arena);
    return add_chunk(arena, bytes);
}

void rbe_arena_reset(rbe_arena *arena) {
    if (arena->newest && arena->newest->older) {
        arena->wanted = rbe_aligned(arena->high_water);
        while (arena->newest) drop_newest(arena);
    } else if (arena->newest) {
        arena->newest->used = 0;
    }
    arena->used = 0;
    arena->high_water = 0;
}

void rbe_arena_free(rbe_arena *arena) {
    while (arena->newest) drop_newest(arena);
    *arena = (rbe_arena){0};
}
