/* Arithmetic of sizes that several rooms need when they cut work into pieces. */
#ifndef RBE_BASE_SIZES_H
#define RBE_BASE_SIZES_H

#include <stddef.h>

static inline size_t rbe_at_most(size_t value, size_t limit) { return value < limit ? value : limit; }

static inline size_t rbe_at_least(size_t value, size_t limit) { return value > limit ? value : limit; }

/* How many pieces of `size` make up `count`; the last may be shorter. */
static inline size_t rbe_pieces(size_t count, size_t size) { return count / size + (count % size > 0); }

#endif
