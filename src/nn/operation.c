/* Operations as layers: those of the library, which files know by their kind, and functions of a user's own. */
#include <stdio.h>
#include <string.h>

#include "nn/layer.h"
#include "tensor/node.h"

/* What an operation returns is checked: it may be a caller's. */
static rbe_var *checked(const rbe_layer *layer, rbe_var *x, rbe_var *y) {
    if (y && y->tape == x->tape) return y;
    size_t place = 0;
    while (layer->parent && rbe_layer_child(layer->parent, place) != layer) place++;
    return rbe_tape_fail(x, RBE_INVALID_ARGUMENT,
                         "the operation at place %zu of %zu of the model: expected a variable of its input's tape, "
                         "found %s",
                         place + 1, layer->parent ? layer->parent->child_count : 1, y ? "one of another tape" : "NULL");
}

/* ---- operations of the library ------------------------------------------------------------------------------- */

typedef struct operation_type {
    rbe_layer_type base;
    rbe_operation *function;
} operation_type;

static rbe_var *operation_forward(const rbe_layer *layer, rbe_var *x) {
    return ((const operation_type *)layer->type)->function(x);
}

static rbe_layer *operation_read(const rbe_layer_type *type, rbe_reader *reader) {
    (void)reader;
    return rbe_layer_make_named(type, sizeof(rbe_layer), 0, 0, NULL);
}

#define OPERATION(KIND, FUNCTION)                                                                                      \
    { {.kind = KIND, .role = RBE_OPERATION, .forward = operation_forward, .read = operation_read}, FUNCTION }

static const operation_type operations[] = {OPERATION("relu", rbe_relu),
                                            OPERATION("gelu", rbe_gelu),
                                            OPERATION("gelu_tanh", rbe_gelu_tanh),
                                            OPERATION("tanh", rbe_tanh),
                                            OPERATION("sigmoid", rbe_sigmoid),
                                            OPERATION("softmax", rbe_softmax),
                                            OPERATION("log_softmax", rbe_log_softmax)};

enum { OPERATIONS = sizeof operations / sizeof *operations };

const rbe_layer_type *rbe_operation_type(size_t n) { return n < OPERATIONS ? &operations[n].base : NULL; }

const char *rbe_operation_kinds(char *text, size_t size) {
    *text = '\0';
    for (size_t n = 0, length = 0; n < OPERATIONS && length < size; n++) {
        const char *between = n == 0 ? "" : n + 1 < OPERATIONS ? ", " : " or ";
        length += (size_t)snprintf(text + length, size - length, "%s%s", between, operations[n].base.kind);
    }
    return text;
}

rbe_operation *rbe_operation_named(const char *name) {
    for (size_t n = 0; n < OPERATIONS; n++)
        if (name && strcmp(name, operations[n].base.kind) == 0) return operations[n].function;
    char kinds[96];
    rbe_fail(RBE_INVALID_ARGUMENT, "operation: expected %s, found %s", rbe_operation_kinds(kinds, sizeof kinds),
             name ? name : "NULL");
    return NULL;
}

/* ---- functions of one's own ---------------------------------------------------------------------------------- */

typedef struct function_layer {
    rbe_layer base;
    rbe_var *(*function)(void *user, rbe_var *);
    rbe_operation *plain; /* or one without a pointer of the user's */
    void *user;
} function_layer;

static rbe_var *function_forward(const rbe_layer *layer, rbe_var *x) {
    const function_layer *f = (const function_layer *)layer;
    return checked(layer, x, f->plain ? f->plain(x) : f->function(f->user, x));
}

static const rbe_layer_type function_type = {.kind = "function", .role = RBE_OPERATION, .forward = function_forward};

static function_layer *new_function(void) {
    return (function_layer *)rbe_layer_make_named(&function_type, sizeof(function_layer), 0, 0, NULL);
}

rbe_layer *rbe_operation_new(rbe_operation *operation) {
    if (!operation) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_operation_new: the operation is NULL");
        return NULL;
    }
    for (size_t n = 0; n < OPERATIONS; n++)
        if (operation == operations[n].function)
            return rbe_layer_make_named(&operations[n].base, sizeof(rbe_layer), 0, 0, NULL);
    function_layer *layer = new_function();
    if (layer) layer->plain = operation;
    return layer ? &layer->base : NULL;
}

rbe_layer *rbe_function_new(rbe_var *(*function)(void *user, rbe_var *), void *user) {
    if (!function) {
        rbe_fail(RBE_INVALID_ARGUMENT, "rbe_function_new: the function is NULL");
        return NULL;
    }
    function_layer *layer = new_function();
    if (!layer) return NULL;
    layer->function = function;
    layer->user = user;
    return &layer->base;
}
