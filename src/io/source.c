/* Bytes by their offset, with pread: no position in the file, so threads may share it. */
#include "io/source.h"

#include <errno.h>
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
    *source = (rbe_source){.file = -1};
}

rbe_status rbe_source_read(const rbe_source *source, uint64_t offset, void *bytes, size_t count) {
    if (source->file < 0) {
        if (count > 0) memcpy(bytes, (const char *)source->memory + offset, count);
        return RBE_OK;
    }
    for (size_t done = 0; done < count;) {
        ssize_t got = pread(source->file, (char *)bytes + done, count - done, (off_t)(offset + done));
        if (got < 0 && errno != EINTR) return rbe_fail_errno(source->name, "cannot read");
        if (got == 0) return rbe_fail(RBE_IO_ERROR, "%s: has become shorter while it was read", source->name);
        if (got > 0) done += (size_t)got;
    }
    return RBE_OK;
}
