/* Texts as ids: characters in the order of their numbers, or bytes; and windows of a text as samples.
 *
 *     sample n    tokens ids[n stride .. n stride + length - 1], labels those one place later
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failure.h"
#include "base/input_file.h"
#include "base/utf8.h"
#include "data/dataset.h"

/* ---- files --------------------------------------------------------------------------------------------------- */

static rbe_status read_all(const char *path, int file, char *text, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t got = read(file, text + done, count - done);
        if (got < 0) return rbe_fail_errno(path, "cannot read");
        if (got == 0) return rbe_fail(RBE_IO_ERROR, "%s: became shorter while it was being read", path);
        done += (size_t)got;
    }
    text[count] = '\0';
    return RBE_OK;
}

char *rbe_text_read(const char *path, size_t *bytes) {
    int file;
    uint64_t size;
    if (!path || !bytes) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_text_read: the %s is NULL", path ? "result pointer" : "path");
        return NULL;
    }
    *bytes = 0;
    if (rbe_input_open(path, &file, &size) != RBE_OK) return NULL;
    const uint64_t room = rbe_input_room(size, 1, 0);
    char *text = NULL;
    if (size > room)
        rbe_fail(RBE_BAD_FORMAT, "%s: %llu bytes, expected at most %llu (rbe_set_max_read_bytes)", path,
                 (unsigned long long)size, (unsigned long long)room);
    else
        text = rbe_alloc((size_t)size + 1, 1);
    if (text && read_all(path, file, text, (size_t)size) != RBE_OK) {
        rbe_free(text);
        text = NULL;
    }
    close(file);
    if (text) *bytes = (size_t)size;
    return text;
}

void rbe_text_free(char *text) { rbe_free(text); }

/* ---- vocabularies -------------------------------------------------------------------------------------------- */

struct rbe_vocabulary {
    size_t size;
    uint32_t *codes; /* of each id, ascending; NULL: bytes */
    char *text;      /* all characters in their order */
};

rbe_vocabulary *rbe_vocabulary_of_bytes(void) {
    rbe_vocabulary *v = rbe_alloc_zeroed(1, sizeof *v);
    if (v) v->size = 256;
    return v;
}

void rbe_vocabulary_free(rbe_vocabulary *v) {
    if (!v) return;
    rbe_free(v->codes);
    rbe_free(v->text);
    rbe_free(v);
}

static rbe_status bad_character(const char *text, size_t at) {
    if (text[at] == '\0') return rbe_fail(RBE_BAD_FORMAT, "text: byte %zu is 0, which is no character of a text", at);
    return rbe_fail(RBE_BAD_FORMAT, "text: byte %zu, %02x, is not UTF-8 (the text can be read as bytes)", at,
                    (unsigned)(uint8_t)text[at]);
}

/* Marks the characters that the text has: a bit for each. */
static rbe_status mark_characters(const char *text, size_t bytes, uint8_t *seen, size_t *count) {
    uint32_t code = 0;
    size_t step;
    *count = 0;
    for (size_t at = 0; at < bytes; at += step) {
        step = rbe_utf8_character(text + at, bytes - at, &code);
        if (step == 0 || code == 0) return bad_character(text, at);
        uint8_t bit = (uint8_t)(1 << code % 8);
        *count += !(seen[code / 8] & bit);
        seen[code / 8] |= bit;
    }
    if (*count > 0) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "a vocabulary: expected a text of at least one character");
}

static rbe_status fill_vocabulary(rbe_vocabulary *v, const uint8_t *seen, uint32_t end) {
    v->codes = rbe_alloc(v->size, sizeof *v->codes);
    v->text = rbe_alloc(4 * v->size + 1, 1);
    if (!v->codes || !v->text) return RBE_INSUFFICIENT_MEMORY;
    char *next = v->text;
    size_t count = 0;
    for (uint32_t code = 0; code < end; code++) {
        if (!(seen[code / 8] >> code % 8 & 1)) continue;
        v->codes[count++] = code;
        next += rbe_utf8_write(code, next);
    }
    *next = '\0';
    return RBE_OK;
}

rbe_vocabulary *rbe_vocabulary_of_text(const char *text, size_t bytes) {
    enum { CODES = 0x110000 };
    if (!text) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_vocabulary_of_text: the text is NULL");
        return NULL;
    }
    rbe_vocabulary *v = rbe_alloc_zeroed(1, sizeof *v);
    uint8_t *seen = rbe_alloc_zeroed(CODES / 8, 1);
    bool made = v && seen && mark_characters(text, bytes, seen, &v->size) == RBE_OK &&
                fill_vocabulary(v, seen, CODES) == RBE_OK;
    rbe_free(seen);
    if (made) return v;
    rbe_vocabulary_free(v);
    return NULL;
}

size_t rbe_vocabulary_size(const rbe_vocabulary *v) { return v ? v->size : 0; }

const char *rbe_vocabulary_text(const rbe_vocabulary *v) { return v ? v->text : NULL; }

static int by_code(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static rbe_status encode_character(const rbe_vocabulary *v, const char *text, size_t at, uint32_t code, int32_t *id) {
    const uint32_t *found = bsearch(&code, v->codes, v->size, sizeof code, by_code);
    if (!found)
        return rbe_fail(RBE_INVALID_ARGUMENT, "byte %zu: the vocabulary of %zu characters has no \"%.*s\" (U+%04X)", at,
                        v->size, (int)rbe_utf8_character(text + at, 4, NULL), text + at, (unsigned)code);
    *id = (int32_t)(found - v->codes);
    return RBE_OK;
}

rbe_status rbe_vocabulary_encode(const rbe_vocabulary *v, const char *text, size_t bytes, int32_t *ids, size_t *count) {
    if (!v || !count || (!text && bytes > 0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_vocabulary_encode: the %s is NULL",
                        !v      ? "vocabulary"
                        : count ? "text"
                                : "result pointer");
    size_t n = 0, step;
    for (size_t at = 0; at < bytes; at += step, n++) {
        uint32_t code = (uint8_t)text[at];
        int32_t id = (int32_t)code;
        step = v->codes ? rbe_utf8_character(text + at, bytes - at, &code) : 1;
        if (step == 0) return bad_character(text, at);
        if (v->codes) RBE_TRY(encode_character(v, text, at, code, &id));
        if (ids) ids[n] = id;
    }
    *count = n;
    return RBE_OK;
}

size_t rbe_vocabulary_decode(const rbe_vocabulary *v, int32_t id, char text[RBE_CHARACTER_SIZE]) {
    text[0] = '\0';
    if (!v || id < 0 || (size_t)id >= v->size) return 0;
    size_t bytes = 1;
    if (v->codes)
        bytes = rbe_utf8_write(v->codes[id], text);
    else
        text[0] = (char)id;
    text[bytes] = '\0';
    return bytes;
}

/* ---- windows ------------------------------------------------------------------------------------------------- */

rbe_status rbe_dataset_from_windows(rbe_dataset *data, int32_t *ids, size_t count, size_t length, size_t stride,
                                    int32_t classes) {
    if (!data || !ids)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_dataset_from_windows: the %s NULL",
                        data ? "ids are" : "result pointer is");
    *data = (rbe_dataset){0};
    if (length < 1 || stride < 1 || count <= length || classes < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "windows: expected a length, a stride and classes of at least 1 and more ids than a window has "
                        "places, found %zu, %zu, %d and %zu ids",
                        length, stride, (int)classes, count);
    for (size_t n = 0; n < count; n++)
        if (ids[n] < 0 || ids[n] >= classes)
            return rbe_fail(RBE_INVALID_ARGUMENT, "windows: id %zu: expected 0 .. %d, found %d", n, (int)classes - 1,
                            (int)ids[n]);
    *data = (rbe_dataset){.count = (count - 1 - length) / stride + 1,
                          .features = length,
                          .classes = classes,
                          .tokens = ids,
                          .labels = ids + 1,
                          .label_width = length,
                          .stride = stride < count ? stride : count}; /* of one window it says nothing */
    return RBE_OK;
}
