/* IDX files, plain or gzip-compressed. The first two bytes of an input are the length of the label file, which
 * follows; the rest is the image file. Both lie in files without names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "rbe/data.h"

enum { TIMES = 64, LEAST = 1 << 24, BUFFERS = 1 << 20 }; /* rbe/data.h */

static int fill(int file, const uint8_t *bytes, size_t count) {
    if (ftruncate(file, 0) != 0 || pwrite(file, bytes, count, 0) != (ssize_t)count) abort();
    return file;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int files[2] = {-1, -1};
    static char paths[2][40];
    for (int n = 0; n < 2 && files[n] < 0; n++) {
        files[n] = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(paths[n], sizeof paths[n], "/proc/self/fd/%d", files[n]);
    }
    if (size < 2) return 0;
    size_t labels = (size_t)data[0] << 8 | data[1];
    if (labels > size - 2) labels = size - 2;
    fill(files[0], data + 2 + labels, size - 2 - labels);
    fill(files[1], data + 2, labels);
    fuzz_limit_memory(2 * (TIMES * size + LEAST) + BUFFERS); /* two files */
    rbe_dataset set;
    if (rbe_dataset_read_idx(&set, paths[0], paths[1], 10) == RBE_OK)
        for (size_t n = 0; n < set.count; n++)
            if (set.labels[n] < 0 || set.labels[n] > 9) abort();
    rbe_dataset_free(&set);
    fuzz_check_memory();
    return 0;
}
