/* Memory of the library: 64-byte aligned, counted, from the user's allocator. */
#ifndef RBE_BASE_ALLOC_H
#define RBE_BASE_ALLOC_H

#include "rbe/base.h"

#define RBE_ALIGNMENT 64

/* `count` items of `size` bytes, uninitialised; NULL with INSUFFICIENT_MEMORY recorded (also for an overflow). A
 * request of no bytes gets a unique pointer. */
void *rbe_alloc(size_t count, size_t size);

/* The same, zeroed. */
void *rbe_alloc_zeroed(size_t count, size_t size);

/* NULL is allowed. */
void rbe_free(void *memory);

/* The bytes that were asked for; 0 for NULL. */
size_t rbe_alloc_bytes(const void *memory);

/* a * b, or SIZE_MAX where that is more: a number of items that no allocation grants. For sizes that a caller gives. */
static inline size_t rbe_product(size_t a, size_t b) { return b > 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b; }

/* Rounds up to a multiple of the alignment: what an array takes inside an arena or a scratch buffer. */
static inline size_t rbe_aligned(size_t bytes) { return (bytes + RBE_ALIGNMENT - 1) / RBE_ALIGNMENT * RBE_ALIGNMENT; }

#endif
