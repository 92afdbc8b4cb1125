/* Command lines by a table of options, over getopt_long; ranks that mpirun starts. */
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "openblas.h"

enum { MAX_OPTIONS = 50, HELP_COLUMN = 28, HELP_WIDTH = 80, LONG = 256 /* getopt's code of option n is LONG + n */ };

static const char *program = "example";
static const char *given[MAX_OPTIONS]; /* names of the options that the command line has, NULL for the others */

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

void example_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: warning: ", program);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void example_require(rbe_status status) {
    if (status != RBE_OK) example_fail(1, "%s: %s", rbe_status_name(status), rbe_last_error());
}

void *example_need(void *made) {
    if (!made && rbe_last_status() == RBE_OK) example_fail(1, "out of memory");
    if (!made) example_require(rbe_last_status());
    return made;
}

void *example_take(size_t count, size_t size) { return example_need(calloc(count ? count : 1, size)); }

/* The last thing that a program does: output that is lost, on a full disk say, must not pass for success. */
static void check_output(void) {
    bool lost = ferror(stdout) != 0;
    if (fclose(stdout) == 0 && !lost) return;
    fprintf(stderr, "%s: not everything could be written to the standard output: is the disk full?\n", program);
    _exit(1);
}

/* ---- ranks --------------------------------------------------------------------------------------------------- */

static rbe_comm *ranks; /* NULL: there are none */
static bool all_know;   /* that the training has failed: rank 0 says why */

const rbe_comm *example_comm(void) { return ranks; }

void example_fail_together(void) {
    all_know = true;
    if (ranks && ranks->rank > 0) exit(1);
}

/* A rank that fails alone takes the others with it. */
static void end_ranks(int status, void *unused) {
    (void)unused;
    if (status == 0 || all_know)
        rbe_comm_mpi_free(ranks);
    else
        ranks->abort(ranks->user);
}

/* A number that Open MPI or MPICH gives its processes; 1 without. */
static size_t number_of(const char *open_mpi, const char *mpich) {
    const char *text = getenv(open_mpi) ? getenv(open_mpi) : getenv(mpich);
    return text ? (size_t)strtoul(text, NULL, 10) : 1;
}

/* Where nothing binds ranks to processors they share those that there are. */
static void share_processors(void) {
    const size_t here = number_of("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"), threads = (size_t)rbe_threads();
    if ((long)threads < sysconf(_SC_NPROCESSORS_ONLN) || here < 2) return;
    example_require(rbe_set_threads(threads > here ? (int)(threads / here) : 1));
}

/* A handler of signals: nothing else is safe in it. */
static void give_up_waiting(int signal) {
    static const char text[] = ": the other ranks have not begun within a minute\n";
    (void)signal;
    if (write(STDERR_FILENO, program, strlen(program)) < 0 || write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
    sleep(1); /* a launcher may lose what a rank writes in its last moment */
    _exit(1);
}

/* Before anything can fail. Some launchers do not end the others when a rank ends before it has begun: they would wait for it
 * for ever. */
static void start_ranks(void) {
    if (number_of("OMPI_COMM_WORLD_SIZE", "PMI_SIZE") < 2) return;
    signal(SIGALRM, give_up_waiting);
    alarm(60);
    ranks = example_need(rbe_comm_mpi_new());
    alarm(0);
    signal(SIGALRM, SIG_DFL);
    on_exit(end_ranks, NULL);
    share_processors();
}

/* Rank 0 alone has something to say, and files to write. */
static void be_silent(const example_option *options, size_t count) {
    if (!ranks || ranks->rank == 0) return;
    if (!freopen("/dev/null", "w", stdout)) example_fail(1, "/dev/null cannot be opened");
    for (size_t n = 0; n < count; n++)
        if (strcmp(options[n].name, "out") == 0) *(const char **)options[n].target = NULL;
}

static bool trains(const example_option *options, size_t count) {
    for (size_t n = 0; n < count; n++)
        if (strcmp(options[n].name, "checkpoint") == 0) return true;
    return false;
}

/* ---- help ---------------------------------------------------------------------------------------------------- */

/* " (default 16)", or "" where the default is 0, none or said by the help. */
static void default_text(const example_option *o, char *text, size_t size) {
    *text = '\0';
    switch (o->kind) {
    case EXAMPLE_FLAG:
    case EXAMPLE_FILE: break;
    case EXAMPLE_COUNT:
        if (*(size_t *)o->target > 0) snprintf(text, size, " (default %zu)", *(size_t *)o->target);
        break;
    case EXAMPLE_SEED: snprintf(text, size, " (default %" PRIu64 ")", *(uint64_t *)o->target); break;
    case EXAMPLE_REAL:
        if (*(double *)o->target != 0) snprintf(text, size, " (default %g)", *(double *)o->target);
        break;
    case EXAMPLE_TEXT:
        if (*(const char **)o->target) snprintf(text, size, " (default %s)", *(const char **)o->target);
        break;
    case EXAMPLE_SIZES: {
        const example_sizes *sizes = o->target;
        size_t length = 0;
        for (size_t i = 0; i < sizes->count; i++)
            length += (size_t)snprintf(text + length, size - length, "%s%zu", i ? "," : " (default ", sizes->value[i]);
        if (sizes->count > 0) snprintf(text + length, size - length, ")");
        break;
    }
    }
}

/* Words from column `at` on, in lines that begin at HELP_COLUMN. */
static void print_words(int at, const char *text) {
    for (int column = at; *text; text += strspn(text, " ")) {
        const int length = (int)strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + length > HELP_WIDTH) column = printf("\n") - 1;
        column += column < HELP_COLUMN ? printf("%*s", HELP_COLUMN - column, "") : printf(" ");
        column += printf("%.*s", length, text);
        text += length;
    }
    printf("\n");
}

static void print_option(const example_option *o) {
    const char *argument = o->argument ? o->argument : "", *short_form = strcmp(o->name, "out") == 0 ? "-o, " : "";
    char text[400], usual[300];
    int width =
        o->kind == EXAMPLE_FILE ? printf("  %s", o->name) : printf("  %s--%s %s", short_form, o->name, argument);
    if (width > HELP_COLUMN - 2) width = printf("\n") - 1;
    default_text(o, usual, sizeof usual);
    snprintf(text, sizeof text, "%s%s", o->help, usual);
    print_words(width, text);
}

_Noreturn static void print_help(const char *purpose, const example_option *options, size_t count) {
    printf("Usage: %s [options]", program);
    for (size_t n = 0; n < count; n++)
        if (options[n].kind == EXAMPLE_FILE) printf(" %s", options[n].name);
    printf("\n%s\n\n", purpose);
    for (size_t n = 0; n < count; n++) print_option(&options[n]);
    print_words(printf("  --max-bytes N"), "most memory for the content of a file (default: a multiple of its size)");
    print_words(printf("  -h, --help"), "print this and exit");
    exit(0);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* A whole number at the beginning of `text`; *end is behind it. */
static uint64_t whole_number(const example_option *o, const char *text, const char **end) {
    char *stop = NULL;
    uint64_t low = (uint64_t)o->low, high = o->kind == EXAMPLE_SEED ? UINT64_MAX : (uint64_t)o->high;
    errno = 0;
    uint64_t value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &stop, 10) : 0;
    if (!stop || errno != 0 || value < low || value > high)
        example_fail(2, "--%s: expected a whole number %" PRIu64 " .. %" PRIu64 ", found \"%s\"", o->name, low, high,
                     text);
    *end = stop;
    return value;
}

static uint64_t only_whole_number(const example_option *o, const char *text) {
    const char *end;
    uint64_t value = whole_number(o, text, &end);
    if (*end) example_fail(2, "--%s: expected a whole number, found \"%s\"", o->name, text);
    return value;
}

/* strtod alone would also take spaces, hexadecimal digits, infinity and nan. */
static double real_number(const example_option *o, const char *text) {
    char *end;
    double value = strtod(text, &end);
    bool decimal = text[0] != '\0' && text[strspn(text, "+-.0123456789eE")] == '\0' && *end == '\0';
    if (!decimal || !(value >= o->low && value <= o->high))
        example_fail(2, "--%s: expected a number %.9g .. %.9g, found \"%s\"", o->name, o->low, o->high, text);
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
    size_t length = strchr(text, '|') ? 0 : strlen(text);
    for (const char *at = o->argument; at && length > 0; at = strchr(at, '|')) {
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
    case EXAMPLE_FILE: *(const char **)o->target = text; break;
    case EXAMPLE_SIZES: *(example_sizes *)o->target = size_list(o, text); break;
    }
}

/* What is not an option: files, in their order. */
static void set_files(int argc, char **argv, const example_option *options, size_t count) {
    for (size_t n = 0; n < count; n++) {
        if (options[n].kind != EXAMPLE_FILE) continue;
        if (optind == argc) example_fail(2, "expected %s, %s", options[n].help, options[n].name);
        set_value(&options[n], argv[optind++]);
    }
    if (optind < argc) example_fail(2, "unexpected argument \"%s\"", argv[optind]);
}

void example_parse(int argc, char **argv, const char *purpose, const example_option *options, size_t count) {
    const char *slash = strrchr(argv[0], '/');
    program = slash ? slash + 1 : argv[0];
    example_start_well(program, argv);
    atexit(check_output);
    if (trains(options, count)) start_ranks();
    size_t max_bytes = 0;
    const example_option limit = {"max-bytes", EXAMPLE_COUNT, &max_bytes, "N", NULL, 1, 1e15};
    struct option table[MAX_OPTIONS + 3] = {{0}}, *next = table;
    if (count > MAX_OPTIONS) example_fail(1, "a program has at most %d options", MAX_OPTIONS);
    size_t out = count; /* the number of --out */
    for (size_t n = 0; n < count; n++) {
        if (options[n].kind == EXAMPLE_FILE) continue;
        *next++ =
            (struct option){.name = options[n].name, .has_arg = options[n].argument != NULL, .val = LONG + (int)n};
        if (strcmp(options[n].name, "out") == 0) out = n;
    }
    *next++ = (struct option){.name = limit.name, .has_arg = required_argument, .val = 'm'};
    *next = (struct option){.name = "help", .val = 'h'};
    int code;
    while ((code = getopt_long(argc, argv, out < count ? "ho:" : "h", table, NULL)) != -1) {
        if (code == '?') { /* getopt has said what is wrong */
            fprintf(stderr, "Try '%s --help'.\n", program);
            exit(2);
        }
        if (code == 'h') print_help(purpose, options, count);
        if (code == 'm') {
            set_value(&limit, optarg);
            continue;
        }
        size_t n = code == 'o' ? out : (size_t)(code - LONG);
        set_value(&options[n], optarg);
        given[n] = options[n].name;
    }
    if (max_bytes > 0) rbe_set_max_read_bytes(max_bytes);
    set_files(argc, argv, options, count);
    be_silent(options, count);
}

bool example_given(const char *name) {
    for (size_t n = 0; n < MAX_OPTIONS; n++)
        if (given[n] && strcmp(given[n], name) == 0) return true;
    return false;
}

const rbe_transform *example_transform(const char *axis, const char *own, const char *both) {
    const char *name = own ? own : both;
    const rbe_transform *transform = name ? rbe_transform_named(name) : NULL;
    if (name && !transform) /* the text begins with "transform:" */
        example_fail(2, "--%s%s%s", own ? axis : "", own ? "-" : "", rbe_last_error());
    return transform;
}

const char *example_stores(void) {
    static char text[100];
    const char *name;
    *text = '\0';
    for (int n = 0; (name = rbe_store_name((rbe_store)n)); n++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", n ? "|" : "", name);
    }
    return text;
}

rbe_alpha_mode example_alpha(const char *name) {
    if (strcmp(name, "on") == 0) return RBE_ALPHA_ON;
    return strcmp(name, "off") == 0 ? RBE_ALPHA_OFF : RBE_ALPHA_AUTO;
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

const char *example_smaller(size_t bytes, size_t before, char text[EXAMPLE_NUMBER_SIZE]) {
    double ratio = bytes > 0 ? (double)before / (double)bytes : 1.0, factor = fmax(ratio, 1.0 / ratio);
    if (factor < 1.005)
        snprintf(text, EXAMPLE_NUMBER_SIZE, "as large");
    else
        snprintf(text, EXAMPLE_NUMBER_SIZE, "%.*f times %s", factor < 10 ? 2 : 1, factor,
                 ratio > 1.0 ? "smaller" : "larger");
    return text;
}
