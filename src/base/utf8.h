/* Characters of a text in UTF-8 (Unicode, table 3-7). */
#ifndef RBE_BASE_UTF8_H
#define RBE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at the beginning of `text` (length >= 1), 0 if there is none: overlong forms, surrogates and
 * numbers beyond 10FFFF are none. *code (or NULL) is its number. */
size_t rbe_utf8_character(const char *text, size_t length, uint32_t *code);

/* Writes a character, below 110000 and no surrogate; returns its bytes, 1 .. 4. */
size_t rbe_utf8_write(uint32_t code, char text[4]);

#endif
