/* Byte streams from plain or gzip-compressed files, and gzip files written all or nothing.
 *
 * zlib's own gzopen would take memory from malloc; the streams here run inflate and deflate on memory of the
 * library's allocator. A gzip file is a sequence of members, each ended by a CRC-32, which inflate verifies.
 *
 * Written files hold neither time nor name nor operating system, so the same data and the same zlib give the same
 * bytes.
 */
#include "data/gzip.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/input_file.h"

enum { BUFFER_BYTES = 256 * 1024, GZIP_WINDOW = 15 + 16, LEVEL = 9, MEMORY_LEVEL = 8, UNKNOWN_SYSTEM = 255 };

static voidpf zlib_alloc(voidpf user, uInt items, uInt size) {
    (void)user;
    return rbe_alloc(items, size);
}

static void zlib_free(voidpf user, voidpf memory) {
    (void)user;
    rbe_free(memory);
}

/* zlib reports its failures by code and, for damaged data, by a text. */
static rbe_status fail_zlib(const char *path, const z_stream *z, int code) {
    if (code == Z_MEM_ERROR) return RBE_INSUFFICIENT_MEMORY; /* rbe_alloc has said what was missing */
    return rbe_fail(RBE_BAD_FORMAT, "%s: damaged gzip data (%s)", path, z->msg ? z->msg : zError(code));
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Fills the empty buffer; avail_in stays 0 at the end of the file. */
static rbe_status refill(rbe_reader *reader) {
    ssize_t got;
    do got = read(reader->file, reader->buffer, BUFFER_BYTES);
    while (got < 0 && errno == EINTR);
    if (got < 0) return rbe_fail_errno(reader->path, "cannot read");
    reader->z.next_in = reader->buffer;
    reader->z.avail_in = (uInt)got;
    return RBE_OK;
}

static rbe_status prepare(rbe_reader *reader) {
    reader->buffer = rbe_alloc(1, BUFFER_BYTES);
    if (!reader->buffer) return RBE_INSUFFICIENT_MEMORY;
    RBE_TRY(refill(reader));
    if (reader->z.avail_in < 2 || reader->buffer[0] != 0x1f || reader->buffer[1] != 0x8b) return RBE_OK;
    reader->z.zalloc = zlib_alloc;
    reader->z.zfree = zlib_free;
    int code = inflateInit2(&reader->z, GZIP_WINDOW);
    if (code != Z_OK) return fail_zlib(reader->path, &reader->z, code);
    reader->compressed = true;
    return RBE_OK;
}

rbe_status rbe_reader_open(rbe_reader *reader, const char *path) {
    *reader = (rbe_reader){.path = path};
    RBE_TRY(rbe_input_open(path, &reader->file, &reader->file_bytes));
    rbe_status status = prepare(reader);
    if (status != RBE_OK) rbe_reader_close(reader);
    return status;
}

/* One step towards next_out from a buffer that is not empty. */
static rbe_status unpack(rbe_reader *reader) {
    z_stream *z = &reader->z;
    if (!reader->compressed) {
        uInt count = z->avail_in < z->avail_out ? z->avail_in : z->avail_out;
        memcpy(z->next_out, z->next_in, count);
        z->next_in += count, z->avail_in -= count;
        z->next_out += count, z->avail_out -= count;
        return RBE_OK;
    }
    if (reader->member_ended) {
        reader->member_ended = false;
        inflateReset(z);
    }
    int code = inflate(z, Z_NO_FLUSH);
    reader->member_ended = code == Z_STREAM_END;
    return code == Z_OK || code == Z_STREAM_END ? RBE_OK : fail_zlib(reader->path, z, code);
}

rbe_status rbe_reader_read(rbe_reader *reader, void *bytes, size_t wanted, size_t *found) {
    z_stream *z = &reader->z;
    for (*found = 0; *found < wanted;) {
        if (z->avail_in == 0) RBE_TRY(refill(reader));
        if (z->avail_in == 0) {
            reader->cut = reader->compressed && !reader->member_ended;
            break;
        }
        uInt room = wanted - *found < UINT_MAX ? (uInt)(wanted - *found) : UINT_MAX;
        z->next_out = (Bytef *)bytes + *found;
        z->avail_out = room;
        RBE_TRY(unpack(reader));
        *found += room - z->avail_out;
    }
    return RBE_OK;
}

void rbe_reader_close(rbe_reader *reader) {
    if (reader->compressed) inflateEnd(&reader->z);
    rbe_free(reader->buffer);
    close(reader->file);
    *reader = (rbe_reader){.file = -1};
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

rbe_status rbe_writer_open(rbe_writer *writer, const char *path) {
    *writer = (rbe_writer){.z = {.zalloc = zlib_alloc, .zfree = zlib_free}};
    writer->buffer = rbe_alloc(1, BUFFER_BYTES);
    if (!writer->buffer) return RBE_INSUFFICIENT_MEMORY;
    int code = deflateInit2(&writer->z, LEVEL, Z_DEFLATED, GZIP_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY);
    if (code != Z_OK) return fail_zlib(path, &writer->z, code);
    writer->deflating = true;
    writer->header.os = UNKNOWN_SYSTEM;
    deflateSetHeader(&writer->z, &writer->header);
    return rbe_atomic_open(&writer->file, path);
}

/* Feeds what stands at next_in through deflate to the file. */
static rbe_status deflate_to_file(rbe_writer *writer, int flush) {
    do {
        writer->z.next_out = writer->buffer;
        writer->z.avail_out = BUFFER_BYTES;
        deflate(&writer->z, flush); /* cannot fail on a sound stream */
        RBE_TRY(rbe_atomic_write(&writer->file, writer->buffer, BUFFER_BYTES - writer->z.avail_out));
    } while (writer->z.avail_out == 0);
    return RBE_OK;
}

rbe_status rbe_writer_write(rbe_writer *writer, const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    while (count > 0) {
        uInt piece = count < UINT_MAX ? (uInt)count : UINT_MAX;
        writer->z.next_in = (z_const Bytef *)at;
        writer->z.avail_in = piece;
        RBE_TRY(deflate_to_file(writer, Z_NO_FLUSH));
        at += piece;
        count -= piece;
    }
    return RBE_OK;
}

rbe_status rbe_writer_finish(rbe_writer *writer) {
    RBE_TRY(deflate_to_file(writer, Z_FINISH));
    return rbe_atomic_finish(&writer->file);
}

void rbe_writer_discard(rbe_writer *writer) {
    if (writer->deflating) deflateEnd(&writer->z);
    rbe_atomic_discard(&writer->file);
    rbe_free(writer->buffer);
    *writer = (rbe_writer){0};
}
