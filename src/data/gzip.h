/* Byte streams from files, plain or gzip-compressed, and gzip files that replace their predecessor only when whole.
 */
#ifndef RBE_DATA_GZIP_H
#define RBE_DATA_GZIP_H

#include <zlib.h>

#include "base/atomic_file.h"

typedef struct rbe_reader {
    const char *path; /* borrowed */
    int file;
    uint64_t file_bytes; /* size on disk */
    bool compressed;     /* the file begins like a gzip file */
    bool cut;            /* it ended inside of a gzip member */
    bool member_ended;
    z_stream z; /* next_in, avail_in: the unread part of the buffer, in plain files too */
    uint8_t *buffer;
} rbe_reader;

/* IO_ERROR if it is not a regular file that can be opened and read. On failure there is nothing to close. */
rbe_status rbe_reader_open(rbe_reader *reader, const char *path);

/* Reads `wanted` bytes, fewer only at the end of the file. IO_ERROR; BAD_FORMAT for gzip data that are damaged, the
 * check sum at their end included. */
rbe_status rbe_reader_read(rbe_reader *reader, void *bytes, size_t wanted, size_t *found);

void rbe_reader_close(rbe_reader *reader);

typedef struct rbe_writer {
    rbe_atomic_file file;
    z_stream z;
    gz_header header;
    bool deflating;
    uint8_t *buffer;
} rbe_writer;

/* On failure of any of these calls rbe_writer_discard is still due. */
rbe_status rbe_writer_open(rbe_writer *writer, const char *path);
rbe_status rbe_writer_write(rbe_writer *writer, const void *bytes, size_t count);

/* Ends the gzip data and brings them to the disk. What follows is rbe_atomic_commit of the writer's file. */
rbe_status rbe_writer_finish(rbe_writer *writer);

/* Frees everything; a temporary file that was not committed is removed. An all-zero writer is allowed. */
void rbe_writer_discard(rbe_writer *writer);

#endif
