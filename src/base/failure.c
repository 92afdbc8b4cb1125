/* Failures that several rooms find in the same way. */
#include "base/failure.h"

#include <errno.h>
#include <math.h>
#include <string.h>

rbe_status rbe_fail_errno(const char *path, const char *what) {
    return rbe_fail(RBE_IO_ERROR, "%s: %s: %s", path, what, strerror(errno));
}

size_t rbe_first_nonfinite(const float *values, size_t count) {
    size_t n = 0;
    while (n < count && isfinite(values[n])) n++;
    return n;
}
