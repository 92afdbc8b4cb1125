/* What the fuzz targets share: an allocator that does not give more than a reader may ask for. */
#ifndef RBE_TESTS_FUZZ_H
#define RBE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program if the library asks for more than `bytes` of memory in all, from here on. */
void fuzz_limit_memory(size_t bytes);

/* Ends the program if the library still holds memory. */
void fuzz_check_memory(void);

#endif
