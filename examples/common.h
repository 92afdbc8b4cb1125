/* What the example programs share: options with help and checked values, failing with a message, output folders.
 *
 * Exit codes: 0 success, 1 something went wrong, 2 the command line is wrong.
 */
#ifndef RBE_EXAMPLES_COMMON_H
#define RBE_EXAMPLES_COMMON_H

#include "rbe/rbe.h"

#define EXAMPLE_MAX_SIZES 8

/* "300,100" */
typedef struct example_sizes {
    size_t value[EXAMPLE_MAX_SIZES];
    size_t count;
} example_sizes;

typedef enum example_kind {
    EXAMPLE_FLAG,  /* bool: true if the option is given */
    EXAMPLE_COUNT, /* size_t */
    EXAMPLE_SEED,  /* uint64_t */
    EXAMPLE_REAL,  /* double */
    EXAMPLE_TEXT,  /* const char *; if `argument` lists alternatives, a|b|c, one of them */
    EXAMPLE_SIZES  /* example_sizes, each within the range */
} example_kind;

/* One option. The target's value before parsing is the default, and shown in the help unless it is zero or NULL. */
typedef struct example_option {
    const char *name; /* "epochs": --epochs */
    example_kind kind;
    void *target;
    const char *argument; /* "N"; NULL for a flag */
    const char *help;
    double low, high; /* range of numbers, both ends included */
} example_option;

/* Reads the command line into the targets. Every program also knows --help, which prints all options and ends it with
 * 0, and --max-bytes, which bounds the memory that a file may take. An unknown option, a missing or bad value, or an
 * argument without option prints a message and ends the program with 2. */
void example_parse(int argc, char **argv, const char *purpose, const example_option *options, size_t count);

/* "program: message", and the end with that exit code; 2 adds a hint at --help. */
_Noreturn void example_fail(int exit_code, const char *format, ...) RBE_PRINTF(2, 3);

/* Ends the program with 1 and the library's message unless the status is RBE_OK. */
void example_require(rbe_status status);

/* What the library, or malloc, has just made; ends the program if that is NULL. */
void *example_need(void *made);

/* Creates a folder and those above it; ends the program with 1 if it cannot. */
void example_make_folder(const char *path);

/* "12,345,678" */
#define EXAMPLE_NUMBER_SIZE 32
const char *example_number(size_t value, char text[EXAMPLE_NUMBER_SIZE]);

#endif
