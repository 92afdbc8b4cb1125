/* What several rooms find wrong in the same way: a system call that failed, a value that is not finite. */
#ifndef RBE_BASE_FAILURE_H
#define RBE_BASE_FAILURE_H

#include "rbe/base.h"

/* Failures that this thread has recorded so far: says whether a call recorded one. */
size_t rbe_failure_count(void);

/* IO_ERROR "path: what: " and the text of errno. */
rbe_status rbe_fail_errno(const char *path, const char *what);

/* Index of the first value that is not finite; `count` if all are. */
size_t rbe_first_nonfinite(const float *values, size_t count);

#endif
