/* CRC-32, eight bytes at a time: each has a table of what it does to the checksum across those behind it. */
#include "base/crc.h"

#include "infer/tables.h"

static uint32_t next_eight(uint32_t crc, const uint8_t *next) {
    const uint32_t(*table)[256] = rbe_crc_table;
    crc ^= next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 | (uint32_t)next[3] << 24;
    return table[7][crc & 0xff] ^ table[6][crc >> 8 & 0xff] ^ table[5][crc >> 16 & 0xff] ^ table[4][crc >> 24] ^
           table[3][next[4]] ^ table[2][next[5]] ^ table[1][next[6]] ^ table[0][next[7]];
}

uint32_t rbe_crc32(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *next = bytes, *end = next + count;
    crc = ~crc;
    for (; end - next >= 8; next += 8) crc = next_eight(crc, next);
    for (; next < end; next++) crc = rbe_crc_table[0][(crc ^ *next) & 0xff] ^ crc >> 8;
    return ~crc;
}
