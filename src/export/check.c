/* What can be exported, and under what name: all that can be refused before anything is written. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "codec/blocks.h"
#include "export/exporter.h"

/* ---- names --------------------------------------------------------------------------------------------------- */

static const char *const words[] = {"alignas",
                                    "alignof",
                                    "and",
                                    "and_eq",
                                    "asm",
                                    "auto",
                                    "bitand",
                                    "bitor",
                                    "bool",
                                    "break",
                                    "case",
                                    "catch",
                                    "char",
                                    "char16_t",
                                    "char32_t",
                                    "char8_t",
                                    "class",
                                    "co_await",
                                    "co_return",
                                    "co_yield",
                                    "compl",
                                    "concept",
                                    "const",
                                    "const_cast",
                                    "consteval",
                                    "constexpr",
                                    "constinit",
                                    "continue",
                                    "decltype",
                                    "default",
                                    "delete",
                                    "do",
                                    "double",
                                    "dynamic_cast",
                                    "else",
                                    "enum",
                                    "explicit",
                                    "export",
                                    "extern",
                                    "false",
                                    "float",
                                    "for",
                                    "friend",
                                    "goto",
                                    "if",
                                    "inline",
                                    "int",
                                    "long",
                                    "mutable",
                                    "namespace",
                                    "new",
                                    "noexcept",
                                    "not",
                                    "not_eq",
                                    "nullptr",
                                    "operator",
                                    "or",
                                    "or_eq",
                                    "private",
                                    "protected",
                                    "public",
                                    "register",
                                    "reinterpret_cast",
                                    "requires",
                                    "restrict",
                                    "return",
                                    "short",
                                    "signed",
                                    "sizeof",
                                    "static",
                                    "static_assert",
                                    "static_cast",
                                    "struct",
                                    "switch",
                                    "template",
                                    "this",
                                    "thread_local",
                                    "throw",
                                    "true",
                                    "try",
                                    "typedef",
                                    "typeid",
                                    "typename",
                                    "typeof",
                                    "union",
                                    "unsigned",
                                    "using",
                                    "virtual",
                                    "void",
                                    "volatile",
                                    "wchar_t",
                                    "while",
                                    "xor",
                                    "xor_eq"};

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_name(const char *name) {
    const size_t length = strlen(name);
    if (length < 1 || length > RBE_NAME_MOST || !is_letter(name[0]) || strstr(name, "__") || name[length - 1] == '_')
        return false;
    for (size_t n = 0; n < length; n++)
        if (!is_letter(name[n]) && !(name[n] >= '0' && name[n] <= '9') && name[n] != '_') return false;
    for (size_t n = 0; n < sizeof words / sizeof *words; n++)
        if (strcmp(name, words[n]) == 0) return false;
    return true;
}

static rbe_status check_names(rbe_exporter *x, const char *path) {
    const char *name = x->o.name ? x->o.name : "net";
    const char *last = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const size_t length = strlen(last);
    if (!is_name(name))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "export: expected as a name a letter, then letters, digits and single underscores, at most %d, "
                        "and no word of C or C++, found \"%.60s\"",
                        RBE_NAME_MOST, name);
    if (length < 3 || strcmp(last + length - 2, ".c") != 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "export: expected a path that ends in \".c\", found %s", path);
    for (size_t n = 0; n < length; n++)
        if (last[n] == '"' || last[n] == '\\' || last[n] == '?' || iscntrl((unsigned char)last[n]))
            return rbe_fail(RBE_INVALID_ARGUMENT, "export: %s: the name of an included file cannot contain \" \\ ?",
                            path);
    snprintf(x->name, sizeof x->name, "%s", name);
    for (size_t n = 0; name[n]; n++) x->upper[n] = (char)toupper((unsigned char)name[n]);
    return RBE_OK;
}

/* ---- layers -------------------------------------------------------------------------------------------------- */

static bool is_known(const rbe_layer *layer) {
    static const rbe_layer_type *const types[] = {
        &rbe_dense_type,  &rbe_linear_type,    &rbe_dropout_type,   &rbe_sequential_type,  &rbe_residual_type,
        &rbe_repeat_type, &rbe_embedding_type, &rbe_positions_type, &rbe_unembedding_type, &rbe_attention_type,
        &rbe_block_type,  &rbe_rms_norm_type,  &rbe_layer_norm_type};
    for (size_t n = 0; n < sizeof types / sizeof *types; n++)
        if (layer->type == types[n]) return true;
    for (size_t n = 0; rbe_operation_type(n); n++)
        if (layer->type == rbe_operation_type(n)) return true;
    return false;
}

/* That it needs. */
static size_t children_of(const rbe_layer_type *type) {
    if (type == &rbe_block_type) return 4;
    if (type == &rbe_attention_type) return 2;
    return type == &rbe_residual_type || type == &rbe_repeat_type || type == &rbe_unembedding_type;
}

static rbe_status check_layer(const rbe_layer *layer) {
    const rbe_blocks *blocks = rbe_layer_blocks(layer);
    if (!is_known(layer))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: a layer of the kind \"%s\" cannot be exported", layer->path,
                        layer->type->kind);
    if (layer->child_count < children_of(layer->type))
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected %zu layers inside, found %zu", layer->path,
                        children_of(layer->type), layer->child_count);
    if (blocks) RBE_TRY(rbe_blocks_check(blocks));
    for (size_t n = 0; n < layer->param_count; n++) {
        const rbe_param *p = &layer->params[n];
        const size_t bad = rbe_first_nonfinite(p->value, p->count);
        if (bad < p->count)
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu is %g", p->name, bad, (double)p->value[bad]);
    }
    return RBE_OK;
}

/* Counts layers with parameters, notes them, checks all. */
typedef struct survey {
    rbe_exporter *x;
    rbe_status status;
    uint64_t bytes;
} survey;

static bool measure(void *user, rbe_layer *layer) {
    survey *s = user;
    for (size_t n = 0; n < layer->param_count; n++) s->bytes += (uint64_t)layer->params[n].count * sizeof(float);
    s->x->layer_count += layer->param_count > 0;
    return true;
}

static bool note(void *user, rbe_layer *layer) {
    survey *s = user;
    if (layer->param_count > 0) s->x->layers[s->x->layer_count++] = layer;
    s->status = check_layer(layer);
    return s->status == RBE_OK;
}

static rbe_status check_layers(rbe_exporter *x) {
    const uint64_t most = (uint64_t)2 << 30;
    survey s = {.x = x};
    rbe_layer_walk(x->model->root, measure, &s);
    if (s.bytes > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "export: expected a model of at most %llu bytes of values, found %llu",
                        (unsigned long long)most, (unsigned long long)s.bytes);
    x->layers = rbe_alloc(x->layer_count, sizeof *x->layers);
    if (!x->layers) return rbe_last_status();
    x->layer_count = 0;
    rbe_layer_walk(x->model->root, note, &s);
    return s.status;
}

/* ---- widths -------------------------------------------------------------------------------------------------- */

/* Notes what makes a model one of sequences. */
static bool look_for_places(void *user, rbe_layer *layer) {
    rbe_exporter *x = user;
    const bool table = layer->type == &rbe_positions_type;
    if (table && (x->places == 0 || layer->params[0].rows < x->places)) x->places = layer->params[0].rows;
    if (table || layer->type == &rbe_attention_type) x->remembers = true;
    return true;
}

/* Places, and what a place takes. */
static rbe_status find_widths(rbe_exporter *x) {
    const rbe_layer *layer;
    for (size_t n = 0; x->in == 0 && (layer = rbe_model_layer(x->model, n)); n++) {
        x->in = layer->type == &rbe_embedding_type ? 1 : layer->in;
        if (layer->type == &rbe_embedding_type) x->vocabulary = layer->params[0].rows;
    }
    if (x->in == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: the model has no layer with widths");
    rbe_layer_walk(x->model->root, look_for_places, x);
    if (!x->remembers) {
        x->places = 1;
        return RBE_OK;
    }
    const size_t most = x->places ? x->places : RBE_MOST_COLUMNS;
    if (x->o.places > 0) x->places = x->o.places;
    if (x->places >= 1 && x->places <= most) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: places: expected 1 .. %zu, found %zu", most, x->o.places);
}

static rbe_status check_options(const rbe_exporter *x) {
    RBE_TRY(rbe_model_status(x->model));
    if (x->o.values > RBE_EXPORT_INT4)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: values: %d is not known", (int)x->o.values);
    if (x->o.sample_count > 0 && !x->o.samples)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: the samples are NULL");
    if (x->o.input_count > 0 && !x->o.inputs)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: the inputs are NULL");
    if (x->o.integer && x->o.values == RBE_EXPORT_F32)
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "rbe_export_c: values: expected few bits for integer arithmetic, found floats");
    if (!(x->o.tolerance >= 0.0 && x->o.tolerance <= 1.0))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: tolerance: expected 0 .. 1, found %g", x->o.tolerance);
    return RBE_OK;
}

/* Of what is to be computed. */
static rbe_status check_numbers(const rbe_exporter *x, const char *what, const float *values, size_t count) {
    const size_t width = x->places * x->in;
    if (count == 0) return RBE_OK;
    if (rbe_product(count, width) > PTRDIFF_MAX / sizeof(float))
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: %zu %ss are more than can be addressed", count, what);
    const size_t bad = rbe_first_nonfinite(values, count * width);
    if (bad == count * width) return RBE_OK;
    return rbe_fail(RBE_NUMERICAL_INSTABILITY, "rbe_export_c: input %zu of %s %zu is %g", bad % width, what,
                    bad / width, (double)values[bad]);
}

rbe_status rbe_export_check(rbe_exporter *x, const char *path) {
    RBE_TRY(check_options(x));
    if (!path) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_c: the path is NULL");
    RBE_TRY(check_names(x, path));
    RBE_TRY(check_layers(x));
    RBE_TRY(find_widths(x));
    RBE_TRY(check_numbers(x, "sample", x->o.samples, x->o.sample_count));
    return check_numbers(x, "calibration", x->o.inputs, x->o.input_count);
}

rbe_status rbe_export_sample(const rbe_model *model, const rbe_export_options *options,
                             rbe_export_sample_shape *shape) {
    if (!shape) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_export_sample: the shape is NULL");
    rbe_exporter *x = rbe_alloc_zeroed(1, sizeof *x);
    if (!x) return rbe_last_status();
    x->model = (rbe_model *)model; /* which is only looked at */
    if (options) x->o = (rbe_export_options){.places = options->places};
    rbe_status status = check_options(x);
    if (status == RBE_OK) status = find_widths(x);
    *shape = (rbe_export_sample_shape){.places = x->places, .inputs = x->in, .vocabulary = x->vocabulary};
    rbe_free(x);
    return status;
}
