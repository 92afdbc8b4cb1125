/* The checksum of files: CRC-32, as zlib and PNG have it. */
#ifndef RBE_BASE_CRC_H
#define RBE_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Of what has the checksum `crc` (0: of nothing) and `count` bytes behind it. */
uint32_t rbe_crc32(uint32_t crc, const void *bytes, size_t count);

#endif
