/* JSON from files that are not trusted: cJSON behind checks of what it lets pass. */
#ifndef RBE_IO_JSON_H
#define RBE_IO_JSON_H

#ifdef RBE_INFER
#include "infer/cjson.h"
#else
#include <cjson/cJSON.h>
#endif

#include "rbe/io.h"

/* Whole numbers up to here are exact in cJSON's doubles. */
#define RBE_JSON_MOST (((uint64_t)1 << 53) - 1)

/* Bytes of a value, at most. */
#define RBE_JSON_VALUE 64

/* Parses an object or array that may be followed by spaces. Before cJSON sees the text it is known to be UTF-8
 * without control characters or escaped zeros in strings, nested `depth` deep at most, and to become values that take
 * at most `room` bytes. BAD_FORMAT (texts begin with `name`), INSUFFICIENT_MEMORY. *root is
 * the caller's (cJSON_Delete). */
enum { RBE_JSON_DEPTH = 8 /* of all but layers inside layers */ };
rbe_status rbe_json_parse(cJSON **root, const char *text, size_t length, int depth, const char *name, uint64_t room);

/* Whether a number is whole and at most `most` (<= RBE_JSON_MOST); then writes it. False also for NULL. */
bool rbe_json_whole(const cJSON *item, uint64_t most, uint64_t *value);

/* The string of an item; NULL if it is none, or NULL. */
const char *rbe_json_string(const cJSON *item);

/* Length of the longest beginning of `text` that is UTF-8. */
size_t rbe_utf8_length(const char *text, size_t length);

#endif
