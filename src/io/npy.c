/* NumPy's .npy files (numpy.lib.format).
 *
 *     6 bytes      \x93NUMPY
 *     2 bytes      version: 1.0, 2.0 or 3.0
 *     2 or 4       length of the header, little-endian (4 from version 2.0 on)
 *     header       {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and spaces, a newline at the end
 *     values       of the type descr, in C or Fortran order
 */
#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomic_file.h"
#include "io/convert.h"
#include "io/safetensors.h"

#define MAGIC "\x93NUMPY"

enum { MAGIC_BYTES = 6, PREFIX_BYTES = MAGIC_BYTES + 2, MAX_HEADER = 65535, ALIGNMENT = 64, CHUNK_BYTES = 16384 };

typedef struct npy {
    const rbe_source *source;
    uint64_t data; /* offset */
    bool big_endian, fortran;
    rbe_dtype dtype;
    size_t dims, shape[RBE_MAX_DIMS];
} npy;

/* ---- the header: a Python dictionary ------------------------------------------------------------------------- */

typedef struct text {
    const char *at, *end;
} text;

static void skip_spaces(text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) t->at++;
}

/* Passes over spaces and then `word`, if it stands there. */
static bool take(text *t, const char *word) {
    skip_spaces(t);
    size_t length = strlen(word);
    if ((size_t)(t->end - t->at) < length || memcmp(t->at, word, length) != 0) return false;
    t->at += length;
    return true;
}

/* 'word' or "word", without escapes; cut to the room. */
static bool take_string(text *t, char *word, size_t room) {
    skip_spaces(t);
    if (t->at == t->end || (*t->at != '\'' && *t->at != '"')) return false;
    const char *first = t->at + 1, *last = memchr(first, *t->at, (size_t)(t->end - first));
    if (!last) return false;
    snprintf(word, room, "%.*s", (int)(last - first), first);
    t->at = last + 1;
    return true;
}

static bool take_number(text *t, size_t *number) {
    skip_spaces(t);
    const char *first = t->at;
    *number = 0;
    for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
        if (__builtin_mul_overflow(*number, (size_t)10, number) ||
            __builtin_add_overflow(*number, (size_t)(*t->at - '0'), number))
            return false;
    return t->at > first;
}

static rbe_status bad_header(const npy *n, const char *reason) {
    return rbe_fail(RBE_BAD_FORMAT, "%s: .npy header: %s", n->source->name, reason);
}

/* '<f4', '>i8', '|b1' and the like: byte order, then one of these. */
static rbe_status read_descr(npy *n, text *t) {
    static const struct {
        const char *name;
        rbe_dtype dtype;
    } types[] = {{"f2", RBE_F16}, {"f4", RBE_F32}, {"f8", RBE_F64}, {"i1", RBE_I8},  {"i2", RBE_I16}, {"i4", RBE_I32},
                 {"i8", RBE_I64}, {"u1", RBE_U8},  {"u2", RBE_U16}, {"u4", RBE_U32}, {"u8", RBE_U64}, {"b1", RBE_BOOL}};
    enum { TYPES = sizeof types / sizeof *types };
    char descr[32];
    if (!take_string(t, descr, sizeof descr)) return bad_header(n, "descr is not a text");
    size_t type = 0;
    while (type < TYPES && strcmp(types[type].name, *descr ? descr + 1 : "") != 0) type++;
    if (type == TYPES || !strchr(rbe_dtype_bytes(types[type].dtype) == 1 ? "<>|" : "<>", descr[0]))
        return rbe_fail(RBE_INVALID_ARGUMENT,
                        "%s: expected floats of 2, 4 or 8 bytes, whole numbers or bools, found %s", n->source->name,
                        descr);
    n->big_endian = descr[0] == '>';
    n->dtype = types[type].dtype;
    return RBE_OK;
}

static rbe_status read_shape(npy *n, text *t) {
    if (!take(t, "(")) return bad_header(n, "shape is not a tuple");
    while (!take(t, ")")) {
        size_t extent;
        if (!take_number(t, &extent)) return bad_header(n, "shape is not a tuple of whole numbers");
        if (n->dims < RBE_MAX_DIMS) n->shape[n->dims] = extent;
        n->dims++;
        if (!take(t, ",") && (t->at == t->end || *t->at != ')')) return bad_header(n, "shape is not closed");
    }
    return RBE_OK;
}

static rbe_status read_dictionary(npy *n, text *t) {
    bool seen[3] = {false};
    if (!take(t, "{")) return bad_header(n, "expected a dictionary");
    while (!take(t, "}")) {
        static const char *const keys[3] = {"descr", "fortran_order", "shape"};
        char key[32];
        size_t which = 0;
        if (!take_string(t, key, sizeof key) || !take(t, ":")) return bad_header(n, "expected keys and values");
        while (which < 3 && strcmp(key, keys[which]) != 0) which++;
        if (which == 3 || seen[which]) return bad_header(n, "expected descr, fortran_order and shape, each once");
        seen[which] = true;
        if (which == 0) RBE_TRY(read_descr(n, t));
        if (which == 1 && !(n->fortran = take(t, "True")) && !take(t, "False"))
            return bad_header(n, "fortran_order is neither True nor False");
        if (which == 2) RBE_TRY(read_shape(n, t));
        if (!take(t, ",") && (t->at == t->end || *t->at != '}')) return bad_header(n, "the dictionary is not closed");
    }
    skip_spaces(t);
    if (t->at < t->end) return bad_header(n, "something follows the dictionary");
    return seen[0] && seen[1] && seen[2] ? RBE_OK : bad_header(n, "expected descr, fortran_order and shape");
}

/* As many dimensions as a tensor can have, that are as long as the data; floats in proportion to the file. */
static rbe_status check_size(const npy *n) {
    const char *name = n->source->name;
    uint64_t stored = n->source->bytes - n->data, room = rbe_file_room(n->source->bytes);
    size_t count, bytes;
    if (n->dims < 1 || n->dims > RBE_MAX_DIMS)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: expected 1 .. %d dimensions, found %zu", name, RBE_MAX_DIMS,
                        n->dims);
    for (size_t d = 0; d < n->dims; d++)
        if (n->shape[d] == 0) return rbe_fail(RBE_INVALID_ARGUMENT, "%s: an array without values", name);
    if (!rbe_shape_bytes(n->dtype, n->dims, n->shape, &count, &bytes) || bytes != stored)
        return rbe_fail(RBE_BAD_FORMAT,
                        "%s: values of %zu bytes in the header's shape do not fit the %llu bytes of data", name,
                        rbe_dtype_bytes(n->dtype), (unsigned long long)stored);
    if (count > room / sizeof(float))
        return rbe_fail(RBE_BAD_FORMAT, "%s: %zu floats, expected at most %llu bytes (rbe_set_max_read_bytes)", name,
                        count, (unsigned long long)room);
    return RBE_OK;
}

static rbe_status read_header(npy *n) {
    const rbe_source *s = n->source;
    uint8_t prefix[PREFIX_BYTES + 4];
    size_t length_bytes = 4;
    if (s->bytes < sizeof prefix) return rbe_fail(RBE_BAD_FORMAT, "%s: too short for a .npy file", s->name);
    RBE_TRY(rbe_source_read(s, 0, prefix, sizeof prefix));
    if (memcmp(prefix, MAGIC, MAGIC_BYTES) != 0) return rbe_fail(RBE_BAD_FORMAT, "%s: not a .npy file", s->name);
    unsigned version = prefix[MAGIC_BYTES];
    if (version < 1 || version > 3 || prefix[MAGIC_BYTES + 1] != 0)
        return rbe_fail(RBE_BAD_FORMAT, "%s: .npy version %u.%u is unknown", s->name, version, prefix[MAGIC_BYTES + 1]);
    uint64_t length = prefix[PREFIX_BYTES] | (unsigned)prefix[PREFIX_BYTES + 1] << 8;
    if (version == 1)
        length_bytes = 2;
    else
        length |= (uint64_t)prefix[PREFIX_BYTES + 2] << 16 | (uint64_t)prefix[PREFIX_BYTES + 3] << 24;
    n->data = PREFIX_BYTES + length_bytes + length;
    if (length > MAX_HEADER || n->data > s->bytes)
        return rbe_fail(RBE_BAD_FORMAT, "%s: a header of %llu bytes does not fit the file", s->name,
                        (unsigned long long)length);
    char *header = rbe_alloc(length, 1);
    if (!header) return RBE_INSUFFICIENT_MEMORY;
    rbe_status status = rbe_source_read(s, PREFIX_BYTES + length_bytes, header, (size_t)length);
    if (status == RBE_OK) status = read_dictionary(n, &(text){header, header + length});
    rbe_free(header);
    return status == RBE_OK ? check_size(n) : status;
}

/* ---- values -------------------------------------------------------------------------------------------------- */

/* Puts values number first .. of the file where they belong. In Fortran order the first index varies fastest. */
static void place(const npy *n, size_t first, const float *values, size_t count, rbe_tensor *tensor) {
    if (!n->fortran || n->dims == 1) {
        memcpy(tensor->data + first, values, count * sizeof *values);
        return;
    }
    for (size_t k = 0; k < count; k++) {
        size_t place = 0, rest = first + k;
        for (size_t d = 0; d < n->dims; d++) {
            place = place * n->shape[d] + rest % n->shape[d];
            rest /= n->shape[d];
        }
        tensor->data[place] = values[k];
    }
}

static rbe_status read_values(const npy *n, rbe_tensor *tensor) {
    uint8_t chunk[CHUNK_BYTES];
    float floats[CHUNK_BYTES / sizeof(float)];
    size_t size = rbe_dtype_bytes(n->dtype), piece = sizeof chunk / size, count = rbe_tensor_count(tensor);
    for (size_t at = 0; at < count; at += piece) {
        if (piece > count - at) piece = count - at;
        RBE_TRY(rbe_source_read(n->source, n->data + at * size, chunk, piece * size));
        if (n->big_endian)
            rbe_swap_big_endian(chunk, chunk, piece, size);
        else
            rbe_swap_little_endian(chunk, chunk, piece, size);
        size_t converted = rbe_convert_to_f32(n->dtype, chunk, piece, floats);
        if (converted < piece)
            return rbe_fail(RBE_NUMERICAL_INSTABILITY, "%s: value %zu cannot be held by a float", n->source->name,
                            at + converted);
        place(n, at, floats, piece, tensor);
    }
    return RBE_OK;
}

rbe_status rbe_npy_from_source(const rbe_source *source, rbe_tensor *tensor) {
    npy n = {.source = source};
    *tensor = (rbe_tensor){0};
    RBE_TRY(read_header(&n));
    RBE_TRY(rbe_tensor_new(tensor, (int)n.dims, n.shape));
    rbe_status status = read_values(&n, tensor);
    if (status != RBE_OK) rbe_tensor_free(tensor);
    return status;
}

rbe_status rbe_npy_read(const char *path, rbe_tensor *tensor) {
    if (!path || !tensor) return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_npy_read: a pointer is NULL");
    rbe_source source;
    *tensor = (rbe_tensor){0};
    RBE_TRY(rbe_source_open(&source, path));
    rbe_status status = rbe_npy_from_source(&source, tensor);
    rbe_source_close(&source);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

/* The header, padded so that the values begin at a multiple of 64 bytes. Returns its length. */
static size_t make_header(const rbe_tensor *tensor, char header[256]) {
    char shape[RBE_MAX_DIMS * 24] = "";
    for (int d = 0, at = 0; d < tensor->dims; d++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%zu,%s", tensor->shape[d],
                       d + 1 < tensor->dims ? " " : "");
    char *dictionary = header + PREFIX_BYTES + 2;
    size_t length =
        (size_t)snprintf(dictionary, 200, "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    size_t total = (PREFIX_BYTES + 2 + length + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(dictionary + length, ' ', total - PREFIX_BYTES - 2 - length);
    header[total - 1] = '\n';
    memcpy(header, MAGIC "\x01\x00", PREFIX_BYTES);
    header[PREFIX_BYTES] = (char)((total - PREFIX_BYTES - 2) & 0xff);
    header[PREFIX_BYTES + 1] = (char)((total - PREFIX_BYTES - 2) >> 8);
    return total;
}

static rbe_status write_file(rbe_atomic_file *file, const char *path, const rbe_tensor *tensor) {
    char header[256];
    uint8_t chunk[CHUNK_BYTES];
    RBE_TRY(rbe_atomic_open(file, path));
    RBE_TRY(rbe_atomic_write(file, header, make_header(tensor, header)));
    size_t count = rbe_tensor_count(tensor), piece = sizeof chunk / sizeof(float);
    for (size_t at = 0; at < count; at += piece) {
        if (piece > count - at) piece = count - at;
        rbe_swap_little_endian(chunk, tensor->data + at, piece, sizeof(float));
        RBE_TRY(rbe_atomic_write(file, chunk, piece * sizeof(float)));
    }
    RBE_TRY(rbe_atomic_finish(file));
    return rbe_atomic_commit(&file, 1);
}

rbe_status rbe_npy_write(const char *path, const rbe_tensor *tensor) {
    if (!path || !tensor || !tensor->data || tensor->dims < 1 || tensor->dims > RBE_MAX_DIMS)
        return rbe_fail(RBE_INVALID_ARGUMENT, "rbe_npy_write: expected a path and a tensor with values, found NULL");
    size_t count, bytes;
    if (!rbe_shape_bytes(RBE_F32, (size_t)tensor->dims, tensor->shape, &count, &bytes) || count == 0)
        return rbe_fail(RBE_INVALID_ARGUMENT, "%s: an array without values, or with more than can be addressed", path);
    rbe_atomic_file file = {0};
    rbe_status status = write_file(&file, path, tensor);
    rbe_atomic_discard(&file);
    return status;
}
