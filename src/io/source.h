/* Where a reader's bytes come from: a file, memory that stands for one, or a stream, of which they are a copy. */
#ifndef RBE_IO_SOURCE_H
#define RBE_IO_SOURCE_H

#include <stdio.h>

#include "rbe/base.h"

typedef struct rbe_source {
    char *name;         /* for error texts */
    int file;           /* -1: memory */
    const void *memory; /* borrowed, or `copy` */
    char *copy;         /* of what a stream has given */
    uint64_t bytes;
} rbe_source;

/* IO_ERROR for what is not a readable regular file; INSUFFICIENT_MEMORY. On failure there is nothing to close. */
rbe_status rbe_source_open(rbe_source *source, const char *path);
rbe_status rbe_source_from_memory(rbe_source *source, const void *bytes, size_t count, const char *name);

/* Appends what a stream gives to a source in memory without a memory of its own (NULL, 0 bytes), `most` bytes or fewer
 * where it ends. IO_ERROR; BAD_FORMAT for more bytes than rbe_set_max_read_bytes allows; INSUFFICIENT_MEMORY. */
rbe_status rbe_source_append(rbe_source *source, FILE *stream, size_t most);

void rbe_source_close(rbe_source *source); /* all zeros is allowed */

/* Reads all of a range that lies within `bytes`. IO_ERROR, also when the file has become shorter. Threads may share
 * a source. */
rbe_status rbe_source_read(const rbe_source *source, uint64_t offset, void *bytes, size_t count);

#endif
