/* Files that replace their predecessor only when they are whole.
 *
 * The path's symbolic links are followed: the file that they lead to is replaced. A special file (a device, a FIFO)
 * cannot be replaced: it is written to, and stays what it is.
 */
#ifndef RBE_BASE_ATOMIC_FILE_H
#define RBE_BASE_ATOMIC_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/alloc.h"

typedef struct rbe_atomic_file {
    const char *path;   /* borrowed, for error texts */
    char *target;       /* what the path leads to */
    const char *name;   /* the last part of target */
    char temporary[64]; /* the name of what is written, in the same folder */
    struct stat old;    /* what is replaced */
    int folder, file;   /* -1: not open */
    bool opened;        /* discard has something to do */
    bool special;       /* the path is a special file, and `file` is that */
    bool replaces;      /* there is an old file */
    bool exists;        /* the temporary file is there */
    bool moved;         /* the old file is NAME.1, and nothing is NAME */
} rbe_atomic_file;

/* On failure of any of these calls rbe_atomic_discard is still due. All fail with IO_ERROR, naming the path; open
 * also with INSUFFICIENT_MEMORY. open removes what dead processes of this host have left in the folder. */
rbe_status rbe_atomic_open(rbe_atomic_file *file, const char *path);
rbe_status rbe_atomic_write(rbe_atomic_file *file, const void *bytes, size_t count);

/* Gives the file the mode of the old one, and its owner where that is permitted, and brings it to the disk. */
rbe_status rbe_atomic_finish(rbe_atomic_file *file);

/* Before the commit: what it will replace stays as NAME.1, what was NAME.1 as NAME.2, until there are `count` files
 * with the new one. NAME itself stays whole in the meantime, but on file systems without hard links, where it is NAME.1
 * until the commit, or, if that fails, until discard gives it back its name. IO_ERROR. */
rbe_status rbe_atomic_keep(rbe_atomic_file *file, size_t count);

/* What a path leads to, where NAME.1 stands: *target is the caller's to free, also on failure. IO_ERROR,
 * INSUFFICIENT_MEMORY. */
rbe_status rbe_atomic_target(const char *path, char **target);

/* Removes what dead processes of this host have left in the folder of the file `path`. What cannot be removed stays. */
void rbe_atomic_clean(const char *path);

/* Puts finished files in the place of the old ones, one after the other, and then brings their folders to the disk.
 * If only the last fails, the text says that the file has been replaced. */
rbe_status rbe_atomic_commit(rbe_atomic_file *const *files, size_t count);

/* Frees everything; a temporary file that was not committed is removed. An all-zero struct is allowed. */
void rbe_atomic_discard(rbe_atomic_file *file);

#endif
