/* NumPy arrays. */
#include <stdlib.h>

#include "fuzz.h"
#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_limit_memory(4 * size + 65536 + 4096); /* the longest header, and what allocations cost */
    rbe_source source;
    rbe_tensor tensor;
    if (rbe_source_from_memory(&source, data, size, "fuzz") != RBE_OK) abort();
    if (rbe_npy_from_source(&source, &tensor) == RBE_OK) {
        if (rbe_tensor_count(&tensor) > size) abort();
        rbe_tensor_free(&tensor);
    }
    rbe_source_close(&source);
    fuzz_check_memory();
    return 0;
}
