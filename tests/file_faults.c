/* Calls go to the kernel by syscall(): what a sanitizer has put before the C library is passed by, and nothing has to
 * be looked up. The C library's own calls, those of fopen and fwrite for example, do not come here. */
#include "file_faults.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_NAMES = 4096 };

static file_fault fault;
static atomic_bool on;
static int calls, hits;
static const char *names[MAX_NAMES];

void file_faults_start(const file_fault *wanted) {
    fault = *wanted;
    if (fault.times == 0) fault.times = 1;
    calls = hits = 0;
    atomic_store(&on, true);
}

int file_faults_stop(void) {
    atomic_store(&on, false);
    return calls;
}

const char *file_faults_name(int n) { return n >= 1 && n <= calls && n <= MAX_NAMES ? names[n - 1] : "nothing"; }

int file_faults_hits(void) { return hits; }

bool file_faults_kill(const file_fault *wanted, rbe_status (*run)(void *user), void *user) {
    int state;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        file_faults_start(wanted);
        rbe_status status = run(user);
        file_faults_stop();
        if (status != RBE_OK) fprintf(stderr, "in a child: %s\n", rbe_last_error());
        _exit(status == RBE_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    if (WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL) return true;
    ck_assert_msg(WIFEXITED(state) && WEXITSTATUS(state) == 0, "call %d: the child ended with %x", wanted->at, state);
    return false;
}

/* ---- which calls are meant ----------------------------------------------------------------------------------- */

static bool begins_with_folder(const char *path) {
    size_t length = strlen(fault.folder);
    return strncmp(path, fault.folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Of an open file, or of a path, which may begin at an open folder. */
static bool is_in_folder(int file, const char *path) {
    char link[40], where[PATH_MAX + 1];
    if (path && path[0] == '/') return begins_with_folder(path);
    snprintf(link, sizeof link, file == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, where, PATH_MAX);
    where[length > 0 ? length : 0] = '\0';
    return begins_with_folder(where);
}

static void die(void) {
    raise(SIGKILL);
    for (;;) pause();
}

/* What is to happen to this call. */
static fault_kind arrive(const char *name, int file, const char *path) {
    if (!atomic_load(&on)) return FAULT_NONE;
    int before = errno;
    bool meant = is_in_folder(file, path) && (!fault.only || strcmp(name, fault.only) == 0);
    errno = before;
    if (!meant) return FAULT_NONE;
    if (calls < MAX_NAMES) names[calls] = name;
    calls++;
    if (calls < fault.at || calls - fault.at >= fault.times) return FAULT_NONE;
    hits++;
    if (fault.kind == FAULT_KILL_BEFORE) die();
    return fault.kind;
}

static int refuse(int error) {
    errno = error;
    return -1;
}

/* A call that takes effect as a whole or not at all. */
static long whole(const char *name, int file, const char *path, long number, const long arguments[5]) {
    fault_kind kind = arrive(name, file, path);
    if (kind == FAULT_ERROR) return refuse(fault.error);
    long result = syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4]);
    if (kind == FAULT_KILL_HALF || kind == FAULT_KILL_AFTER) die();
    return result;
}

#define WHOLE(name, file, path, ...) (int)whole(#name, file, path, SYS_##name, (const long[5]){__VA_ARGS__})

/* ---- the calls ----------------------------------------------------------------------------------------------- */

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const long mode = mode_of(flags, rest);
    va_end(rest);
    return (int)whole("open", AT_FDCWD, path, SYS_openat, (const long[5]){AT_FDCWD, (long)path, flags, mode});
}

int openat(int folder, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    const long mode = mode_of(flags, rest);
    va_end(rest);
    return WHOLE(openat, folder, path, folder, (long)path, flags, mode);
}

ssize_t pread(int file, void *bytes, size_t count, off_t offset) {
    return whole("pread", file, NULL, SYS_pread64, (const long[5]){file, (long)bytes, (long)count, offset});
}

ssize_t write(int file, const void *bytes, size_t count) {
    fault_kind kind = arrive("write", file, NULL);
    if (kind == FAULT_ERROR) return refuse(fault.error);
    if (kind == FAULT_FULL && hits > 1) return refuse(ENOSPC);
    if (kind == FAULT_KILL_HALF) count /= 2;
    if ((kind == FAULT_SHORT || kind == FAULT_FULL) && count > 1) count /= 2;
    ssize_t wrote = syscall(SYS_write, file, bytes, count);
    if (kind == FAULT_KILL_HALF || kind == FAULT_KILL_AFTER) die();
    return wrote;
}

atomic_int fsync_calls, failing_fsync;
void (*at_fsync)(void);

int fsync(int file) {
    if (at_fsync) at_fsync();
    fault_kind kind = arrive("fsync", file, NULL);
    if (++fsync_calls == failing_fsync) return refuse(EIO);
    if (kind == FAULT_ERROR) return refuse(fault.error);
    if (kind == FAULT_KILL_HALF || kind == FAULT_KILL_AFTER) die();
    return 0;
}

int ftruncate(int file, off_t length) { return WHOLE(ftruncate, file, NULL, file, length); }

int flock(int file, int operation) { return WHOLE(flock, file, NULL, file, operation); }

int fchmod(int file, mode_t mode) { return WHOLE(fchmod, file, NULL, file, mode); }

int fchown(int file, uid_t owner, gid_t group) { return WHOLE(fchown, file, NULL, file, owner, group); }

int unlinkat(int folder, const char *path, int flags) {
    return WHOLE(unlinkat, folder, path, folder, (long)path, flags);
}

int renameat(int from, const char *name, int to, const char *new_name) {
    return (int)whole("renameat", from, name, SYS_renameat2, (const long[5]){from, (long)name, to, (long)new_name});
}

int linkat(int from, const char *name, int to, const char *new_name, int flags) {
    if (atomic_load(&on) && fault.no_links) return refuse(EPERM);
    return WHOLE(linkat, from, name, from, (long)name, to, (long)new_name, flags);
}
