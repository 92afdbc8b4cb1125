/* A model on a sequence that comes piece by piece: a tape for inference, and the context in which attention remembers
 * keys and values (tensor/context.h). */
#include <string.h>

#include "base/alloc.h"
#include "nn/model.h"
#include "rbe/gpt.h"
#include "tensor/context.h"

struct rbe_generator {
    const rbe_model *model;
    rbe_tape *tape;
    rbe_context context;
    float *own; /* memory of the library's; NULL: the caller's */
};

/* Counts the attentions, and takes their width: false if two differ. An attention in several places runs in each, one
 * in a repeat as often as that says. */
typedef struct survey {
    size_t attentions, width; /* attentions: SIZE_MAX if they cannot be counted */
    bool alike;
} survey;

static void look(survey *s, const rbe_layer *layer, size_t times) {
    if (layer->type == &rbe_attention_type) {
        s->alike = s->attentions == 0 || (s->alike && s->width == layer->in);
        s->width = layer->in;
        if (__builtin_add_overflow(s->attentions, times, &s->attentions)) s->attentions = SIZE_MAX;
    }
    if (__builtin_mul_overflow(times, rbe_layer_times(layer), &times)) times = SIZE_MAX;
    for (size_t n = 0; n < layer->child_count; n++) look(s, layer->children[n], times);
}

static rbe_context context_of(const rbe_model *model, size_t places) {
    survey s = {0};
    if (model) look(&s, model->root, 1);
    return (rbe_context){.capacity = places, .width = s.width, .attentions = s.alike && s.width > 0 ? s.attentions : 0};
}

/* Places whose keys and values can be addressed. */
static size_t most_places(const rbe_context *c) {
    const size_t floats = PTRDIFF_MAX / sizeof(float) / 2;
    return c->attentions > 0 ? floats / c->attentions / c->width : floats;
}

size_t rbe_generator_bytes(const rbe_model *model, size_t places) {
    const rbe_context c = context_of(model, places);
    return places <= most_places(&c) ? rbe_context_floats(&c) * sizeof(float) : PTRDIFF_MAX;
}

static rbe_status check(const rbe_model *model, const rbe_context *c, const void *memory, size_t bytes) {
    RBE_TRY(rbe_model_status(model));
    if (c->attentions == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a generator: expected a model with attention layers of one width");
    const size_t most = most_places(c);
    if (c->capacity < 1 || c->capacity > most)
        return rbe_fail(RBE_INVALID_ARGUMENT, "a generator: expected 1 .. %zu places, found %zu", most, c->capacity);
    const size_t needed = rbe_context_floats(c) * sizeof(float);
    if (!memory || bytes >= needed) return RBE_OK;
    return rbe_fail(RBE_INVALID_ARGUMENT, "a generator: expected at least %zu bytes for %zu places, found %zu", needed,
                    c->capacity, bytes);
}

rbe_generator *rbe_generator_new(const rbe_model *model, size_t places, void *memory, size_t bytes) {
    rbe_context context = context_of(model, places);
    if (check(model, &context, memory, bytes) != RBE_OK) return NULL;
    rbe_generator *g = rbe_alloc_zeroed(1, sizeof *g);
    if (!g) return NULL;
    *g = (rbe_generator){.model = model, .context = context};
    g->tape = rbe_tape_new(&(rbe_tape_options){.inference = true});
    if (!memory) g->own = rbe_alloc(rbe_context_floats(&context), sizeof *g->own);
    g->context.memory = memory ? memory : g->own;
    if (g->tape && g->context.memory) return g;
    rbe_generator_free(g);
    return NULL;
}

void rbe_generator_free(rbe_generator *g) {
    if (!g) return;
    rbe_tape_free(g->tape);
    rbe_free(g->own);
    rbe_free(g);
}

size_t rbe_generator_places(const rbe_generator *g) { return g ? g->context.places : 0; }

void rbe_generator_reset(rbe_generator *g) {
    if (g) g->context.places = 0;
}

rbe_status rbe_generator_feed(rbe_generator *g, const int32_t *ids, size_t count, const float **logits) {
    if (!g)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_generator_feed: the generator is NULL; did rbe_generator_new fail?");
    if (!ids || count < 1)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_generator_feed: expected at least one id, found %s",
                        ids ? "none" : "NULL");
    rbe_tape *tape = g->tape;
    rbe_tape_reset(tape);
    g->context.next = 0;
    tape->context = &g->context;
    rbe_var *y = rbe_model_forward(g->model, rbe_input_ids(tape, ids, 1, count));
    RBE_TRY(rbe_tape_report(tape));
    g->context.places += count;
    const rbe_tensor *out = rbe_value(y);
    if (logits) *logits = out->data + (rbe_tensor_rows(out) - 1) * rbe_tensor_columns(out);
    return RBE_OK;
}
