/* Writing and syncing, again and again until it is done. */
#include "base/output_file.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/failure.h"

/* write(), without the signal that comes when a FIFO has lost its reader: it would end the caller's program. Linux
 * sends it after a part has been written, too. */
static ssize_t write_quietly(int file, const void *bytes, size_t count) {
    sigset_t broken_pipe, before, pending;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    ssize_t wrote = write(file, bytes, count);
    int error = errno;
    if (!sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&broken_pipe, NULL, &(struct timespec){0}) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return wrote;
}

rbe_status rbe_output_write(int file, const char *path, const void *bytes, size_t count, bool quietly) {
    for (size_t done = 0; done < count;) {
        const char *at = (const char *)bytes + done;
        ssize_t wrote = quietly ? write_quietly(file, at, count - done) : write(file, at, count - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote == 0) errno = ENOSPC; /* a device that takes nothing and does not say why */
        if (wrote <= 0) return rbe_fail_errno(path, "cannot write");
        done += (size_t)wrote;
    }
    return RBE_OK;
}

int rbe_output_sync(int file) {
    int result;
    do result = fsync(file);
    while (result != 0 && errno == EINTR);
    return result;
}

bool rbe_output_has_no_disk(void) { return errno == EINVAL || errno == EROFS || errno == ENOTSUP; }
