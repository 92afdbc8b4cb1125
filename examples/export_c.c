/* Writes a trained model as a C file that needs nothing else, after it has compiled one like it and compared what that
 * computes with what the library does.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

extern char **environ;

typedef struct settings {
    const char *model, *out, *name, *values, *test, *labels;
    size_t count, places;
    double tolerance;
    bool size, speed, integer;
} settings;

static settings read_settings(int argc, char **argv) {
    settings s = {.name = "net", .values = "trained", .count = 10, .tolerance = 1e-5};
    const example_option options[] = {
        {"MODEL", EXAMPLE_FILE, &s.model, NULL, "a model file", 0, 0},
        {"out", EXAMPLE_TEXT, &s.out, "NET.c", "the file to write, with its header NET.h beside it", 0, 0},
        {"name", EXAMPLE_TEXT, &s.name, "NAME", "NAME_predict is the function, NAME_INPUTS a macro", 0, 0},
        {"values", EXAMPLE_TEXT, &s.values, "trained|f32|int8|int4",
         "trained: layers with few bits in these, others as floats; int8, int4: all matrices in at most 8 or 4 bits", 0,
         0},
        {"size", EXAMPLE_FLAG, &s.size, NULL, "small rather than fast; this is the default", 0, 0},
        {"speed", EXAMPLE_FLAG, &s.speed, NULL, "fast rather than small", 0, 0},
        {"integer", EXAMPLE_FLAG, &s.integer, NULL,
         "whole numbers only, no floats; the samples of --test set their ranges", 0, 0},
        {"test", EXAMPLE_TEXT, &s.test, "FILE",
         "samples of the file's test: IDX images, plain or .gz, or an array (.npy) (default: random numbers)", 0, 0},
        {"labels", EXAMPLE_TEXT, &s.labels, "FILE", "with --integer: IDX labels of --test, to count wrong answers", 0,
         0},
        {"count", EXAMPLE_COUNT, &s.count, "N", "number of samples to test, from the first one on", 1, 1e6},
        {"tolerance", EXAMPLE_REAL, &s.tolerance, "T",
         "how far an output may be off, divided by the largest of its sample", 1e-7, 1},
        {"places", EXAMPLE_COUNT, &s.places, "N", "the longest sequence (default: the longest of the model)", 1, 1e6},
    };
    example_parse(argc, argv, "Writes a trained model as C, and runs its test before the file appears.", options,
                  sizeof options / sizeof *options);
    if (!s.out) example_fail(2, "expected --out NET.c");
    if (s.labels && !(s.integer && s.test)) example_fail(2, "--labels needs --integer and --test");
    if (s.size && s.speed) example_fail(2, "--size and --speed exclude each other");
    return s;
}

static rbe_export_values values_of(const char *name) {
    static const char *const names[] = {"trained", "f32", "int8", "int4"};
    size_t n = 0;
    while (strcmp(names[n], name) != 0) n++;
    return (rbe_export_values)n;
}

/* ---- samples ------------------------------------------------------------------------------------------------- */

/* All that there are; the test has s->count of them. */
typedef struct samples {
    float *x;
    int32_t *labels; /* or NULL */
    size_t count;
} samples;

/* Room for rows of `width` values, as many as are needed of *rows; s->count is then at most that. */
static float *room_for(settings *s, size_t *rows, size_t found, size_t width) {
    if (found != width) example_fail(1, "%s: expected samples of %zu values, found %zu", s->test, width, found);
    if (s->count > *rows) s->count = *rows;
    if (!s->integer) *rows = s->count;
    return example_take(*rows * width, sizeof(float));
}

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static samples read_samples(settings *s, size_t width) {
    samples all = {.x = NULL};
    if (ends_with(s->test, ".npy")) {
        rbe_tensor t;
        example_require(rbe_npy_read(s->test, &t));
        const size_t count = rbe_tensor_count(&t), rows = t.dims > 1 ? t.shape[0] : 1;
        all.count = rows;
        all.x = room_for(s, &all.count, count / rows, width);
        memcpy(all.x, t.data, all.count * width * sizeof *all.x);
        rbe_tensor_free(&t);
        return all;
    }
    rbe_dataset data;
    example_require(rbe_dataset_read_idx(&data, s->test, s->labels, s->labels ? 256 : 0));
    all.count = data.count;
    all.x = room_for(s, &all.count, data.features, width);
    for (size_t n = 0; n < all.count * width; n++) all.x[n] = (float)data.pixels[n] / 255.0f;
    if (s->labels) {
        all.labels = example_take(data.count, sizeof *all.labels);
        memcpy(all.labels, data.labels, data.count * sizeof *all.labels);
    }
    rbe_dataset_free(&data);
    return all;
}

/* Normal numbers, or ids below `vocabulary`. */
static float *draw_samples(const settings *s, size_t width, size_t vocabulary) {
    rbe_rng *rng = example_need(rbe_rng_new(1, 0));
    float *x = example_take(s->count * width, sizeof *x);
    for (size_t n = 0; n < s->count * width; n++)
        x[n] = vocabulary ? (float)rbe_rng_below(rng, (uint32_t)vocabulary) : (float)rbe_rng_normal(rng);
    rbe_rng_free(rng);
    return x;
}

/* ---- accuracy ------------------------------------------------------------------------------------------------ */

/* What whole numbers cost: in how many samples they change the class, and of the labels, if there are any, how many are
 * wrong. */
static void report_loss(const samples *all, const uint32_t *model, const uint32_t *file) {
    size_t same = 0, model_wrong = 0, file_wrong = 0;
    for (size_t n = 0; n < all->count; n++) {
        same += model[n] == file[n];
        if (!all->labels) continue;
        model_wrong += model[n] != (uint32_t)all->labels[n];
        file_wrong += file[n] != (uint32_t)all->labels[n];
    }
    const double percent = 100.0 / (double)all->count;
    printf("whole numbers: %zu of %zu samples have the library's class (%.2f %%)", same, all->count,
           percent * (double)same);
    if (all->labels)
        printf("; error %.2f %%, the library's %.2f %%", percent * (double)file_wrong, percent * (double)model_wrong);
    putchar('\n');
}

/* ---- the test ------------------------------------------------------------------------------------------------ */

/* A folder for what is tried. */
typedef struct workshop {
    char folder[200], source[240], header[240], program[240];
} workshop;

static void open_workshop(workshop *w) {
    const char *temporary = getenv("TMPDIR");
    snprintf(w->folder, sizeof w->folder, "%.180s/export-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(w->folder)) example_fail(1, "%s: %s", w->folder, strerror(errno));
    snprintf(w->source, sizeof w->source, "%s/net.c", w->folder);
    snprintf(w->header, sizeof w->header, "%s/net.h", w->folder);
    snprintf(w->program, sizeof w->program, "%s/net", w->folder);
}

static void close_workshop(const workshop *w) {
    unlink(w->source);
    unlink(w->header);
    unlink(w->program);
    rmdir(w->folder);
}

/* The exit code; 127: there is no such program. */
static int run(char *const *arguments) {
    pid_t child;
    int status;
    fflush(stdout);
    if (posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ) != 0) return 127;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

/* Compiles and runs the file; what is wrong, or NULL. */
static const char *try_out(const workshop *w, const char *name) {
    const char *chosen = getenv("CC");
    char macro[80], compiler[200];
    snprintf(macro, sizeof macro, "-D%.60s_TEST", name);
    for (char *at = macro + 2; *at; at++)
        if (*at >= 'a' && *at <= 'z') *at = (char)(*at - 'a' + 'A');
    snprintf(compiler, sizeof compiler, "%s", chosen && *chosen && !strchr(chosen, ' ') ? chosen : "cc");
    char *const compile[] = {compiler, "-O1", "-o", (char *)w->program, macro, (char *)w->source, "-lm", NULL};
    char *const test[] = {(char *)w->program, NULL};
    const int compiled = run(compile);
    if (compiled == 127) {
        printf("no compiler (%s) found: the file was not tested\n", compiler);
        return NULL;
    }
    if (compiled != 0) return "the compiler rejected the file";
    return run(test) == 0 ? NULL : "the compiled file gives other outputs than the library";
}

int main(int argc, char **argv) {
    settings s = read_settings(argc, argv);
    rbe_model *model = example_need(rbe_model_load(s.model));
    rbe_export_options options = {.name = s.name,
                                  .values = values_of(s.values),
                                  .speed = s.speed,
                                  .places = s.places,
                                  .integer = s.integer,
                                  .tolerance = s.tolerance};
    rbe_export_sample_shape shape;
    example_require(rbe_export_sample(model, &options, &shape));
    const size_t width = shape.places * shape.inputs;
    samples all = {.count = s.count};
    if (s.test)
        all = read_samples(&s, width);
    else
        all.x = draw_samples(&s, width, shape.vocabulary);
    options.samples = options.inputs = all.x;
    options.sample_count = s.count;
    if (s.integer) {
        options.input_count = all.count;
        options.model_classes = example_take(all.count, sizeof *options.model_classes);
        options.file_classes = example_take(all.count, sizeof *options.file_classes);
    }
    workshop w = {.folder = ""};
    open_workshop(&w);
    rbe_status status = rbe_export_c(model, w.source, &options);
    const char *wrong = status == RBE_OK ? try_out(&w, s.name) : NULL;
    close_workshop(&w);
    example_require(status);
    if (wrong) example_fail(1, "%s: nothing was written", wrong);
    if (s.integer) report_loss(&all, options.model_classes, options.file_classes);
    example_require(rbe_export_c(model, s.out, &options));
    printf("%s and its header are written\n", s.out);
    free(options.model_classes);
    free(options.file_classes);
    free(all.labels);
    free(all.x);
    rbe_model_free(model);
    return 0;
}
