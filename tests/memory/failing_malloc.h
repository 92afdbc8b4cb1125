/* The process's own malloc, made to fail: the C library's functions are replaced in this program, so that every
 * library in it (OpenBLAS, GSL, OpenMP, zlib, the C library itself) meets the failures too, not only rbe's hook. */
#ifndef RBE_TESTS_FAILING_MALLOC_H
#define RBE_TESTS_FAILING_MALLOC_H

#include <stddef.h>

/* Which requests fail, counted from 1: the k-th; k, 2k, 3k, ...; all from the k-th on. */
typedef enum failing_mode { FAIL_AT, FAIL_EVERY, FAIL_FROM, FAIL_MODES } failing_mode;

/* Requests are counted from now on, and those that `mode` and k name fail; k = 0: none. */
void failing_malloc_start(failing_mode mode, size_t k);

/* Requests succeed again. */
void failing_malloc_stop(void);

/* Requests between the two. */
size_t failing_malloc_requests(void);

#endif
