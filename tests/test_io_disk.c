/* Saving when things go wrong: a full disk at any byte, failing system calls, memory that runs out. The old file
 * stays whole, nothing lies beside it, and the status says why.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_faults.h"
#include "io/json.h"
#include "io_support.h"
#include "support.h"

/* ---- the file on the disk ------------------------------------------------------------------------------------ */

/* The file is still the old one and nothing lies beside it. */
static void assert_untouched(const char *path, bytes old) {
    bytes now = read_whole(path);
    ck_assert_uint_eq(now.count, old.count);
    ck_assert_mem_eq(now.data, old.data, old.count);
    ck_assert_uint_eq(scratch_count(), 1);
    free(now.data);
}

START_TEST(full_disk_keeps_the_old_file) {
    char path[400];
    strcpy(path, scratch_path("model"));
    bytes old = {(uint8_t *)"the old file", 12};
    write_whole(path, old);
    rbe_model *model = grown_model();
    const rbe_save_options options = {.store = RBE_STORE_INT8};
    struct rlimit unlimited, limit;
    getrlimit(RLIMIT_FSIZE, &unlimited);
    limit = unlimited;
    signal(SIGXFSZ, SIG_IGN);
    rbe_status status = RBE_IO_ERROR;
    size_t full = 0;
    for (; status != RBE_OK && full < 100000; full++) { /* the disk is full after so many bytes */
        limit.rlim_cur = full;
        setrlimit(RLIMIT_FSIZE, &limit);
        status = rbe_model_save(model, path, &options);
        setrlimit(RLIMIT_FSIZE, &unlimited);
        if (status == RBE_OK) break;
        assert_failed(RBE_IO_ERROR, "model: cannot write");
        assert_untouched(path, old);
    }
    bytes written = read_whole(path);
    ck_assert_uint_eq(written.count, full);
    rbe_model_free(model);
    free(written.data);
}
END_TEST

START_TEST(disk_errors_are_reported) {
    char path[400];
    strcpy(path, scratch_path("model"));
    bytes old = {(uint8_t *)"the old file", 12};
    write_whole(path, old);
    rbe_model *model = grown_model();
    failing_fsync = fsync_calls + 1;
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_IO_ERROR, "cannot write to the disk");
    assert_untouched(path, old);
    failing_fsync = fsync_calls + 2; /* the folder's: the new file is there, but may not survive a crash */
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_IO_ERROR, "has been replaced, but its folder cannot be written to the disk");
    rbe_model *replaced = rbe_model_load(path);
    ck_assert(replaced && same_models(replaced, model));
    rbe_model_free(replaced);
    int before = fsync_calls;
    ck_assert_ok(rbe_model_save(model, path, NULL));
    ck_assert_int_eq(fsync_calls, before + 2);

    ck_assert_int_ne(rbe_model_save(model, scratch_path("nowhere/model"), NULL), RBE_OK);
    assert_failed(RBE_IO_ERROR, "nowhere");
    strcpy(path, scratch_path("folder"));
    mkdir(path, 0700);
    ck_assert_int_ne(rbe_model_save(model, path, NULL), RBE_OK);
    assert_failed(RBE_IO_ERROR, "cannot replace");
    ck_assert_uint_eq(scratch_count(), 2);
    rmdir(path);

    const int here = open(".", O_RDONLY);
    ck_assert_int_eq(chdir("/dev/shm"), 0); /* a name without a folder */
    ck_assert_ok(rbe_model_save(model, "rbe-here", NULL));
    ck_assert_int_eq(unlink("rbe-here"), 0);
    ck_assert_int_eq(fchdir(here), 0);
    close(here);
    rbe_model_free(model);
}
END_TEST

/* ---- memory that runs out ------------------------------------------------------------------------------------ */

static size_t mallocs, failing_malloc;

static void *counted_malloc(size_t size) {
    if (++mallocs != failing_malloc) return malloc(size);
    errno = ENOMEM;
    return NULL;
}

/* Saves and loads while request number `fail_at` of the library, or of cJSON, fails. Returns whether it came to
 * that. */
static bool survive(bytes file, const char *path, size_t fail_at, bool json) {
    failing_allocator allocator;
    bytes old = {(uint8_t *)"old", 3};
    write_whole(path, old);
    failing_allocator_install(&allocator, json ? 0 : fail_at);
    mallocs = 0;
    failing_malloc = json ? fail_at : 0;
    rbe_fail(RBE_OK, "%s", "");
    rbe_model *loaded = load_bytes(file);
    bool reached = json && mallocs >= fail_at;
    if (!loaded) ck_assert_int_eq(rbe_last_status(), RBE_INSUFFICIENT_MEMORY);
    if (loaded) {
        rbe_status status = rbe_model_save(loaded, path, &(rbe_save_options){.store = RBE_STORE_INT8});
        ck_assert(status == RBE_OK || status == RBE_INSUFFICIENT_MEMORY);
        if (status != RBE_OK) assert_untouched(path, old);
        reached = json && mallocs >= fail_at;
    }
    failing_malloc = 0;
    rbe_model_free(loaded);
    return failing_allocator_remove(&allocator) || reached;
}

START_TEST(every_allocation_may_fail) {
    char path[400];
    strcpy(path, scratch_path("model"));
    rbe_model *model = grown_model();
    bytes file = saved(model, RBE_STORE_INT8, RBE_POSITIONS_DELTA);
    rbe_model_free(model);
    size_t fail_at = 1;
    while (survive(file, path, fail_at, false)) fail_at++;
    ck_assert_uint_gt(fail_at, 40);
    cJSON_InitHooks(&(cJSON_Hooks){counted_malloc, free});
    for (fail_at = 1; survive(file, path, fail_at, true);) fail_at++;
    ck_assert_uint_gt(fail_at, 100);
    cJSON_InitHooks(NULL);
    free(file.data);
}
END_TEST

TCase *io_disk_case(void) {
    TCase *disk = tcase_create("disk");
    tcase_add_checked_fixture(disk, scratch_clear, scratch_clear);
    tcase_add_test(disk, full_disk_keeps_the_old_file);
    tcase_add_test(disk, disk_errors_are_reported);
    tcase_add_test(disk, every_allocation_may_fail);
    return disk;
}
