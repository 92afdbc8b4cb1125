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
    EXAMPLE_SIZES, /* example_sizes, each within the range */
    EXAMPLE_FILE   /* const char *: no option but a file that must be named, in any place; `help` says what it is */
} example_kind;

/* One option. The target's value before parsing is the default, and shown in the help unless it is zero or NULL.
 * --out, where there is one, is also -o. */
typedef struct example_option {
    const char *name; /* "epochs": --epochs */
    example_kind kind;
    void *target;
    const char *argument; /* "N"; NULL for a flag */
    const char *help;
    double low, high; /* range of numbers, both ends included */
} example_option;

/* Reads the command line into the targets. Every program also knows --help and -h, which print all options and end it
 * with 0, and --max-bytes, which bounds the memory that a file may take. An unknown option, a missing or bad value, a
 * missing file, or an argument too many prints a message and ends the program with 2.
 *
 * From then on the program also fails, with 1, if what it has printed could not be written. Before all that it may start
 * again for OpenBLAS: see openblas.h. */
void example_parse(int argc, char **argv, const char *purpose, const example_option *options, size_t count);

/* Whether the command line had this option. */
bool example_given(const char *name);

/* The transform of an axis, "row" or "column": that which --AXIS-transform names, else --transform; NULL where both names
 * are. Ends the program with 2 if the name is unknown. */
const rbe_transform *example_transform(const char *axis, const char *own, const char *both);

/* "f32|f16|..": the argument of an option for the type of stored values. */
const char *example_stores(void);

/* "on", "off", else auto. */
rbe_alpha_mode example_alpha(const char *name);

/* "program: message", and the end with that exit code; 2 adds a hint at --help. */
_Noreturn void example_fail(int exit_code, const char *format, ...) RBE_PRINTF(2, 3);

/* "program: warning: message" */
void example_warn(const char *format, ...) RBE_PRINTF(1, 2);

/* Ends the program with 1 and the library's message unless the status is RBE_OK. */
void example_require(rbe_status status);

/* What the library, or malloc, has just made; ends the program if that is NULL. */
void *example_need(void *made);

/* Zeroed memory, to be freed; ends the program if there is none. */
void *example_take(size_t count, size_t size);

/* Creates a folder and those above it; ends the program with 1 if it cannot. */
void example_make_folder(const char *path);

/* "12,345,678" */
#define EXAMPLE_NUMBER_SIZE 32
const char *example_number(size_t value, char text[EXAMPLE_NUMBER_SIZE]);

/* How `bytes` compare with `before`: "14.0 times smaller", "as large", "1.25 times larger". */
const char *example_smaller(size_t bytes, size_t before, char text[EXAMPLE_NUMBER_SIZE]);

/* Of a program with an option --checkpoint that mpirun has started several times, this rank; else NULL. Ranks but 0 print
 * nothing and have no --out; one that ends with a failure ends all, unless example_fail_together says that all ranks
 * know: it ends the others without a word. MPI ends with the program. */
const rbe_comm *example_comm(void);
void example_fail_together(void);

#endif
