/* Kinds of layers by their names, the library's own and those that a user has registered; and what their types read and
 * write options with. */
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nn/layer.h"

/* ---- by name ------------------------------------------------------------------------------------------------- */

static const rbe_layer_type *const own[] = {
    &rbe_dense_type,     &rbe_linear_type,      &rbe_dropout_type,   &rbe_sequential_type, &rbe_residual_type,
    &rbe_repeat_type,    &rbe_bag_type,         &rbe_rms_norm_type,  &rbe_layer_norm_type, &rbe_embedding_type,
    &rbe_positions_type, &rbe_unembedding_type, &rbe_attention_type, &rbe_block_type};

enum { OWN = sizeof own / sizeof *own, MOST_REGISTERED = 64 };

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static const rbe_layer_type *registered[MOST_REGISTERED]; /* guarded by it, like the count */
static size_t registered_count;

static const rbe_layer_type *find_own(const char *kind) {
    for (size_t n = 0; n < OWN; n++)
        if (strcmp(own[n]->kind, kind) == 0) return own[n];
    const rbe_layer_type *type;
    for (size_t n = 0; (type = rbe_operation_type(n)); n++)
        if (strcmp(type->kind, kind) == 0) return type;
    return NULL;
}

static const rbe_layer_type *find_registered(const char *kind) {
    for (size_t n = 0; n < registered_count; n++)
        if (strcmp(registered[n]->kind, kind) == 0) return registered[n];
    return NULL;
}

const rbe_layer_type *rbe_layer_type_of(const char *kind) {
    const rbe_layer_type *type = find_own(kind);
    if (type) return type;
    pthread_mutex_lock(&registry);
    type = find_registered(kind);
    pthread_mutex_unlock(&registry);
    return type;
}

static rbe_status add(const rbe_layer_type *type) {
    const rbe_layer_type *other = find_registered(type->kind);
    if (other == type) return RBE_OK;
    if (other || find_own(type->kind) || strcmp(type->kind, "shared") == 0) /* a word of files */
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_register: there is another kind of layer called %s",
                        type->kind);
    if (registered_count == MOST_REGISTERED)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_register: expected at most %d types", MOST_REGISTERED);
    registered[registered_count++] = type;
    return RBE_OK;
}

rbe_status rbe_layer_register(const rbe_layer_type *type) {
    if (!type || !type->kind || !type->forward || !type->read)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_layer_register: expected a type with a kind, a forward and a read");
    pthread_mutex_lock(&registry);
    rbe_status status = add(type);
    pthread_mutex_unlock(&registry);
    return status;
}

/* ---- options ------------------------------------------------------------------------------------------------- */

rbe_status rbe_write_number(rbe_writer *writer, const char *name, double value) {
    return writer->number(writer, name, value);
}

rbe_status rbe_write_text(rbe_writer *writer, const char *name, const char *value) {
    return writer->text(writer, name, value);
}

rbe_status rbe_read_number(rbe_reader *reader, const char *name, double least, double most, double *value) {
    return reader->number(reader, name, least, most, false, value);
}

rbe_status rbe_read_count(rbe_reader *reader, const char *name, size_t least, size_t most, size_t *value) {
    double number = 0.0;
    RBE_TRY(reader->number(reader, name, (double)least, (double)most, true, &number));
    *value = (size_t)number;
    return RBE_OK;
}

const char *rbe_read_text(rbe_reader *reader, const char *name) { return reader->text(reader, name); }

size_t rbe_read_values(const rbe_reader *reader, const char *part) { return reader->values(reader, part); }

rbe_status rbe_read_matrix(rbe_reader *reader, const char *part, size_t rows, size_t columns) {
    return reader->matrix(reader, part, rows, columns);
}

rbe_status rbe_layer_write_widths(const rbe_layer *layer, rbe_writer *writer) {
    RBE_TRY(rbe_write_number(writer, "in", (double)layer->in));
    return rbe_write_number(writer, "out", (double)layer->out);
}

rbe_status rbe_layer_read_widths(rbe_reader *reader, size_t *in, size_t *out) {
    RBE_TRY(rbe_read_count(reader, "in", 1, RBE_MOST_COLUMNS, in));
    return rbe_read_count(reader, "out", 1, RBE_MOST_COLUMNS, out);
}

rbe_status rbe_read_fail(const rbe_reader *reader, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return reader->fail(reader, RBE_BAD_FORMAT, text);
}

rbe_status rbe_read_same_number(rbe_reader *reader, const char *name, double now) {
    double then = 0.0;
    RBE_TRY(rbe_read_number(reader, name, -INFINITY, INFINITY, &then));
    if (memcmp(&then, &now, sizeof now) == 0) return RBE_OK;
    char text[200], of_then[32], of_now[32];
    for (int digits = 9; digits <= 17; digits += 8) { /* more where 9 do not tell them apart */
        snprintf(of_then, sizeof of_then, "%.*g", digits, then);
        snprintf(of_now, sizeof of_now, "%.*g", digits, now);
        if (strcmp(of_then, of_now) != 0) break;
    }
    snprintf(text, sizeof text, "%s: %s when it was saved, %s now", name, of_then, of_now);
    return reader->fail(reader, RBE_INVALID_ARGUMENT, text);
}

rbe_status rbe_read_same_text(rbe_reader *reader, const char *name, const char *now) {
    const char *then = rbe_read_text(reader, name);
    if (!then) return rbe_read_fail(reader, "%s: expected a text", name);
    if (strcmp(then, now) == 0) return RBE_OK;
    char text[400];
    snprintf(text, sizeof text, "%s: %.150s when it was saved, %.150s now", name, then, now);
    return reader->fail(reader, RBE_INVALID_ARGUMENT, text);
}

/* ---- written, or compared ------------------------------------------------------------------------------------ */

rbe_status rbe_same_number(rbe_sameness s, const char *name, double now) {
    return s.writer ? rbe_write_number(s.writer, name, now) : rbe_read_same_number(s.reader, name, now);
}

rbe_status rbe_same_text(rbe_sameness s, const char *name, const char *now) {
    return s.writer ? rbe_write_text(s.writer, name, now) : rbe_read_same_text(s.reader, name, now);
}

rbe_status rbe_same_seed(rbe_sameness s, const char *name, uint64_t now) {
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)now);
    return rbe_same_text(s, name, digits);
}
