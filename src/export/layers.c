/* The steps of net_predict: a walk along the model, in which each layer becomes a call.
 *
 * Values between layers lie in spans of scratch memory. A span lives as long as somebody holds it; a new one is put at
 * the lowest place where there is room. So the peak is that of the layers that are alive at once.
 */
#include <stdio.h>
#include <string.h>

#include "export/exporter.h"
#include "export/options.h"

enum { MOST_SPANS = 256 };

/* Number 0 is the input of the net, which is not written to. */
typedef struct span {
    size_t at, count;
    size_t holders; /* 0: not there */
} span;

typedef struct walk {
    rbe_exporter *x;
    rbe_c_text *text;
    span spans[MOST_SPANS];
    size_t loops;      /* that are around the present layer */
    size_t memory;     /* of attentions: where it begins, behind the spans */
    size_t remembered; /* floats in it */
} walk;

/* ---- spans --------------------------------------------------------------------------------------------------- */

static bool is_free(const walk *w, size_t at, size_t count, size_t *behind) {
    for (size_t n = 1; n < MOST_SPANS; n++) {
        const span *s = &w->spans[n];
        if (s->holders == 0 || s->at >= at + count || s->at + s->count <= at) continue;
        *behind = s->at + s->count;
        return false;
    }
    return true;
}

static size_t take(walk *w, size_t count) {
    size_t n = 1, at = w->x->remembers ? 1 : 0;
    while (n < MOST_SPANS && w->spans[n].holders > 0) n++;
    if (n == MOST_SPANS) {
        rbe_export_fail(w->x,
                        rbe_fail(RBE_INVALID_ARGUMENT, "export: layers are nested more than %d deep", MOST_SPANS / 3));
        return 0;
    }
    while (!is_free(w, at, count, &at)) continue;
    w->spans[n] = (span){at, count, 1};
    if (at + count > w->x->peak) w->x->peak = at + count;
    return n;
}

static void hold(walk *w, size_t n) { w->spans[n].holders++; }

static void drop(walk *w, size_t n) { w->spans[n].holders--; }

/* "s + 300" */
static const char *where(const walk *w, size_t n, char text[32]) {
    if (n == 0) return "x";
    snprintf(text, 32, "s + %zu", w->spans[n].at);
    return text;
}

/* ---- calls --------------------------------------------------------------------------------------------------- */

static void begin_line(walk *w) {
    rbe_c_put(w->text, "    ");
    for (size_t n = 0; n < w->loops; n++) rbe_c_put(w->text, "    ");
}

static void copy(walk *w, size_t to, size_t from) {
    char a[32], b[32];
    begin_line(w);
    rbe_c_print(w->text, "memmove(%s, %s, %zu * sizeof *s);\n", where(w, to, a), where(w, from, b), w->spans[to].count);
}

/* The same values where nobody else needs them as they are. */
static size_t writable(walk *w, size_t n) {
    if (n != 0 && w->spans[n].holders == 1) return n;
    const size_t own = take(w, w->spans[n].count);
    copy(w, own, n);
    drop(w, n);
    return own;
}

static size_t add(walk *w, size_t to, size_t from) {
    char a[32], b[32];
    if (w->spans[to].count != w->spans[from].count)
        rbe_export_fail(w->x, rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "export: %zu columns cannot be added to %zu",
                                       w->spans[from].count, w->spans[to].count));
    rbe_need(w->x, RBE_SNIPPET_add);
    begin_line(w);
    rbe_c_print(w->text, "add(%s, %s, %zu);\n", where(w, to, a), where(w, from, b), w->spans[to].count);
    w->x->operations += (double)w->spans[to].count;
    drop(w, from);
    return to;
}

/* All that follow take over what they are given, and return where their result is. */
static size_t layer(walk *w, const rbe_layer *l, size_t from);

static size_t sequential(walk *w, const rbe_layer *l, size_t from) {
    for (size_t n = 0; n < l->child_count && w->text->status == RBE_OK; n++) from = layer(w, l->children[n], from);
    return from;
}

/* x + f(x), f a sequence of children. */
static size_t residual(walk *w, rbe_layer *const *children, size_t count, size_t from) {
    hold(w, from);
    size_t to = from;
    for (size_t n = 0; n < count && w->text->status == RBE_OK; n++) to = layer(w, children[n], to);
    to = writable(w, to);
    return add(w, to, from);
}

static size_t repeat(walk *w, const rbe_layer *l, size_t from) {
    const size_t times = rbe_layer_times(l);
    const double before = w->x->operations;
    if (times == 1) return sequential(w, l, from);
    from = writable(w, from);
    begin_line(w);
    rbe_c_print(w->text, "for (size_t n%zu = 0; n%zu < %zu; n%zu++) {\n", w->loops, w->loops, times, w->loops);
    w->loops++;
    hold(w, from);
    const size_t to = sequential(w, l, from);
    if (to != from) {
        copy(w, from, to);
        drop(w, to);
    } else
        drop(w, from);
    w->loops--;
    begin_line(w);
    rbe_c_put(w->text, "}\n");
    w->x->operations = before + (w->x->operations - before) * (double)times;
    return from;
}

/* ---- layers with a matrix ------------------------------------------------------------------------------------ */

static size_t compressed(walk *w, const rbe_layer *l, size_t from) {
    char a[32], b[32], c[32];
    const size_t to = take(w, l->out), work = take(w, rbe_c_linear_work(l));
    begin_line(w);
    rbe_c_print(w->text, "layer_%zu(%s, %s, %s);\n", rbe_layer_number(w->x, l), where(w, from, a), where(w, to, b),
                where(w, work, c));
    w->x->operations += rbe_linear_operations(l, w->x->o.speed);
    drop(w, work);
    drop(w, from);
    return to;
}

/* "for (size_t i = 0; i < 300; i++) s[i] += bias_1[i];", of a parameter that is no matrix; NULL: 0. */
static void each(walk *w, size_t to, const char *operator, const rbe_layer * l, const rbe_param *value) {
    char element[160] = "0.0f";
    if (value) rbe_c_element(w->x, l, value, rbe_layer_number(w->x, l), "i", element);
    begin_line(w);
    rbe_c_print(w->text, "for (size_t i = 0; i < %zu; i++) s[%zu + i] %s %s;\n", w->spans[to].count,
                w->spans[to].at, operator, element);
}

static void product(walk *w, const rbe_layer *owner, size_t to, size_t from) {
    char a[32], b[32];
    const rbe_param *weight = &owner->params[0];
    const size_t number = rbe_layer_number(w->x, owner);
    const unsigned bits = rbe_export_bits(w->x, owner, weight);
    rbe_need(w->x, bits ? RBE_SNIPPET_dense_packed : RBE_SNIPPET_dense_f32);
    begin_line(w);
    if (bits)
        rbe_c_print(w->text, "{ const packed weight = {%s_%zu, steps_%zu, %u, 0}; dense_packed(weight", weight->part,
                    number, number, bits);
    else
        rbe_c_print(w->text, "dense_f32(%s_%zu", weight->part, number);
    rbe_c_print(w->text, ", %s, %zu, %s, %zu);%s\n", where(w, from, a), w->spans[from].count, where(w, to, b),
                w->spans[to].count, bits ? " }" : "");
    w->x->operations += (double)weight->count;
}

static size_t dense(walk *w, const rbe_layer *l, size_t from) {
    const size_t to = take(w, l->out);
    each(w, to, "=", l, l->param_count > 1 ? &l->params[1] : NULL);
    product(w, l, to, from);
    drop(w, from);
    return to;
}

/* ---- operations and norms ------------------------------------------------------------------------------------ */

typedef struct function {
    const char *kind, *name;
    rbe_snippet snippet;
} function;

static const function functions[] = {
    {"relu", "relu", RBE_SNIPPET_relu},
    {"gelu", "gelu", RBE_SNIPPET_gelu},
    {"gelu_tanh", "gelu_tanh", RBE_SNIPPET_gelu_tanh},
    {"tanh", "tangents", RBE_SNIPPET_tanh},
    {"sigmoid", "sigmoid", RBE_SNIPPET_sigmoid},
    {"softmax", "softmax", RBE_SNIPPET_softmax},
    {"log_softmax", "log_softmax", RBE_SNIPPET_log_softmax},
};

static const function *function_of(const rbe_layer *l) {
    for (size_t n = 0; n < sizeof functions / sizeof *functions; n++)
        if (rbe_layer_type_of(functions[n].kind) == l->type) return &functions[n];
    return NULL;
}

static size_t operation(walk *w, const function *f, size_t from) {
    char a[32];
    const size_t to = writable(w, from);
    rbe_need(w->x, f->snippet);
    begin_line(w);
    rbe_c_print(w->text, "%s(%s, %zu);\n", f->name, where(w, to, a), w->spans[to].count);
    return to;
}

static size_t norm(walk *w, const rbe_layer *l, size_t from) {
    char a[32], epsilon[40];
    const bool centred = l->type == &rbe_layer_norm_type;
    const size_t to = writable(w, from);
    rbe_c_float_digits((float)rbe_layer_option(l, "epsilon"), epsilon);
    rbe_need(w->x, centred ? RBE_SNIPPET_layer_norm : RBE_SNIPPET_rms_norm);
    begin_line(w);
    rbe_c_print(w->text, "%s(%s, %zu, %s);\n", centred ? "layer_norm" : "rms_norm", where(w, to, a), l->in, epsilon);
    each(w, to, "*=", l, &l->params[0]);
    if (l->param_count > 1) each(w, to, "+=", l, &l->params[1]);
    w->x->operations += 4.0 * (double)l->in;
    return to;
}

/* ---- sequences ----------------------------------------------------------------------------------------------- */

/* Row `index` of a table, an expression in C, is added to what is there. */
static void add_row(walk *w, const rbe_layer *l, size_t to, const char *index) {
    char a[32];
    const rbe_param *weight = &l->params[0];
    const size_t number = rbe_layer_number(w->x, l), width = w->spans[to].count;
    const unsigned bits = rbe_export_bits(w->x, l, weight);
    begin_line(w);
    if (bits) {
        rbe_need(w->x, RBE_SNIPPET_packed_row);
        rbe_c_print(w->text, "{ const packed table = {%s_%zu, steps_%zu, %u, 0}; packed_row(table, %s, %s, %zu); }\n",
                    weight->part, number, number, bits, index, where(w, to, a), width);
    } else {
        rbe_need(w->x, RBE_SNIPPET_add);
        rbe_c_print(w->text, "add(%s, %s_%zu + %s * %zu, %zu);\n", where(w, to, a), weight->part, number, index, width,
                    width);
    }
}

static size_t embedding(walk *w, const rbe_layer *l, size_t from) {
    char id[32], index[48];
    if (w->spans[from].count != 1)
        rbe_export_fail(w->x, rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: expected one id at a time, found %zu",
                                       l->path, w->spans[from].count));
    const size_t to = take(w, l->out);
    if (from == 0)
        snprintf(id, sizeof id, "x[0]");
    else
        snprintf(id, sizeof id, "s[%zu]", w->spans[from].at);
    begin_line(w);
    rbe_c_print(w->text, "if (!(%s >= 0.0f && %s < %zu.0f) || %s != (float)(size_t)%s) return -1;\n", id, id,
                l->params[0].rows, id, id);
    each(w, to, "=", l, NULL);
    snprintf(index, sizeof index, "(size_t)%s", id);
    add_row(w, l, to, index);
    drop(w, from);
    return to;
}

static size_t positions(walk *w, const rbe_layer *l, size_t from) {
    const size_t to = writable(w, from);
    add_row(w, l, to, "place");
    w->x->operations += (double)l->out;
    return to;
}

static size_t unembedding(walk *w, const rbe_layer *l, size_t from) {
    const size_t to = take(w, l->out);
    each(w, to, "=", l, NULL);
    product(w, l->children[0], to, from);
    drop(w, from);
    return to;
}

/* Keys and values of all places stand behind everything else, those of one attention after the other. */
static size_t attention(walk *w, const rbe_layer *l, size_t from) {
    char a[32], b[32], c[32];
    const size_t width = l->in, heads = (size_t)rbe_layer_option(l, "heads"), places = w->x->places;
    const double base = rbe_layer_option(l, "rotary_base");
    const size_t qkv = layer(w, l->children[0], from), memory = w->memory + w->remembered;
    if (w->loops > 0)
        rbe_export_fail(
            w->x, rbe_fail(RBE_INVALID_ARGUMENT, "%s: attention that runs several times cannot be exported", l->path));
    if (w->text->status != RBE_OK) return qkv;
    w->remembered += 2 * places * width;
    if (base > 0.0) {
        rbe_need(w->x, RBE_SNIPPET_rotary);
        begin_line(w);
        rbe_c_print(w->text, "rotary(%s, %zu, %zu, ", where(w, qkv, a), heads, width / heads);
        rbe_c_double(w->text, base);
        rbe_c_put(w->text, ", place);\n");
    }
    const size_t y = take(w, width), scores = take(w, places);
    rbe_need(w->x, RBE_SNIPPET_softmax);
    rbe_need(w->x, RBE_SNIPPET_attention);
    begin_line(w);
    rbe_c_print(w->text, "attention(%s, %zu, %zu, s + %zu, s + %zu, place, %s, %s);\n", where(w, qkv, a), width, heads,
                memory, memory + places * width, where(w, y, b), where(w, scores, c));
    w->x->operations += 2.0 * (double)places * (double)width;
    drop(w, scores);
    drop(w, qkv);
    return layer(w, l->children[1], y);
}

/* ---- any layer ----------------------------------------------------------------------------------------------- */

/* Also whether there have not been too many: what is shared has a call for each of its places. */
static bool fits(walk *w, const rbe_layer *l, size_t from) {
    if (++w->x->steps > RBE_MOST_STEPS) {
        rbe_export_fail(w->x,
                        rbe_fail(RBE_INVALID_ARGUMENT, "export: the model takes more than %d steps", RBE_MOST_STEPS));
        return false;
    }
    const size_t count = w->spans[from].count;
    if (l->in == 0 || l->in == count) return true;
    rbe_export_fail(w->x, rbe_fail(RBE_INPUT_DIMENSION_MISMATCH, "%s: takes %zu columns, the layer before gives %zu",
                                   l->path, l->in, count));
    return false;
}

static size_t layer(walk *w, const rbe_layer *l, size_t from) {
    const function *f = function_of(l);
    if (w->text->status != RBE_OK || !fits(w, l, from)) return from;
    if (f) return operation(w, f, from);
    if (l->type == &rbe_sequential_type) return sequential(w, l, from);
    if (l->type == &rbe_residual_type) return residual(w, l->children, l->child_count, from);
    if (l->type == &rbe_repeat_type) return repeat(w, l, from);
    if (l->type == &rbe_linear_type) return compressed(w, l, from);
    if (l->type == &rbe_dense_type) return dense(w, l, from);
    if (l->type == &rbe_layer_norm_type || l->type == &rbe_rms_norm_type) return norm(w, l, from);
    if (l->type == &rbe_embedding_type) return embedding(w, l, from);
    if (l->type == &rbe_positions_type) return positions(w, l, from);
    if (l->type == &rbe_unembedding_type) return unembedding(w, l, from);
    if (l->type == &rbe_attention_type) return attention(w, l, from);
    if (l->type == &rbe_block_type) return residual(w, l->children + 2, 2, residual(w, l->children, 2, from));
    return from; /* dropout: nothing (check.c knows all kinds) */
}

void rbe_c_steps(rbe_exporter *x) {
    walk w = {.x = x, .text = &x->text};
    char a[32];
    w.memory = x->peak; /* as the first walk has found it */
    x->steps = 0;
    x->peak = x->remembers ? 1 : 0; /* the place */
    x->operations = 0.0;
    w.spans[0] = (span){0, x->in, 1};
    const size_t to = sequential(&w, x->model->root, 0);
    x->out = w.spans[to].count;
    x->remembered = w.remembered;
    rbe_c_print(w.text, "    memcpy(y, %s, %zu * sizeof *y);\n", where(&w, to, a), x->out);
}
