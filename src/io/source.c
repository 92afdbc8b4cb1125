/* Bytes by their offset: of a file with pread, which keeps no position, so threads may share it. A stream has nothing
 * but a position, so its bytes are copied. */
#include "io/source.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "base/input_file.h"

static rbe_status take_name(rbe_source *source, const char *name) {
    size_t room = strlen(name) + 1;
    source->name = rbe_alloc(1, room);
    if (!source->name) return RBE_INSUFFICIENT_MEMORY;
    memcpy(source->name, name, room);
    return RBE_OK;
}

rbe_status rbe_source_open(rbe_source *source, const char *path) {
    *source = (rbe_source){.file = -1};
    rbe_status status = take_name(source, path);
    if (status == RBE_OK) status = rbe_input_open(path, &source->file, &source->bytes);
    if (status != RBE_OK) rbe_source_close(source);
    return status;
}

rbe_status rbe_source_from_memory(rbe_source *source, const void *bytes, size_t count, const char *name) {
    *source = (rbe_source){.file = -1, .memory = bytes, .bytes = count};
    return take_name(source, name);
}

void rbe_source_close(rbe_source *source) {
    if (source->name && source->file >= 0) close(source->file);
    rbe_free(source->name);
    rbe_free(source->copy);
    *source = (rbe_source){.file = -1};
}

/* ---- streams ------------------------------------------------------------------------------------------------- */

/* Room for at least one byte more, for `most` at once if those are few. */
static rbe_status grow(rbe_source *source, size_t most) {
    enum { FIRST = 65536 };
    size_t held = (size_t)source->bytes, more = held < FIRST ? FIRST : held;
    char *copy = rbe_alloc(held + (most < more ? most : more), 1);
    if (!copy) return RBE_INSUFFICIENT_MEMORY;
    if (held > 0) memcpy(copy, source->copy, held);
    rbe_free(source->copy);
    source->memory = source->copy = copy;
    return RBE_OK;
}

/* fread to the end of the memory, of `most`, or of the stream: *ended. */
static rbe_status fill(rbe_source *source, FILE *stream, size_t most, bool *ended) {
    size_t held = (size_t)source->bytes, room = rbe_alloc_bytes(source->copy) - held;
    errno = 0;
    size_t got = fread(source->copy + held, 1, room < most ? room : most, stream);
    source->bytes += got;
    *ended = feof(stream);
    if (!ferror(stream)) return RBE_OK;
    if (errno != EINTR) return rbe_fail_errno(source->name, "cannot read");
    clearerr(stream);
    return RBE_OK;
}

rbe_status rbe_source_append(rbe_source *source, FILE *stream, size_t most) {
    const uint64_t allowed = rbe_input_room(UINT64_MAX - 1, 1, 0);
    uint64_t end = allowed + 1; /* one byte more says that there are too many */
    if (most < end - source->bytes) end = source->bytes + most;
    for (bool ended = false; !ended && source->bytes < end;) {
        size_t wanted = (size_t)(end - source->bytes);
        if (rbe_alloc_bytes(source->copy) == source->bytes) RBE_TRY(grow(source, wanted));
        RBE_TRY(fill(source, stream, wanted, &ended));
    }
    if (source->bytes <= allowed) return RBE_OK;
    return rbe_fail(RBE_BAD_FORMAT, "%s: expected at most %llu bytes (rbe_set_max_read_bytes)", source->name,
                    (unsigned long long)allowed);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

rbe_status rbe_source_read(const rbe_source *source, uint64_t offset, void *bytes, size_t count) {
    if (source->file < 0) {
        if (count > 0) memcpy(bytes, (const char *)source->memory + offset, count);
        return RBE_OK;
    }
    for (size_t done = 0; done < count;) {
        ssize_t got = pread(source->file, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno != EINTR) return rbe_fail_errno(source->name, "cannot read");
        if (got == 0) return rbe_fail(RBE_IO_ERROR, "%s: became shorter while it was being read", source->name);
        if (got > 0) done += (size_t)got;
    }
    return RBE_OK;
}
