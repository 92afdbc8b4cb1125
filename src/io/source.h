/* Where a reader's bytes come from: a file, or memory that stands for one. */
#ifndef RBE_IO_SOURCE_H
#define RBE_IO_SOURCE_H

#include "rbe/base.h"

typedef struct rbe_source {
    char *name;         /* for error texts */
    int file;           /* -1: memory */
    const void *memory; /* borrowed */
    uint64_t bytes;
} rbe_source;

/* IO_ERROR for what is not a readable regular file; INSUFFICIENT_MEMORY. On failure there is nothing to close. */
rbe_status rbe_source_open(rbe_source *source, const char *path);
rbe_status rbe_source_from_memory(rbe_source *source, const void *bytes, size_t count, const char *name);
void rbe_source_close(rbe_source *source); /* all zeros is allowed */

/* Reads all of a range that lies within `bytes`. IO_ERROR, also when the file has become shorter. Threads may share
 * a source. */
rbe_status rbe_source_read(const rbe_source *source, uint64_t offset, void *bytes, size_t count);

#endif
