/* Data sets: IDX files good and bad, writing all or nothing, floats, batches, generated digits, short memory. */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "rbe/data.h"
#include "suites.h"
#include "support.h"

/* ---- files in a folder of the test --------------------------------------------------------------------------- */

enum { PATH_ROOM = 128, FILE_ROOM = 1 << 13 };

static char folder[PATH_ROOM / 2];
static char images[PATH_ROOM], labels[PATH_ROOM];

static void name_file(char path[PATH_ROOM], const char *name) { snprintf(path, PATH_ROOM, "%s/%s", folder, name); }

static void make_folder(void) {
    strcpy(folder, "/tmp/rbe-data-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    name_file(images, "images");
    name_file(labels, "labels");
}

/* Number of files in the folder; removes them if asked. */
static int count_files(bool unlink_them) {
    int count = 0;
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        count++;
        char path[PATH_ROOM + 256];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (unlink_them) unlink(path);
    }
    closedir(dir);
    return count;
}

static void remove_folder(void) {
    count_files(true);
    rmdir(folder);
}

static void write_plain(const char *path, const void *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, count, file), count);
    ck_assert_int_eq(fclose(file), 0);
}

/* Mode "wb" begins the file, "ab" adds a gzip member. */
static void write_gz(const char *path, const char *mode, const void *bytes, size_t count) {
    gzFile file = gzopen(path, mode);
    ck_assert_ptr_nonnull(file);
    if (count > 0) ck_assert_int_eq(gzwrite(file, bytes, (unsigned)count), (int)count);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

static size_t read_plain(const char *path, uint8_t bytes[FILE_ROOM]) {
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    size_t count = fread(bytes, 1, FILE_ROOM, file);
    ck_assert_uint_lt(count, FILE_ROOM);
    fclose(file);
    return count;
}

/* ---- small IDX files ----------------------------------------------------------------------------------------- */

enum { COUNT = 3, HEIGHT = 2, WIDTH = 5, PIXELS = COUNT * HEIGHT * WIDTH };

typedef struct idx_bytes {
    uint8_t image[16 + PIXELS];
    uint8_t label[8 + COUNT];
} idx_bytes;

static idx_bytes small_idx(void) {
    idx_bytes idx = {{0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, HEIGHT, 0, 0, 0, WIDTH}, {0, 0, 8, 1, 0, 0, 0, COUNT}};
    for (int i = 0; i < PIXELS; i++) idx.image[16 + i] = (uint8_t)(37 * i);
    for (int i = 0; i < COUNT; i++) idx.label[8 + i] = (uint8_t)(9 - i);
    return idx;
}

static void write_both(const idx_bytes *idx) {
    write_plain(images, idx->image, sizeof idx->image);
    write_plain(labels, idx->label, sizeof idx->label);
}

static void check_small(const rbe_dataset *data, const idx_bytes *idx) {
    ck_assert_uint_eq(data->count, COUNT);
    ck_assert_uint_eq(data->features, HEIGHT * WIDTH);
    ck_assert_uint_eq(data->height, HEIGHT);
    ck_assert_uint_eq(data->width, WIDTH);
    ck_assert_int_eq(data->classes, 10);
    ck_assert_ptr_null(data->values);
    ck_assert_mem_eq(data->pixels, idx->image + 16, PIXELS);
    for (int i = 0; i < COUNT; i++) ck_assert_int_eq(data->labels[i], idx->label[8 + i]);
}

static void read_small(const idx_bytes *idx) {
    rbe_dataset data;
    ck_assert_msg(rbe_dataset_read_idx(&data, images, labels, 10) == RBE_OK, "%s", rbe_last_error());
    check_small(&data, idx);
    rbe_dataset_free(&data);
}

/* Reading fails with this status, these words, and an empty data set. */
static void check_refused(rbe_status status, const char *words) {
    rbe_dataset data;
    memset(&data, 0xff, sizeof data);
    ck_assert_int_eq(rbe_dataset_read_idx(&data, images, labels, 10), status);
    ck_assert_msg(strstr(rbe_last_error(), words) != NULL, "expected \"%s\" in \"%s\"", words, rbe_last_error());
    ck_assert_uint_eq(data.count, 0);
    ck_assert_ptr_null(data.pixels);
    ck_assert_ptr_null(data.labels);
    ck_assert_uint_eq(rbe_memory().current, 0);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

START_TEST(plain_files) {
    idx_bytes idx = small_idx();
    write_both(&idx);
    read_small(&idx);
}
END_TEST

START_TEST(images_may_come_without_labels) {
    idx_bytes idx = small_idx();
    rbe_dataset data;
    write_both(&idx);
    ck_assert_msg(rbe_dataset_read_idx(&data, images, NULL, 0) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(data.count, COUNT);
    ck_assert_mem_eq(data.pixels, idx.image + 16, PIXELS);
    ck_assert_ptr_null(data.labels);
    ck_assert_int_eq(data.classes, 0);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(gzip_files) {
    idx_bytes idx = small_idx();
    write_gz(images, "wb", idx.image, sizeof idx.image);
    write_plain(labels, idx.label, sizeof idx.label);
    read_small(&idx);
    for (size_t cut = 0; cut < sizeof idx.image; cut++) { /* two members */
        write_gz(images, "wb", idx.image, cut);
        write_gz(images, "ab", idx.image + cut, sizeof idx.image - cut);
        read_small(&idx);
    }
}
END_TEST

/* Far more than the first piece of memory that a small gzip file gets. */
START_TEST(gzip_file_that_grows) {
    enum { MANY = 5000, SIDE = 28 };
    const size_t size = 16 + MANY * SIDE * SIDE;
    uint8_t *bytes = calloc(size, 1);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, (uint8_t[]){0, 0, 8, 3, 0, 0, MANY >> 8, MANY & 255, 0, 0, 0, SIDE, 0, 0, 0, SIDE}, 16);
    for (size_t i = 16; i < size; i += 1000) bytes[i] = (uint8_t)(i / 1000);
    write_gz(images, "wb", bytes, size);
    uint8_t label[8 + MANY] = {0, 0, 8, 1, 0, 0, MANY >> 8, MANY & 255};
    write_gz(labels, "wb", label, sizeof label);
    rbe_dataset data;
    ck_assert_msg(rbe_dataset_read_idx(&data, images, labels, 1) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_eq(data.count, MANY);
    ck_assert_int_eq(memcmp(data.pixels, bytes + 16, size - 16), 0);
    rbe_dataset_free(&data);
    free(bytes);
}
END_TEST

START_TEST(folder_names) {
    idx_bytes idx = small_idx();
    rbe_dataset data;
    name_file(images, "t10k-images-idx3-ubyte");
    name_file(labels, "t10k-labels-idx1-ubyte.gz");
    write_plain(images, idx.image, sizeof idx.image);
    ck_assert_int_eq(rbe_dataset_read_folder(&data, folder, false), RBE_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "t10k-labels-idx1-ubyte, with .gz or without"));
    write_gz(labels, "wb", idx.label, sizeof idx.label);
    ck_assert_int_eq(rbe_dataset_read_folder(&data, folder, false), RBE_OK);
    check_small(&data, &idx);
    rbe_dataset_free(&data);
    ck_assert_int_eq(rbe_dataset_read_folder(&data, folder, true), RBE_IO_ERROR);
    ck_assert_ptr_null(data.pixels);
}
END_TEST

START_TEST(mnist) {
    static const char mnist_folder[] = "../shared/data/mnist";
    if (access(mnist_folder, R_OK) != 0) return;
    rbe_dataset data;
    for (int train = 0; train < 2; train++) {
        ck_assert_msg(rbe_dataset_read_folder(&data, mnist_folder, train) == RBE_OK, "%s", rbe_last_error());
        ck_assert_uint_eq(data.count, train ? 60000 : 10000);
        ck_assert_uint_eq(data.features, 784);
        ck_assert_int_eq(data.labels[0], train ? 5 : 7);
        double sum = 0;
        for (size_t i = 0; i < data.count * 784; i++) sum += data.pixels[i];
        ck_assert_double_eq_tol(sum / (255.0 * 784 * (double)data.count), train ? 0.1307 : 0.1325, 1e-4);
        rbe_dataset_free(&data);
    }
}
END_TEST

/* ---- files that are refused ---------------------------------------------------------------------------------- */

START_TEST(no_file) {
    check_refused(RBE_IO_ERROR, "images: cannot open: No such file");
    idx_bytes idx = small_idx();
    write_plain(images, idx.image, sizeof idx.image);
    check_refused(RBE_IO_ERROR, "labels: cannot open: No such file");
    strcpy(images, folder);
    check_refused(RBE_IO_ERROR, "expected a regular file, found a folder");
}
END_TEST

START_TEST(a_fifo_is_refused_at_once) { /* [56] */
    idx_bytes idx = small_idx();
    ck_assert_int_eq(mkfifo(images, 0600), 0);
    check_refused(RBE_IO_ERROR, "images: expected a regular file, found a FIFO");
    unlink(images);
    write_plain(images, idx.image, sizeof idx.image);
    ck_assert_int_eq(mkfifo(labels, 0600), 0);
    check_refused(RBE_IO_ERROR, "labels: expected a regular file, found a FIFO");
    strcpy(images, "/dev/null");
    check_refused(RBE_IO_ERROR, "expected a regular file, found a device");
}
END_TEST

START_TEST(truncated_at_every_length) {
    idx_bytes idx = small_idx();
    write_both(&idx);
    for (size_t n = 0; n < sizeof idx.image; n++) {
        write_plain(images, idx.image, n);
        check_refused(RBE_BAD_FORMAT, n < 16 ? "images: truncated: expected a header of 16 bytes, found "
                                             : "images: truncated: header promises 3 images of 2 x 5, found ");
    }
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "found 2 whole ones"));
    write_plain(images, idx.image, sizeof idx.image);
    for (size_t n = 0; n < sizeof idx.label; n++) {
        write_plain(labels, idx.label, n);
        check_refused(RBE_BAD_FORMAT, n < 8 ? "labels: truncated: expected a header of 8 bytes, found "
                                            : "labels: truncated: header promises 3 labels, found ");
    }
}
END_TEST

START_TEST(truncated_gzip_at_every_length) {
    idx_bytes idx = small_idx();
    write_both(&idx);
    write_gz(images, "wb", idx.image, sizeof idx.image);
    uint8_t bytes[FILE_ROOM];
    size_t size = read_plain(images, bytes);
    for (size_t n = 0; n < size; n++) {
        write_plain(images, bytes, n);
        check_refused(RBE_BAD_FORMAT, "images: truncated: ");
    }
}
END_TEST

START_TEST(wrong_magic) {
    idx_bytes idx = small_idx();
    write_plain(images, idx.label, sizeof idx.label);
    write_plain(labels, idx.image, sizeof idx.image);
    check_refused(RBE_BAD_FORMAT, "images: expected magic 0x00000803 (unsigned bytes, 3 dimensions), found 0x00000801");
    write_plain(images, idx.image, sizeof idx.image);
    check_refused(RBE_BAD_FORMAT, "labels: expected magic 0x00000801 (unsigned bytes, 1 dimension), found 0x00000803");
}
END_TEST

START_TEST(counts_and_labels_that_do_not_fit) {
    idx_bytes idx = small_idx();
    idx.label[8 + 1] = 10;
    write_both(&idx);
    check_refused(RBE_BAD_FORMAT, "labels: expected labels 0 .. 9, found 10 at index 1");
    idx.label[7] = COUNT + 1;
    write_both(&idx);
    check_refused(RBE_BAD_FORMAT, "images has images, found 4");
    idx.image[7] = 0;
    write_both(&idx);
    check_refused(RBE_BAD_FORMAT, "images: expected images, found 0 of 2 x 5");
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_read_idx(&data, images, labels, 0), RBE_INVALID_ARGUMENT);
}
END_TEST

START_TEST(trailing_bytes) {
    idx_bytes idx = small_idx();
    uint8_t longer[sizeof idx.image + 1] = {0};
    memcpy(longer, idx.image, sizeof idx.image);
    write_both(&idx);
    write_plain(images, longer, sizeof longer);
    check_refused(RBE_BAD_FORMAT, "images: expected the end after the last value, found trailing bytes");
    write_gz(images, "wb", longer, sizeof longer);
    check_refused(RBE_BAD_FORMAT, "images: expected the end after the last value, found trailing bytes");
    write_gz(images, "wb", idx.image, sizeof idx.image);
    uint8_t bytes[FILE_ROOM];
    size_t size = read_plain(images, bytes);
    memset(bytes + size, 'x', 20);
    write_plain(images, bytes, size + 20);
    check_refused(RBE_BAD_FORMAT, "images: damaged gzip data (incorrect header check)");
}
END_TEST

/* Every bit of a gzip file: what is read is refused or right. (No check sum covers the header and the padding.) */
START_TEST(damaged_gzip) {
    idx_bytes idx = small_idx();
    write_both(&idx);
    write_gz(images, "wb", idx.image, sizeof idx.image);
    uint8_t bytes[FILE_ROOM];
    size_t size = read_plain(images, bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        write_plain(images, bytes, size);
        rbe_dataset data;
        rbe_status status = rbe_dataset_read_idx(&data, images, labels, 10);
        if (status == RBE_OK)
            check_small(&data, &idx);
        else
            ck_assert_int_eq(status, RBE_BAD_FORMAT);
        rbe_dataset_free(&data);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    bytes[size - 8] ^= 1;
    write_plain(images, bytes, size);
    check_refused(RBE_BAD_FORMAT, "images: damaged gzip data (incorrect data check)");
}
END_TEST

/* A header's claim costs nothing if it is out of proportion. */
START_TEST(huge_claims) {
    idx_bytes idx = small_idx();
    for (int gz = 0; gz < 2; gz++) {
        memset(idx.image + 4, 0xff, 4);
        idx.image[10] = idx.image[14] = 1; /* 2^32 - 1 images of 258 x 261 */
        rbe_memory_reset_peak();
        for (size_t n = 16; n <= sizeof idx.image; n += sizeof idx.image - 16) {
            if (gz)
                write_gz(images, "wb", idx.image, n);
            else
                write_plain(images, idx.image, n);
            check_refused(RBE_BAD_FORMAT, "header promises 4294967295 times 67338 bytes, expected at most 16777216");
        }
        ck_assert_uint_lt(rbe_memory().peak, 2 << 20);
    }
    idx = small_idx();
    memset(idx.image + 4, 0xff, 12);
    write_both(&idx);
    check_refused(RBE_BAD_FORMAT, "images of 4294967295 x 4294967295, more than can be addressed");
    idx = small_idx();
    memset(idx.label + 4, 0xff, 4);
    write_both(&idx);
    check_refused(RBE_BAD_FORMAT, "labels: expected 3 labels");
}
END_TEST

/* [63]: gzip can hide 1000 bytes in one. */
START_TEST(compressed_bombs) {
    enum { MANY = 50000, SIDE = 28 };
    const size_t size = 16 + MANY * SIDE * SIDE, held = 1 << 20;
    uint8_t *bytes = calloc(size, 1);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, (uint8_t[]){0, 0, 8, 3, 0, 0, MANY >> 8, MANY & 255, 0, 0, 0, SIDE, 0, 0, 0, SIDE}, 16);
    write_gz(images, "wb", bytes, size);
    memcpy(bytes, (uint8_t[16]){0, 0, 8, 1, 0, 0, MANY >> 8, MANY & 255}, 16);
    write_gz(labels, "wb", bytes, 8 + MANY);
    rbe_memory_reset_peak();
    check_refused(RBE_BAD_FORMAT, "images: header promises 50000 times 784 bytes, expected at most 16777216 in all");
    ck_assert_uint_lt(rbe_memory().peak, held);

    rbe_dataset data;
    rbe_set_max_read_bytes(MANY * SIDE * SIDE); /* by an own limit */
    rbe_memory_reset_peak();
    ck_assert_msg(rbe_dataset_read_idx(&data, images, labels, 10) == RBE_OK, "%s", rbe_last_error());
    ck_assert_uint_lt(rbe_memory().peak, MANY * (SIDE * SIDE + sizeof(int32_t)) + held);
    rbe_dataset_free(&data);
    rbe_set_max_read_bytes(MANY * SIDE * SIDE - 1);
    check_refused(RBE_BAD_FORMAT, "expected at most 39199999 in all");
    rbe_set_max_read_bytes(0);
    free(bytes);
}
END_TEST

START_TEST(limits_of_small_files) {
    idx_bytes idx = small_idx();
    write_both(&idx);
    rbe_set_max_read_bytes(PIXELS);
    read_small(&idx);
    rbe_set_max_read_bytes(PIXELS - 1);
    check_refused(RBE_BAD_FORMAT, "images: header promises 3 times 10 bytes, expected at most 29");
    idx.image[11] = idx.image[15] = 1; /* 3 images of one pixel */
    write_plain(images, idx.image, 16 + COUNT);
    rbe_set_max_read_bytes(COUNT * sizeof(int32_t) - 1);
    check_refused(RBE_BAD_FORMAT, "labels: header promises 3 times 4 bytes, expected at most 11");
    rbe_set_max_read_bytes(0);
}
END_TEST

/* [53]: what a failed call leaves may be passed on. */
START_TEST(null_is_an_argument) {
    rbe_dataset none = {0};
    rbe_batch batch;
    const rbe_status bad = RBE_INVALID_ARGUMENT;
    rbe_dataset_free(NULL);
    ck_assert_int_eq(rbe_dataset_from_floats(NULL, &(float){0}, &(int32_t){0}, 1, 1, 1), bad);
    ck_assert_int_eq(rbe_dataset_read_idx(NULL, images, labels, 10), bad);
    ck_assert_int_eq(rbe_dataset_read_idx(&none, NULL, labels, 10), bad);
    ck_assert_int_eq(rbe_dataset_read_folder(NULL, folder, true), bad);
    ck_assert_int_eq(rbe_dataset_read_folder(&none, NULL, true), bad);
    ck_assert_int_eq(rbe_dataset_write_idx(NULL, images, labels), bad);
    ck_assert_int_eq(rbe_dataset_write_idx(&none, images, labels), bad);
    ck_assert_int_eq(rbe_digits_generate(NULL, 1, 1), bad);
    ck_assert_ptr_null(rbe_batches_new(NULL, 1, false, 1));
    ck_assert_ptr_null(rbe_batches_new(&none, 1, false, 1));
    rbe_batches_start(NULL, 0);
    ck_assert(!rbe_batches_next(NULL, &batch));
    ck_assert_uint_eq(rbe_batches_per_epoch(NULL), 0);
    rbe_batches_free(NULL);
    ck_assert_int_eq(count_files(false), 0);
}
END_TEST

/* ---- writing ------------------------------------------------------------------------------------------------- */

static rbe_dataset some_digits(size_t count) {
    rbe_dataset data;
    ck_assert_msg(rbe_digits_generate(&data, count, 7) == RBE_OK, "%s", rbe_last_error());
    return data;
}

static void check_same_images(const rbe_dataset *a, const rbe_dataset *b) {
    ck_assert_uint_eq(a->count, b->count);
    ck_assert_uint_eq(a->features, b->features);
    ck_assert_int_eq(memcmp(a->pixels, b->pixels, a->count * a->features), 0);
    ck_assert_int_eq(memcmp(a->labels, b->labels, a->count * sizeof(int32_t)), 0);
}

START_TEST(round_trip) {
    rbe_dataset written = some_digits(5000), read;
    ck_assert_msg(rbe_dataset_write_idx(&written, images, labels) == RBE_OK, "%s", rbe_last_error());
    ck_assert_int_eq(rbe_dataset_read_idx(&read, images, labels, 10), RBE_OK);
    check_same_images(&written, &read);
    ck_assert_uint_eq(read.height, 28);
    ck_assert_uint_eq(read.width, 28);
    ck_assert_int_eq(count_files(false), 2);
    rbe_dataset_free(&read);
    rbe_dataset_free(&written);
}
END_TEST

START_TEST(same_bytes_each_time) {
    rbe_dataset data = some_digits(10);
    uint8_t first[FILE_ROOM], second[FILE_ROOM];
    ck_assert_int_eq(rbe_dataset_write_idx(&data, images, labels), RBE_OK);
    size_t size = read_plain(images, first);
    ck_assert_int_eq(rbe_dataset_write_idx(&data, images, labels), RBE_OK);
    ck_assert_uint_eq(read_plain(images, second), size);
    ck_assert_mem_eq(first, second, size);
    /* gzip, deflate, no name, no time, strongest compression, unknown system */
    ck_assert_mem_eq(first, ((uint8_t[]){0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}), 10);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(failed_write_leaves_the_old_files) {
    rbe_dataset old = some_digits(10), larger = some_digits(2000);
    char nowhere[PATH_ROOM];
    name_file(nowhere, "missing/file");
    ck_assert_int_eq(rbe_dataset_write_idx(&old, images, labels), RBE_OK);
    ck_assert_int_eq(rbe_dataset_write_idx(&larger, images, images), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_write_idx(&larger, nowhere, labels), RBE_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "missing/file: cannot create: No such file"));
    ck_assert_int_eq(rbe_dataset_write_idx(&larger, images, nowhere), RBE_IO_ERROR);

    /* A disk that is full after 64 KB. */
    struct rlimit unlimited, limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    limit = unlimited;
    limit.rlim_cur = 1 << 16;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    rbe_status status = rbe_dataset_write_idx(&larger, images, labels);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    ck_assert_int_eq(status, RBE_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "images: cannot write: File too large"));

    rbe_dataset read;
    ck_assert_int_eq(rbe_dataset_read_idx(&read, images, labels, 10), RBE_OK);
    check_same_images(&old, &read);
    ck_assert_int_eq(count_files(false), 2);
    rbe_dataset_free(&read);
    rbe_dataset_free(&larger);
    rbe_dataset_free(&old);
}
END_TEST

START_TEST(not_writable_as_idx) {
    rbe_dataset data;
    float value = 1;
    int32_t label = 0;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, &value, &label, 1, 1, 1), RBE_OK);
    ck_assert_int_eq(rbe_dataset_write_idx(&data, images, labels), RBE_INVALID_ARGUMENT);
    rbe_dataset_free(&data);
    data = some_digits(2);
    data.labels[1] = 256;
    ck_assert_int_eq(rbe_dataset_write_idx(&data, images, labels), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "found 256 at index 1"));
    rbe_dataset_free(&data);
    ck_assert_int_eq(count_files(false), 0);
}
END_TEST

/* ---- floats -------------------------------------------------------------------------------------------------- */

START_TEST(floats_are_copied) {
    float values[6] = {1, -2, 3, 4, 5, -6e30f}, kept[6];
    int32_t classes[3] = {0, 4, 2}, kept_classes[3];
    memcpy(kept, values, sizeof kept);
    memcpy(kept_classes, classes, sizeof kept_classes);
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 2, 5), RBE_OK);
    memset(values, 0, sizeof values);
    memset(classes, 0, sizeof classes);
    ck_assert_uint_eq(data.count, 3);
    ck_assert_uint_eq(data.features, 2);
    ck_assert_uint_eq(data.height, 0);
    ck_assert_int_eq(data.classes, 5);
    ck_assert_ptr_null(data.pixels);
    ck_assert_mem_eq(data.values, kept, sizeof kept);
    ck_assert_mem_eq(data.labels, kept_classes, sizeof kept_classes);
    rbe_dataset_free(&data);
    ck_assert_ptr_null(data.values);
    rbe_dataset_free(&data);
    rbe_dataset_free(NULL);
}
END_TEST

START_TEST(floats_refused) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    rbe_dataset data;
    int32_t classes[3] = {0, 1, 2};
    float values[6] = {0};
    for (size_t i = 0; i < 3; i++) {
        values[3] = bad[i];
        ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 2, 3), RBE_NUMERICAL_INSTABILITY);
        ck_assert_ptr_nonnull(strstr(rbe_last_error(), "sample 1, feature 1"));
        ck_assert_ptr_null(data.values);
    }
    values[3] = 0;
    classes[2] = -1;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 2, 3), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(rbe_last_error(), "sample 2: expected a label 0 .. 2, found -1"));
    classes[2] = 3;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 2, 3), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 0, 2, 3), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 0, 3), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, 3, 2, 0), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values, classes, SIZE_MAX / 2, 3, 3), RBE_INVALID_ARGUMENT);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- batches ------------------------------------------------------------------------------------------------- */

enum { SAMPLES = 103, BATCH = 20 };

/* Sample i is (i, -i) with label i. */
static rbe_dataset numbered(void) {
    float values[SAMPLES][2];
    int32_t numbers[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        numbers[i] = i;
        values[i][0] = (float)i;
        values[i][1] = (float)-i;
    }
    rbe_dataset data;
    ck_assert_int_eq(rbe_dataset_from_floats(&data, values[0], numbers, SAMPLES, 2, SAMPLES), RBE_OK);
    return data;
}

/* Runs an epoch, checks that values and labels go together and that every sample comes once, and notes the order.
 */
static void run_epoch(rbe_batches *batches, size_t epoch, int32_t order[SAMPLES]) {
    bool seen[SAMPLES] = {false};
    size_t at = 0, count = 0;
    rbe_batch batch;
    rbe_batches_start(batches, epoch);
    for (; rbe_batches_next(batches, &batch); count++) {
        ck_assert_uint_eq(batch.rows, at + BATCH <= SAMPLES ? BATCH : SAMPLES % BATCH);
        ck_assert_int_eq(batch.x.dims, 2);
        ck_assert_uint_eq(batch.x.shape[0], batch.rows);
        ck_assert_uint_eq(batch.x.shape[1], 2);
        for (size_t r = 0; r < batch.rows; r++) {
            int32_t sample = batch.labels[r];
            ck_assert(sample >= 0 && sample < SAMPLES && !seen[sample]);
            ck_assert(batch.x.data[2 * r] == (float)sample && batch.x.data[2 * r + 1] == (float)-sample);
            seen[sample] = true;
            order[at++] = sample;
        }
    }
    ck_assert_uint_eq(at, SAMPLES);
    ck_assert_uint_eq(count, rbe_batches_per_epoch(batches));
    ck_assert(!rbe_batches_next(batches, &batch));
}

START_TEST(batch_orders) {
    rbe_dataset data = numbered();
    rbe_batches *a = rbe_batches_new(&data, BATCH, true, 5), *b = rbe_batches_new(&data, BATCH, true, 5);
    rbe_batches *other = rbe_batches_new(&data, BATCH, true, 6), *plain = rbe_batches_new(&data, BATCH, false, 5);
    ck_assert(a && b && other && plain);
    int32_t first[SAMPLES], second[SAMPLES], again[SAMPLES];
    run_epoch(a, 0, first);
    run_epoch(a, 1, second);
    ck_assert_mem_ne(first, second, sizeof first);
    run_epoch(b, 1, again); /* no memory of earlier epochs */
    ck_assert_mem_eq(second, again, sizeof again);
    run_epoch(a, 0, again);
    ck_assert_mem_eq(first, again, sizeof again);
    run_epoch(other, 0, again);
    ck_assert_mem_ne(first, again, sizeof again);
    run_epoch(plain, 3, again);
    for (int i = 0; i < SAMPLES; i++) ck_assert_int_eq(again[i], i);
    rbe_batches_free(a);
    rbe_batches_free(b);
    rbe_batches_free(other);
    rbe_batches_free(plain);
    rbe_dataset_free(&data);
}
END_TEST

/* Where sample 0 comes, over many epochs: chi^2 of SAMPLES - 1 = 102 degrees of freedom; 170 has p = 3e-5. */
START_TEST(batch_orders_are_uniform) {
    enum { EPOCHS = 4000 };
    rbe_dataset data = numbered();
    rbe_batches *batches = rbe_batches_new(&data, BATCH, true, 1);
    int32_t order[SAMPLES];
    double place_of_first[SAMPLES] = {0}, chi2 = 0, expected = (double)EPOCHS / SAMPLES;
    for (size_t epoch = 0; epoch < EPOCHS; epoch++) {
        run_epoch(batches, epoch, order);
        for (int i = 0; i < SAMPLES; i++)
            if (order[i] == 0) place_of_first[i]++;
    }
    for (int i = 0; i < SAMPLES; i++) chi2 += pow(place_of_first[i] - expected, 2) / expected;
    ck_assert_double_lt(chi2, 170);
    rbe_batches_free(batches);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(batches_of_pixels) {
    rbe_dataset data = some_digits(3);
    rbe_batches *batches = rbe_batches_new(&data, 100, false, 0); /* larger than the data */
    rbe_batch batch;
    ck_assert_uint_eq(rbe_batches_per_epoch(batches), 1);
    ck_assert(rbe_batches_next(batches, &batch)); /* a new one begins at epoch 0 */
    ck_assert_uint_eq(batch.rows, 3);
    for (size_t i = 0; i < 3 * data.features; i++) ck_assert(batch.x.data[i] == (float)data.pixels[i] / 255.0f);
    ck_assert(!rbe_batches_next(batches, &batch));
    rbe_batches_free(batches);
    rbe_batches_free(NULL);
    ck_assert_ptr_null(rbe_batches_new(&data, 0, false, 0));
    ck_assert_int_eq(rbe_last_status(), RBE_INVALID_ARGUMENT);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(steady_epochs_allocate_nothing) {
    rbe_dataset data = numbered();
    rbe_batches *batches = rbe_batches_new(&data, BATCH, true, 1);
    int32_t order[SAMPLES];
    size_t before = rbe_memory().allocations;
    for (size_t epoch = 0; epoch < 5; epoch++) run_epoch(batches, epoch, order);
    ck_assert_uint_eq(rbe_memory().allocations, before);
    rbe_batches_free(batches);
    rbe_dataset_free(&data);
}
END_TEST

/* ---- digits -------------------------------------------------------------------------------------------------- */

START_TEST(digits_by_seed) {
    rbe_dataset a, b, other;
    ck_assert_int_eq(rbe_digits_generate(&a, 205, 3), RBE_OK);
    ck_assert_int_eq(rbe_digits_generate(&b, 205, 3), RBE_OK);
    ck_assert_int_eq(rbe_digits_generate(&other, 205, 4), RBE_OK);
    check_same_images(&a, &b);
    ck_assert_int_ne(memcmp(a.labels, other.labels, 205 * sizeof(int32_t)), 0);
    ck_assert_int_ne(memcmp(a.pixels, other.pixels, 205 * a.features), 0);
    rbe_dataset_free(&a);
    rbe_dataset_free(&b);
    rbe_dataset_free(&other);
    ck_assert_int_eq(rbe_digits_generate(&a, 0, 3), RBE_INVALID_ARGUMENT);
    ck_assert_ptr_null(a.pixels);
}
END_TEST

START_TEST(digits_are_balanced_ink_on_white_paper) {
    rbe_dataset data = some_digits(1005);
    int of_class[10] = {0};
    ck_assert_uint_eq(data.height * data.width, data.features);
    ck_assert_int_eq(data.classes, 10);
    for (size_t i = 0; i < data.count; i++) {
        ck_assert(data.labels[i] >= 0 && data.labels[i] < 10);
        of_class[data.labels[i]]++;
        int inked = 0, darkest = 0;
        for (size_t j = 0; j < data.features; j++) {
            int pixel = data.pixels[i * data.features + j];
            if (pixel > 0) inked++;
            if (pixel > darkest) darkest = pixel;
        }
        ck_assert_int_gt(inked, 30);
        ck_assert_int_lt(inked, 784 * 6 / 10);
        ck_assert_int_gt(darkest, 100);
    }
    for (int c = 0; c < 10; c++) ck_assert_int_eq(of_class[c], c < 5 ? 101 : 100);
    rbe_dataset_free(&data);
}
END_TEST

START_TEST(embedded_digits_can_be_made_again) {
    rbe_dataset embedded, made;
    for (int train = 0; train < 2; train++) {
        ck_assert_msg(rbe_dataset_read_folder(&embedded, "data", train) == RBE_OK, "%s", rbe_last_error());
        ck_assert_uint_eq(embedded.count, train ? 6000 : 1000);
        ck_assert_int_eq(rbe_digits_generate(&made, embedded.count, train ? 1 : ~(uint64_t)1), RBE_OK);
        check_same_images(&embedded, &made);
        rbe_dataset_free(&embedded);
        rbe_dataset_free(&made);
    }
}
END_TEST

/* ---- short memory -------------------------------------------------------------------------------------------- */

static rbe_status do_read(void) {
    rbe_dataset data;
    rbe_status status = rbe_dataset_read_folder(&data, folder, true);
    rbe_dataset_free(&data);
    return status;
}

static rbe_status do_generate_and_write(void) {
    rbe_dataset data;
    RBE_TRY(rbe_digits_generate(&data, 3, 1));
    rbe_status status = rbe_dataset_write_idx(&data, images, labels);
    rbe_dataset_free(&data);
    return status;
}

static rbe_status do_batches(void) {
    const float value[2] = {1, 2};
    const int32_t label[2] = {0, 0};
    rbe_dataset data;
    RBE_TRY(rbe_dataset_from_floats(&data, value, label, 2, 1, 1));
    rbe_batches *batches = rbe_batches_new(&data, 1, true, 1);
    rbe_status status = batches ? RBE_OK : rbe_last_status();
    rbe_batches_free(batches);
    rbe_dataset_free(&data);
    return status;
}

START_TEST(every_allocation_may_fail) {
    static rbe_status (*const actions[])(void) = {do_read, do_generate_and_write, do_batches};
    name_file(images, "train-images-idx3-ubyte.gz");
    name_file(labels, "train-labels-idx1-ubyte.gz");
    ck_assert_int_eq(do_generate_and_write(), RBE_OK);
    failing_allocator allocator;
    bool reached = true;
    size_t n = 1;
    for (; reached; n++) {
        failing_allocator_install(&allocator, n);
        rbe_status status = actions[_i]();
        reached = failing_allocator_remove(&allocator);
        ck_assert_int_eq(status, reached ? RBE_INSUFFICIENT_MEMORY : RBE_OK);
        ck_assert_int_eq(count_files(false), 2);
    }
    ck_assert_uint_gt(n, 5);
}
END_TEST

Suite *data_suite(void) {
    Suite *suite = suite_create("data");

    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, plain_files);
    tcase_add_test(files, images_may_come_without_labels);
    tcase_add_test(files, gzip_files);
    tcase_add_test(files, gzip_file_that_grows);
    tcase_add_test(files, folder_names);
    tcase_add_test(files, mnist);
    tcase_add_test(files, no_file);
    tcase_add_test(files, a_fifo_is_refused_at_once);
    tcase_add_test(files, truncated_at_every_length);
    tcase_add_test(files, truncated_gzip_at_every_length);
    tcase_add_test(files, wrong_magic);
    tcase_add_test(files, counts_and_labels_that_do_not_fit);
    tcase_add_test(files, trailing_bytes);
    tcase_add_test(files, damaged_gzip);
    tcase_add_test(files, huge_claims);
    tcase_add_test(files, compressed_bombs);
    tcase_add_test(files, limits_of_small_files);
    tcase_add_test(files, null_is_an_argument);
    tcase_add_test(files, round_trip);
    tcase_add_test(files, same_bytes_each_time);
    tcase_add_test(files, failed_write_leaves_the_old_files);
    tcase_add_test(files, not_writable_as_idx);
    tcase_add_loop_test(files, every_allocation_may_fail, 0, 3);
    suite_add_tcase(suite, files);

    TCase *samples = tcase_create("samples");
    tcase_add_test(samples, floats_are_copied);
    tcase_add_test(samples, floats_refused);
    tcase_add_test(samples, batch_orders);
    tcase_add_test(samples, batch_orders_are_uniform);
    tcase_add_test(samples, batches_of_pixels);
    tcase_add_test(samples, steady_epochs_allocate_nothing);
    tcase_add_test(samples, digits_by_seed);
    tcase_add_test(samples, digits_are_balanced_ink_on_white_paper);
    tcase_add_test(samples, embedded_digits_can_be_made_again);
    suite_add_tcase(suite, samples);
    return suite;
}
