/* The host program's warning handler. */
#include "base/warning.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#define WARNING_TEXT_SIZE 512

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rbe_warning_handler *present_handler;
static void *present_user;

void rbe_set_warning_handler(rbe_warning_handler *handler, void *user) {
    pthread_mutex_lock(&lock);
    present_handler = handler;
    present_user = user;
    pthread_mutex_unlock(&lock);
}

bool rbe_warn(const char *format, ...) {
    pthread_mutex_lock(&lock);
    rbe_warning_handler *handler = present_handler;
    void *user = present_user;
    pthread_mutex_unlock(&lock);
    if (!handler) return false;
    char text[WARNING_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    handler(user, text);
    return true;
}
