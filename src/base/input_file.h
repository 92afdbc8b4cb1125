/* Files that are read: opened without waiting, and bounded in the memory that they may take. */
#ifndef RBE_BASE_INPUT_FILE_H
#define RBE_BASE_INPUT_FILE_H

#include "rbe/base.h"

/* Opens a regular file and tells its size. IO_ERROR for what cannot be opened, and at once for everything else: a
 * FIFO without a writer would wait for ever. The caller closes *file. */
rbe_status rbe_input_open(const char *path, int *file, uint64_t *bytes);

/* The memory that reading a file of this size may take: what rbe_set_max_read_bytes has set, else `multiple` times
 * the size and not below `least`. */
uint64_t rbe_input_room(uint64_t file_bytes, uint64_t multiple, uint64_t least);

#endif
