/* Files that replace their predecessor only when they are whole. */
#ifndef RBE_BASE_ATOMIC_FILE_H
#define RBE_BASE_ATOMIC_FILE_H

#include <stdbool.h>

#include "base/alloc.h"

typedef struct rbe_atomic_file {
    const char *path; /* borrowed */
    char *temporary;  /* the path that is written, in the same folder */
    int file;         /* -1 when closed */
    bool exists;      /* the temporary file is there */
} rbe_atomic_file;

/* On failure of any of these calls rbe_atomic_discard is still due. All fail with IO_ERROR, naming the path; open
 * also with INSUFFICIENT_MEMORY. */
rbe_status rbe_atomic_open(rbe_atomic_file *file, const char *path);
rbe_status rbe_atomic_write(rbe_atomic_file *file, const void *bytes, size_t count);

/* Brings what was written to the disk and closes the temporary file. */
rbe_status rbe_atomic_finish(rbe_atomic_file *file);

/* Puts the finished file in the place of the old one and brings the folder to the disk. */
rbe_status rbe_atomic_commit(rbe_atomic_file *file);

/* Frees everything; a temporary file that was not committed is removed. An all-zero struct is allowed. */
void rbe_atomic_discard(rbe_atomic_file *file);

#endif
