/* The number of threads, inside the library. */
#ifndef RBE_BASE_THREADS_H
#define RBE_BASE_THREADS_H

#include "rbe/base.h"

/* How often rbe_set_threads has been called; from 1 on. */
int rbe_thread_changes(void);

#endif
