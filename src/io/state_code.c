/* States as JSON objects. */
#include "io/state_code.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BITS_DIGITS = 16 };

/* ---- writing ------------------------------------------------------------------------------------------------- */

static rbe_status check_member(const rbe_state_writer *w, const char *name) {
    if (!name || rbe_utf8_length(name, strlen(name)) != strlen(name))
        return rbe_fail(RBE_INVALID_ARGUMENT, "the state of %s: expected a name in UTF-8", w->owner);
    if (!cJSON_GetObjectItemCaseSensitive(w->json, name)) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "the state of %s: %s is written twice", w->owner, name);
}

static rbe_status added(const rbe_state_writer *w, const cJSON *item) {
    return item ? RBE_OK : rbe_fail(RBE_INSUFFICIENT_MEMORY, "no memory for the state of %s", w->owner);
}

static bool is_whole(double value) {
    return value >= 0.0 && value <= (double)RBE_JSON_MOST && value == floor(value) && !signbit(value);
}

static rbe_status write_number(rbe_writer *self, const char *name, double value) {
    rbe_state_writer *w = (rbe_state_writer *)self;
    char text[32];
    uint64_t bits;
    RBE_TRY(check_member(w, name));
    memcpy(&bits, &value, sizeof bits);
    if (!is_whole(value)) {
        snprintf(text, sizeof text, "%016" PRIx64, bits);
        return added(w, cJSON_AddStringToObject(w->json, name, text));
    }
    snprintf(text, sizeof text, "%" PRIu64, (uint64_t)value); /* cJSON would print 15 digits */
    return added(w, cJSON_AddRawToObject(w->json, name, text));
}

static rbe_status write_text(rbe_writer *self, const char *name, const char *value) {
    rbe_state_writer *w = (rbe_state_writer *)self;
    RBE_TRY(check_member(w, name));
    if (!value || rbe_utf8_length(value, strlen(value)) != strlen(value))
        return rbe_fail(RBE_INVALID_ARGUMENT, "the state of %s: %s: expected a text in UTF-8", w->owner, name);
    return added(w, cJSON_AddStringToObject(w->json, name, value));
}

rbe_state_writer rbe_state_write_to(cJSON *json, const char *owner) {
    return (rbe_state_writer){{write_number, write_text}, owner, json};
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static rbe_status fail(const rbe_reader *self, rbe_status status, const char *text) {
    const rbe_state_reader *r = (const rbe_state_reader *)self;
    return rbe_fail(status, "%s: %s: %s", r->file, r->owner, text);
}

static const cJSON *take(rbe_state_reader *r, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(r->json, name);
    if (item) r->members++;
    return item;
}

static bool read_bits(const char *text, double *value) {
    if (!text || strlen(text) != BITS_DIGITS || strspn(text, "0123456789abcdef") != BITS_DIGITS) return false;
    uint64_t bits = strtoull(text, NULL, 16);
    memcpy(value, &bits, sizeof bits);
    return true;
}

static rbe_status read_number(rbe_reader *self, const char *name, double least, double most, bool whole,
                              double *value) {
    rbe_state_reader *r = (rbe_state_reader *)self;
    const cJSON *item = take(r, name);
    uint64_t digits = 0;
    bool is_number = rbe_json_whole(item, RBE_JSON_MOST, &digits), any = least == -INFINITY && most == INFINITY;
    if (is_number)
        *value = (double)digits;
    else if (!whole)
        is_number = read_bits(rbe_json_string(item), value);
    if (is_number && (any || (*value >= least && *value <= most))) return RBE_OK;
    return rbe_read_fail(self, "%s: expected a %snumber, %.9g .. %.9g", name, whole ? "whole " : "", least, most);
}

static const char *read_text(rbe_reader *self, const char *name) {
    return rbe_json_string(take((rbe_state_reader *)self, name));
}

/* What layers have and states have not. */
static size_t no_values(const rbe_reader *self, const char *part) {
    (void)self, (void)part;
    return 0;
}

static rbe_status no_matrix(rbe_reader *self, const char *part, size_t rows, size_t columns) {
    (void)rows, (void)columns;
    return rbe_read_fail(self, "%s: a state has no matrices", part);
}

static rbe_status no_blocks(rbe_reader *self, size_t in, size_t out, rbe_blocks **blocks) {
    *blocks = NULL;
    return no_matrix(self, "values", out, in);
}

static void no_repeats(rbe_reader *self, size_t times) { (void)self, (void)times; }

rbe_state_reader rbe_state_read_from(const cJSON *json, const char *file, const char *owner) {
    return (rbe_state_reader){
        {read_number, read_text, no_values, no_matrix, no_blocks, no_repeats, fail}, file, owner, json, 0};
}

rbe_status rbe_state_read_end(const rbe_state_reader *r) {
    if (r->members == cJSON_GetArraySize(r->json)) return RBE_OK;
    return rbe_read_fail(&r->base, "expected %d members, found %d", r->members, cJSON_GetArraySize(r->json));
}
