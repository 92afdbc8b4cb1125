/* Telling the host program what it should know though nothing has failed. */
#ifndef RBE_BASE_WARNING_H
#define RBE_BASE_WARNING_H

#include <stdbool.h>

#include "rbe/base.h"

/* Gives the warning handler a text as by printf, cut at 511 bytes; false if there is no handler. Not to be called
 * under a lock: the handler may call the library. */
bool rbe_warn(const char *format, ...) RBE_PRINTF(1, 2);

#endif
