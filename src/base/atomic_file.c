/* Write under a temporary name, fsync, rename, fsync the folder: a crash or a full disk at any byte leaves either
 * the old file or the new one.
 *
 * A temporary file is locked (flock) from its making until it has taken its name or is removed. The kernel drops the
 * lock of a process that dies, so whoever can lock a temporary file knows that nobody needs it, whatever process
 * number its name holds. Locks may not reach other hosts: the name tells the host, and others leave it alone.
 */
#include "base/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/output_file.h"

enum { MAX_LINKS = 40, PREFIX_ROOM = 16 };

/* ---- what dead processes have left --------------------------------------------------------------------------- */

/* How the names of this host's temporary files begin: "rbe-", a hash of the host's name (FNV-1a), "-". */
static void make_prefix(char prefix[PREFIX_ROOM]) {
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    uint32_t hash = 2166136261u;
    for (const char *at = host; *at; at++) hash = (hash ^ (uint8_t)*at) * 16777619u;
    snprintf(prefix, PREFIX_ROOM, "rbe-%08x-", (unsigned)hash);
}

/* The lock is had, so nobody writes the file; its name may have passed to another since it was opened. */
static void remove_locked(int folder, const char *name, int file) {
    struct stat locked, named;
    if (fstat(file, &locked) == 0 && fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(locked.st_mode) && locked.st_dev == named.st_dev && locked.st_ino == named.st_ino)
        unlinkat(folder, name, 0);
}

static void remove_if_dead(int folder, const char *name) {
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int file = openat(folder, name, O_WRONLY | flags); /* locks on NFS need it */
    if (file < 0) file = openat(folder, name, O_RDONLY | flags);
    if (file < 0) return;
    if (flock(file, LOCK_EX | LOCK_NB) == 0) remove_locked(folder, name, file);
    close(file);
}

/* What cannot be removed does no harm. */
static void remove_strays(int folder, const char *prefix) {
    int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = again < 0 ? NULL : fdopendir(again);
    if (!list) {
        if (again >= 0) close(again);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list));)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) remove_if_dead(folder, entry->d_name);
    closedir(list);
}

void rbe_atomic_clean(const char *path) {
    char name[PATH_MAX], prefix[PREFIX_ROOM];
    const char *slash = strrchr(path, '/');
    if (snprintf(name, sizeof name, "%.*s", slash ? (int)(slash + 1 - path) : 1, slash ? path : ".") >= PATH_MAX)
        return;
    int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    make_prefix(prefix);
    remove_strays(folder, prefix);
    close(folder);
}

/* ---- opening ------------------------------------------------------------------------------------------------- */

/* A FIFO that nobody reads is an error and not a reason to wait. */
static rbe_status open_special(rbe_atomic_file *file) {
    file->special = true;
    file->file = open(file->path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (file->file < 0) return rbe_fail_errno(file->path, "cannot open");
    int flags = fcntl(file->file, F_GETFL);
    if (flags < 0 || fcntl(file->file, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return rbe_fail_errno(file->path, "cannot open");
    return RBE_OK;
}

/* target = the first `kept` bytes of target, and behind them `length` bytes of `rest`. */
static rbe_status set_target(rbe_atomic_file *file, size_t kept, const char *rest, size_t length) {
    char *target = rbe_alloc(kept + length + 1, 1);
    if (!target) return RBE_INSUFFICIENT_MEMORY;
    if (kept > 0) memcpy(target, file->target, kept);
    memcpy(target + kept, rest, length);
    target[kept + length] = '\0';
    rbe_free(file->target);
    file->target = target;
    return RBE_OK;
}

/* Finds the target. A link may lead to a file that does not exist yet. */
static rbe_status follow_links(rbe_atomic_file *file) {
    RBE_TRY(set_target(file, 0, file->path, strlen(file->path)));
    for (int n = 0; n < MAX_LINKS; n++) {
        char link[PATH_MAX];
        ssize_t length = readlink(file->target, link, sizeof link);
        if (length < 0 && (errno == EINVAL || errno == ENOENT)) return RBE_OK; /* no link, no file */
        if (length < 0) return rbe_fail_errno(file->path, "cannot create");
        const char *slash = link[0] == '/' ? NULL : strrchr(file->target, '/');
        RBE_TRY(set_target(file, slash ? (size_t)(slash + 1 - file->target) : 0, link, (size_t)length));
    }
    errno = ELOOP;
    return rbe_fail_errno(file->path, "cannot create");
}

rbe_status rbe_atomic_target(const char *path, char **target) {
    rbe_atomic_file file = {.path = path};
    rbe_status status = follow_links(&file);
    *target = file.target;
    return status;
}

/* Links of /proc may lead to files that have no name any more. (Another file than before is one that another thread
 * has just saved.) */
static rbe_status check_target(const rbe_atomic_file *file) {
    if (access(file->target, F_OK) == 0) return RBE_OK;
    return rbe_fail(RBE_IO_ERROR, "%s: cannot replace: the file that it links to has no name", file->path);
}

/* The folder is opened before anything is written: it must be possible to bring it to the disk at the end. */
static rbe_status open_folder(rbe_atomic_file *file) {
    char *slash = strrchr(file->target, '/'), first = slash ? slash[1] : '\0';
    if (slash) slash[1] = '\0';
    file->folder = open(slash ? file->target : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slash) slash[1] = first;
    file->name = slash ? slash + 1 : file->target;
    if (file->folder >= 0) return RBE_OK;
    return rbe_fail_errno(file->path, errno == EACCES ? "cannot open its folder" : "cannot create");
}

/* Locks the new temporary file. False if a process that removes strays was faster: it will be gone. */
static bool claim(const rbe_atomic_file *file) {
    struct stat about;
    if (flock(file->file, LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK; /* no locks here: nobody removes it */
    return fstat(file->file, &about) == 0 && about.st_nlink > 0;
}

/* The name is beside the target, because rename works only within a file system, and of no other process or thread.
 * It is short, whatever the target's. Until it has its mode, what replaces a file is nobody else's to read. */
static rbe_status create(rbe_atomic_file *file, const char *prefix) {
    static atomic_uint counter;
    for (;;) {
        snprintf(file->temporary, sizeof file->temporary, "%s%ld-%u.tmp", prefix, (long)getpid(),
                 atomic_fetch_add(&counter, 1));
        file->file = openat(file->folder, file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                            file->replaces ? 0600 : 0666);
        if (file->file < 0 && errno == EEXIST) continue;
        if (file->file < 0) return rbe_fail_errno(file->path, "cannot create");
        if (claim(file)) break;
        close(file->file);
    }
    file->exists = true;
    return RBE_OK;
}

rbe_status rbe_atomic_open(rbe_atomic_file *file, const char *path) {
    *file = (rbe_atomic_file){.path = path, .opened = true, .file = -1, .folder = -1};
    file->replaces = stat(path, &file->old) == 0;
    if (file->replaces && S_ISDIR(file->old.st_mode))
        return rbe_fail(RBE_IO_ERROR, "%s: cannot replace: it is a folder", path);
    if (file->replaces && !S_ISREG(file->old.st_mode)) return open_special(file);
    RBE_TRY(follow_links(file));
    if (file->replaces) RBE_TRY(check_target(file));
    RBE_TRY(open_folder(file));
    char prefix[PREFIX_ROOM];
    make_prefix(prefix);
    remove_strays(file->folder, prefix);
    return create(file, prefix);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

rbe_status rbe_atomic_write(rbe_atomic_file *file, const void *bytes, size_t count) {
    return rbe_output_write(file->file, file->path, bytes, count, file->special);
}

/* Whom the owner cannot be kept for gets no more rights than everybody had. */
static rbe_status keep_owner_and_mode(const rbe_atomic_file *file) {
    mode_t mode = file->old.st_mode & 07777;
    if (fchown(file->file, file->old.st_uid, file->old.st_gid) != 0) {
        mode &= 0777;
        if (fchown(file->file, (uid_t)-1, file->old.st_gid) != 0) mode = (mode & 0707) | (mode & 07) << 3;
    }
    return fchmod(file->file, mode) == 0 ? RBE_OK : rbe_fail_errno(file->path, "cannot keep its mode");
}

/* A special file may have no disk. The temporary file stays open: that keeps its lock. */
rbe_status rbe_atomic_finish(rbe_atomic_file *file) {
    if (file->replaces && !file->special) RBE_TRY(keep_owner_and_mode(file));
    if (rbe_output_sync(file->file) == 0) return RBE_OK;
    if (file->special && rbe_output_has_no_disk()) return RBE_OK;
    return rbe_fail_errno(file->path, "cannot write to the disk");
}

/* ---- taking names -------------------------------------------------------------------------------------------- */

/* "name.3"; of the file itself for 0. */
static rbe_status older_name(const rbe_atomic_file *file, size_t n, char name[PATH_MAX]) {
    int length = n > 0 ? snprintf(name, PATH_MAX, "%s.%zu", file->name, n) : snprintf(name, PATH_MAX, "%s", file->name);
    if (length < PATH_MAX) return RBE_OK;
    errno = ENAMETOOLONG;
    return rbe_fail_errno(file->path, "cannot keep the previous file");
}

/* The file gets a second name, so that it does not lose its own before the new one takes it. */
static rbe_status keep_newest(rbe_atomic_file *file, const char *name) {
    if (unlinkat(file->folder, name, 0) != 0 && errno != ENOENT)
        return rbe_fail_errno(file->path, "cannot keep the previous file");
    if (linkat(file->folder, file->name, file->folder, name, 0) == 0) return RBE_OK;
    bool no_links = errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS || errno == EMLINK;
    file->moved = no_links && renameat(file->folder, file->name, file->folder, name) == 0;
    return file->moved ? RBE_OK : rbe_fail_errno(file->path, "cannot keep the previous file");
}

rbe_status rbe_atomic_keep(rbe_atomic_file *file, size_t count) {
    char from[PATH_MAX], to[PATH_MAX];
    if (!file->replaces || file->special || count < 2) return RBE_OK;
    for (size_t n = count - 1; n > 1; n--) {
        RBE_TRY(older_name(file, n - 1, from));
        RBE_TRY(older_name(file, n, to));
        if (renameat(file->folder, from, file->folder, to) != 0 && errno != ENOENT)
            return rbe_fail_errno(file->path, "cannot keep the previous file");
    }
    RBE_TRY(older_name(file, 1, to));
    return keep_newest(file, to);
}

static rbe_status replace(rbe_atomic_file *file) {
    if (file->special) return RBE_OK;
    if (renameat(file->folder, file->temporary, file->folder, file->name) != 0)
        return rbe_fail_errno(file->path, "cannot replace");
    file->exists = file->moved = false;
    return RBE_OK;
}

static void move_back(const rbe_atomic_file *file) {
    char name[PATH_MAX];
    if (older_name(file, 1, name) == RBE_OK) renameat(file->folder, name, file->folder, file->name);
}

/* File systems that cannot sync a folder say EINVAL. */
static rbe_status sync_folder(const rbe_atomic_file *file) {
    if (file->special || rbe_output_sync(file->folder) == 0 || errno == EINVAL) return RBE_OK;
    return rbe_fail_errno(file->path, "has been replaced, but its folder cannot be written to the disk");
}

rbe_status rbe_atomic_commit(rbe_atomic_file *const *files, size_t count) {
    for (size_t n = 0; n < count; n++) RBE_TRY(replace(files[n]));
    for (size_t n = 0; n < count; n++) RBE_TRY(sync_folder(files[n]));
    return RBE_OK;
}

/* What close could report has been reported by fsync. */
void rbe_atomic_discard(rbe_atomic_file *file) {
    if (!file->opened) return;
    if (file->moved) move_back(file);
    if (file->exists) unlinkat(file->folder, file->temporary, 0);
    if (file->file >= 0) close(file->file);
    if (file->folder >= 0) close(file->folder);
    rbe_free(file->target);
    *file = (rbe_atomic_file){.file = -1, .folder = -1};
}
