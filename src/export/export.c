/* A model as a C file: the order of work, the two files, and the parts of the text. */
#include "rbe/export.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "export/integer.h"

/* ---- what the parts share ------------------------------------------------------------------------------------ */

void rbe_export_fail(rbe_exporter *x, rbe_status status) {
    if (x->text.status == RBE_OK) x->text.status = status;
}

size_t rbe_layer_number(const rbe_exporter *x, const rbe_layer *layer) {
    size_t n = 0;
    while (x->layers[n] != layer) n++;
    return n + 1;
}

const char *rbe_comment(const char *path, char text[64]) {
    size_t n = 0;
    for (; n < 63 && path[n]; n++) {
        const char c = path[n];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        text[n] = (char)(plain || c == '.' || c == '_' || c == '-' || c == ' ' ? c : '_');
    }
    text[n] = '\0';
    return text;
}

/* ---- parts of the text --------------------------------------------------------------------------------------- */

static size_t scratch_bytes(const rbe_exporter *x) {
    return (x->peak + x->remembered) * sizeof(float) + sizeof(float) - 1;
}

static void about(rbe_exporter *x, const rbe_exporter *counted) {
    rbe_c_print(&x->text,
                "/* %s: a neural network of %zu inputs and %zu outputs, written by librbe %s.\n"
                " *\n"
                " * %zu bytes of constants, %zu bytes of scratch memory, %.0f multiplications with additions a call.\n"
                " *\n"
                " * float is IEEE binary32, in the byte order of uint32_t. */\n",
                x->name, counted->in, counted->out, rbe_version(), counted->text.data_bytes, scratch_bytes(counted),
                counted->operations);
}

static void declarations(rbe_exporter *x) {
    rbe_c_text *t = &x->text;
    const char *ids = x->vocabulary ? ", an id that there is not" : "";
    if (x->remembers)
        rbe_c_print(
            t,
            "/* Begins a sequence. scratch: memory of %s_SCRATCH bytes, of any alignment, which stays where and "
            "as it is\n * as long as the sequence goes on. */\n"
            "void %s_begin(void *scratch);\n\n"
            "/* y = the outputs for the next place of the sequence, of which x are the inputs. Returns 0, or "
            "-1:\n * a NULL pointer%s, no place left. */\n",
            x->upper, x->name, ids);
    else
        rbe_c_print(t,
                    "/* y = the outputs for x. scratch: memory of %s_SCRATCH bytes, of any alignment, which holds "
                    "nothing\n * between two calls. Returns 0, or -1: a NULL pointer%s. */\n",
                    x->upper, ids);
    rbe_c_print(t, "int %s_predict(const float *x, float *y, void *scratch);\n", x->name);
}

static void header(rbe_exporter *x, const rbe_exporter *counted) {
    rbe_c_text *t = &x->text;
    about(x, counted);
    rbe_c_print(t, "#ifndef %s_PREDICT_H\n#define %s_PREDICT_H\n\n", x->upper, x->upper);
    rbe_c_print(t, "#define %s_INPUTS %zu\n#define %s_OUTPUTS %zu\n#define %s_SCRATCH %zu /* bytes */\n", x->upper,
                counted->in, x->upper, counted->out, x->upper, scratch_bytes(counted));
    if (x->remembers) rbe_c_print(t, "#define %s_PLACES %zu\n", x->upper, x->places);
    rbe_c_put(t, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    declarations(x);
    rbe_c_put(t, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static const char *const snippets[] = {
#define RBE_SNIPPET_ENTRY(name) rbe_snippet_##name,
    RBE_SNIPPETS(RBE_SNIPPET_ENTRY)
#undef RBE_SNIPPET_ENTRY
};

static void routines(rbe_exporter *x, const rbe_exporter *counted) {
    for (size_t n = 0; n < RBE_SNIPPET_COUNT; n++) {
        if (!counted->needs[n]) continue;
        rbe_c_put(&x->text, "\n");
        rbe_c_put(&x->text, snippets[n]);
    }
}

static void predict(rbe_exporter *x) {
    static const char aligned[] =
        "    float *const s = (float *)(((uintptr_t)scratch + sizeof(float) - 1) / sizeof(float) * sizeof(float));\n";
    if (x->remembers)
        rbe_c_print(&x->text,
                    "\nvoid %s_begin(void *scratch)\n{\n%s    if (scratch) s[0] = 0.0f; /* places so far */\n}\n",
                    x->name, aligned);
    rbe_c_print(&x->text,
                "\nint %s_predict(const float *x, float *y, void *scratch)\n{\n"
                "    if (!x || !y || !scratch) return -1;\n%s",
                x->name, aligned);
    if (x->remembers)
        rbe_c_print(&x->text, "    const size_t place = (size_t)s[0];\n    if (place >= %zu) return -1;\n", x->places);
    rbe_c_steps(x);
    if (x->remembers) rbe_c_put(&x->text, "    s[0] += 1.0f;\n");
    rbe_c_put(&x->text, "    return 0;\n}\n");
}

/* counted: what the first time has found; the first time, x itself. */
static void source(rbe_exporter *x, const rbe_exporter *counted) {
    about(x, counted);
    rbe_c_print(&x->text,
                "#include \"%s\"\n\n#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n"
                "#include <string.h>\n",
                x->header);
    x->table_count = counted == x ? 0 : counted->table_count;
    rbe_c_tables(x);
    for (size_t n = 0; n < x->layer_count; n++) rbe_c_layer_data(x, x->layers[n], n + 1);
    routines(x, counted);
    for (size_t n = 0; n < x->layer_count; n++)
        if (rbe_layer_blocks(x->layers[n])) rbe_c_linear(x, x->layers[n], n + 1);
    predict(x);
    if (counted == x) rbe_c_tables(x); /* those that have been asked for */
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static void source_part(rbe_exporter *x, const rbe_exporter *counted) {
    if (x->plan) {
        rbe_int_source(x, counted->text.data_bytes);
        return;
    }
    source(x, counted);
    rbe_c_selftest(x);
}

static void header_part(rbe_exporter *x, const rbe_exporter *counted) {
    if (x->plan)
        rbe_int_header(x, counted->text.data_bytes);
    else
        header(x, counted);
}

static rbe_status write_part(rbe_exporter *x, rbe_atomic_file *file, const rbe_exporter *counted,
                             void (*part)(rbe_exporter *, const rbe_exporter *)) {
    x->text.file = file;
    part(x, counted);
    RBE_TRY(rbe_c_flush(&x->text));
    return rbe_atomic_finish(file);
}

static rbe_status write_both(rbe_exporter *x, const rbe_exporter *counted, const char *path, const char *header_path) {
    rbe_atomic_file files[2] = {{0}};
    rbe_status status = rbe_atomic_open(&files[0], path);
    if (status == RBE_OK) status = rbe_atomic_open(&files[1], header_path);
    if (status == RBE_OK) status = write_part(x, &files[0], counted, source_part);
    if (status == RBE_OK) status = write_part(x, &files[1], counted, header_part);
    if (status == RBE_OK) status = rbe_atomic_commit((rbe_atomic_file *const[]){&files[0], &files[1]}, 2);
    rbe_atomic_discard(&files[0]);
    rbe_atomic_discard(&files[1]);
    return status;
}

/* Counts what the text will need. */
static rbe_status count_all(rbe_exporter *x, rbe_exporter *counted) {
    if (x->plan) {
        RBE_TRY(rbe_int_make(x, x->plan));
        rbe_int_constants(x);
    } else
        source(x, x);
    *counted = *x;
    x->text.data_bytes = 0;
    RBE_TRY(x->text.status);
    const size_t scratch = x->plan ? rbe_int_scratch_bytes(x->plan) : scratch_bytes(x);
    if (scratch < INT32_MAX) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "export: expected less than %d bytes of scratch memory, found %zu", INT32_MAX,
                    scratch);
}

/* Counts, evaluates, writes. */
static rbe_status export_rounded(rbe_exporter *x, const char *path) {
    rbe_exporter *counted = rbe_alloc(1, sizeof *counted);
    char *header_path = rbe_alloc(strlen(path) + 1, 1);
    rbe_status status = counted && header_path ? RBE_OK : RBE_INSUFFICIENT_MEMORY;
    if (status == RBE_OK) {
        strcpy(header_path, path);
        header_path[strlen(path) - 1] = 'h';
        x->header = strrchr(header_path, '/') ? strrchr(header_path, '/') + 1 : header_path;
        status = count_all(x, counted);
    }
    if (status == RBE_OK) status = rbe_export_evaluate(x, x->o.samples, x->o.sample_count, &x->expected);
    if (status == RBE_OK && x->plan) status = rbe_int_evaluate(x);
    if (status == RBE_OK) status = write_both(x, counted, path, header_path);
    rbe_free(header_path);
    rbe_free(counted);
    return status;
}

rbe_status rbe_export_c(rbe_model *model, const char *path, const rbe_export_options *options) {
    rbe_exporter *x = rbe_alloc_zeroed(1, sizeof *x);
    if (!x) return rbe_last_status();
    rbe_kept_values *kept = NULL;
    rbe_int_plan plan = {.layers = NULL};
    x->model = model;
    if (options) x->o = *options;
    if (x->o.integer) x->plan = &plan;
    rbe_status status = rbe_export_check(x, path);
    if (status == RBE_OK) status = rbe_export_round(x, &kept);
    if (status == RBE_OK) status = export_rounded(x, path);
    rbe_export_restore(kept);
    rbe_int_free(&plan);
    rbe_free(x->layers);
    rbe_free(x->expected);
    rbe_free(x->whole);
    rbe_free(x);
    return status;
}
