/* cJSON behind a scan of the text: what cJSON lets pass, or pays too much memory for, is refused before.
 *
 * cJSON accepts any bytes in strings, cuts them at an escaped zero, nests 1000 deep and spends 64 bytes on each
 * value of a text that may have a value in every other byte.
 */
#include "io/json.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "base/utf8.h"

_Static_assert(sizeof(cJSON) <= RBE_JSON_VALUE, "cJSON's values are no larger");

size_t rbe_utf8_length(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        size_t bytes = rbe_utf8_character(text + at, length - at, NULL);
        if (bytes == 0) break;
        at += bytes;
    }
    return at;
}

/* Bounds the number of values by the marks that each follows, [ { , : outside of strings. */
static rbe_status scan(const char *text, size_t length, int most_depth, const char *name, size_t *values) {
    size_t valid = rbe_utf8_length(text, length);
    if (valid < length) return rbe_fail(RBE_BAD_FORMAT, "%s: byte %zu of the JSON text is not UTF-8", name, valid);
    bool in_string = false;
    int depth = 0;
    *values = 1;
    for (size_t n = 0; n < length; n++) {
        char c = text[n];
        if (in_string) {
            if ((uint8_t)c < 0x20)
                return rbe_fail(RBE_BAD_FORMAT, "%s: byte %zu is a control character in a string", name, n);
            if (c == '"') in_string = false;
            if (c != '\\') continue;
            if (length - n > 5 && memcmp(text + n, "\\u0000", 6) == 0)
                return rbe_fail(RBE_BAD_FORMAT, "%s: byte %zu is an escaped zero in a string", name, n);
            n++;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            ++*values;
            if (++depth > most_depth)
                return rbe_fail(RBE_BAD_FORMAT, "%s: the JSON text is nested more than %d deep", name, most_depth);
        } else if (c == ']' || c == '}') {
            depth--;
        } else if (c == ',' || c == ':') {
            ++*values;
        }
    }
    return RBE_OK;
}

rbe_status rbe_json_parse(cJSON **root, const char *text, size_t length, int depth, const char *name, uint64_t room) {
    /* cJSON notes the place of the last error in a variable of the whole process. */
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    *root = NULL;
    size_t values = 0;
    RBE_TRY(scan(text, length, depth, name, &values));
    if (values > room / RBE_JSON_VALUE)
        return rbe_fail(RBE_BAD_FORMAT, "%s: %zu JSON values are too many for a file of this size", name, values);
    const char *end = text;
    pthread_mutex_lock(&one_at_a_time);
    errno = 0;
    *root = cJSON_ParseWithLengthOpts(text, length, &end, false);
    bool no_memory = !*root && errno == ENOMEM; /* cJSON does not tell, malloc does */
    pthread_mutex_unlock(&one_at_a_time);
    if (no_memory) return rbe_fail(RBE_INSUFFICIENT_MEMORY, "%s: no memory for %zu JSON values", name, values);
    size_t at = (size_t)(end - text);
    if (*root)
        while (at < length && text[at] == ' ') at++;
    if (*root && at == length) return RBE_OK;
    cJSON_Delete(*root);
    *root = NULL;
    return rbe_fail(RBE_BAD_FORMAT, "%s: syntax error at byte %zu of the JSON text", name, at);
}

bool rbe_json_whole(const cJSON *item, uint64_t most, uint64_t *value) {
    if (!cJSON_IsNumber(item)) return false;
    double number = item->valuedouble;
    if (!(number >= 0.0 && number <= (double)most && number == floor(number))) return false;
    *value = (uint64_t)number;
    return true;
}

const char *rbe_json_string(const cJSON *item) { return cJSON_IsString(item) ? item->valuestring : NULL; }
