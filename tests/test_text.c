/* Texts: UTF-8 against its definition, vocabularies, windows against a naive copy, batches of ids that a model is
 * trained on, epochs of a number of batches. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"
#include "io_support.h"
#include "rbe/gpt.h"
#include "rbe/train.h"
#include "reference.h"
#include "suites.h"
#include "support.h"

/* ---- UTF-8 --------------------------------------------------------------------------------------------------- */

/* By the definition: bits of the number behind marks of 1 to 4 bytes. 0: the number is none. */
static size_t encoded(uint32_t code, uint8_t out[4]) {
    if (code >= 0xd800 && code < 0xe000) return 0;
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    const size_t count = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (code > 0x10ffff) return 0;
    out[0] = (uint8_t)((0xff00 >> count) | (code >> (6 * (count - 1))));
    for (size_t n = 1; n < count; n++) out[n] = (uint8_t)(0x80 | (code >> (6 * (count - 1 - n)) & 0x3f));
    return count;
}

/* Asserts write to a pipe: in loops of a million there are ifs.
 *
 * Each number, read and written; cut off it is none. */
START_TEST(all_code_points) {
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint8_t expected[4];
        char found[4] = {0};
        const size_t count = encoded(code, expected);
        if (count == 0) continue;
        uint32_t back = 77;
        if (rbe_utf8_write(code, found) != count || memcmp(found, expected, count) != 0)
            ck_abort_msg("U+%04X is written otherwise", (unsigned)code);
        if (rbe_utf8_character(found, count, &back) != count || back != code) ck_abort_msg("U+%04X", (unsigned)code);
        for (size_t shorter = 1; shorter < count; shorter++)
            if (rbe_utf8_character(found, shorter, &back) != 0) ck_abort_msg("U+%04X, cut off", (unsigned)code);
    }
}
END_TEST

/* Every sequence of up to three bytes, and four of which the third and last are some: a character exactly if a number
 * is written so. Overlong forms, surrogates and numbers beyond 10FFFF are among them. */
START_TEST(all_sequences_of_bytes) {
    static const uint8_t ends[] = {0x00, 0x41, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xff};
    size_t characters = 0;
    for (uint32_t pair = 0; pair < 0x10000; pair++)
        for (size_t n = 0; n < 64; n++) {
            const uint8_t some[4] = {(uint8_t)(pair >> 8), (uint8_t)pair, ends[n / 8], ends[n % 8]};
            uint32_t code = 0;
            uint8_t again[4];
            const size_t found = rbe_utf8_character((const char *)some, 4, &code);
            if (found > 4) ck_abort_msg("%zu bytes", found);
            if (found > 0) {
                if (encoded(code, again) != found || memcmp(again, some, found) != 0)
                    ck_abort_msg("%02x %02x %02x %02x is read as U+%04X", some[0], some[1], some[2], some[3],
                                 (unsigned)code);
                characters++;
                continue;
            }
            /* No number of the length that the first byte promises is written so. */
            const size_t length = some[0] < 0x80 ? 1 : some[0] < 0xe0 ? 2 : some[0] < 0xf0 ? 3 : 4;
            uint32_t number = length == 1 ? some[0] : some[0] & (0x7fu >> length);
            for (size_t k = 1; k < length; k++) number = number << 6 | (some[k] & 0x3f);
            if (encoded(number, again) == length && memcmp(again, some, length) == 0)
                ck_abort_msg("%02x %02x %02x %02x, U+%04X, is refused", some[0], some[1], some[2], some[3],
                             (unsigned)number);
        }
    ck_assert_uint_gt(characters, 0x10000);
}
END_TEST

/* ---- files --------------------------------------------------------------------------------------------------- */

START_TEST(texts_are_read) {
    static const char *const texts[] = {"", "a", "two\nlines\r\n", "a\0b"};
    static const size_t sizes[] = {0, 1, 11, 3};
    char path[300];
    snprintf(path, sizeof path, "%s", scratch_path("text"));
    for (int n = 0; n < 4; n++) {
        write_whole(path, (bytes){(uint8_t *)texts[n], sizes[n]});
        size_t size = 99;
        char *text = rbe_text_read(path, &size);
        ck_assert_msg(text != NULL, "%s", rbe_last_error());
        ck_assert_uint_eq(size, sizes[n]);
        ck_assert_mem_eq(text, texts[n], size + 1);
        rbe_text_free(text);
    }
    rbe_text_free(NULL);
    size_t size = 99;
    rbe_set_max_read_bytes(2);
    ck_assert_ptr_null(rbe_text_read(path, &size));
    assert_failed(RBE_BAD_FORMAT, "3 bytes, expected at most 2");
    rbe_set_max_read_bytes(3);
    char *text = rbe_text_read(path, &size);
    ck_assert_ptr_nonnull(text);
    rbe_text_free(text);
    rbe_set_max_read_bytes(0);
    ck_assert_ptr_null(rbe_text_read(scratch_path("none"), &size));
    assert_failed(RBE_IO_ERROR, "none");
    ck_assert_uint_eq(size, 0);
    ck_assert_ptr_null(rbe_text_read("/", &size));
    assert_failed(RBE_IO_ERROR, "regular file");
    ck_assert_ptr_null(rbe_text_read(NULL, &size));
    assert_failed(RBE_INVALID_ARGUMENT, "path");
    ck_assert_ptr_null(rbe_text_read(path, NULL));
    assert_failed(RBE_INVALID_ARGUMENT, "result pointer");
    scratch_clear();
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* ---- vocabularies -------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *characters;
    size_t size;
    int32_t ids[12];
} vocabularies[] = {
    {"a", "a", 1, {0}},
    {"banana\n", "\nabn", 4, {2, 1, 3, 1, 3, 1, 0}},
    {"zyx zyx", " xyz", 4, {3, 2, 1, 0, 3, 2, 1}},
    {"\x7f\x01~", "\x01~\x7f", 3, {2, 0, 1}},
    {"\xc3\xa4\xc3\xb6z\xc3\xa4", "z\xc3\xa4\xc3\xb6", 3, {1, 2, 0, 1}},
    {"\xf0\x9f\x98\x80\xe2\x82\xac\xc2\x80\x7f", "\x7f\xc2\x80\xe2\x82\xac\xf0\x9f\x98\x80", 4, {3, 2, 1, 0}},
    {"\xf4\x8f\xbf\xbf\xef\xbf\xbf", "\xef\xbf\xbf\xf4\x8f\xbf\xbf", 2, {1, 0}},
};
enum { VOCABULARIES = sizeof vocabularies / sizeof *vocabularies };

START_TEST(characters_have_numbers) {
    const char *text = vocabularies[_i].text;
    const size_t bytes_of_text = strlen(text);
    rbe_vocabulary *v = rbe_vocabulary_of_text(text, bytes_of_text);
    ck_assert_msg(v != NULL, "%s", rbe_last_error());
    ck_assert_uint_eq(rbe_vocabulary_size(v), vocabularies[_i].size);
    ck_assert_str_eq(rbe_vocabulary_text(v), vocabularies[_i].characters);
    rbe_vocabulary *again = rbe_vocabulary_of_text(rbe_vocabulary_text(v), strlen(rbe_vocabulary_text(v)));
    ck_assert_str_eq(rbe_vocabulary_text(again), vocabularies[_i].characters);

    int32_t ids[16] = {0};
    size_t count = 0, counted = 0;
    ck_assert_ok(rbe_vocabulary_encode(v, text, bytes_of_text, NULL, &counted));
    ck_assert_ok(rbe_vocabulary_encode(v, text, bytes_of_text, ids, &count));
    ck_assert_uint_eq(count, counted);
    char back[64] = "", *next = back;
    for (size_t n = 0; n < count; n++) {
        char character[RBE_CHARACTER_SIZE];
        ck_assert_int_eq(ids[n], vocabularies[_i].ids[n]);
        const size_t size = rbe_vocabulary_decode(v, ids[n], character);
        ck_assert_uint_eq(size, strlen(character));
        memcpy(next, character, size);
        next += size;
    }
    ck_assert_str_eq(back, text);
    char character[RBE_CHARACTER_SIZE];
    const int32_t none[] = {-1, (int32_t)vocabularies[_i].size, INT32_MAX, INT32_MIN};
    for (int n = 0; n < 4; n++) {
        ck_assert_uint_eq(rbe_vocabulary_decode(v, none[n], character), 0);
        ck_assert_int_eq(character[0], 0);
    }
    ck_assert_ok(rbe_vocabulary_encode(v, NULL, 0, NULL, &count));
    ck_assert_uint_eq(count, 0);
    rbe_vocabulary_free(v);
    rbe_vocabulary_free(again);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* All characters that there are, but 0. */
START_TEST(the_largest_vocabulary) {
    enum { ALL = 0x110000 - 0x800 - 1 };
    uint8_t *text = test_memory(4 * (size_t)ALL, 1), *next = text;
    for (uint32_t code = 0x10ffff; code > 0; code--) next += encoded(code, next);
    rbe_vocabulary *v = rbe_vocabulary_of_text((const char *)text, (size_t)(next - text));
    ck_assert_uint_eq(rbe_vocabulary_size(v), ALL);
    int32_t *ids = test_memory(4 * (size_t)ALL, sizeof *ids);
    size_t count;
    ck_assert_ok(rbe_vocabulary_encode(v, (const char *)text, (size_t)(next - text), ids, &count));
    ck_assert_uint_eq(count, ALL);
    for (int32_t n = 0; n < ALL; n++)
        if (ids[n] != ALL - 1 - n) ck_abort_msg("id %d is %d", n, ids[n]);
    rbe_vocabulary_free(v);
    free(ids);
    free(text);
}
END_TEST

START_TEST(bytes_are_characters) {
    rbe_vocabulary *v = rbe_vocabulary_of_bytes();
    ck_assert_uint_eq(rbe_vocabulary_size(v), 256);
    ck_assert_ptr_null(rbe_vocabulary_text(v));
    char text[256], character[RBE_CHARACTER_SIZE];
    int32_t ids[256];
    size_t count;
    for (int n = 0; n < 256; n++) text[n] = (char)(255 - n);
    ck_assert_ok(rbe_vocabulary_encode(v, text, 256, ids, &count));
    ck_assert_uint_eq(count, 256);
    for (int n = 0; n < 256; n++) {
        ck_assert_int_eq(ids[n], 255 - n);
        ck_assert_uint_eq(rbe_vocabulary_decode(v, ids[n], character), 1);
        ck_assert(character[0] == text[n] && character[1] == 0);
    }
    ck_assert_uint_eq(rbe_vocabulary_decode(v, 256, character), 0);
    rbe_vocabulary_free(v);
    rbe_vocabulary_free(NULL);
    ck_assert_uint_eq(rbe_vocabulary_size(NULL), 0);
    ck_assert_ptr_null(rbe_vocabulary_text(NULL));
    ck_assert_uint_eq(rbe_vocabulary_decode(NULL, 0, character), 0);
}
END_TEST

static const struct {
    const char *text;
    size_t size, at; /* where the first byte stands that is none */
} no_texts[] = {
    {"ab\x80", 3, 2},                   /* no beginning */
    {"\xff", 1, 0},                     /* never */
    {"a\xc3", 2, 1},                    /* cut off */
    {"a\xe2\x82", 3, 1},                /* cut off */
    {"\xf0\x9f\x98", 3, 0},             /* cut off */
    {"abc\xc3z", 5, 3},                 /* no end */
    {"\xc0\xaf", 2, 0},                 /* overlong */
    {"\xe0\x80\xaf", 3, 0},             /* overlong */
    {"\xf0\x80\x80\xaf", 4, 0},         /* overlong */
    {"ok\xed\xa0\x80", 5, 2},           /* a surrogate */
    {"ok\xed\xbf\xbf", 5, 2},           /* a surrogate */
    {"\xf4\x90\x80\x80", 4, 0},         /* beyond 10FFFF */
    {"\xf8\x88\x80\x80\x80", 5, 0},     /* five bytes */
    {"a\0b", 3, 1},                     /* 0 */
    {"\xc3\xa4\xe2\x82\xac\xa4", 6, 5}, /* behind characters of several bytes */
};
enum { NO_TEXTS = sizeof no_texts / sizeof *no_texts };

/* The byte is named, when a vocabulary is made and when one is used. A 0 is a byte of UTF-8, but in no vocabulary. */
START_TEST(bytes_that_are_no_text) {
    char word[32];
    snprintf(word, sizeof word, "byte %zu", no_texts[_i].at);
    ck_assert_ptr_null(rbe_vocabulary_of_text(no_texts[_i].text, no_texts[_i].size));
    assert_failed(RBE_BAD_FORMAT, word);
    rbe_vocabulary *v = rbe_vocabulary_of_text("abcokz\xc3\xa4\xe2\x82\xac", 11);
    ck_assert_ptr_nonnull(v);
    size_t count = 55;
    int32_t ids[16];
    const bool zero = no_texts[_i].text[no_texts[_i].at] == 0;
    ck_assert_int_eq(rbe_vocabulary_encode(v, no_texts[_i].text, no_texts[_i].size, ids, &count),
                     zero ? RBE_INVALID_ARGUMENT : RBE_BAD_FORMAT);
    assert_failed(zero ? RBE_INVALID_ARGUMENT : RBE_BAD_FORMAT, word);
    ck_assert_uint_eq(count, 55);
    rbe_vocabulary_free(v);
    rbe_vocabulary *any = rbe_vocabulary_of_bytes();
    ck_assert_ok(rbe_vocabulary_encode(any, no_texts[_i].text, no_texts[_i].size, ids, &count));
    ck_assert_uint_eq(count, no_texts[_i].size);
    rbe_vocabulary_free(any);
    ck_assert_uint_eq(rbe_memory().current, 0);
}
END_TEST

/* A byte that is none, at every place of a text. */
START_TEST(a_bad_byte_at_every_place) {
    enum { LENGTH = 100 };
    char text[LENGTH], word[32];
    for (size_t bad = 0; bad < LENGTH; bad++) {
        memset(text, 'x', LENGTH);
        text[bad] = (char)0xfe;
        snprintf(word, sizeof word, "byte %zu, fe", bad);
        ck_assert_ptr_null(rbe_vocabulary_of_text(text, LENGTH));
        assert_failed(RBE_BAD_FORMAT, word);
    }
}
END_TEST

START_TEST(characters_that_are_unknown) {
    rbe_vocabulary *v = rbe_vocabulary_of_text("ac\xc3\xa4", 4);
    size_t count;
    static const struct {
        const char *text, *word;
    } unknown[] = {{"aab", "byte 2: the vocabulary of 3 characters has no \"b\" (U+0062)"},
                   {"\xc3\xa4\xe2\x82\xac", "byte 2: the vocabulary of 3 characters has no \"\xe2\x82\xac\" (U+20AC)"},
                   {"\xf0\x9f\x98\x80", "(U+1F600)"}};
    for (int n = 0; n < 3; n++) {
        ck_assert_int_eq(rbe_vocabulary_encode(v, unknown[n].text, strlen(unknown[n].text), NULL, &count),
                         RBE_INVALID_ARGUMENT);
        assert_failed(RBE_INVALID_ARGUMENT, unknown[n].word);
    }
    ck_assert_int_eq(rbe_vocabulary_encode(NULL, "a", 1, NULL, &count), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_vocabulary_encode(v, NULL, 1, NULL, &count), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_vocabulary_encode(v, "a", 1, NULL, NULL), RBE_INVALID_ARGUMENT);
    rbe_vocabulary_free(v);
    ck_assert_ptr_null(rbe_vocabulary_of_text("", 0));
    assert_failed(RBE_INVALID_ARGUMENT, "at least one character");
    ck_assert_ptr_null(rbe_vocabulary_of_text(NULL, 3));
    assert_failed(RBE_INVALID_ARGUMENT, "NULL");
}
END_TEST

static rbe_status use_a_vocabulary(void *user) {
    const char *path = user;
    size_t size, count;
    char *text = rbe_text_read(path, &size);
    rbe_vocabulary *v = text ? rbe_vocabulary_of_text(text, size) : NULL, *w = v ? rbe_vocabulary_of_bytes() : NULL;
    rbe_status status = w ? rbe_vocabulary_encode(v, text, size, NULL, &count) : rbe_last_status();
    rbe_text_free(text);
    rbe_vocabulary_free(v);
    rbe_vocabulary_free(w);
    return status;
}

START_TEST(allocations_that_fail) {
    char path[300];
    snprintf(path, sizeof path, "%s", scratch_path("text"));
    write_whole(path, (bytes){(uint8_t *)"some text", 9});
    ck_assert_uint_ge(fail_each_allocation(use_a_vocabulary, path), 5);
    scratch_clear();
}
END_TEST

/* ---- windows ------------------------------------------------------------------------------------------------- */

enum { IDS = 97, CLASSES = 13 };

static int32_t text_ids[IDS];

static void fill_ids(void) {
    for (int n = 0; n < IDS; n++) text_ids[n] = n * n % CLASSES;
}

static const struct {
    size_t count, length, stride, windows;
} cuts[] = {
    {2, 1, 1, 1},    {3, 1, 1, 2},    {IDS, 1, 1, 96},  {IDS, 8, 8, 12},  {IDS, 8, 1, 89},       {IDS, 8, 3, 30},
    {IDS, 8, 96, 1}, {IDS, 96, 1, 1}, {IDS, 95, 1, 2},  {IDS, 48, 48, 2}, {IDS, 47, 48, 2},      {IDS, 49, 48, 1},
    {IDS, 5, 20, 5}, {50, 7, 4, 11},  {IDS, 1, 200, 1}, {9, 8, 1, 1},     {IDS, 8, SIZE_MAX, 1},
};
enum { CUTS = sizeof cuts / sizeof *cuts };

static rbe_dataset cut(int n) {
    rbe_dataset data;
    fill_ids();
    ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, cuts[n].count, cuts[n].length, cuts[n].stride, CLASSES));
    return data;
}

/* Batches, in order and shuffled, hold what a naive copy of all windows holds; each window once. */
START_TEST(windows_are_what_a_copy_holds) {
    const size_t length = cuts[_i].length, stride = cuts[_i].stride, windows = cuts[_i].windows;
    rbe_dataset data = cut(_i);
    ck_assert_uint_eq(data.count, windows);
    ck_assert_uint_eq(data.features, length);
    ck_assert(!data.owned && data.classes == CLASSES);
    int32_t *tokens = test_memory(windows * length, sizeof *tokens),
            *labels = test_memory(windows * length, sizeof *labels);
    for (size_t w = 0; w < windows; w++)
        for (size_t n = 0; n < length; n++) {
            const size_t place = (w ? w * stride : 0) + n;
            ck_assert_uint_lt(place + 1, cuts[_i].count);
            tokens[w * length + n] = text_ids[place];
            labels[w * length + n] = text_ids[place + 1];
        }
    /* There is no room for another window. */
    ck_assert(stride >= cuts[_i].count || windows * stride + length + 1 > cuts[_i].count);
    rbe_dataset copy = {.count = windows,
                        .features = length,
                        .classes = CLASSES,
                        .tokens = tokens,
                        .labels = labels,
                        .label_width = length};
    for (size_t batch_size = 1; batch_size <= windows; batch_size += 1 + windows / 3)
        for (int shuffle = 0; shuffle < 2; shuffle++) {
            rbe_batches *a = rbe_batches_new(&data, batch_size, shuffle, 4),
                        *b = rbe_batches_new(&copy, batch_size, shuffle, 4);
            ck_assert_msg(a && b, "%s", rbe_last_error());
            rbe_batch x, y;
            size_t rows = 0;
            for (rbe_batches_start(a, 1), rbe_batches_start(b, 1); rbe_batches_next(b, &y); rows += y.rows) {
                ck_assert(rbe_batches_next(a, &x));
                ck_assert_uint_eq(x.rows, y.rows);
                ck_assert(x.token_width == length && x.label_width == length && !x.x.data && !x.weights);
                ck_assert_mem_eq(x.tokens, y.tokens, x.rows * length * sizeof *x.tokens);
                ck_assert_mem_eq(x.labels, y.labels, x.rows * length * sizeof *x.labels);
                if (!shuffle) ck_assert_mem_eq(x.tokens, tokens + rows * length, x.rows * length * sizeof *x.tokens);
            }
            ck_assert(!rbe_batches_next(a, &x));
            ck_assert_uint_eq(rows, windows);
            rbe_batches_free(a);
            rbe_batches_free(b);
        }
    free(tokens);
    free(labels);
    rbe_dataset_free(&data);
}
END_TEST

/* Two parts of a split have the windows of the whole, wherever it is cut. */
START_TEST(windows_are_split) {
    for (int n = 0; n < CUTS; n++)
        for (size_t last = 1; last < cuts[n].windows; last += 1 + cuts[n].windows / 5) {
            rbe_dataset data = cut(n), part;
            ck_assert_ok(rbe_dataset_split(&data, last, &part));
            ck_assert_uint_eq(data.count, cuts[n].windows - last);
            ck_assert_ptr_eq(part.tokens, text_ids + data.count * cuts[n].stride);
            ck_assert_ptr_eq(part.labels, part.tokens + 1);
            rbe_batches *batches = rbe_batches_new(&part, last, false, 0);
            rbe_batch batch;
            ck_assert(rbe_batches_next(batches, &batch));
            const size_t place = (cuts[n].windows - 1) * cuts[n].stride; /* of the last window */
            ck_assert_mem_eq(batch.tokens + (last - 1) * cuts[n].length, text_ids + place,
                             cuts[n].length * sizeof(int32_t));
            ck_assert_mem_eq(batch.labels + (last - 1) * cuts[n].length, text_ids + place + 1,
                             cuts[n].length * sizeof(int32_t));
            rbe_batches_free(batches);
        }
}
END_TEST

static const struct {
    size_t count, length, stride;
    int32_t classes, bad; /* bad: an id at place 5; 0: none */
    const char *word;
} no_windows[] = {
    {IDS, 0, 1, CLASSES, 0, "found 0, 1"},
    {IDS, 1, 0, CLASSES, 0, "found 1, 0"},
    {0, 1, 1, CLASSES, 0, "and 0 ids"},
    {1, 1, 1, CLASSES, 0, "and 1 ids"},
    {8, 8, 1, CLASSES, 0, "and 8 ids"},
    {IDS, SIZE_MAX, 1, CLASSES, 0, "more ids than a window has places"},
    {IDS, 8, 1, 0, 0, "classes of at least 1"},
    {IDS, 8, 1, -3, 0, "classes of at least 1"},
    {IDS, 8, 1, CLASSES - 1, 0, "expected 0 .. 11, found 12"},
    {IDS, 8, 1, CLASSES, CLASSES, "id 5: expected 0 .. 12, found 13"},
    {IDS, 8, 1, CLASSES, -1, "id 5: expected 0 .. 12, found -1"},
    {IDS, 8, 90, CLASSES, INT32_MAX, "id 5"},
};
enum { NO_WINDOWS = sizeof no_windows / sizeof *no_windows };

START_TEST(windows_that_are_refused) {
    fill_ids();
    if (no_windows[_i].bad) text_ids[5] = no_windows[_i].bad;
    rbe_dataset data;
    memset(&data, 1, sizeof data);
    ck_assert_int_eq(rbe_dataset_from_windows(&data, text_ids, no_windows[_i].count, no_windows[_i].length,
                                              no_windows[_i].stride, no_windows[_i].classes),
                     RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, no_windows[_i].word);
    ck_assert(data.count == 0 && !data.tokens && !data.owned);
    ck_assert_int_eq(rbe_dataset_from_windows(NULL, text_ids, IDS, 8, 1, CLASSES), RBE_INVALID_ARGUMENT);
    ck_assert_int_eq(rbe_dataset_from_windows(&data, NULL, IDS, 8, 1, CLASSES), RBE_INVALID_ARGUMENT);
}
END_TEST

/* A stride belongs to tokens. */
START_TEST(strides_of_other_data) {
    float values[12] = {0};
    rbe_dataset data = {.count = 3, .features = 4, .values = values, .stride = 2};
    ck_assert_ptr_null(rbe_batches_new(&data, 1, false, 0));
    assert_failed(RBE_INVALID_ARGUMENT, "a stride of 2: expected tokens");
}
END_TEST

/* ---- training on ids ----------------------------------------------------------------------------------------- */

static rbe_model *new_model(void) {
    rbe_model *model = rbe_gpt_new(&(rbe_gpt_options){
        .vocabulary = CLASSES, .layers = 1, .heads = 2, .width = 8, .context = 16, .dense = true, .seed = 1});
    ck_assert_ptr_nonnull(model);
    return model;
}

/* The loss is the mean over all places of -log softmax, whatever the batch: windows side by side, their last one
 * ragged. */
START_TEST(losses_of_windows) {
    fill_ids();
    rbe_model *model = new_model();
    for (size_t length = 1; length <= 16; length += 5)
        for (size_t batch = 1; batch <= 7; batch += 3) {
            rbe_dataset data;
            ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, IDS, length, length, CLASSES));
            rbe_evaluation e;
            const rbe_evaluate_options options = {.batch = batch, .metric = rbe_metric_loss};
            ck_assert_ok(rbe_evaluate_with(model, &data, &options, &e));
            double sum = 0.0;
            for (size_t w = 0; w < data.count; w++) {
                float x[16];
                for (size_t n = 0; n < length; n++) x[n] = (float)text_ids[w * length + n];
                rbe_tape *tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
                const float *y =
                    rbe_value(rbe_log_softmax(rbe_model_forward(model, rbe_input(tape, rbe_tensor_2d(x, 1, length)))))
                        ->data;
                ck_assert_ok(rbe_tape_status(tape));
                for (size_t n = 0; n < length; n++)
                    sum -= (double)y[n * CLASSES + (size_t)text_ids[w * length + n + 1]];
                rbe_tape_free(tape);
            }
            ck_assert_uint_eq(e.count, data.count);
            ck_assert_double_eq_tol(e.loss, sum / (double)(data.count * length), 1e-5);
        }
    rbe_model_free(model);
}
END_TEST

/* One step by rbe_train_step is one by hand. */
START_TEST(ids_enter_as_floats) {
    fill_ids();
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, IDS, 10, 7, CLASSES));
    rbe_model *a = new_model(), *b = new_model();
    const rbe_optim_options options = {.lr = 0.1f};
    rbe_optim *for_a = rbe_optim_new(rbe_adam, a, &options), *for_b = rbe_optim_new(rbe_adam, b, &options);
    rbe_batches *batches = rbe_batches_new(&data, 4, true, 2);
    rbe_step step = {.model = a, .optim = for_a, .tape = rbe_tape_new(NULL)};
    rbe_tape *tape = rbe_tape_new(NULL);
    rbe_batch batch;
    for (int n = 0; n < 3; n++) {
        ck_assert(rbe_batches_next(batches, &batch));
        ck_assert_ok(rbe_train_step(&step, &batch));
        ck_assert_int_eq(rbe_value(step.output)->dims, 3);
        float x[40];
        for (size_t k = 0; k < batch.rows * 10; k++) x[k] = (float)batch.tokens[k];
        rbe_tape_reset(tape);
        rbe_var *y = rbe_model_forward(b, rbe_input(tape, rbe_tensor_2d(x, batch.rows, 10)));
        rbe_var *loss = rbe_cross_entropy(y, batch.labels);
        ck_assert_ok(rbe_backward(loss));
        ck_assert_double_eq(step.batch_loss, (double)rbe_item(loss));
        ck_assert_ok(rbe_optim_step(for_b));
    }
    ck_assert(same_models(a, b));
    rbe_tape_free(step.tape);
    rbe_tape_free(tape);
    rbe_batches_free(batches);
    rbe_optim_free(for_a);
    rbe_optim_free(for_b);
    rbe_model_free(a);
    rbe_model_free(b);
}
END_TEST

/* Ids that no embedding takes end the training with a text; so does a model that takes no ids. */
START_TEST(ids_that_do_not_fit) {
    fill_ids();
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, IDS, 10, 7, CLASSES));
    rbe_model *small = rbe_gpt_new(&(rbe_gpt_options){
        .vocabulary = CLASSES - 1, .layers = 1, .heads = 2, .width = 8, .context = 16, .dense = true});
    rbe_evaluation e;
    ck_assert_int_eq(rbe_evaluate_with(small, &data, NULL, &e), RBE_INVALID_ARGUMENT);
    assert_failed(RBE_INVALID_ARGUMENT, "expected a whole number in 0 .. 11");
    rbe_model_free(small);
    rbe_model *dense = rbe_model_new();
    ck_assert_ok(rbe_model_add(dense, rbe_dense_new(9, CLASSES, NULL)));
    ck_assert_int_eq(rbe_evaluate_with(dense, &data, NULL, &e), RBE_INPUT_DIMENSION_MISMATCH);
    rbe_model_free(dense);
}
END_TEST

/* ---- epochs of so many batches ------------------------------------------------------------------------------- */

typedef struct seen {
    size_t steps, epochs, steps_of_epoch[16];
    size_t said_steps; /* by progress->steps */
} seen;

static rbe_status see_step(void *user, const rbe_progress *p) {
    seen *s = user;
    ck_assert_uint_eq(p->step, s->steps);
    s->steps++;
    s->steps_of_epoch[p->epoch]++;
    s->said_steps = p->steps;
    return RBE_OK;
}

static rbe_status see_epoch(void *user, const rbe_progress *p) {
    seen *s = user;
    ck_assert_uint_eq(p->epoch, s->epochs);
    s->epochs++;
    return RBE_OK;
}

/* Of 29 windows in batches of 4: 8, the last of one. */
static const struct {
    size_t epoch_batches, accumulate, steps; /* steps of an epoch */
} epochs[] = {{0, 1, 8},        {1, 1, 1}, {3, 1, 3}, {7, 1, 7}, {8, 1, 8}, {9, 1, 8},
              {SIZE_MAX, 1, 8}, {5, 2, 3}, {4, 2, 2}, {3, 4, 1}, {8, 3, 3}};
enum { EPOCHS = sizeof epochs / sizeof *epochs };

START_TEST(epochs_have_so_many_batches) {
    fill_ids();
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, 4 + 3 * 28 + 1, 4, 3, CLASSES));
    ck_assert_uint_eq(data.count, 29);
    rbe_model *model = new_model();
    rbe_optim *optim = rbe_optim_new(rbe_sgd, model, &(rbe_optim_options){.lr = 0.01f});
    seen s = {0};
    const rbe_fit_options options = {.epochs = 3,
                                     .batch = 4,
                                     .epoch_batches = epochs[_i].epoch_batches,
                                     .accumulate = epochs[_i].accumulate,
                                     .metric = rbe_metric_loss,
                                     .on_step = see_step,
                                     .on_epoch = see_epoch,
                                     .user = &s};
    rbe_fit_result result;
    ck_assert_ok(rbe_fit(model, optim, &data, NULL, &options, &result));
    ck_assert_uint_eq(s.epochs, 3);
    for (int n = 0; n < 3; n++) ck_assert_uint_eq(s.steps_of_epoch[n], epochs[_i].steps);
    ck_assert_uint_eq(result.steps, 3 * epochs[_i].steps);
    ck_assert_uint_eq(s.said_steps, result.steps);
    const size_t batches = epochs[_i].epoch_batches - 1 < 8 ? epochs[_i].epoch_batches : 8;
    ck_assert_uint_eq(result.train.count, batches == 8 ? 29 : 4 * batches); /* of the last epoch */
    rbe_optim_free(optim);
    rbe_model_free(model);
}
END_TEST

/* The batches of each epoch are the first of its order: others in each epoch. By hand: the same bits. */
START_TEST(each_epoch_has_other_samples) {
    fill_ids();
    rbe_dataset data;
    ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, IDS, 6, 1, CLASSES));
    rbe_model *a = new_model(), *b = new_model();
    const rbe_optim_options options = {.lr = 0.05f};
    rbe_optim *for_a = rbe_optim_new(rbe_sgd, a, &options), *for_b = rbe_optim_new(rbe_sgd, b, &options);
    const rbe_fit_options fit = {.epochs = 3, .batch = 5, .epoch_batches = 2, .seed = 8, .metric = rbe_metric_loss};
    rbe_fit_result result;
    ck_assert_ok(rbe_fit(a, for_a, &data, NULL, &fit, &result));
    rbe_batches *batches = rbe_batches_new(&data, 5, true, 8);
    rbe_step step = {.model = b, .optim = for_b, .tape = rbe_tape_new(NULL)};
    int32_t first[3][30];
    for (size_t epoch = 0; epoch < 3; epoch++) {
        rbe_batches_start(batches, epoch);
        for (int n = 0; n < 2; n++) {
            rbe_batch batch;
            ck_assert(rbe_batches_next(batches, &batch));
            if (n == 0) memcpy(first[epoch], batch.tokens, sizeof first[epoch]);
            ck_assert_ok(rbe_train_step(&step, &batch));
        }
    }
    ck_assert(same_models(a, b));
    ck_assert_mem_ne(first[0], first[1], sizeof first[0]);
    ck_assert_mem_ne(first[1], first[2], sizeof first[0]);
    rbe_tape_free(step.tape);
    rbe_batches_free(batches);
    rbe_optim_free(for_a);
    rbe_optim_free(for_b);
    rbe_model_free(a);
    rbe_model_free(b);
}
END_TEST

/* From a checkpoint other ids, another stride or another number of batches are refused. */
START_TEST(a_checkpoint_knows_its_windows) {
    fill_ids();
    char path[300];
    snprintf(path, sizeof path, "%s", scratch_path("checkpoint"));
    rbe_checkpoint_options keep = {.path = path, .resume = true};
    static const char *const words[] = {NULL, "train", "train", "epoch batches"};
    for (int n = 0; n < 4; n++) {
        rbe_dataset data;
        if (n == 1) text_ids[90] = (text_ids[90] + 1) % CLASSES; /* in the last window */
        ck_assert_ok(rbe_dataset_from_windows(&data, text_ids, IDS, 6, n == 2 ? 1 : 6, CLASSES));
        if (n == 2) data.count = 16;
        if (n == 1) fill_ids(); /* it stays as it was for the others: the data are borrowed */
        if (n == 1) text_ids[90] = (text_ids[90] + 1) % CLASSES;
        rbe_model *model = new_model();
        rbe_optim *optim = rbe_optim_new(rbe_sgd, model, &(rbe_optim_options){.lr = 0.05f});
        const rbe_fit_options fit = {
            .epochs = 2, .batch = 5, .epoch_batches = n == 3 ? 3 : 2, .metric = rbe_metric_loss, .checkpoint = &keep};
        rbe_fit_result result;
        const rbe_status status = rbe_fit(model, optim, &data, NULL, &fit, &result);
        ck_assert_int_eq(status, words[n] ? RBE_INVALID_ARGUMENT : RBE_OK);
        if (words[n]) assert_failed(RBE_INVALID_ARGUMENT, words[n]);
        fill_ids();
        rbe_optim_free(optim);
        rbe_model_free(model);
    }
    scratch_clear();
}
END_TEST

Suite *text_suite(void) {
    Suite *suite = suite_create("text");
    TCase *utf8 = tcase_create("utf8");
    tcase_add_test(utf8, all_code_points);
    tcase_add_test(utf8, all_sequences_of_bytes);
    suite_add_tcase(suite, utf8);
    TCase *vocabulary = tcase_create("vocabulary");
    tcase_add_test(vocabulary, texts_are_read);
    tcase_add_loop_test(vocabulary, characters_have_numbers, 0, VOCABULARIES);
    tcase_add_test(vocabulary, the_largest_vocabulary);
    tcase_add_test(vocabulary, bytes_are_characters);
    tcase_add_loop_test(vocabulary, bytes_that_are_no_text, 0, NO_TEXTS);
    tcase_add_test(vocabulary, a_bad_byte_at_every_place);
    tcase_add_test(vocabulary, characters_that_are_unknown);
    tcase_add_test(vocabulary, allocations_that_fail);
    suite_add_tcase(suite, vocabulary);
    TCase *windows = tcase_create("windows");
    tcase_add_loop_test(windows, windows_are_what_a_copy_holds, 0, CUTS);
    tcase_add_test(windows, windows_are_split);
    tcase_add_loop_test(windows, windows_that_are_refused, 0, NO_WINDOWS);
    tcase_add_test(windows, strides_of_other_data);
    suite_add_tcase(suite, windows);
    TCase *training = tcase_create("training");
    tcase_add_test(training, losses_of_windows);
    tcase_add_test(training, ids_enter_as_floats);
    tcase_add_test(training, ids_that_do_not_fit);
    tcase_add_loop_test(training, epochs_have_so_many_batches, 0, EPOCHS);
    tcase_add_test(training, each_epoch_has_other_samples);
    tcase_add_test(training, a_checkpoint_knows_its_windows);
    suite_add_tcase(suite, training);
    return suite;
}
