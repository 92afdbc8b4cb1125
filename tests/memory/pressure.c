/* The library when memory is short: every call must answer with a status - never abort, exit, hang or print - and
 * work again, with the same bits, when there is memory. Two kinds of shortness, each case in a process of its own:
 *
 *   requests for memory fail: the k-th, every k-th, or all from the k-th on, for every k of the scenario's requests;
 *   the address space is limited, before the program is loaded.
 *
 * All of it on one thread, then on two (PRESSURE_THREADS tells a case).
 *
 * pressure [--short]           all cases, or some of them; the last line is "N passed, M failed"
 * pressure SCENARIO [MODE K]   one case in this process, for a debugger: prints how it went, exits with 0
 *                              (an address space is limited by the shell: ulimit -v KILOBYTES) */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failing_malloc.h"
#include "scenarios.h"

/* A case takes a hundredth of a second. SHOWN: failures that a line of the table lists. */
enum { CPU_SECONDS = 5, SECONDS = 120, SHOWN = 5, SHORT_STRIDE = 29 };

static const char *const mode_names[FAIL_MODES] = {"at", "every", "from"};
static const size_t limits_mb[] = {150, 170, 200, 230, 260, 300, 350, 400, 500, 700, 1000, 1500, 2500, 4000};

/* ---- in the process of a case ----------------------------------------------------------------------------------- */

static void tell(const char *when, rbe_status status, uint64_t sum) {
    if (status == RBE_OK)
        printf("%s: ok %016" PRIx64 "\n", when, sum);
    else
        printf("%s: %s: %s\n", when, rbe_status_name(status), rbe_last_error());
}

static int run_case(const scenario *s, failing_mode mode, size_t k, const char *path) {
    uint64_t sum = 0;
    printf("begun\n");
    fflush(stdout);
    const char *threads = getenv("PRESSURE_THREADS");
    rbe_set_threads(threads ? atoi(threads) : 1);
    failing_malloc_start(mode, k);
    const rbe_status status = s->run(path, &sum);
    failing_malloc_stop();
    printf("requests: %zu\n", failing_malloc_requests());
    tell("first", status, sum);
    printf("held: %zu\n", rbe_memory().current);
    sum = 0;
    const rbe_status repeated = s->run(path, &sum);
    tell("again", repeated, sum);
    fflush(stdout);
    return 0;
}

/* ---- the driver ------------------------------------------------------------------------------------------------- */

/* What a case printed, and how it ended. */
typedef struct outcome {
    int ended;  /* as from waitpid */
    bool begun; /* main was reached: without it no call of the library can help */
    size_t requests, held;
    char first[640], again[640], other[640]; /* other: the first line that nobody asked for */
} outcome;

typedef struct driver {
    char folder[64], output[128], model[128];
    size_t stride;
    size_t passed, failed;
} driver;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static void copy_line(char *to, size_t size, const char *line) {
    snprintf(to, size, "%.*s", (int)strcspn(line, "\n"), line);
}

static void read_outcome(outcome *o, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    char line[640];
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "requests: %zu", &o->requests) == 1 || sscanf(line, "held: %zu", &o->held) == 1) continue;
        if (strcmp(line, "begun\n") == 0)
            o->begun = true;
        else if (strncmp(line, "first: ", 7) == 0)
            copy_line(o->first, sizeof o->first, line + 7);
        else if (strncmp(line, "again: ", 7) == 0)
            copy_line(o->again, sizeof o->again, line + 7);
        else if (!*o->other)
            copy_line(o->other, sizeof o->other, line);
    }
    fclose(file);
}

static void limit(int resource, rlim_t soft) {
    if (setrlimit(resource, &(struct rlimit){soft, soft}) != 0) die("setrlimit");
}

/* Runs a case in a child: with `megabytes` in a new image of this program, which is loaded within that limit. */
static outcome run_child(const driver *d, const scenario *s, failing_mode mode, size_t k, size_t megabytes) {
    bool reads = strcmp(s->name, "load") == 0 || strcmp(s->name, "stream") == 0;
    const char *path = reads ? d->model : d->folder;
    char file[160];
    snprintf(file, sizeof file, "%s%s", path, path == d->folder ? "/file" : "");
    fflush(NULL);
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        const int output = open(d->output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        if (output < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) die(d->output);
        close(output);
        alarm(SECONDS);
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_CPU, CPU_SECONDS);
        if (megabytes == 0) exit(run_case(s, mode, k, file));
        setenv("PRESSURE_FILE", file, 1);
        limit(RLIMIT_AS, (rlim_t)megabytes << 20);
        execl("/proc/self/exe", "pressure", s->name, (char *)NULL);
        die("exec");
    }
    outcome o = {0};
    while (waitpid(child, &o.ended, 0) < 0)
        if (errno != EINTR) die("waitpid");
    read_outcome(&o, d->output);
    return o;
}

static bool starts_with(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* NULL if all is well, else what is not. `clean` went without failures; `lasting`: memory stays short afterwards. */
static const char *verdict(const outcome *o, const outcome *clean, bool lasting) {
    static char text[2048];
    const int number = WIFSIGNALED(o->ended) ? WTERMSIG(o->ended) : 0;
    if (number == SIGXCPU || number == SIGALRM || number == SIGKILL)
        snprintf(text, sizeof text, "hangs (%s) %s",
                 *o->again   ? "at the end"
                 : *o->first ? "the second time"
                             : "at once",
                 o->other);
    else if (number)
        snprintf(text, sizeof text, "ends by signal %d (%s) %s", number, strsignal(number), o->other);
    else if (WEXITSTATUS(o->ended) != 0)
        snprintf(text, sizeof text, "exits with %d: %s", WEXITSTATUS(o->ended), o->other);
    else if (*o->other)
        snprintf(text, sizeof text, "prints: %s", o->other);
    else if (starts_with(o->first, "ok ")
                 ? strcmp(o->first, clean->first) != 0
                 : !starts_with(o->first, "INSUFFICIENT_MEMORY: ") && !starts_with(o->first, "IO_ERROR: "))
        snprintf(text, sizeof text, "expected %s, or that memory is short, found %s", clean->first, o->first);
    else if (!lasting && o->held != clean->held)
        snprintf(text, sizeof text, "holds %zu bytes, expected %zu, after %s", o->held, clean->held, o->first);
    else if (lasting && !starts_with(o->first, "ok ") ? !*o->again : strcmp(o->again, clean->again) != 0)
        snprintf(text, sizeof text, "the second time: expected %s, found %s; the first: %s", clean->again, o->again,
                 o->first);
    else
        return NULL;
    return text;
}

/* Counts of one line of the table. */
typedef struct tally {
    size_t cases, ok, unbegun, failed;
} tally;

static void judge(driver *d, tally *t, const outcome *o, const outcome *clean, bool lasting, const char *unit,
                  size_t k) {
    t->cases++;
    if (!o->begun && lasting) {
        t->unbegun++;
        return;
    }
    const char *wrong = verdict(o, clean, lasting);
    if (!wrong) {
        d->passed++;
        if (starts_with(o->first, "ok ")) t->ok++;
        return;
    }
    d->failed++;
    if (t->failed++ < SHOWN) printf("    %s %zu %s\n", unit, k, wrong);
}

static void print_tally(const scenario *s, const char *kind, const tally *t) {
    printf("%-9s %-6s %4zu cases: %4zu ok, %4zu a status, %4zu failed", s->name, kind, t->cases, t->ok,
           t->cases - t->ok - t->unbegun - t->failed, t->failed);
    if (t->unbegun > 0) printf(", %zu did not reach main", t->unbegun);
    printf("\n");
}

static void failing_requests(driver *d, const scenario *s, const outcome *clean, failing_mode mode) {
    tally t = {0};
    for (size_t k = 1;; k += d->stride) {
        const outcome o = run_child(d, s, mode, k, 0);
        judge(d, &t, &o, clean, false, "request", k);
        if (k > clean->requests) break;
    }
    print_tally(s, mode_names[mode], &t);
}

static void short_address_space(driver *d, const scenario *s, const outcome *clean) {
    tally t = {0};
    for (size_t n = 0; n < sizeof limits_mb / sizeof *limits_mb; n++) {
        const outcome o = run_child(d, s, FAIL_AT, 0, limits_mb[n]);
        judge(d, &t, &o, clean, true, "MB", limits_mb[n]);
    }
    print_tally(s, "limit", &t);
}

/* The requests of shared libraries count too: the C library's own are tried. */
static void check_counting(void) {
    failing_malloc_start(FAIL_AT, 1);
    char *copy = strdup("text");
    failing_malloc_stop();
    if (copy || failing_malloc_requests() != 1) {
        fprintf(stderr, "malloc is not replaced in the C library\n");
        exit(2);
    }
}

static outcome run_clean(driver *d, const scenario *s) {
    const outcome o = run_child(d, s, FAIL_AT, 0, 0);
    if (!starts_with(o.first, "ok ") || strcmp(o.first, o.again) != 0) {
        fprintf(stderr, "%s: without failures: %s, %s %s\n", s->name, o.first, o.again, o.other);
        exit(1);
    }
    return o;
}

static void run_scenarios(driver *d, const char *threads) {
    setenv("PRESSURE_THREADS", threads, 1);
    printf("threads: %s\n", threads);
    for (int n = 0; n < scenario_count; n++) {
        const scenario *s = &scenarios[n];
        char saved[160];
        const outcome clean = run_clean(d, s);
        snprintf(saved, sizeof saved, "%s/file", d->folder);
        if (strcmp(s->name, "save") == 0 && rename(saved, d->model) != 0) die(saved); /* for those that read it */
        for (failing_mode mode = 0; mode < FAIL_MODES; mode++) failing_requests(d, s, &clean, mode);
        short_address_space(d, s, &clean);
        fflush(stdout);
    }
}

static int run_all(size_t stride) {
    check_counting();
    driver d = {.folder = "/tmp/rbe-pressure-XXXXXX", .stride = stride};
    if (!mkdtemp(d.folder)) die(d.folder);
    snprintf(d.output, sizeof d.output, "%s/output", d.folder);
    snprintf(d.model, sizeof d.model, "%s/model", d.folder);
    /* OpenBLAS's own threads reserve their memory before main: where they wait for it, no call helps. The library
     * does not use them. */
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    run_scenarios(&d, "1");
    run_scenarios(&d, "2");
    printf("%zu passed, %zu failed\n", d.passed, d.failed);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", d.folder);
    if (system(command) != 0) die(command);
    return d.failed == 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 1) return run_all(1);
    if (argc == 2 && strcmp(argv[1], "--short") == 0) return run_all(SHORT_STRIDE);
    const char *path = getenv("PRESSURE_FILE");
    for (int n = 0; n < scenario_count; n++)
        for (failing_mode mode = 0; mode < FAIL_MODES; mode++)
            if (strcmp(argv[1], scenarios[n].name) == 0 &&
                (argc == 2 || (argc == 4 && !strcmp(argv[2], mode_names[mode]))))
                return run_case(&scenarios[n], mode, argc == 4 ? strtoull(argv[3], NULL, 10) : 0,
                                path ? path : "/tmp/rbe-pressure-file");
    fprintf(stderr, "Usage: pressure [--short] | pressure SCENARIO [at|every|from K]\n");
    return 2;
}
