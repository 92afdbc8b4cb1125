/* Opening files that are not trusted: never waiting for a FIFO, never taking memory out of proportion. */
#include "base/input_file.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a FIFO";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

static rbe_status check_regular(const char *path, int file, uint64_t *bytes) {
    struct stat about;
    if (fstat(file, &about) != 0) return rbe_fail_errno(path, "cannot read");
    if (!S_ISREG(about.st_mode))
        return rbe_fail(RBE_IO_ERROR, "%s: expected a regular file, found %s", path, kind_of(about.st_mode));
    *bytes = (uint64_t)about.st_size;
    return RBE_OK;
}

rbe_status rbe_input_open(const char *path, int *file, uint64_t *bytes) {
    *file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*file < 0) return rbe_fail_errno(path, "cannot open");
    rbe_status status = check_regular(path, *file, bytes);
    if (status == RBE_OK) return RBE_OK;
    close(*file);
    *file = -1;
    return status;
}

static atomic_size_t max_read_bytes; /* 0: not set */

void rbe_set_max_read_bytes(size_t bytes) { atomic_store(&max_read_bytes, bytes); }

uint64_t rbe_input_room(uint64_t file_bytes, uint64_t multiple, uint64_t least) {
    size_t set = atomic_load(&max_read_bytes);
    if (set > 0) return set;
    uint64_t room;
    if (__builtin_mul_overflow(file_bytes, multiple, &room)) room = UINT64_MAX;
    return room > least ? room : least;
}
