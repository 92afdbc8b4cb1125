/* The seams of rbe_linear_forward_safe, for tests. */
#ifndef RBE_NN_SAFE_FORWARD_H
#define RBE_NN_SAFE_FORWARD_H

#include "rbe/nn.h"

/* Called after each product of this thread with its `count` outputs, which it may spoil; a status other than RBE_OK
 * makes the product fail. NULL: none. */
typedef enum rbe_safe_path { RBE_SAFE_COMPRESSED, RBE_SAFE_FALLBACK } rbe_safe_path;
typedef rbe_status (*rbe_safe_fault)(void *user, rbe_safe_path path, float *y, size_t count);
void rbe_safe_set_fault(rbe_safe_fault fault, void *user);

/* Bytes that a file like /proc/meminfo says are available; SIZE_MAX if it does not say. */
size_t rbe_memory_available(const char *meminfo);

#endif
