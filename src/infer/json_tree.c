/* JSON text to a tree, as cJSON makes one: what one of them takes the other takes, too, and both stop at the same byte.
 *
 * The texts have been looked at (io/json.c): they nest only so deep, and hold no zeros. All memory of a tree is an arena's.
 */
#include <errno.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/utf8.h"
#include "infer/cjson.h"

/* A tree is freed by its root. */
typedef struct tree {
    cJSON root;
    rbe_arena arena;
} tree;

typedef struct parser {
    rbe_arena *arena;
    const char *text;
    size_t at, length;
} parser;

static bool is_at(const parser *p, char c) { return p->at < p->length && p->text[p->at] == c; }

/* Stays within the text. */
static void skip_spaces(parser *p) {
    if (p->at >= p->length) return;
    while (p->at < p->length && (uint8_t)p->text[p->at] <= ' ') p->at++;
    if (p->at == p->length) p->at--;
}

static void *take(parser *p, size_t bytes) {
    void *memory = rbe_arena_take(p->arena, 1, bytes);
    if (!memory) errno = ENOMEM;
    return memory;
}

static cJSON *new_item(parser *p) {
    cJSON *item = take(p, sizeof *item);
    if (item) *item = (cJSON){0};
    return item;
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* strtod wants the decimal point of the program's locale. */
static bool parse_number(parser *p, cJSON *item) {
    char digits[64], *end;
    const char point = *localeconv()->decimal_point;
    size_t count = 0;
    for (; count < sizeof digits - 1 && p->at + count < p->length; count++) {
        const char c = p->text[p->at + count];
        if (!c || !strchr("0123456789+-eE.", c)) break;
        digits[count] = c == '.' ? point : c;
    }
    digits[count] = '\0';
    item->valuedouble = strtod(digits, &end);
    if (end == digits) return false;
    item->type = cJSON_Number;
    p->at += (size_t)(end - digits);
    return true;
}

/* ---- strings ------------------------------------------------------------------------------------------------- */

/* Four digits; 0 for others. */
static uint32_t hexadecimal(const char *text) {
    uint32_t code = 0;
    for (int n = 0; n < 4; n++) {
        const char *digits = "0123456789abcdef", c = text[n] >= 'A' && text[n] <= 'F' ? (char)(text[n] + 32) : text[n];
        const char *digit = c ? strchr(digits, c) : NULL;
        if (!digit) return 0;
        code = code << 4 | (uint32_t)(digit - digits);
    }
    return code;
}

/* \uXXXX, or two of them, at `from`: the bytes of it, 0 if it is none; *to is moved behind the character. */
static size_t parse_escaped(const char *from, const char *end, char **to) {
    if (end - from < 6) return 0;
    uint32_t code = hexadecimal(from + 2);
    size_t bytes = 6;
    if (code >= 0xdc00 && code <= 0xdfff) return 0;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (end - from < 12 || from[6] != '\\' || from[7] != 'u') return 0;
        const uint32_t low = hexadecimal(from + 8);
        if (low < 0xdc00 || low > 0xdfff) return 0;
        code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
        bytes = 12;
    }
    *to += rbe_utf8_write(code, *to);
    return bytes;
}

/* Copies what stands between quotes. Returns where it stopped: `end`, or an escape that is none. */
static const char *unescape(const char *from, const char *end, char *to) {
    static const char names[] = "bfnrt\"\\/", meanings[] = "\b\f\n\r\t\"\\/";
    while (from < end) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        const char *name = from[1] ? strchr(names, from[1]) : NULL;
        const size_t bytes = name ? 2 : from[1] == 'u' ? parse_escaped(from, end, &to) : 0;
        if (bytes == 0) return from;
        if (name) *to++ = meanings[name - names];
        from += bytes;
    }
    *to = '\0';
    return end;
}

/* NULL: there is no string, or no memory. */
static char *parse_string(parser *p) {
    if (!is_at(p, '"')) {
        if (p->at < p->length) p->at++;
        return NULL;
    }
    const size_t start = ++p->at;
    size_t end = start;
    while (end < p->length && p->text[end] != '"') end += p->text[end] == '\\' ? 2 : 1;
    if (end >= p->length) return NULL;
    char *string = take(p, end - start + 1);
    if (!string) return NULL;
    const char *stopped = unescape(p->text + start, p->text + end, string);
    p->at = (size_t)(stopped - p->text);
    if (p->at < end) return NULL;
    p->at++;
    return string;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

static bool parse_value(parser *p, cJSON *item);

static bool parse_name(parser *p, cJSON *item) {
    item->string = parse_string(p);
    if (!item->string) return false;
    skip_spaces(p);
    if (!is_at(p, ':')) return false;
    p->at++;
    skip_spaces(p);
    return true;
}

/* Of an array or object, from its first bracket on. */
static bool parse_members(parser *p, cJSON *item, cjson_type type, char last) {
    item->type = type;
    p->at++;
    skip_spaces(p);
    if (is_at(p, last)) {
        p->at++;
        return true;
    }
    p->at--;
    cJSON **next = &item->child;
    do {
        cJSON *member = *next = new_item(p);
        if (!member) return false;
        next = &member->next;
        p->at++;
        skip_spaces(p);
        if ((type == cJSON_Object && !parse_name(p, member)) || !parse_value(p, member)) return false;
        skip_spaces(p);
    } while (is_at(p, ','));
    if (!is_at(p, last)) return false;
    p->at++;
    return true;
}

static bool parse_word(parser *p, cJSON *item) {
    static const struct {
        const char *word;
        cjson_type type;
    } words[] = {{"null", cJSON_Null}, {"false", cJSON_Bool}, {"true", cJSON_Bool}};
    for (size_t n = 0; n < sizeof words / sizeof *words; n++) {
        const size_t length = strlen(words[n].word);
        if (p->length - p->at < length || memcmp(p->text + p->at, words[n].word, length) != 0) continue;
        item->type = words[n].type;
        p->at += length;
        return true;
    }
    return false;
}

static bool parse_value(parser *p, cJSON *item) {
    if (p->at >= p->length) return false;
    const char c = p->text[p->at];
    if (c == '[') return parse_members(p, item, cJSON_Array, ']');
    if (c == '{') return parse_members(p, item, cJSON_Object, '}');
    if (c == '-' || (c >= '0' && c <= '9')) return parse_number(p, item);
    if (c != '"') return parse_word(p, item);
    item->type = cJSON_String;
    item->valuestring = parse_string(p);
    return item->valuestring != NULL;
}

/* ---- trees --------------------------------------------------------------------------------------------------- */

static tree *new_tree(void) {
    tree *t = rbe_alloc_zeroed(1, sizeof *t);
    if (!t) errno = ENOMEM;
    return t;
}

cJSON *cJSON_ParseWithLengthOpts(const char *text, size_t length, const char **end, int null_terminated) {
    (void)null_terminated;
    static const char mark[] = "\xef\xbb\xbf"; /* of texts in UTF-8 */
    *end = text;
    tree *t = length > 0 ? new_tree() : NULL;
    if (!t) return NULL;
    parser p = {.arena = &t->arena, .text = text, .length = length};
    if (length > 4 && memcmp(text, mark, 3) == 0) p.at = 3;
    skip_spaces(&p);
    const bool whole = parse_value(&p, &t->root);
    *end = text + (whole || p.at < length ? p.at : length - 1);
    if (whole) return &t->root;
    cJSON_Delete(&t->root);
    return NULL;
}

void cJSON_Delete(cJSON *root) {
    if (!root) return;
    tree *t = (tree *)root;
    rbe_arena_free(&t->arena);
    rbe_free(t);
}

cJSON *cJSON_GetObjectItemCaseSensitive(const cJSON *object, const char *name) {
    cJSON *item = object ? object->child : NULL;
    while (item && item->string && strcmp(item->string, name) != 0) item = item->next;
    return item && item->string ? item : NULL;
}

cJSON *cJSON_GetArrayItem(const cJSON *array, int n) {
    cJSON *item = array ? array->child : NULL;
    for (; item && n > 0; n--) item = item->next;
    return item;
}

int cJSON_GetArraySize(const cJSON *array) {
    int count = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array) count++;
    return count;
}
