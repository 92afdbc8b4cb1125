/* UTF-8, strictly. */
#include "base/utf8.h"

size_t rbe_utf8_character(const char *text, size_t length, uint32_t *code) {
    const uint8_t *bytes = (const uint8_t *)text, first = bytes[0];
    uint8_t low = 0x80, high = 0xbf;
    size_t count = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if ((first >= 0x80 && first < 0xc2) || first > 0xf4 || count > length) return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    uint32_t number = count == 1 ? first : first & (0x7fu >> count);
    for (size_t n = 1; n < count; n++, low = 0x80, high = 0xbf) {
        if (bytes[n] < low || bytes[n] > high) return 0;
        number = number << 6 | (bytes[n] & 0x3f);
    }
    if (code) *code = number;
    return count;
}

size_t rbe_utf8_write(uint32_t code, char text[4]) {
    static const uint8_t marks[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t n = count; n-- > 1; code >>= 6) text[n] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)(marks[count] | code);
    return count;
}
