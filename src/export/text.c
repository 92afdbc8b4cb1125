/* Text by the buffer, and numbers in C that every locale writes alike. */
#include "export/text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rbe_status rbe_c_flush(rbe_c_text *t) {
    if (t->status == RBE_OK && t->file && t->used > 0) t->status = rbe_atomic_write(t->file, t->buffer, t->used);
    t->used = 0;
    return t->status;
}

static void put(rbe_c_text *t, const char *bytes, size_t count) {
    while (t->file && count > 0 && t->status == RBE_OK) {
        const size_t room = sizeof t->buffer - t->used, part = count < room ? count : room;
        memcpy(t->buffer + t->used, bytes, part);
        t->used += part;
        bytes += part;
        count -= part;
        if (t->used == sizeof t->buffer) rbe_c_flush(t);
    }
}

void rbe_c_put(rbe_c_text *t, const char *string) { put(t, string, strlen(string)); }

void rbe_c_print(rbe_c_text *t, const char *format, ...) {
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rbe_c_put(t, line);
}

/* ---- numbers ------------------------------------------------------------------------------------------------- */

/* "-1.25e-3" of "-1,250e-03": the locale's point becomes ours, and what says nothing is left out. */
static void plain(const char *scientific, char *number) {
    const char *exponent = strchr(scientific, 'e');
    char *end = number;
    if (*scientific == '-') *end++ = *scientific++;
    *end++ = *scientific++;
    *end++ = '.';
    for (; scientific < exponent; scientific++)
        if (isdigit((unsigned char)*scientific)) *end++ = *scientific;
    while (end[-1] == '0' && end[-2] != '.') end--;
    if (end[-1] == '.') *end++ = '0';
    *end = '\0';
    const int power = atoi(exponent + 1);
    if (power) sprintf(end, "e%d", power);
}

void rbe_c_float_digits(float value, char number[40]) {
    static const int digits[] = {2, 5, 7, 8};
    char scientific[40];
    for (size_t n = 0; n < sizeof digits / sizeof *digits; n++) {
        snprintf(scientific, sizeof scientific, "%.*e", digits[n], (double)value);
        if (strtof(scientific, NULL) == value) break;
    }
    plain(scientific, number);
    strcat(number, "f");
}

void rbe_c_float(rbe_c_text *t, float value) {
    char number[40];
    if (!t->file) return;
    rbe_c_float_digits(value, number);
    rbe_c_put(t, number);
}

void rbe_c_double(rbe_c_text *t, double value) {
    char scientific[40], number[40];
    snprintf(scientific, sizeof scientific, "%.16e", value);
    plain(scientific, number);
    rbe_c_put(t, number);
}

/* ---- arrays -------------------------------------------------------------------------------------------------- */

static void begin(rbe_c_text *t, const char *type, size_t size, const char *name, size_t count) {
    rbe_c_print(t, "\nstatic const %s %s[%zu] = {", type, name, count);
    t->data_bytes += size * count;
}

static void between(rbe_c_text *t, size_t n, size_t in_a_line) {
    if (n > 0) rbe_c_put(t, ",");
    rbe_c_put(t, n % in_a_line == 0 ? "\n    " : " ");
}

static void end(rbe_c_text *t) { rbe_c_put(t, "};\n"); }

static bool goes_on(const rbe_c_text *t) { return t->file && t->status == RBE_OK; }

void rbe_c_floats(rbe_c_text *t, const char *name, const float *values, size_t count) {
    begin(t, "float", 4, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 8);
        rbe_c_float(t, values[n]);
    }
    end(t);
}

void rbe_c_doubles(rbe_c_text *t, const char *name, const double *values, size_t count) {
    begin(t, "double", 8, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 4);
        rbe_c_double(t, values[n]);
    }
    end(t);
}

void rbe_c_bytes(rbe_c_text *t, const char *name, const uint8_t *values, size_t count) {
    begin(t, "uint8_t", 1, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 24);
        rbe_c_print(t, "%u", values[n]);
    }
    end(t);
}

void rbe_c_signed_bytes(rbe_c_text *t, const char *name, const int8_t *values, size_t count) {
    begin(t, "int8_t", 1, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 24);
        rbe_c_print(t, "%d", values[n]);
    }
    end(t);
}

void rbe_c_shorts(rbe_c_text *t, const char *name, const uint16_t *values, size_t count) {
    begin(t, "uint16_t", 2, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 16);
        rbe_c_print(t, "%u", values[n]);
    }
    end(t);
}

void rbe_c_signed_shorts(rbe_c_text *t, const char *name, const int16_t *values, size_t count) {
    begin(t, "int16_t", 2, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 16);
        rbe_c_print(t, "%d", values[n]);
    }
    end(t);
}

void rbe_c_words(rbe_c_text *t, const char *name, const int32_t *values, size_t count) {
    begin(t, "int32_t", 4, name, count);
    for (size_t n = 0; n < count && goes_on(t); n++) {
        between(t, n, 10);
        rbe_c_print(t, "%d", values[n]);
    }
    end(t);
}
