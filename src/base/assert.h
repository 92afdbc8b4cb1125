/* Checks of the library's own work, in debug builds (RBE_DEBUG) only: what a caller can bring about is no business of
 * theirs. */
#ifndef RBE_BASE_ASSERT_H
#define RBE_BASE_ASSERT_H

#ifdef RBE_DEBUG

#include <stdio.h>
#include <stdlib.h>

#include "rbe/base.h"

/* Prints the place, the condition and the thread's last error, and aborts, unless the condition holds. */
#define RBE_ASSERT(condition)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s does not hold; last error: %s\n", __FILE__, __LINE__, #condition,               \
                    rbe_last_error());                                                                                 \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#else

#define RBE_ASSERT(condition) ((void)0)

#endif

#endif
