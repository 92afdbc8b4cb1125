/* The text of an exported file without floats: constants, routines, the steps, a test. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "export/integer.h"

/* ---- constants ----------------------------------------------------------------------------------------------- */

static const char *name_of(char name[40], const char *part, size_t number) {
    snprintf(name, 40, "%s_%zu", part, number);
    return name;
}

/* Biases have bytes if those of all layers do. */
static bool has_narrow_biases(const rbe_int_plan *plan) {
    for (size_t n = 0; n < plan->count; n++) {
        const rbe_int_layer *l = &plan->layers[n];
        for (size_t k = 0; l->bias && k < l->out; k++)
            if (l->bias[k] < INT8_MIN || l->bias[k] > INT8_MAX) return false;
    }
    return true;
}

/* A scale as snippets/int_scale_narrow.c reads it. */
static uint8_t narrow_scale(unsigned scale) { return (uint8_t)(scale < 256 ? scale - 128 : 128 | (scale / 2 - 128)); }

static void put_scales(rbe_exporter *x, const rbe_int_layer *l, const char *name) {
    if (!x->plan->narrow) {
        rbe_c_shorts(&x->text, name, l->scales, l->scale_count);
        return;
    }
    uint8_t *bytes = rbe_alloc(l->scale_count, 1);
    for (size_t n = 0; bytes && n < l->scale_count; n++) bytes[n] = narrow_scale(l->scales[n]);
    if (bytes)
        rbe_c_bytes(&x->text, name, bytes, l->scale_count);
    else
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
    rbe_free(bytes);
}

static void put_bias(rbe_exporter *x, const rbe_int_layer *l, const char *name, bool narrow) {
    if (!narrow) {
        rbe_c_signed_shorts(&x->text, name, l->bias, l->out);
        return;
    }
    int8_t *bytes = rbe_alloc(l->out, 1);
    for (size_t n = 0; bytes && n < l->out; n++) bytes[n] = (int8_t)l->bias[n];
    if (bytes)
        rbe_c_signed_bytes(&x->text, name, bytes, l->out);
    else
        rbe_export_fail(x, RBE_INSUFFICIENT_MEMORY);
    rbe_free(bytes);
}

/* The length of a layer's cosines of each kind, 0 without. */
static size_t cosines_of(const rbe_int_layer *l, size_t kind) {
    const size_t lengths[] = {l->width > 0 ? l->width : l->input_block, l->height, l->block};
    return l->cosines[kind] ? lengths[kind] : 0;
}

/* Each length once. */
static void put_cosines(rbe_exporter *x, const rbe_int_plan *plan) {
    char name[40];
    for (size_t n = 0; n < 3 * plan->count; n++) {
        const size_t length = cosines_of(&plan->layers[n / 3], n % 3);
        bool known = length == 0;
        for (size_t k = 0; k < n && !known; k++) known = cosines_of(&plan->layers[k / 3], k % 3) == length;
        if (!known)
            rbe_c_signed_shorts(&x->text, name_of(name, "cosines", length), plan->layers[n / 3].cosines[n % 3],
                                length + 1);
    }
}

/* "name_3", or "NULL" without. */
static const char *name_or_null(char name[40], const char *part, size_t number, bool there) {
    return there ? name_of(name, part, number) : "NULL";
}

static void put_matrix(rbe_exporter *x, const rbe_int_layer *l, size_t number) {
    char gaps[40], bias[40], cosines[40];
    rbe_c_print(&x->text,
                "\nstatic const matrix matrix_%zu = {%s, values_%zu, scales_%zu, %s, %s, %zu, %zu, %zu, %zu, %zu, "
                "%zu, %d, %d, "
                "%u, %u, %u, %d, %d};\n",
                number, name_or_null(gaps, "gaps", number, l->block > 0), number, number,
                name_or_null(bias, "bias", number, l->bias != NULL),
                name_or_null(cosines, "cosines", l->block, l->back), l->in, l->out, l->block, l->blocks, l->group,
                l->longest, l->factor, l->most, l->first, l->second, l->last, l->relu, l->wide);
}

static void put_layer(rbe_exporter *x, const rbe_int_plan *plan, size_t n) {
    char name[40], comment[64];
    const rbe_int_layer *l = &plan->layers[n];
    rbe_c_text *t = &x->text;
    rbe_c_print(t, "\n/* %s: %zu inputs, %zu outputs */\n", rbe_comment(l->layer->path, comment), l->in, l->out);
    if (l->used) rbe_c_bytes(t, name_of(name, "used", n + 1), l->used, l->used_bytes);
    if (l->block > 0) rbe_c_shorts(t, name_of(name, "gaps", n + 1), l->gaps, l->gap_count);
    rbe_c_shorts(t, name_of(name, "values", n + 1), l->values, l->value_count > 0 ? l->value_count : 1);
    put_scales(x, l, name_of(name, "scales", n + 1));
    if (l->bias) put_bias(x, l, name_of(name, "bias", n + 1), has_narrow_biases(plan));
}

/* ---- routines ------------------------------------------------------------------------------------------------ */

static const char *const snippets[] = {
#define RBE_SNIPPET_ENTRY(name) rbe_snippet_##name,
    RBE_INT_SNIPPETS(RBE_SNIPPET_ENTRY)
#undef RBE_SNIPPET_ENTRY
};

enum {
#define RBE_SNIPPET_ENUM(name) NEED_##name,
    RBE_INT_SNIPPETS(RBE_SNIPPET_ENUM)
#undef RBE_SNIPPET_ENUM
        SNIPPET_COUNT
};

/* What no layer needs compilers leave out. */
static void put_needs(rbe_exporter *x, const rbe_int_plan *plan) {
    bool wide = false, slim = false, odd = false, plain = false, back = false;
    for (size_t n = 0; n < plan->count; n++) {
        const rbe_int_layer *l = &plan->layers[n];
        wide |= l->wide;
        slim |= !l->wide;
        odd |= l->block == 0 ? l->out % 2 : l->group % 2 || l->blocks % 2; /* the last group has blocks % group */
        plain |= l->block > 0 && !l->back;
        back |= l->back;
    }
    rbe_c_print(
        &x->text,
        "\n/* Whether there are layers of 8 bits, of 4, with odd numbers of rows, with outputs as they are, with a DCT "
        "of\n * outputs, and whether scales have a byte. */\n"
        "enum { WIDE = %d, SLIM = %d, ODD_ROWS = %d, PLAIN = %d, BACK = %d, NARROW = %d };\n",
        wide, slim, odd, plain, back, plan->narrow);
}

static void routines(rbe_exporter *x, const rbe_int_plan *plan) {
    bool needs[SNIPPET_COUNT] = {
        [NEED_int_apart] = true, [NEED_int_matrix] = true, [NEED_int_rows] = true, [NEED_int_widen] = plan->widens};
    for (size_t n = 0; n < plan->count; n++) {
        const rbe_int_layer *l = &plan->layers[n];
        needs[NEED_int_dense] |= l->block == 0;
        needs[NEED_int_lists] |= l->block > 0;
        needs[NEED_int_image] |= l->width > 0;
        needs[NEED_int_blocks] |= l->input_block > 0;
    }
    needs[NEED_int_forward] = needs[NEED_int_image] || needs[NEED_int_blocks];
    needs[NEED_int_outputs] = needs[NEED_int_lists];
    needs[NEED_int_dct] = needs[NEED_int_forward] || needs[NEED_int_lists];
    for (size_t n = 0; n < SNIPPET_COUNT; n++) {
        if (!needs[n]) continue;
        rbe_c_put(&x->text, "\n");
        rbe_c_put(&x->text, snippets[n]);
    }
}

/* ---- net_predict --------------------------------------------------------------------------------------------- */

static void put_transform(rbe_exporter *x, const rbe_int_layer *l, size_t number, const char *from) {
    rbe_c_text *t = &x->text;
    const size_t work = l->chosen + rbe_int_chosen(l);
    if (l->width > 0)
        rbe_c_print(t, "    image(%s, %zu, %zu, cosines_%zu, cosines_%zu, used_%zu, %u, %u, s + %zu, s + %zu);\n", from,
                    l->height, l->width, l->height, l->width, number, l->shifts[0], l->shifts[1], l->chosen, work);
    else
        rbe_c_print(t, "    input_blocks(%s, %zu, %zu, cosines_%zu, used_%zu, %u, s + %zu, s + %zu);\n", from, l->in,
                    l->input_block, l->input_block, number, l->shifts[0], l->chosen, work);
}

static void put_steps(rbe_exporter *x, const rbe_int_plan *plan) {
    rbe_c_text *t = &x->text;
    if (plan->widens) rbe_c_print(t, "    widen(x, %zu, s);\n", x->in);
    for (size_t n = 0; n < plan->count; n++) {
        const rbe_int_layer *l = &plan->layers[n];
        char from[40] = "x", to[40] = "NULL";
        if (n > 0 || plan->widens) snprintf(from, sizeof from, "s + %zu", l->from);
        if (n + 1 < plan->count) snprintf(to, sizeof to, "s + %zu", l->to);
        if (rbe_int_transforms(l)) {
            put_transform(x, l, n + 1, from);
            snprintf(from, sizeof from, "s + %zu", l->chosen);
        }
        rbe_c_print(t, "    %s(&matrix_%zu, %s, %s, %s, s + %zu);\n", l->block > 0 ? "lists" : "dense", n + 1, from, to,
                    n + 1 < plan->count ? "NULL" : "y", l->work);
    }
}

static const char *input_type(const rbe_int_plan *plan) { return plan->pixels ? "uint8_t" : "int16_t"; }

static void predict(rbe_exporter *x, const rbe_int_plan *plan) {
    rbe_c_text *t = &x->text;
    rbe_c_print(t,
                "\nint %s_predict(const %s *x, int32_t *y, void *scratch)\n{\n"
                "    if (!x || !y || !scratch) return -1;\n"
                "    int16_t *const s = (int16_t *)(((uintptr_t)scratch + 3) / 4 * 4);\n",
                x->name, input_type(plan));
    if (!plan->pixels)
        rbe_c_print(t, "    for (size_t i = 0; i < %zu; i++)\n        if (x[i] > %d || x[i] < -%d) return -1;\n", x->in,
                    (int)plan->largest, (int)plan->largest);
    put_steps(x, plan);
    rbe_c_put(t, "    return 0;\n}\n");
}

/* ---- the files ----------------------------------------------------------------------------------------------- */

size_t rbe_int_scratch_bytes(const rbe_int_plan *plan) { return 2 * plan->scratch + 3; }

static void about(rbe_exporter *x, const rbe_int_plan *plan, size_t constants) {
    char in[40], out[40];
    rbe_c_float_digits((float)plan->scale, in);
    rbe_c_float_digits((float)plan->layers[plan->count - 1].unit, out);
    in[strlen(in) - 1] = out[strlen(out) - 1] = '\0'; /* without the "f" */
    rbe_c_print(&x->text,
                "/* %s: a neural network of %zu inputs and %zu outputs in whole numbers, written by librbe %s.\n *\n"
                " * An input n stands for n times %s, an output for n times %s.\n"
                " *\n * %zu bytes of constants, %zu bytes of scratch memory. >> must keep the sign of a number. */\n",
                x->name, x->in, x->out, rbe_version(), in, out, constants, rbe_int_scratch_bytes(plan));
}

void rbe_int_header(rbe_exporter *x, size_t constants) {
    rbe_c_text *t = &x->text;
    const rbe_int_plan *plan = x->plan;
    about(x, plan, constants);
    rbe_c_print(t,
                "#ifndef %s_PREDICT_H\n#define %s_PREDICT_H\n\n#include <stdint.h>\n\n"
                "#define %s_INPUTS %zu\n#define %s_OUTPUTS %zu\n#define %s_SCRATCH %zu /* bytes */\n",
                x->upper, x->upper, x->upper, x->in, x->upper, x->out, x->upper, rbe_int_scratch_bytes(plan));
    if (!plan->pixels) rbe_c_print(t, "#define %s_LARGEST %d /* input, with either sign */\n", x->upper, plan->largest);
    rbe_c_put(t, "\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    rbe_c_print(t,
                "/* y = the outputs for x. scratch: memory of %s_SCRATCH bytes, of any alignment, which holds "
                "nothing\n * between two calls. Returns 0, or -1: a NULL pointer%s. */\n"
                "int %s_predict(const %s *x, int32_t *y, void *scratch);\n",
                x->upper, plan->pixels ? "" : ", an input that is too large", x->name, input_type(plan));
    rbe_c_put(t, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static void body(rbe_exporter *x, const rbe_int_plan *plan) {
    rbe_c_text *t = &x->text;
    rbe_c_print(t,
                "#include \"%s\"\n\n#include <stddef.h>\n#include <string.h>\n\ntypedef %s scale_type;\ntypedef %s "
                "bias_type;\ntypedef %s input_type;\n",
                x->header, plan->narrow ? "uint8_t" : "uint16_t", has_narrow_biases(plan) ? "int8_t" : "int16_t",
                plan->pixels && !plan->widens ? "uint8_t" : "int16_t");
    put_cosines(x, plan);
    for (size_t n = 0; n < plan->count; n++) put_layer(x, plan, n);
    put_needs(x, plan);
    routines(x, plan);
    for (size_t n = 0; n < plan->count; n++) put_matrix(x, &plan->layers[n], n + 1);
    predict(x, plan);
}

size_t rbe_int_constants(rbe_exporter *x) {
    x->text.data_bytes = 0;
    body(x, x->plan);
    return x->text.data_bytes;
}

void rbe_int_source(rbe_exporter *x, size_t constants) {
    about(x, x->plan, constants);
    body(x, x->plan);
    rbe_int_selftest(x, constants);
}
