/* What a saved file replaces: special files, links, modes and owners, long names, and what dead processes left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file_faults.h"
#include "io_support.h"
#include "support.h"

enum { PATH_ROOM = 400, MANY = 100000 };

static char *path_of(char path[PATH_ROOM], const char *name) { return strcpy(path, scratch_path(name)); }

/* A tensor of so many bytes, each `value`. */
static rbe_status save_bytes(const char *path, size_t count, int value) {
    void *values = malloc(count);
    memset(values, value, count);
    const rbe_stored_tensor tensor = {.name = "a", .dtype = RBE_U8, .dims = 1, .shape = {count}, .values = values};
    rbe_status status = rbe_tensor_file_save(path, &tensor, 1, NULL, 0, true);
    free(values);
    return status;
}

/* The first byte of the tensor in a file that save_bytes has written. */
static int saved_byte(const char *path) {
    rbe_tensor_file *file = rbe_tensor_file_open(path);
    ck_assert_msg(file != NULL, "%s", rbe_last_error());
    uint8_t *values = malloc(rbe_tensor_file_at(file, 0)->bytes);
    ck_assert_ok(rbe_tensor_file_read(file, 0, values));
    int byte = values[0];
    free(values);
    rbe_tensor_file_close(file);
    return byte;
}

static mode_t kind_of(const char *path) {
    struct stat about;
    ck_assert_msg(lstat(path, &about) == 0, "%s is gone", path);
    return about.st_mode & S_IFMT;
}

/* ---- special files ------------------------------------------------------------------------------------------- */

START_TEST(a_fifo_is_written_to) { /* [58] */
    char fifo[PATH_ROOM], plain[PATH_ROOM];
    ck_assert_int_eq(mkfifo(path_of(fifo, "fifo"), 0600), 0);
    ck_assert_int_ne(save_bytes(fifo, 10, 1), RBE_OK);
    assert_failed(RBE_IO_ERROR, "fifo: cannot open: No such device");

    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    ck_assert_ok(save_bytes(fifo, 1000, 1));
    ck_assert_ok(save_bytes(path_of(plain, "plain"), 1000, 1));
    bytes expected = read_whole(plain);
    uint8_t found[4000];
    ck_assert_int_eq(read(reader, found, sizeof found), (ssize_t)expected.count);
    ck_assert_mem_eq(found, expected.data, expected.count);
    ck_assert_uint_eq(kind_of(fifo), S_IFIFO);
    ck_assert_uint_eq(scratch_count(), 2);
    close(reader);
    free(expected.data);
}
END_TEST

/* Waits for the first bytes, then leaves. */
static void *short_reader(void *user) {
    int file = *(int *)user;
    poll(&(struct pollfd){.fd = file, .events = POLLIN}, 1, -1);
    close(file);
    return NULL;
}

START_TEST(a_fifo_that_loses_its_reader) { /* no signal ends the program */
    char fifo[PATH_ROOM];
    ck_assert_int_eq(mkfifo(path_of(fifo, "fifo"), 0600), 0);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, short_reader, &reader), 0);
    ck_assert_int_ne(save_bytes(fifo, 1 << 20, 1), RBE_OK);
    assert_failed(RBE_IO_ERROR, "fifo: cannot write: Broken pipe");
    pthread_join(thread, NULL);
    sigset_t pending;
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGPIPE), 0);
}
END_TEST

START_TEST(devices_and_sockets_stay) { /* [58]; through links, so that a fault costs no device of the machine */
    char null[PATH_ROOM], full[PATH_ROOM];
    ck_assert_int_eq(symlink("/dev/null", path_of(null, "null")), 0);
    ck_assert_int_eq(symlink("/dev/full", path_of(full, "full")), 0);
    ck_assert_ok(save_bytes(null, MANY, 1));
    ck_assert_uint_eq(kind_of(null), S_IFLNK);
    ck_assert_uint_eq(kind_of("/dev/null"), S_IFCHR);
    ck_assert_int_ne(save_bytes(full, 10, 1), RBE_OK);
    assert_failed(RBE_IO_ERROR, "full: cannot write: No space");
    ck_assert_uint_eq(kind_of("/dev/full"), S_IFCHR);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", scratch_path("socket"));
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_ne(save_bytes(address.sun_path, 10, 1), RBE_OK);
    assert_failed(RBE_IO_ERROR, "socket: cannot open");
    ck_assert_uint_eq(kind_of(address.sun_path), S_IFSOCK);
    close(listener);
    ck_assert_uint_eq(scratch_count(), 3);
}
END_TEST

/* ---- links, modes, owners, names ----------------------------------------------------------------------------- */

START_TEST(links_are_followed) { /* [58] */
    char folder[PATH_ROOM], link[PATH_ROOM], target[PATH_ROOM];
    mkdir(path_of(folder, "deep"), 0700);
    path_of(target, "deep/target");
    static const char *const chain[][2] = {
        {"deep/third", "target"}, {"second", "deep/third"}, {"first", "second"}, {"loop", "loop"}};
    for (size_t n = 0; n < 4; n++) ck_assert_int_eq(symlink(chain[n][1], path_of(link, chain[n][0])), 0);
    for (int value = 1; value <= 3; value++) { /* the target does not exist at first */
        ck_assert_ok(save_bytes(path_of(link, chain[value - 1][0]), 10, value));
        ck_assert_int_eq(saved_byte(target), value);
        for (size_t n = 0; n < 3; n++) ck_assert_uint_eq(kind_of(path_of(link, chain[n][0])), S_IFLNK);
        ck_assert_uint_eq(kind_of(target), S_IFREG);
    }
    ck_assert_int_ne(save_bytes(path_of(link, "loop"), 10, 1), RBE_OK);
    assert_failed(RBE_IO_ERROR, "loop: cannot create: Too many levels");

    path_of(link, "absolute");
    ck_assert_int_eq(symlink(target, link), 0);
    ck_assert_ok(save_bytes(link, 10, 4));
    ck_assert_int_eq(saved_byte(target), 4);

    int file = open(target, O_RDONLY); /* a file that has lost its name cannot be replaced */
    unlink(target);
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if (access(link, F_OK) == 0) {
        ck_assert_int_ne(save_bytes(link, 10, 1), RBE_OK);
        assert_failed(RBE_IO_ERROR, "cannot replace");
    }
    close(file);
    unlink(scratch_path("deep/third"));
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(modes_and_owners_are_kept) { /* [58] */
    static const mode_t modes[] = {0600, 0640, 0444, 0755, 0666, 02664};
    char path[PATH_ROOM];
    struct stat about;
    const mode_t mask = umask(027);
    ck_assert_ok(save_bytes(path_of(path, "a"), 10, 0));
    umask(mask);
    ck_assert_int_eq(stat(path, &about), 0);
    ck_assert_uint_eq(about.st_mode & 07777, 0640);
    for (size_t n = 0; n < sizeof modes / sizeof *modes; n++) {
        chmod(path, modes[n]);
        ck_assert_ok(save_bytes(path, 10, (int)n));
        ck_assert_int_eq(saved_byte(path), (int)n);
        ck_assert_int_eq(stat(path, &about), 0);
        ck_assert_uint_eq(about.st_mode & 07777, modes[n]);
    }
    if (chown(path, 1234, 4321) != 0) return; /* not permitted */
    chmod(path, 0660);
    ck_assert_ok(save_bytes(path, 10, 0));
    ck_assert_int_eq(stat(path, &about), 0);
    ck_assert(about.st_uid == 1234 && about.st_gid == 4321 && (about.st_mode & 07777) == 0660);

    /* Nobody, who may write the folder, can keep neither: the group's rights do not go to another group. */
    char folder[PATH_ROOM];
    mkdir(path_of(folder, "shared"), 0700);
    chmod(folder, 0777);
    chmod(scratch_path("."), 0755);
    ck_assert_ok(save_bytes(path_of(path, "shared/a"), 10, 0));
    ck_assert_int_eq(chown(path, 1234, 4321), 0);
    chmod(path, 0664);
    ck_assert_int_eq(seteuid(65534), 0);
    rbe_status status = save_bytes(path, 10, 1);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_ok(status);
    ck_assert_int_eq(stat(path, &about), 0);
    ck_assert(about.st_uid == 65534 && about.st_gid != 4321 && (about.st_mode & 07777) == 0644);
    unlink(path);
    rmdir(folder);
}
END_TEST

START_TEST(names_as_long_as_the_system_allows) { /* [73] */
    char path[PATH_ROOM], name[300];
    for (size_t length = 245; length <= 256; length++) {
        memset(name, 'n', length);
        name[length] = '\0';
        rbe_status status = save_bytes(path_of(path, name), 10, 1);
        ck_assert_int_eq(status, length <= 255 ? RBE_OK : RBE_IO_ERROR);
        if (status == RBE_OK) ck_assert_int_eq(saved_byte(path), 1);
    }
    assert_failed(RBE_IO_ERROR, "cannot create: File name too long");
    ck_assert_uint_eq(scratch_count(), 11);
}
END_TEST

START_TEST(a_folder_that_cannot_be_opened) { /* [61]: refused before anything is written */
    char folder[PATH_ROOM], path[PATH_ROOM];
    mkdir(path_of(folder, "closed"), 0700);
    path_of(path, "closed/a");
    ck_assert_ok(save_bytes(path, 10, 1));
    chmod(path, 0666);
    chmod(folder, 0333);
    chmod(scratch_path("."), 0755);
    uid_t user = geteuid();
    if (user == 0) ck_assert_int_eq(seteuid(65534), 0);
    rbe_status status = save_bytes(path, 10, 2);
    if (user == 0) ck_assert_int_eq(seteuid(0), 0);
    chmod(folder, 0700);
    ck_assert_int_ne(status, RBE_OK);
    assert_failed(RBE_IO_ERROR, "closed/a: cannot open its folder: Permission denied");
    ck_assert_int_eq(saved_byte(path), 1);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is there */
}
END_TEST

/* ---- what dead processes left -------------------------------------------------------------------------------- */

static void die(void) { raise(SIGKILL); }

static void wait_here(void) { raise(SIGSTOP); }

/* A child that saves and, when the data are written and nothing is renamed, does what `at` says. */
static pid_t save_in_child(const char *path, int value, void (*at)(void)) {
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child > 0) return child;
    at_fsync = at;
    _exit(save_bytes(path, MANY, value) == RBE_OK ? 0 : 1);
}

/* The name of a temporary file in the folder. */
static void find_temporary(char name[256]) {
    DIR *dir = opendir(scratch_path("."));
    name[0] = '\0';
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strncmp(entry->d_name, "rbe-", 4) == 0) snprintf(name, 256, "%s", entry->d_name);
    closedir(dir);
    ck_assert_str_ne(name, "");
}

START_TEST(strays_of_dead_processes_are_removed) { /* [62] */
    char path[PATH_ROOM], stray[PATH_ROOM], name[256];
    ck_assert_ok(save_bytes(path_of(path, "a"), 10, 1));
    for (int n = 0; n < 5; n++) {
        int state;
        ck_assert_int_gt(waitpid(save_in_child(path, 2, die), &state, 0), 0);
        ck_assert(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL);
    }
    ck_assert_int_eq(saved_byte(path), 1);
    ck_assert_uint_eq(scratch_count(), 2); /* each child has removed what the one before it had left */

    /* One whose number is that of a living process, and files that only look alike: another host's, another's. */
    find_temporary(name);
    char number[300];
    snprintf(number, sizeof number, "%.13s%ld-0.tmp", name, (long)getppid());
    ck_assert_int_eq(rename(path_of(stray, name), scratch_path(number)), 0);
    name[5] = name[5] == '0' ? '1' : '0';
    write_whole(scratch_path(name), (bytes){(uint8_t *)"another host", 12});
    write_whole(scratch_path("rbe-notes.txt"), (bytes){(uint8_t *)"notes", 5});
    ck_assert_ok(save_bytes(path, 10, 3));
    ck_assert_int_eq(saved_byte(path), 3);
    ck_assert_int_eq(access(scratch_path(name), F_OK), 0);
    ck_assert_int_eq(access(scratch_path("rbe-notes.txt"), F_OK), 0);
    ck_assert_uint_eq(scratch_count(), 3);
}
END_TEST

START_TEST(files_of_living_processes_stay) { /* [62] */
    char path[PATH_ROOM];
    int state;
    pid_t child = save_in_child(path_of(path, "a"), 1, wait_here);
    ck_assert_int_eq(waitpid(child, &state, WUNTRACED), child);
    ck_assert(WIFSTOPPED(state));
    ck_assert_uint_eq(scratch_count(), 1);
    ck_assert_ok(save_bytes(path, 10, 2));
    ck_assert_int_eq(saved_byte(path), 2);
    ck_assert_uint_eq(scratch_count(), 2);
    do { /* it stops at the folder's fsync, too */
        kill(child, SIGCONT);
        ck_assert_int_eq(waitpid(child, &state, WUNTRACED), child);
    } while (WIFSTOPPED(state));
    ck_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    ck_assert_int_eq(saved_byte(path), 1);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

static void *save_often(void *user) {
    static atomic_int values;
    for (int n = 0; n < 100; n++)
        if (save_bytes(user, 1000, atomic_fetch_add(&values, 1) & 127) != RBE_OK) return user;
    return NULL;
}

START_TEST(threads_do_not_disturb_each_other) {
    enum { THREADS = 4 };
    char path[PATH_ROOM];
    path_of(path, "a");
    pthread_t threads[THREADS];
    for (int n = 0; n < THREADS; n++) ck_assert_int_eq(pthread_create(&threads[n], NULL, save_often, path), 0);
    for (int n = 0; n < THREADS; n++) {
        void *failed;
        pthread_join(threads[n], &failed);
        ck_assert_ptr_null(failed);
    }
    saved_byte(path);
    ck_assert_uint_eq(scratch_count(), 1);
}
END_TEST

TCase *io_replace_case(void) {
    TCase *replace = tcase_create("replace");
    tcase_add_checked_fixture(replace, scratch_clear, scratch_clear);
    tcase_add_test(replace, a_fifo_is_written_to);
    tcase_add_test(replace, a_fifo_that_loses_its_reader);
    tcase_add_test(replace, devices_and_sockets_stay);
    tcase_add_test(replace, links_are_followed);
    tcase_add_test(replace, modes_and_owners_are_kept);
    tcase_add_test(replace, names_as_long_as_the_system_allows);
    tcase_add_test(replace, a_folder_that_cannot_be_opened);
    tcase_add_test(replace, strays_of_dead_processes_are_removed);
    tcase_add_test(replace, files_of_living_processes_stay);
    tcase_add_test(replace, threads_do_not_disturb_each_other);
    return replace;
}
