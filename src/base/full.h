/* What only the full library has: the small one (src/infer/) neither differentiates nor writes files. */
#ifndef RBE_BASE_FULL_H
#define RBE_BASE_FULL_H

#include <stddef.h>

/* Around a function where a table or a variable holds it: NULL in the small library, so that its linker finds nobody who
 * calls the function and drops it. */
#ifdef RBE_INFER
#define RBE_FULL(function) (0 ? (function) : NULL)
#else
#define RBE_FULL(function) (function)
#endif

#endif
