/* Command lines by a table of options, over getopt_long. */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_OPTIONS = 40, HELP_COLUMN = 28 };

static const char *program = "example";

void example_fail(int exit_code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fprintf(stderr, "%s: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    if (exit_code == 2) fprintf(stderr, "Try '%s --help'.\n", program);
    va_end(args);
    exit(exit_code);
}

void example_require(rbe_status status) {
    if (status != RBE_OK) example_fail(1, "%s: %s", rbe_status_name(status), rbe_last_error());
}

void *example_need(void *made) {
    if (!made && rbe_last_status() == RBE_OK) example_fail(1, "out of memory");
    if (!made) example_require(rbe_last_status());
    return made;
}

/* ---- help ---------------------------------------------------------------------------------------------------- */

static void print_default(const example_option *o) {
    switch (o->kind) {
    case EXAMPLE_FLAG: break;
    case EXAMPLE_COUNT:
        if (*(size_t *)o->target > 0) printf(" (default %zu)", *(size_t *)o->target);
        break;
    case EXAMPLE_SEED: printf(" (default %llu)", (unsigned long long)*(uint64_t *)o->target); break;
    case EXAMPLE_REAL:
        if (*(double *)o->target != 0) printf(" (default %g)", *(double *)o->target);
        break;
    case EXAMPLE_TEXT:
        if (*(const char **)o->target) printf(" (default %s)", *(const char **)o->target);
        break;
    case EXAMPLE_SIZES: {
        const example_sizes *sizes = o->target;
        for (size_t i = 0; i < sizes->count; i++) printf("%s%zu", i ? "," : " (default ", sizes->value[i]);
        printf(")");
        break;
    }
    }
}

_Noreturn static void print_help(const char *purpose, const example_option *options, size_t count) {
    printf("Usage: %s [options]\n%s\n\n", program, purpose);
    for (size_t n = 0; n < count; n++) {
        const example_option *o = &options[n];
        int width = printf("  --%s %s", o->name, o->argument ? o->argument : "");
        if (width >= HELP_COLUMN) {
            printf("\n");
            width = 0;
        }
        printf("%*s%s", HELP_COLUMN - width, "", o->help);
        print_default(o);
        printf("\n");
    }
    printf("  %-*s%s\n", HELP_COLUMN - 2, "--max-bytes N",
           "most memory for the content of a file (default: a multiple of its size)");
    printf("  %-*s%s\n", HELP_COLUMN - 2, "--help", "print this and exit");
    exit(0);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* A whole number at the beginning of `text`; *end is behind it. */
static uint64_t whole_number(const example_option *o, const char *text, const char **end) {
    char *stop = NULL;
    errno = 0;
    unsigned long long value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &stop, 10) : 0;
    double high = o->kind == EXAMPLE_SEED ? (double)UINT64_MAX : o->high;
    if (!stop || errno != 0 || (double)value < o->low || (double)value > high)
        example_fail(2, "--%s: expected a whole number %.15g .. %.15g, found \"%s\"", o->name, o->low, high, text);
    *end = stop;
    return value;
}

static uint64_t only_whole_number(const example_option *o, const char *text) {
    const char *end;
    uint64_t value = whole_number(o, text, &end);
    if (*end) example_fail(2, "--%s: expected a whole number, found \"%s\"", o->name, text);
    return value;
}

static double real_number(const example_option *o, const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= o->low && value <= o->high))
        example_fail(2, "--%s: expected a number %g .. %g, found \"%s\"", o->name, o->low, o->high, text);
    return value;
}

static example_sizes size_list(const example_option *o, const char *text) {
    example_sizes sizes = {.count = 0};
    for (const char *at = text;; at++) {
        if (sizes.count == EXAMPLE_MAX_SIZES)
            example_fail(2, "--%s: expected at most %d sizes, found \"%s\"", o->name, EXAMPLE_MAX_SIZES, text);
        sizes.value[sizes.count++] = (size_t)whole_number(o, at, &at);
        if (*at == '\0') return sizes;
        if (*at != ',') example_fail(2, "--%s: expected sizes like 300,100, found \"%s\"", o->name, text);
    }
}

static const char *checked_text(const example_option *o, const char *text) {
    if (!strchr(o->argument, '|')) return text;
    size_t length = strlen(text);
    for (const char *at = o->argument; at; at = strchr(at, '|')) {
        if (*at == '|') at++;
        if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0')) return text;
    }
    example_fail(2, "--%s: expected %s, found \"%s\"", o->name, o->argument, text);
}

static void set_value(const example_option *o, const char *text) {
    switch (o->kind) {
    case EXAMPLE_FLAG: *(bool *)o->target = true; break;
    case EXAMPLE_COUNT: *(size_t *)o->target = (size_t)only_whole_number(o, text); break;
    case EXAMPLE_SEED: *(uint64_t *)o->target = only_whole_number(o, text); break;
    case EXAMPLE_REAL: *(double *)o->target = real_number(o, text); break;
    case EXAMPLE_TEXT: *(const char **)o->target = checked_text(o, text); break;
    case EXAMPLE_SIZES: *(example_sizes *)o->target = size_list(o, text); break;
    }
}

void example_parse(int argc, char **argv, const char *purpose, const example_option *options, size_t count) {
    const char *slash = strrchr(argv[0], '/');
    program = slash ? slash + 1 : argv[0];
    size_t max_bytes = 0;
    const example_option limit = {"max-bytes", EXAMPLE_COUNT, &max_bytes, "N", NULL, 1, 1e15};
    struct option table[MAX_OPTIONS + 3] = {{0}};
    if (count > MAX_OPTIONS) example_fail(1, "a program has at most %d options", MAX_OPTIONS);
    for (size_t n = 0; n < count; n++)
        table[n] = (struct option){.name = options[n].name, .has_arg = options[n].argument != NULL};
    table[count] = (struct option){.name = "help"};
    table[count + 1] = (struct option){.name = limit.name, .has_arg = required_argument};
    int code, index = 0;
    while ((code = getopt_long(argc, argv, "", table, &index)) != -1) {
        if (code == '?') { /* getopt has said what is wrong */
            fprintf(stderr, "Try '%s --help'.\n", program);
            exit(2);
        }
        if ((size_t)index == count) print_help(purpose, options, count);
        set_value((size_t)index < count ? &options[index] : &limit, optarg);
    }
    if (max_bytes > 0) rbe_set_max_read_bytes(max_bytes);
    if (optind < argc) example_fail(2, "unexpected argument \"%s\"", argv[optind]);
}

/* ---- output -------------------------------------------------------------------------------------------------- */

void example_make_folder(const char *path) {
    char part[4096];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) example_fail(1, "the folder's name has %zu characters", length);
    for (size_t n = 1; n <= length; n++) {
        if (path[n] != '/' && path[n] != '\0') continue;
        memcpy(part, path, n);
        part[n] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            example_fail(1, "cannot create the folder %s: %s", part, strerror(errno));
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) example_fail(1, "%s is not a folder", path);
}

const char *example_number(size_t value, char text[EXAMPLE_NUMBER_SIZE]) {
    char digits[24];
    size_t length = (size_t)snprintf(digits, sizeof digits, "%zu", value), at = 0;
    for (size_t n = 0; n < length; n++) {
        if (n > 0 && (length - n) % 3 == 0) text[at++] = ',';
        text[at++] = digits[n];
    }
    text[at] = '\0';
    return text;
}
