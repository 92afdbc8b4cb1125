/* Files that are written: all of the bytes, and to the disk, whatever signals interrupt it. */
#ifndef RBE_BASE_OUTPUT_FILE_H
#define RBE_BASE_OUTPUT_FILE_H

#include <stdbool.h>

#include "rbe/base.h"

/* Writes `count` bytes. `quietly`: without the signal that comes when a FIFO has lost its reader. IO_ERROR, naming the
 * path. */
rbe_status rbe_output_write(int file, const char *path, const void *bytes, size_t count, bool quietly);

/* fsync: 0, or -1 with errno. */
int rbe_output_sync(int file);

/* Whether errno says that what was synced has no disk, as special files may. */
bool rbe_output_has_no_disk(void);

#endif
