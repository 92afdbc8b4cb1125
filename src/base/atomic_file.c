/* Write under a temporary name, fsync, rename, fsync the folder: a crash or a full disk at any byte leaves either
 * the old file or the new one.
 */
#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"

/* The name is beside the target, because rename works only within a file system, and of no other process or
 * thread. */
rbe_status rbe_atomic_open(rbe_atomic_file *file, const char *path) {
    static atomic_uint counter;
    *file = (rbe_atomic_file){.path = path, .file = -1};
    size_t room = strlen(path) + 48;
    file->temporary = rbe_alloc(1, room);
    if (!file->temporary) return RBE_INSUFFICIENT_MEMORY;
    do {
        snprintf(file->temporary, room, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&counter, 1));
        file->file = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (file->file < 0 && errno == EEXIST);
    if (file->file < 0) return rbe_fail_errno(path, "cannot create");
    file->exists = true;
    return RBE_OK;
}

rbe_status rbe_atomic_write(rbe_atomic_file *file, const void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t wrote = write(file->file, (const char *)bytes + done, count - done);
        if (wrote < 0 && errno != EINTR) return rbe_fail_errno(file->path, "cannot write");
        if (wrote > 0) done += (size_t)wrote;
    }
    return RBE_OK;
}

rbe_status rbe_atomic_finish(rbe_atomic_file *file) {
    if (fsync(file->file) != 0) return rbe_fail_errno(file->path, "cannot write to the disk");
    int open_file = file->file;
    file->file = -1;
    return close(open_file) == 0 ? RBE_OK : rbe_fail_errno(file->path, "cannot close");
}

/* The temporary name is cut to its folder: it has served. File systems that cannot sync a folder say EINVAL. */
static rbe_status sync_folder(rbe_atomic_file *file) {
    char *slash = strrchr(file->temporary, '/');
    if (slash) slash[slash == file->temporary] = '\0';
    int folder = open(slash ? file->temporary : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return rbe_fail_errno(file->path, "cannot open its folder");
    rbe_status status = RBE_OK;
    if (fsync(folder) != 0 && errno != EINVAL)
        status = rbe_fail_errno(file->path, "cannot write its folder to the disk");
    close(folder);
    return status;
}

rbe_status rbe_atomic_commit(rbe_atomic_file *file) {
    if (rename(file->temporary, file->path) != 0) return rbe_fail_errno(file->path, "cannot replace");
    file->exists = false;
    return sync_folder(file);
}

void rbe_atomic_discard(rbe_atomic_file *file) {
    if (file->exists && file->file >= 0) close(file->file);
    if (file->exists) unlink(file->temporary);
    rbe_free(file->temporary);
    *file = (rbe_atomic_file){.file = -1};
}
