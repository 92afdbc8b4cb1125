/* The small library against the full one, on a model's file: how long a model takes to load, and a sample to predict. Both
 * are in this process, and timed in turns. */
#include <stdio.h>
#include <stdlib.h>

#include "../../examples/common.h"
#include "infer_library.h"
#include "interleaved.h"

typedef struct subject {
    small_library small;
    void *bytes;
    size_t count;
    rbe_model *of_small, *of_full;
    float *x, *y;
} subject;

static void read_file(subject *s, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) example_fail(1, "%s cannot be read", path);
    s->count = (size_t)ftell(file);
    s->bytes = example_need(malloc(s->count + 1));
    rewind(file);
    if (fread(s->bytes, 1, s->count, file) != s->count) example_fail(1, "%s cannot be read", path);
    fclose(file);
}

static void load_by_small(void *user) {
    subject *s = user;
    s->small.rbe_model_free(s->small.rbe_model_load_memory(s->bytes, s->count));
}

static void load_by_full(void *user) {
    subject *s = user;
    rbe_model_free(rbe_model_load_memory(s->bytes, s->count));
}

static void predict_by_small(void *user) {
    subject *s = user;
    s->small.rbe_predict(s->of_small, s->x, 1, s->y);
}

static void predict_by_full(void *user) {
    subject *s = user;
    example_require(rbe_predict(s->of_full, s->x, 1, s->y));
}

static void prepare(subject *s) {
    const rbe_layer *layer;
    size_t width = 1;
    s->of_full = example_need(rbe_model_load_memory(s->bytes, s->count));
    s->of_small = s->small.rbe_model_load_memory(s->bytes, s->count);
    if (!s->of_small) example_fail(1, "%s", s->small.rbe_last_error());
    for (size_t n = 0; (layer = rbe_model_layer(s->of_full, n)); n++) {
        if (rbe_layer_inputs(layer) > width) width = rbe_layer_inputs(layer);
        if (rbe_layer_outputs(layer) > width) width = rbe_layer_outputs(layer);
    }
    s->x = example_need(calloc(width, sizeof *s->x));
    s->y = example_need(calloc(width, sizeof *s->y));
    for (size_t n = 0; n < width; n++) s->x[n] = (float)(n % 17) / 17.0f;
    predict_by_full(s);
    if (s->small.rbe_predict(s->of_small, s->x, 1, s->y) != RBE_OK) example_fail(1, "%s", s->small.rbe_last_error());
}

static void report(const char *what, bench_work *by_small, bench_work *by_full, subject *s, bool quick) {
    const bench_timing t = bench_interleaved(by_small, by_full, s, true, quick);
    printf("%-24s %12.1f %12.1f %10.3f  (%.3f .. %.3f)\n", what, 1e6 * t.compressed, 1e6 * t.dense, t.ratio,
           t.ratio_low, t.ratio_high);
}

int main(int argc, char **argv) {
    const char *path = NULL;
    bool quick = false;
    const example_option options[] = {
        {"MODEL", EXAMPLE_FILE, &path, NULL, "a model file", 0, 0},
        {"quick", EXAMPLE_FLAG, &quick, NULL, "fewer turns", 0, 0},
    };
    example_parse(argc, argv, "librbe_infer against librbe, on one thread.", options, sizeof options / sizeof *options);
    subject s = {0};
    example_require(small_library_open(&s.small));
    example_require(rbe_set_threads(1));
    example_require(s.small.rbe_set_threads(1));
    read_file(&s, path);
    prepare(&s);
    printf("%-24s %12s %12s %10s\n", "microseconds", "librbe_infer", "librbe", "ratio");
    report("load", load_by_small, load_by_full, &s, quick);
    report("predict a sample", predict_by_small, predict_by_full, &s, quick);
    s.small.rbe_model_free(s.of_small);
    rbe_model_free(s.of_full);
    free(s.bytes);
    free(s.x);
    free(s.y);
    return 0;
}
