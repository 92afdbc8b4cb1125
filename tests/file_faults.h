/* File calls that fail, or that the process does not survive: functions that stand before the C library's in the test
 * program. They count what touches one folder, and do to one of these calls what a full disk, a signal or a power cut
 * would do. */
#ifndef RBE_TESTS_FILE_FAULTS_H
#define RBE_TESTS_FILE_FAULTS_H

#include <check.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "rbe/base.h"

typedef enum fault_kind {
    FAULT_NONE,        /* calls are counted */
    FAULT_ERROR,       /* the call does nothing, and fails */
    FAULT_SHORT,       /* a write takes half of its bytes */
    FAULT_FULL,        /* the first does that, and those after it fail with ENOSPC */
    FAULT_KILL_BEFORE, /* SIGKILL, and the call has not been made */
    FAULT_KILL_HALF,   /* SIGKILL after half of the bytes of a write; other calls have been made */
    FAULT_KILL_AFTER,  /* SIGKILL, and the call has been made */
} fault_kind;

/* A call is meant if its number is at .. at + times - 1; numbers begin with 1. */
typedef struct file_fault {
    fault_kind kind;
    int at, times;      /* times: 0 means 1 */
    int error;          /* errno, for FAULT_ERROR */
    const char *only;   /* the name of the function whose calls alone are counted; NULL: of all */
    const char *folder; /* absolute: calls that touch what is in it, or it, are counted; required */
    bool no_links;      /* linkat fails with EPERM, as on file systems that know no hard links */
} file_fault;

/* The calls: open, openat, pread, write, fsync, ftruncate, flock, fchmod, fchown, renameat, linkat, unlinkat. Of one
 * thread at a time. */
void file_faults_start(const file_fault *fault);

/* Returns how many calls were counted since the start. */
int file_faults_stop(void);

/* Of the last start, while it runs and afterwards: the function of call number n, and how many calls had the fault. */
const char *file_faults_name(int n);
int file_faults_hits(void);

/* Runs it in a child, with the fault. True: SIGKILL has ended it. False: it came to its end, with RBE_OK; the test
 * fails with any other. */
bool file_faults_kill(const file_fault *fault, rbe_status (*run)(void *user), void *user);

/* fsync makes nobody wait for a disk. Whatever the file, it counts its calls, runs at_fsync if that is set, and fails
 * when call number failing_fsync comes. */
extern atomic_int fsync_calls, failing_fsync;
extern void (*at_fsync)(void);

TCase *faults_save_case(void);
TCase *faults_fit_case(void);

#endif
