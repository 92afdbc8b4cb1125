/* CRC-32, a byte at a time. */
#include "base/crc.h"

#include "infer/tables.h"

uint32_t rbe_crc32(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *next = bytes;
    crc = ~crc;
    for (size_t n = 0; n < count; n++) crc = rbe_crc_table[(crc ^ next[n]) & 0xff] ^ crc >> 8;
    return ~crc;
}
