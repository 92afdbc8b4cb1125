/* Status names and messages from the one table, and the thread's last error. */
#include <stdarg.h>
#include <stdio.h>

#include "base/failure.h"

#define ERROR_TEXT_SIZE 512

static _Thread_local rbe_status last_status = RBE_OK;
static _Thread_local char last_text[ERROR_TEXT_SIZE];
static _Thread_local size_t failures;

const char *rbe_status_name(rbe_status status) {
    switch (status) {
#define NAME_CASE(name, code, message)                                                                                 \
    case RBE_##name: return #name;
        RBE_STATUS_TABLE(NAME_CASE)
#undef NAME_CASE
    }
    return "UNKNOWN";
}

const char *rbe_status_message(rbe_status status) {
    switch (status) {
#define MESSAGE_CASE(name, code, message)                                                                              \
    case RBE_##name: return message;
        RBE_STATUS_TABLE(MESSAGE_CASE)
#undef MESSAGE_CASE
    }
    return "not a status of this library";
}

rbe_status rbe_last_status(void) { return last_status; }

const char *rbe_last_error(void) { return last_text; }

rbe_status rbe_fail(rbe_status status, const char *format, ...) {
    /* Formatted aside first: the arguments may point into the old text. */
    char text[ERROR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(last_text, sizeof last_text, "%s", text);
    last_status = status;
    failures++;
    return status;
}

size_t rbe_failure_count(void) { return failures; }

const char *rbe_version(void) {
#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)
    return VERSION(RBE_VERSION_MAJOR, RBE_VERSION_MINOR, RBE_VERSION_PATCH);
#undef VERSION
#undef TEXT
}
